"""3x3 convolutions by Winograd's minimal filtering: fewer multiplications, more memory traffic.

The output is cut into tiles of m x m, which take (m + 2)^2 multiplications for each channel and filter instead of 9
m^2: for each of these points, transformed inputs times transformed weights is a matrix product over all tiles. The
weights are transformed at compile time. Either all tiles go through each of the three steps (input transform, products,
output transform) together, or a block of a few tiles goes through all three while it is in the cache.

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
from neo.engines.tvm.cpu.lowering.rows import Rows
from neo.engines.tvm.cpu.lowering.window import Window
from neo.engines.tvm.cpu.units.tiles import FLOAT_BYTES, choose_tile

KERNEL = 3
POINTS = {
    2: (Fraction(0), Fraction(1), Fraction(-1)),
    4: (Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2)),
}
FLOAT = "float32"

# attribute of products that are computed block by block: tiles in a block
BLOCK = "neo.winograd_block"
# in tiles
LARGEST_BLOCK = 32

# the unit of costs is one vector multiply-add. TRANSFORM: of transforming one vector, of inputs or outputs.
# WEIGHT_BYTES: bytes of weights that are read in one unit
TRANSFORM = 8.0
WEIGHT_BYTES = 4.0
# cost of writing a byte and reading it again beyond the L3 cache; within it, in proportion to the part of it that is
# used
FAR_BYTE = 0.4
# cost of a byte of weights that is read again for every block: in L3, where prefetching hides most of it, and beyond
CACHED_WEIGHT_BYTE, FAR_WEIGHT_BYTE = 0.01, 0.25
# a direct convolution takes longer than its cost by this factor; less in pairs of bfloat16, with half the memory
# traffic
DIRECT, DIRECT_PAIRS = 1.15, 1.0

Matrix = list[list[Fraction]]


@dataclass(frozen=True, slots=True)
class Transforms:
    """The matrices of output @ ((weights @ kernel) * (input @ pixels)), for one dimension; a = m + 2."""

    #: [a, a]
    input: Matrix
    #: [a, 3]
    weights: Matrix
    #: [m, a]
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
    """Coefficients of (x - p0)(x - p1)..., the constant term first."""
    coefficients = [Fraction(1)]
    for point in points:
        shifted = [Fraction(0), *coefficients]
        coefficients = [s - point * c for s, c in zip(shifted, [*coefficients, Fraction(0)], strict=True)]
    return coefficients


@dataclass(frozen=True, slots=True)
class Tiling:
    """How the output is cut into tiles of m x m."""

    m: int
    #: number of tiles that are computed; may be rounded up
    tiles: int
    #: tiles in a block, which goes through all three steps before the next block begins; None: all tiles
    block: int | None = None

    @property
    def points(self) -> int:
        return (self.m + KERNEL - 1) ** 2


def choose(shape: tuple[int, ...], filters: int, window: Window, rows: Rows, depth: int = 1) -> Tiling | None:
    """The fastest tiling for an input of shape [N, H, W, C]; None if direct convolution is faster or has to be used.

    depth: channels in one step of the direct convolution.
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
    wide = rows.round_up(out_width, filters)
    direct = _products(images * out_height * wide, wide, (KERNEL * KERNEL, channels // depth, filters), rows)
    # input and output are read or written once, and are not in the cache
    image = 2 * images * (height * width * channels + out_height * out_width * filters) * FLOAT_BYTES
    costs: dict[Tiling | None, float] = {
        None: direct * (DIRECT if depth == 1 else DIRECT_PAIRS) + _moving(image // depth, rows.target)
    }
    for m in POINTS:
        tiles = images * -(-out_height // m) * -(-out_width // m)
        for tiling in _tilings(m, tiles, filters, rows):
            costs[tiling] = _cost(tiling, channels, filters, rows) + _moving(image, rows.target)
    return min(costs, key=lambda tiling: costs[tiling])


def _tilings(m: int, tiles: int, filters: int, rows: Rows) -> list[Tiling]:
    blocks = range(min(LARGEST_BLOCK, tiles // 2), 1, -1)
    return [
        Tiling(m, rows.round_up(tiles, filters)),
        *(Tiling(m, -(-tiles // block) * block, block) for block in blocks),
    ]


def _cost(tiling: Tiling, channels: int, filters: int, rows: Rows) -> float:
    """Of one core, including the time for which it waits for the last block of another."""
    vectors = tiling.points * tiling.tiles * (channels + filters) / rows.lanes
    moved = tiling.points * (channels + filters) * FLOAT_BYTES
    multiplying = _products(tiling.tiles, tiling.block or tiling.tiles, (tiling.points, channels, filters), rows)
    working = TRANSFORM * vectors + multiplying
    if tiling.block is None:
        return working + _moving(tiling.tiles * moved, rows.target)
    blocks, cores = tiling.tiles // tiling.block, rows.target.cpu.cores
    weights = tiling.points * channels * filters * FLOAT_BYTES
    again = (blocks - 1) * _fetching(weights, rows.target)
    moving = blocks * _moving(tiling.block * moved, rows.target)
    return (working + again + moving) * (-(-blocks // cores) * cores / blocks)


def _moving(size: int, target: Target) -> float:
    """Cost of writing and reading this many bytes."""
    if size <= target.cpu.l2_kib * 1024:
        return 0.0
    return size * FAR_BYTE * min(1.0, size / max(1, target.cpu.l3_kib * 1024))


def _fetching(size: int, target: Target) -> float:
    """Cost of reading this many bytes of weights again, which were read for the block before."""
    if size <= target.cpu.l2_kib * 1024 // 2:
        return 0.0
    return size * (CACHED_WEIGHT_BYTE if size <= target.cpu.l3_kib * 1024 // 2 else FAR_WEIGHT_BYTE)


def _products(count: int, rows_at_once: int, weights: tuple[int, int, int], rows: Rows) -> float:
    """Cost of a product of [count, channels] and [channels, filters] for each point. weights: (points, channels,
    filters). rows_at_once: contiguous rows, which register tiles have to divide.
    """
    points, channels, filters = weights
    multiply_adds = points * count * channels * filters / rows.lanes
    tile = choose_tile(rows_at_once, filters, rows.lanes, rows.target.cpu.operand_registers)
    return multiply_adds * tile.cost + points * channels * filters * FLOAT_BYTES / WEIGHT_BYTES


def transform_weights(weights: NDArray[Any], m: int) -> NDArray[np.float32]:
    """[3, 3, C, O] -> [(m + 2)^2, C, O]"""
    matrix = np.array(transforms(m).weights, np.float64)
    transformed = np.tensordot(np.kron(matrix, matrix), weights.reshape(KERNEL * KERNEL, -1), 1)
    return np.ascontiguousarray(transformed.reshape(-1, *weights.shape[2:]), np.float32)


def convolution(x: te.Tensor, weights: te.Tensor, tiling: Tiling, window: Window, shape: tuple[int, ...]) -> te.Tensor:
    """All three steps. weights: transformed. shape: of the result, [N, H', W', O]."""
    return transform_output(products(transform_input(x, tiling, window), weights, tiling), tiling, shape)


def transform_input(x: te.Tensor, tiling: Tiling, window: Window) -> te.Tensor:
    """[N, H, W, C] -> [points, tiles, C]"""
    images, height, width, channels = (int(dim) for dim in x.shape)
    top, left, bottom, right = window.padding
    m = tiling.m
    alpha, matrix = m + 2, transforms(m).input
    down, along = -(-(height + top + bottom - 2) // m), -(-(width + left + right - 2) // m)
    tiles = images * down * along

    def pixel(tile: tirx.Var, i: tirx.Var, j: tirx.Var, c: tirx.Var) -> Any:
        h = tile // along % down * m + i - top
        w = tile % along * m + j - left
        inside = [h >= 0, h < height, w >= 0, w < width, *([tile < tiles] if tiles < tiling.tiles else [])]
        return tirx.if_then_else(tirx.all(*inside), x[tile // (down * along), h, w, c], tirx.const(0, FLOAT))

    pixels = te.compute((tiling.tiles, alpha, alpha, channels), pixel, name="winograd_pixels")
    half = te.compute(
        (tiling.tiles, alpha, alpha, channels),
        lambda t, i, j, c: _combine(matrix, i, [pixels[t, k, j, c] for k in range(alpha)]),
        name="winograd_input_half",
    )
    return te.compute(
        (tiling.points, tiling.tiles, channels),
        lambda p, t, c: _combine(matrix, p % alpha, [half[t, p // alpha, k, c] for k in range(alpha)]),
        name="winograd_input",
    )


def products(inputs: te.Tensor, weights: te.Tensor, tiling: Tiling) -> te.Tensor:
    """[points, tiles, C] x [points, C, O] -> [points, tiles, O]"""
    step = te.reduce_axis((0, int(inputs.shape[2])), name="c")
    return te.compute(
        (tiling.points, tiling.tiles, int(weights.shape[2])),
        lambda p, t, o: te.sum(inputs[p, t, step] * weights[p, step, o], axis=step),
        name="winograd_products",
        attrs={} if tiling.block is None else {BLOCK: tiling.block},
    )


def transform_output(product: te.Tensor, tiling: Tiling, shape: tuple[int, ...]) -> te.Tensor:
    """shape: of the result, [N, H', W', O]."""
    _, height, width, filters = shape
    m = tiling.m
    alpha, matrix = m + 2, transforms(m).output
    down, along = -(-height // m), -(-width // m)
    half = te.compute(
        (tiling.tiles, m, alpha, filters),
        lambda t, i, j, o: _combine(matrix, i, [product[k * alpha + j, t, o] for k in range(alpha)]),
        name="winograd_output_half",
    )

    def output(n: tirx.Var, h: tirx.Var, w: tirx.Var, o: tirx.Var) -> Any:
        tile = (n * down + h // m) * along + w // m
        return _combine(matrix, w % m, [half[tile, h % m, k, o] for k in range(alpha)])

    return te.compute(shape, output, name="winograd_output")


def _combine(matrix: Matrix, row: Any, values: list[Any]) -> Any:
    """The values weighted by one row of the matrix. The schedule unrolls ``row``, so that only one of the sums is
    left.
    """
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
