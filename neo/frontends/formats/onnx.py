"""A ModelProto in protobuf."""

from __future__ import annotations

from neo.errors import ModelError
from neo.frontends.contents import COPY_AGAIN, Contents
from neo.frontends.wire import LENGTH, VARINT

# of a ModelProto
_FIELDS = frozenset([1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26])
_GRAPH = 7


def recognise(contents: Contents) -> str | None:
    """Raises ModelError for a truncated model."""
    wire, path = contents.protobuf, contents.path
    if wire is None or not wire.numbers <= _FIELDS or wire.fields[0] not in {(1, VARINT), (8, LENGTH)}:
        return None
    if wire.has(_GRAPH, LENGTH):
        if wire.missing_bytes:
            raise ModelError(
                f"{path} is a truncated ONNX model: {path.stat().st_size} bytes are there, {wire.missing_bytes} or more"
                " are missing",
                hint=COPY_AGAIN,
            )
        return "onnx"
    if path.suffix == ".onnx":
        raise ModelError(f"{path} starts like an ONNX model, but has no graph: it is truncated", hint=COPY_AGAIN)
    return None
