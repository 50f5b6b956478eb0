"""Bytes whose products saturate in 16 bits: 255 * 127 twice, as an instruction of processors without VNNI adds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from neo.runtime import integers
from neo.runtime.integers import open_exact_session
from tests.models import build

WIDTH = 64


def quantised(path: Path) -> Path:
    """x, quantised, times weights of 127 steps, between QuantizeLinear and DequantizeLinear; float32 (1, 64)."""
    weights = {
        "one": np.float32(1.0),
        "many": np.float32(30000.0),
        "zero": np.uint8(0),
        "signed": np.int8(0),
        "w": np.full((WIDTH, WIDTH), 127, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "one", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "one", "signed"], ["dw"]),
        helper.make_node("MatMul", ["d", "dw"], ["product"]),
        helper.make_node("QuantizeLinear", ["product", "many", "zero"], ["qp"]),
        helper.make_node("DequantizeLinear", ["qp", "many", "zero"], ["y"]),
    ]
    onnx.save(build(nodes, {"x": (1, WIDTH)}, {"y": (1, WIDTH)}, weights), path)
    return path


def answer(path: Path) -> np.ndarray:
    session = open_exact_session(path, onnxruntime.SessionOptions())
    return np.asarray(session.run(None, {"x": np.full((1, WIDTH), 255, np.float32)})[0])


def test_a_sum_of_products_of_bytes_does_not_saturate(tmp_path: Path) -> None:
    exact = np.round(255 * 127 * WIDTH / 30000.0) * 30000.0
    np.testing.assert_array_equal(answer(quantised(tmp_path / "m.onnx")), np.full((1, WIDTH), exact))


def test_where_onnx_runtime_fails_at_unsigned_weights_floats_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = quantised(tmp_path / "m.onnx")
    expected = answer(path)
    real = onnxruntime.InferenceSession
    tried = []

    def session(model: str, options: onnxruntime.SessionOptions, providers: list[str]) -> onnxruntime.InferenceSession:
        tried.append(options.get_session_config_entry("session.x64quantprecision"))
        if tried == ["1"]:
            raise RuntimeError(f"graph.cc:4164 {integers._SHARED_WEIGHT} x")
        return real(model, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    np.testing.assert_array_equal(answer(path), expected)
    assert tried == ["1", "0"]


def test_another_failure_is_said_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(Exception, match=r"m\.onnx"):
        answer(tmp_path / "m.onnx")
