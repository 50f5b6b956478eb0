"""Unpacked bundles made by hand: y = x @ w + b, z = -y."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from neo.contract.device import Requirements
from neo.contract.manifest import CONFIG_PATH, ENGINE_DIR, Manifest
from neo.contract.parity import Tolerance
from neo.contract.tensors import TensorSpec
from neo.runtime.engine_folder import ENGINE_FILE, EngineFolder
from neo.runtime.golden import write_golden
from tests.models import build

INPUTS = (TensorSpec("x", "float32", (2, 4)),)
OUTPUTS = (TensorSpec("y", "float32", (2, 3)), TensorSpec("z", "float32", (2, 3)))


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"w": rng.normal(size=(4, 3)).astype(np.float32), "b": rng.normal(size=3).astype(np.float32)}


def model(seed: int = 0) -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
        helper.make_node("Neg", ["y"], ["z"]),
    ]
    return build(nodes, {"x": (2, 4)}, {"y": (2, 3), "z": (2, 3)}, weights(seed))


def answer(x: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    y = x @ weights(seed)["w"] + weights(seed)["b"]
    return {"y": y, "z": -y}


def samples(count: int = 2, seed: int = 0) -> list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    rng = np.random.default_rng(99)
    inputs = [rng.normal(size=(2, 4)).astype(np.float32) for _ in range(count)]
    return [({"x": x}, answer(x, seed)) for x in inputs]


def describe(folder: Path, engine: str = "onnxruntime", **fields: object) -> Path:
    """Everything of a bundle but the engine's own files."""
    (folder / ENGINE_DIR).mkdir(parents=True, exist_ok=True)
    requires = Requirements(platform.machine(), "linux", (), "2.28")
    manifest = Manifest("m", "1", "host", requires, engine, "", "fp32", "onnx", INPUTS, OUTPUTS, Tolerance())
    (folder / CONFIG_PATH).write_bytes(manifest.to_bytes())
    (folder / ENGINE_DIR / ENGINE_FILE).write_bytes(EngineFolder(engine, INPUTS, OUTPUTS, **fields).to_bytes())
    write_golden(folder, samples())
    return folder


def onnxruntime_bundle(folder: Path, seed: int = 0) -> Path:
    describe(folder)
    onnx.save(model(seed), folder / ENGINE_DIR / "model.onnx")
    return folder
