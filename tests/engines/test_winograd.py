"""Winograd's transforms by themselves, and when they are chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neo.engines.tvm.lowering.rows import Rows
from neo.engines.tvm.lowering.window import Window
from neo.engines.tvm.lowering.winograd import POINTS, choose, transform_weights, transforms
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


@pytest.mark.parametrize(
    ("shape", "filters", "window", "variant"),
    [
        ((1, 56, 56, 64), 64, SAME, 4),
        ((1, 7, 7, 512), 512, SAME, 2),
        ((1, 224, 224, 3), 64, SAME, None),
        ((1, 3, 224, 224), 64, replace(SAME, channels_first=True), None),
        ((1, 56, 56, 64), 64, Window((2, 2), (1, 1, 1, 1), (1, 1), 1), None),
        ((1, 56, 56, 64), 64, Window((1, 1), (2, 2, 2, 2), (2, 2), 1), None),
        ((1, 56, 56, 64), 64, Window((1, 1), (1, 1, 1, 1), (1, 1), 4), None),
    ],
)
def test_the_variant_of_common_layers(
    shape: tuple[int, ...], filters: int, window: Window, variant: int | None
) -> None:
    assert choose(shape, filters, window, Rows(load_target("x86-64-v4"))) == variant
