"""SavedModel folders, frozen graphs (a GraphDef in protobuf) and TensorFlow Lite's FlatBuffers."""

from __future__ import annotations

import io

from neo.errors import ModelError
from neo.frontends.contents import COPY_AGAIN, Contents
from neo.frontends.wire import LENGTH, VARINT, read_wire_file

# node, library, version, versions, debug_info of a GraphDef
_GRAPHDEF_FIELDS = frozenset([1, 2, 3, 4, 5])


def recognise(contents: Contents) -> str | None:
    """Raises ModelError for a truncated graph, and for one file of a SavedModel."""
    if contents.is_folder:
        return _recognise_folder(contents)
    if contents.head[4:8] == b"TFL3":
        return "tflite"
    return _recognise_protobuf(contents)


def _recognise_folder(contents: Contents) -> str | None:
    if any((contents.path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        return "savedmodel"
    return None


def _recognise_protobuf(contents: Contents) -> str | None:
    wire = contents.protobuf
    if wire is None:
        return None
    if wire.numbers <= {1, 2} and wire.fields[0] == (1, VARINT) and contents.path.suffix == ".pb":
        raise ModelError(
            f"{contents.path} is one part of a SavedModel", hint=f"give its folder: {contents.path.parent}"
        )
    if wire.fields[0] != (1, LENGTH) or not wire.numbers <= _GRAPHDEF_FIELDS or not _is_node(contents.head):
        return None
    if wire.missing_bytes:
        raise ModelError(
            f"{contents.path} is a truncated TensorFlow graph: {wire.missing_bytes} or more bytes are missing",
            hint=COPY_AGAIN,
        )
    return "graphdef"


def _is_node(head: bytes) -> bool:
    """Whether the first field is a NodeDef, which begins with its name and its operator."""
    # the field's own tag and its length, whose last byte has no high bit
    content = head[2 + next((n for n, byte in enumerate(head[1:]) if byte < 0x80), 0) :]
    node = read_wire_file(io.BytesIO(content), len(content))
    return node is not None and node.fields[:2] == ((1, LENGTH), (2, LENGTH))
