"""3x3 convolutions by Winograd's minimal filtering: fewer multiplications, more memory traffic.

An image is cut into tiles of m x m outputs. Transformed inputs times transformed weights is a matrix product for each
of the (m + 2)^2 points, instead of nine; the weights are transformed at compile time.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016. The matrices are Toom and Cook's for
the interpolation points below; for m = 4 those that Barabasz et al., "Error Analysis and Improving the Accuracy of
Winograd Convolution", 2018, found to lose the fewest bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx

from neo.contract.device import Target
from neo.engines.tvm.lowering.rows import Rows
from neo.engines.tvm.lowering.window import Window

KERNEL = 3
POINTS = {
    2: (Fraction(0), Fraction(1), Fraction(-1)),
    4: (Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2)),
}
FLOAT = "float32"

# cycles of one core: what a vector costs to transform, on either side, and the bytes of weights that arrive in one
TRANSFORM_CYCLES = 4.0
WEIGHT_BYTES_PER_CYCLE = 4.0
# what a byte of transformed inputs and products costs to write and read again, by where it stays meanwhile:
# nothing in the second-level cache, this in the third, this beyond
CACHED_BYTE_CYCLES, FAR_BYTE_CYCLES = 0.2, 0.4
# a direct convolution takes so much longer than counted; of pairs of bfloat16, with half the memory traffic, less
DIRECT, DIRECT_PAIRS = 1.15, 1.05

Matrix = list[list[Fraction]]


@dataclass(frozen=True, slots=True)
class Transforms:
    """Outputs = output x ((weights x kernel) * (input x pixels)), for one dimension.

    input: [a, a], weights: [a, 3], output: [m, a], with a = m + 2.
    """

    input: Matrix
    weights: Matrix
    output: Matrix


def transforms(m: int) -> Transforms:
    points = POINTS[m]
    alpha = m + KERNEL - 1
    rows = [[*_product(points[:j] + points[j + 1 :]), Fraction(0)] for j in range(alpha - 1)]
    rows.append(_product(points))
    scale = [math.prod((p - q for q in points if q != p), start=Fraction(1)) for p in points]
    weights = [[p**k / s for k in range(KERNEL)] for p, s in zip(points, scale, strict=True)]
    weights.append([Fraction(0)] * (KERNEL - 1) + [Fraction(1)])
    output = [[*(p**i for p in points), Fraction(int(i == m - 1))] for i in range(m)]
    return Transforms(rows, weights, output)


def _product(points: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of (x - p0)(x - p1)..., the constant first."""
    coefficients = [Fraction(1)]
    for point in points:
        shifted = [Fraction(0), *coefficients]
        coefficients = [s - point * c for s, c in zip(shifted, [*coefficients, Fraction(0)], strict=True)]
    return coefficients


def choose(shape: tuple[int, ...], filters: int, window: Window, rows: Rows, depth: int = 1) -> int | None:
    """M of the fastest variant for an input of [N, H, W, C], or None if direct convolution is faster.

    depth: how many channels the direct convolution multiplies at a time.
    """
    if window.channels_first:
        return None
    images, height, width, channels = shape
    if min(channels, filters) < rows.lanes or window.strides != (1, 1) or window.dilation != (1, 1):
        return None
    if window.groups != 1:
        return None
    top, left, bottom, right = window.padding
    out_height, out_width = height + top + bottom - 2, width + left + right - 2
    pixels = images * out_height * rows.round_up(out_width, filters)
    direct = DIRECT if depth == 1 else DIRECT_PAIRS
    costs: dict[int | None, float] = {None: _cost(9, pixels, channels // depth, filters, rows) * direct}
    for m in POINTS:
        tiles = images * -(-out_height // m) * -(-out_width // m)
        points = (m + 2) ** 2
        transforming = TRANSFORM_CYCLES * points * tiles * (channels + filters) / rows.lanes
        moving = _moving(points * tiles * (channels + filters) * 4, rows.target)
        costs[m] = transforming + moving + _cost(points, rows.round_up(tiles, filters), channels, filters, rows)
    return min(costs, key=lambda m: costs[m])


def _moving(size: int, target: Target) -> float:
    """Cycles of one core to write and read so many bytes."""
    if size <= target.l2_kib * 1024:
        return 0.0
    return size * (CACHED_BYTE_CYCLES if size <= target.l3_kib * 1024 // 2 else FAR_BYTE_CYCLES)


def _cost(points: int, count: int, channels: int, filters: int, rows: Rows) -> float:
    """Cycles of one core for a product of [count, channels] and [channels, filters] for each of the points."""
    multiply_adds = points * count * channels * filters / rows.lanes
    return multiply_adds + points * channels * filters * 4 / WEIGHT_BYTES_PER_CYCLE


def transform_weights(weights: NDArray[Any], m: int) -> NDArray[np.float32]:
    """[3, 3, C, O] -> [(m + 2)^2, C, O]"""
    matrix = np.array(transforms(m).weights, np.float64)
    transformed = np.tensordot(np.kron(matrix, matrix), weights.reshape(KERNEL * KERNEL, -1), 1)
    return np.ascontiguousarray(transformed.reshape(-1, *weights.shape[2:]), np.float32)


def transform_input(x: te.Tensor, m: int, window: Window) -> te.Tensor:
    """[N, H, W, C] -> [(m + 2)^2, tiles, C]"""
    images, height, width, channels = (int(dim) for dim in x.shape)
    top, left, bottom, right = window.padding
    alpha, matrix = m + 2, transforms(m).input
    down, along = -(-(height + top + bottom - 2) // m), -(-(width + left + right - 2) // m)

    def pixel(tile: tirx.Var, i: tirx.Var, j: tirx.Var, c: tirx.Var) -> Any:
        h = tile // along % down * m + i - top
        w = tile % along * m + j - left
        inside = tirx.all(h >= 0, h < height, w >= 0, w < width)
        return tirx.if_then_else(inside, x[tile // (down * along), h, w, c], tirx.const(0, FLOAT))

    tiles = images * down * along
    pixels = te.compute((tiles, alpha, alpha, channels), pixel, name="winograd_pixels")
    half = te.compute(
        (tiles, alpha, alpha, channels),
        lambda t, i, j, c: _combine(matrix, i, [pixels[t, k, j, c] for k in range(alpha)]),
        name="winograd_half",
    )
    return te.compute(
        (alpha * alpha, tiles, channels),
        lambda p, t, c: _combine(matrix, p % alpha, [half[t, p // alpha, k, c] for k in range(alpha)]),
        name="winograd_input",
    )


def products(inputs: te.Tensor, weights: te.Tensor, rows: Rows) -> te.Tensor:
    """[points, tiles, C] x [points, C, O] -> [points, tiles and maybe more, O]"""
    points, tiles, channels = (int(dim) for dim in inputs.shape)
    filters = int(weights.shape[2])
    step = te.reduce_axis((0, channels), name="c")

    def product(p: tirx.Var, t: tirx.Var, o: tirx.Var) -> Any:
        return te.sum(inputs[p, rows.clamp(t, tiles, filters), step] * weights[p, step, o], axis=step)

    return te.compute((points, rows.round_up(tiles, filters), filters), product, name="winograd_products")


def transform_output(product: te.Tensor, m: int, shape: tuple[int, ...]) -> te.Tensor:
    """-> [N, H', W', O], as shape says"""
    _, height, width, filters = shape
    alpha, matrix = m + 2, transforms(m).output
    down, along = -(-height // m), -(-width // m)
    tiles = int(product.shape[1])
    half = te.compute(
        (tiles, m, alpha, filters),
        lambda t, i, j, o: _combine(matrix, i, [product[k * alpha + j, t, o] for k in range(alpha)]),
        name="winograd_half",
    )

    def output(n: tirx.Var, h: tirx.Var, w: tirx.Var, o: tirx.Var) -> Any:
        tile = (n * down + h // m) * along + w // m
        return _combine(matrix, w % m, [half[tile, h % m, k, o] for k in range(alpha)])

    return te.compute(shape, output, name="winograd_output")


def _combine(matrix: Matrix, row: Any, values: list[Any]) -> Any:
    """The values weighted with one row of the matrix. The schedule unrolls ``row``, and then one sum is left."""
    sums = [_weighted(factors, values) for factors in matrix]
    chosen = sums[-1]
    for index in reversed(range(len(sums) - 1)):
        chosen = tirx.Select(row == index, sums[index], chosen)
    return chosen


def _weighted(factors: list[Fraction], values: list[Any]) -> Any:
    terms = [
        value if factor == 1 else value * tirx.const(float(factor), FLOAT)
        for factor, value in zip(factors, values, strict=True)
        if factor
    ]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
