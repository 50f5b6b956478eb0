"""Winograd's transforms by themselves, and when they are chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tvm
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tvm import te, tirx
from tvm.s_tir import Schedule

from neo.engines.tvm.cpu.codegen.host_passes import pipeline_of
from neo.engines.tvm.cpu.lowering.rows import Rows
from neo.engines.tvm.cpu.lowering.window import Window
from neo.engines.tvm.cpu.lowering.winograd import POINTS, Tiling, choose, convolution, transform_weights, transforms
from neo.engines.tvm.cpu.schedules.packing import pack
from neo.engines.tvm.cpu.schedules.winograd import schedule_winograd
from neo.engines.tvm.cpu.units.llvm import llvm_target
from neo.targets import load_target

SAME = Window((1, 1), (1, 1, 1, 1), (1, 1), 1)


@pytest.mark.parametrize("m", sorted(POINTS))
def test_the_transforms_compute_a_convolution(m: int) -> None:
    matrices = transforms(m)
    output, inputs, weights = (np.array(a, float) for a in (matrices.output, matrices.input, matrices.weights))
    pixels, kernel = np.random.default_rng(0).normal(size=m + 2), np.array([0.5, -2.0, 3.0])
    expected = [pixels[i : i + 3] @ kernel for i in range(m)]
    np.testing.assert_allclose(output @ ((weights @ kernel) * (inputs @ pixels)), expected, rtol=1e-12)


def test_weights_become_one_matrix_per_point() -> None:
    weights = np.random.default_rng(0).normal(size=(3, 3, 5, 7)).astype(np.float32)
    transformed = transform_weights(weights, 4)
    matrix = np.array(transforms(4).weights, float)
    assert transformed.shape == (36, 5, 7)
    np.testing.assert_allclose(transformed[8, 2, 3], (matrix @ weights[:, :, 2, 3] @ matrix.T)[1, 2], rtol=1e-5)


def directly(image: np.ndarray, weights: np.ndarray, window: Window, bias: np.ndarray) -> np.ndarray:
    """image: [N, H, W, C]. weights: [3, 3, C, O]. With a ReLU."""
    top, left, bottom, right = window.padding
    padded = np.pad(image.astype(float), [(0, 0), (top, bottom), (left, right), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    return np.maximum(np.einsum("nhwcij,ijco->nhwo", windows, weights.astype(float)) + bias, 0)


@settings(max_examples=25, deadline=None)
@given(
    target=st.sampled_from(["host", "x86-64-v3"]),
    m=st.sampled_from(sorted(POINTS)),
    block=st.integers(2, 33),
    images=st.sampled_from([1, 2, 7]),
    height=st.integers(3, 30),
    width=st.integers(3, 30),
    channels=st.sampled_from([1, 3, 16, 20]),
    filters=st.sampled_from([8, 16, 30, 112]),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
)
@example("host", 4, 14, 1, 56, 56, 64, 64, (1, 1, 1, 1))
# weights that do not stay in the cache are fetched ahead
@example("host", 4, 6, 1, 14, 14, 256, 256, (1, 1, 1, 1))
def test_block_by_block(
    target: str,
    m: int,
    block: int,
    images: int,
    height: int,
    width: int,
    channels: int,
    filters: int,
    pads: tuple[int, int, int, int],
) -> None:
    machine, window = load_target(target), Window((1, 1), pads, (1, 1), 1)
    down, along = height + pads[0] + pads[2] - 2, width + pads[1] + pads[3] - 2
    tiles = images * -(-down // m) * -(-along // m)
    tiling = Tiling(m, -(-tiles // block) * block, block)
    size = images, height, width, channels
    x = te.placeholder(size, "float32", "x")
    w = te.placeholder((tiling.points, channels, filters), "float32", "w")
    bias = te.placeholder((filters,), "float32", "bias")
    shape = images, down, along, filters
    product = convolution(x, w, tiling, window, shape)
    added = te.compute(shape, lambda *at: tirx.max(product(*at) + bias[at[-1]], tirx.const(0, "float32")))
    schedule = Schedule(te.create_prim_func([x, w, bias, added]))
    packing = schedule_winograd(schedule, machine, frozenset([1]))
    assert packing is not None
    run = tvm.compile(schedule.mod, target=llvm_target(machine), tir_pipeline=pipeline_of(None, 2))["main"]

    rng = np.random.default_rng(0)
    image, kernel, biases = (
        rng.normal(size=dims).astype(np.float32) for dims in (size, (3, 3, channels, filters), (filters,))
    )
    transformed = transform_weights(kernel, m)
    arrays = [image, pack(transformed, packing[1]) if packing else transformed, biases]
    out = tvm.runtime.tensor(np.full(shape, np.nan, np.float32))
    run(*(tvm.runtime.tensor(array) for array in arrays), out)
    expected = directly(image, kernel, window, biases)
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-4 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize(
    ("shape", "filters", "window", "variant"),
    [
        ((1, 56, 56, 64), 64, SAME, (4, True)),
        ((1, 256, 256, 64), 32, SAME, (4, True)),
        ((1, 28, 28, 512), 512, SAME, (4, False)),
        ((1, 7, 7, 512), 512, SAME, (2, False)),
        ((1, 224, 224, 3), 64, SAME, None),
        ((1, 3, 224, 224), 64, replace(SAME, channels_first=True), None),
        ((1, 56, 56, 64), 64, Window((2, 2), (1, 1, 1, 1), (1, 1), 1), None),
        ((1, 56, 56, 64), 64, Window((1, 1), (2, 2, 2, 2), (2, 2), 1), None),
        ((1, 56, 56, 64), 64, Window((1, 1), (1, 1, 1, 1), (1, 1), 4), None),
    ],
)
def test_the_variant_of_common_layers(
    shape: tuple[int, ...], filters: int, window: Window, variant: tuple[int, bool] | None
) -> None:
    """variant: the side of a tile, and whether block by block."""
    tiling = choose(shape, filters, window, Rows(load_target("x86-64-v4")))
    assert (tiling and (tiling.m, tiling.block is not None)) == variant
