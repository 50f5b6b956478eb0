"""Parts of concatenations, and images within zeros, that are written where they belong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from neo.contract.device import Target
from neo.engines.base import BuildRequest
from neo.engines.tvm.build import build as build_tvm
from neo.runtime.engine_folder import EngineFolder
from neo.targets import load_target
from tests.engines.conftest import Check
from tests.engines.reference import specs
from tests.models import build

FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
HOST = load_target("host")


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def kernels(model: onnx.ModelProto, folder: Path, target: Target = HOST) -> list[str]:
    """Of the built model, which says what every one of them costs."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    engine = folder / "engine"
    engine.mkdir()
    inputs, outputs = specs(model.graph.input), specs(model.graph.output)
    build_tvm(BuildRequest(path, target, inputs, outputs, engine))
    return [cost.name for cost in EngineFolder.read(engine).kernels]


def joined(
    widths: Sequence[int], *, read_twice: int = 0, size: tuple[int, int] = (9, 11), batch: int = 1
) -> onnx.ModelProto:
    """Convolutions of one image, joined, and a convolution of that. read_twice: of so many the model's answer has the
    largest as well.
    """
    nodes, weights, outputs = [], {"last": random(8, sum(widths), 1, 1)}, {"y": (batch, 8, *size)}
    for index, width in enumerate(widths):
        weights[f"w{index}"] = random(width, 16, 3, 3)
        nodes.append(helper.make_node("Conv", ["x", f"w{index}"], [f"c{index}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
    parts = [f"r{index}" for index in range(len(widths))]
    nodes.append(helper.make_node("Concat", parts, ["joined"], axis=1))
    nodes.append(helper.make_node("Conv", ["joined", "last"], ["y"]))
    for index in range(read_twice):
        nodes.append(helper.make_node("GlobalMaxPool", [f"r{index}"], [f"s{index}"]))
        outputs[f"s{index}"] = (batch, widths[index], 1, 1)
    return build(nodes, {"x": (batch, 16, *size)}, outputs, weights)


@pytest.mark.parametrize("read_twice", [0, 1, 2, 3])
def test_parts_are_written_into_the_whole(agrees: Check, tmp_path: Path, read_twice: int) -> None:
    model = joined([16, 32, 24], read_twice=read_twice)
    agrees("tvm", model)
    names = kernels(model, tmp_path)
    assert sum(name.endswith("_placed") for name in names) == 3
    agrees("tvm", joined([16, 32, 24], read_twice=read_twice, batch=2))


@pytest.mark.slow
@FEW
@given(
    widths=st.lists(st.sampled_from([1, 3, 8, 16, 20, 33]), min_size=2, max_size=4),
    read_twice=st.integers(0, 2),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    batch=st.sampled_from([1, 2]),
)
def test_joined_parts_of_any_width(
    agrees: Check, widths: list[int], read_twice: int, size: tuple[int, int], batch: int
) -> None:
    agrees("tvm", joined(widths, read_twice=min(read_twice, len(widths)), size=size, batch=batch))


def test_a_part_that_is_joined_twice_is_copied(agrees: Check) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Concat", ["c", "c"], ["d"], axis=1),
        helper.make_node("Conv", ["d", "v"], ["y"]),
    ]
    weights = {"w": random(16, 16, 1, 1), "v": random(8, 32, 1, 1)}
    agrees("tvm", build(nodes, {"x": (1, 16, 5, 5)}, {"y": (1, 8, 5, 5)}, weights))


def test_a_part_of_two_wholes_is_written_into_one_and_copied_into_the_other(agrees: Check, tmp_path: Path) -> None:
    """r0: within zeros for a convolution, and beside the answer of that."""
    weights = {"w0": random(32, 32, 1, 1), "w1": random(32, 32, 5, 5), "w2": random(32, 64, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c0"]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], pads=[2] * 4),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Concat", ["r1", "r0"], ["joined"], axis=1),
        helper.make_node("Conv", ["joined", "w2"], ["y"]),
    ]
    model = build(nodes, {"x": (1, 32, 14, 14)}, {"y": (1, 32, 14, 14)}, weights)
    agrees("tvm", model)
    assert sum(name.endswith("_placed") for name in kernels(model, tmp_path)) == 2


def framed(
    stride: int,
    kernel: int,
    pads: tuple[int, int, int, int],
    size: tuple[int, int],
    channels: int = 24,
    *,
    read_twice: bool = False,
) -> onnx.ModelProto:
    """A pointwise convolution, and one that wants its answer within zeros. read_twice: the model's answer has the
    largest of it as well.
    """
    out = [
        (n + before + after - kernel) // stride + 1 for n, before, after in zip(size, pads[:2], pads[2:], strict=True)
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "v"], ["y"], pads=list(pads), strides=[stride] * 2),
    ]
    weights = {"w": random(channels, 16, 1, 1), "v": random(16, channels, kernel, kernel)}
    outputs = {"y": (2, 16, *out)}
    if read_twice:
        nodes.append(helper.make_node("GlobalMaxPool", ["r"], ["s"]))
        outputs["s"] = (2, channels, 1, 1)
    return build(nodes, {"x": (2, 16, *size)}, outputs, weights)


@pytest.mark.parametrize("read_twice", [False, True])
def test_an_image_is_written_within_its_zeros(agrees: Check, tmp_path: Path, read_twice: bool) -> None:
    model = framed(2, 3, (1, 1, 1, 1), (28, 28), read_twice=read_twice)
    agrees("tvm", model)
    assert "fused_conv2d_relu_placed" in kernels(model, tmp_path)


def test_a_large_image_is_not_written_twice(tmp_path: Path) -> None:
    """To copy it is faster than to drive everything else out of the cache."""
    target = replace(HOST, cpu=replace(HOST.cpu, l2_kib=64))
    model = framed(2, 3, (1, 1, 1, 1), (28, 28), read_twice=True)
    assert "fused_conv2d_relu_placed" not in kernels(model, tmp_path, target)


@pytest.mark.slow
@FEW
@given(
    stride=st.integers(1, 3),
    kernel=st.sampled_from([2, 3, 5]),
    pads=st.tuples(*[st.integers(0, 4)] * 4),
    size=st.tuples(st.integers(5, 17), st.integers(5, 17)),
    channels=st.sampled_from([1, 7, 16, 24]),
    read_twice=st.booleans(),
)
def test_images_within_any_zeros(
    agrees: Check,
    stride: int,
    kernel: int,
    pads: tuple[int, int, int, int],
    size: tuple[int, int],
    channels: int,
    read_twice: bool,
) -> None:
    agrees("tvm", framed(stride, kernel, pads, size, channels, read_twice=read_twice))


def test_wholes_within_wholes(agrees: Check) -> None:
    nodes = [
        *(helper.make_node("Conv", ["x", f"w{i}"], [f"c{i}"]) for i in range(3)),
        helper.make_node("Concat", ["c0", "c1"], ["d"], axis=1),
        helper.make_node("Concat", ["d", "c2"], ["e"], axis=1),
        helper.make_node("Conv", ["e", "v"], ["y"], pads=[1] * 4, strides=[2, 2]),
    ]
    weights = {**{f"w{i}": random(16 + i, 16, 1, 1) for i in range(3)}, "v": random(8, 51, 3, 3)}
    agrees("tvm", build(nodes, {"x": (1, 16, 8, 8)}, {"y": (1, 8, 4, 4)}, weights))
