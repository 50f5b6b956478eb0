"""What kernels that multiply in tiles of AMX have in common.

A block of sums, up to four tiles, stays in tile registers over a whole reduction; then it is written to the stack, and
what is done with the sums is computed from there while they are in the cache.
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
# of the first row of a tile, and how many bytes there are from one row to the next
RowPointer = tuple[Scalar, int]


def spread(
    product: Product, blocks: tuple[tirx.Var, int], body: tirx.Stmt, target: Target, *, cycles: float
) -> tirx.Stmt:
    """The body for so many blocks, spread over the threads. A thread configures its tiles, for this product, for every
    part that it takes. cycles: of all blocks, on one core.
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
    """One step of the reduction for a block of wide tiles of columns. inputs, weights: of which tile of the step."""
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
    """reduction: of ``multiply_step``. sums: float32, the address of the block's first one, with so many to a row."""
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
    """A buffer. Tiles need the address of the whole, ``tirx.buffer_data``: of an element's address TVM would conclude
    that only this element is used, and make less room.
    """
    return tirx.decl_buffer((size,), dtype, name=name, scope=LOCAL)


def vectors(columns: int) -> list[tuple[int, int]]:
    """(first column, how many) of vectors as wide as the processor's, and narrower powers of two behind them."""
    found, start = [], 0
    while start < columns:
        lanes = min(TILE_COLUMNS, 1 << ((columns - start).bit_length() - 1))
        found.append((start, lanes))
        start += lanes
    return found


def replaced(value: Scalar, values: Mapping[Any, Scalar], loads: Mapping[Any, Scalar] = MappingProxyType({})) -> Scalar:
    """values: of variables. loads: of buffers, instead of what is read from them."""
    return tvm_ffi.structural_map(
        value,
        [
            (tvm.ir.TensorLoad, lambda load: loads.get(load.source, load)),
            (tvm.ir.Var, lambda variable: values.get(variable, variable)),
        ],
    )


def fitting(index: Scalar, size: int, whole: int) -> Scalar:
    """Where a piece begins of those that something is cut into; the last one where it still fits."""
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
