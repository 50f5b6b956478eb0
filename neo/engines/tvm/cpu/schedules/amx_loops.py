"""Loops that all AMX kernels share.

A block of sums, up to four tiles, stays in tile registers over a whole reduction. It is then stored on the stack, and
the epilogue is computed from there while the sums are in the cache.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx

from neo.contract.device import Target
from neo.engines.tvm.cpu.units import amx
from neo.engines.tvm.cpu.units.amx import TILE_COLUMNS, Product
from neo.engines.tvm.cpu.units.bfloat16 import FLOAT
from neo.engines.tvm.cpu.units.threads import CHUNKS, PARALLEL_CYCLES
from neo.engines.tvm.cpu.units.tiles import FLOAT_BYTES

INDEX, LOCAL = "int64", "local"

# a TensorIR expression; tvm has no types
Scalar = Any
# (address of the first row of a tile, stride of rows in bytes)
RowPointer = tuple[Scalar, int]


def spread(
    product: Product, blocks: tuple[tirx.Var, int], body: tirx.Stmt, target: Target, *, cycles: float
) -> tirx.Stmt:
    """Loop over blocks, divided between threads. A thread configures its tiles for this product for each part it takes.

    blocks: (loop variable, extent). cycles: of all blocks together, on one core.
    """
    block, count = blocks
    parts = CHUNKS * target.cpu.cores if cycles >= PARALLEL_CYCLES and target.cpu.cores > 1 else 1
    parts = min(parts, count)
    part = tirx.Var("part", INDEX)
    begin, end = (one * count // parts for one in (part, part + 1))
    configuration = on_stack(len(product.configuration), "configuration", INDEX)
    filled = [tirx.BufferStore(configuration, number(v), [number(i)]) for i, v in enumerate(product.configuration)]
    configured = amx.configure(tirx.buffer_data(configuration))
    own = loop(block, begin, end - begin, body)
    whole = tirx.stmt_seq(tirx.AllocBuffer(configuration), *filled, configured, own, amx.release())
    return loop(part, number(0), number(parts), whole, tirx.ForKind.PARALLEL if parts > 1 else tirx.ForKind.SERIAL)


def multiply_step(
    product: Product, wide: int, inputs: Callable[[int], RowPointer], weights: Callable[[int], RowPointer]
) -> tirx.Stmt:
    """One step of the reduction for a block of ``wide`` tiles of columns. inputs, weights: index of a tile -> its
    rows.
    """
    grid = itertools.product(range(product.tall), range(wide))
    return tirx.stmt_seq(
        *(amx.load(product.inputs_tile(upper), *inputs(upper)) for upper in range(product.tall)),
        *(amx.load(product.weights_tile(left), *weights(left)) for left in range(wide)),
        *(
            amx.multiply(product.sums_tile(upper, left), product.inputs_tile(upper), product.weights_tile(left))
            for upper, left in grid
        ),
    )


def summed_up(product: Product, wide: int, reduction: tirx.Stmt, sums: Scalar, row_floats: int) -> tirx.Stmt:
    """Zero the sums of a block, run the reduction, store the sums. reduction: loops around ``multiply_step``. sums:
    address of the block's first float32. row_floats: stride of rows.
    """
    grid = list(itertools.product(range(product.tall), range(wide)))

    def corner(upper: int, left: int) -> Scalar:
        first = upper * product.heights[0] * row_floats + left * TILE_COLUMNS
        return tirx.handle_add_byte_offset(sums, number(first * FLOAT_BYTES))

    return tirx.stmt_seq(
        *(amx.zero(product.sums_tile(*each)) for each in grid),
        reduction,
        *(amx.store(product.sums_tile(*each), corner(*each), row_floats * FLOAT_BYTES) for each in grid),
    )


def on_stack(size: int, name: str, dtype: str = FLOAT) -> Any:
    """A buffer on the stack. Pass ``tirx.buffer_data`` of it to tile instructions: from the address of an element, TVM
    would conclude that only this element is used, and shrink the buffer.
    """
    return tirx.decl_buffer((size,), dtype, name=name, scope=LOCAL)


def vectors(columns: int) -> list[tuple[int, int]]:
    """(first column, lanes) of full vectors, then of narrower powers of two for the rest."""
    found, start = [], 0
    while start < columns:
        lanes = min(TILE_COLUMNS, 1 << ((columns - start).bit_length() - 1))
        found.append((start, lanes))
        start += lanes
    return found


def replaced(value: Scalar, values: Mapping[Any, Scalar], loads: Mapping[Any, Scalar] = MappingProxyType({})) -> Scalar:
    """Substitutes variables by values, and reads of buffers by loads."""
    return tvm_ffi.structural_map(
        value,
        [
            (tvm.ir.TensorLoad, lambda load: loads.get(load.source, load)),
            (tvm.ir.Var, lambda variable: values.get(variable, variable)),
        ],
    )


def fitting(index: Scalar, size: int, whole: int) -> Scalar:
    """Start of a piece of length ``size`` of something of length ``whole``; the last piece is shifted back to fit."""
    return index * size if whole % size == 0 else tirx.min(index * size, whole - size)


def loop(
    variable: tirx.Var, begin: Scalar, extent: Scalar, body: tirx.Stmt, kind: tirx.ForKind = tirx.ForKind.SERIAL
) -> tirx.For:
    return tirx.For(variable, begin, extent, kind, body)


def vectorised(lane: tirx.Var, lanes: int, body: tirx.Stmt) -> tirx.For:
    return loop(lane, number(0), number(lanes), body, tirx.ForKind.VECTORIZED)


def extent_of(variable: tirx.IterVar) -> int:
    return int(variable.dom.extent)


def number(value: int) -> Scalar:
    return tirx.const(value, INDEX)
