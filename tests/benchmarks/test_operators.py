from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from benchmarks.operators import OperatorCase, measure_operator, report
from benchmarks.peak import peak_gflops
from benchmarks.race import Pace, Timing
from benchmarks.single_operators import heavy_operators, reference_product, write_operator
from neo.contract.parity import Parity
from neo.runtime.golden import read_golden
from neo.targets import load_target
from tests.models import build


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Two equal convolutions, one with a stride, and a matrix product."""
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in {"a": (4, 4, 3, 3), "b": (4, 4, 3, 3), "c": (8, 4, 3, 3), "d": (32, 5)}.items()
    }
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["xa"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["xa"], ["r"]),
        helper.make_node("Conv", ["r", "b"], ["xb"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["xb", "c"], ["xc"], pads=[1, 1, 1, 1], strides=[4, 4]),
        helper.make_node("Flatten", ["xc"], ["f"]),
        helper.make_node("MatMul", ["f", "d"], ["y"]),
    ]
    path = tmp_path / "network.onnx"
    onnx.save(build(nodes, {"x": (1, 4, 8, 8)}, {"y": (1, 5)}, weights), path)
    return path


def test_equal_operators_are_counted_not_repeated(network: Path) -> None:
    found = {operator.name: (operator.count, operator.flops) for operator in heavy_operators(network)}
    assert found == {
        "Conv 1x4x8x8 4x4x3x3w p1": (2, 2 * 8 * 8 * 4 * 4 * 9),
        "Conv 1x4x8x8 8x4x3x3w p1 s4": (1, 2 * 2 * 2 * 8 * 4 * 9),
        "MatMul 1x32 32x5w": (1, 2 * 32 * 5),
    }


def test_an_operator_alone_is_a_model_that_runs(network: Path, tmp_path: Path) -> None:
    for index, operator in enumerate(heavy_operators(network)):
        onnx.checker.check_model(operator.model)
        folder = tmp_path / str(index)
        folder.mkdir()
        write_operator(operator, folder)
        ((_, outputs),) = read_golden(folder)
        assert all(np.abs(array).max() > 0 for array in outputs.values())


def test_grouped_and_transposed_convolutions_count_their_own_work(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {
        "depthwise": rng.normal(size=(4, 1, 3, 3)).astype(np.float32),
        "up": rng.normal(size=(4, 2, 2, 2)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "depthwise"], ["d"], pads=[1, 1, 1, 1], group=4),
        helper.make_node("ConvTranspose", ["d", "up"], ["y"], strides=[2, 2]),
    ]
    onnx.save(build(nodes, {"x": (1, 4, 8, 8)}, {"y": (1, 2, 16, 16)}, weights), tmp_path / "m.onnx")
    depthwise, transposed = heavy_operators(tmp_path / "m.onnx")
    assert depthwise.flops == 2 * 4 * 8 * 8 * 9
    assert transposed.flops == 2 * 16 * 16 * 2 * 4  # stride equals kernel: every output has one tap


@pytest.mark.slow
def test_an_operator_is_measured_and_reported_as_a_share_of_the_peak(network: Path) -> None:
    first, *_ = heavy_operators(network)
    cases = measure_operator("network", first, [1], Pace(1, 0.01, 120))
    assert isinstance(cases[0].results["tvm"], Timing), cases[0].results["tvm"]
    text = report(cases, {1: 100.0})
    assert "network: Conv 1x4x8x8 4x4x3x3w p1" in text
    assert f"{cases[0].gflops('tvm'):.1f}" in text


def test_the_reference_product_is_left_out_of_the_sums() -> None:
    operator = reference_product(16)
    timing = Timing(1.0, (1.0,), 1.0, 1.0, 1.0, Parity(0.0, 0.0))
    text = report([OperatorCase("reference", operator, 1, dict.fromkeys(("tvm", "ort", "openvino"), timing))], {1: 1.0})
    assert text.count("reference") == 1


@pytest.mark.slow
def test_the_peak_probe_compiles_and_gives_a_plausible_number() -> None:
    assert 0.1 < peak_gflops(load_target("host"), 1, seconds=0.01, tries=1) < 10_000
