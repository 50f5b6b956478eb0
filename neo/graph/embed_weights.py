"""One file per model where protobuf allows it: the passes behind need not carry external data along."""

from __future__ import annotations

from pathlib import Path

import onnx

# protobuf writes at most 2 GiB; a folded graph may be somewhat larger than the one it comes from
LARGEST_EMBEDDED_BYTES = 1 << 30
MODEL_FILE = "model.onnx"
WEIGHTS_FILE = "model.data"


def embed_weights(model: Path, folder: Path) -> Path:
    loaded = onnx.load(model)
    size = sum(len(tensor.raw_data) for tensor in loaded.graph.initializer)
    onnx.save_model(
        loaded, folder / MODEL_FILE, save_as_external_data=size > LARGEST_EMBEDDED_BYTES, location=WEIGHTS_FILE
    )
    return folder / MODEL_FILE
