"""Model files: read with or without external data, and written so that protobuf can hold them.

Protobuf writes at most 2 GiB, so the weights of a large model are in a file of their own ("external data").
Source: https://onnx.ai/onnx/repo-docs/ExternalData.html
"""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.external_data_helper
from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]

from neo.errors import ModelError
from neo.onnx_tools.walk import tensors

MODEL_FILE = "model.onnx"
# half of what protobuf can write: a rewritten graph may be somewhat larger than the one it comes from
LARGEST_EMBEDDED_BYTES = 1 << 30
# for a file that is read and written several times: with the weights beside it, that costs nothing
LIGHT_BYTES = 1 << 20


def load(path: Path, *, weights: bool = True) -> onnx.ModelProto:
    """weights: False does not read external data; the tensors then only refer to it, and stay valid if the model is
    saved to the same folder.

    Raises ModelError for a damaged file.
    """
    try:
        return onnx.load(path, load_external_data=weights)
    except (DecodeError, ValueError) as error:
        raise ModelError(
            f"{path} starts like an ONNX model, but is damaged: {error}", hint="copy or export it again"
        ) from error


def load_weights(model: onnx.ModelProto, folder: Path) -> None:
    """Reads the external data that ``load`` has left out into the model. folder: where its files are."""
    onnx.external_data_helper.load_external_data_for_model(model, str(folder))


def save(model: onnx.ModelProto, path: Path, *, most_bytes: int | None = None) -> Path:
    """Writes path, and a file beside it with the weights if these are larger than most_bytes; -> path.

    most_bytes: LARGEST_EMBEDDED_BYTES if None. References to external data that was not loaded stay as they are, and
    so does that data. Weights that are written beside it are in the model no longer, which refers to them.
    """
    external = embedded_bytes(model) > (LARGEST_EMBEDDED_BYTES if most_bytes is None else most_bytes)
    data = path.with_name(f"{path.name}.data")
    if external:
        kept = external_locations(model)
        while data.name in kept:
            data = data.with_name(f"_{data.name}")
        data.unlink(missing_ok=True)  # onnx appends to what is there
    onnx.save_model(model, path, save_as_external_data=external, location=data.name)
    return path


def external_locations(model: onnx.ModelProto) -> tuple[str, ...]:
    """Of weights that are not in the model itself: paths, relative to the model's folder."""
    return tuple(
        dict.fromkeys(
            entry.value
            for tensor in tensors(model)
            if tensor.data_location == onnx.TensorProto.EXTERNAL
            for entry in tensor.external_data
            if entry.key == "location"
        )
    )


def embedded_bytes(model: onnx.ModelProto) -> int:
    """Size of all values in the model itself, without external data that was not loaded."""
    return sum(tensor.ByteSize() for tensor in tensors(model))
