"""Convolutions and matrix products that lowering marked for AMX tiles, with their epilogues.

The loops are written from scratch instead of transforming those of the function. The epilogue is computed from a block
of sums while it is in the cache.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, sym, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import ScheduleError

from neo.contract.device import Target
from neo.engines.tvm.cpu.lowering.tiled import Mark, mark_of, whole_tiles
from neo.engines.tvm.cpu.schedules.amx_loops import (
    INDEX,
    RowPointer,
    Scalar,
    extent_of,
    fitting,
    loop,
    multiply_step,
    number,
    on_stack,
    replaced,
    spread,
    summed_up,
    vectorised,
    vectors,
)
from neo.engines.tvm.cpu.schedules.loops import blocks_of, is_reduction
from neo.engines.tvm.cpu.schedules.packing import Packing
from neo.engines.tvm.cpu.units import amx, prefetch
from neo.engines.tvm.cpu.units.amx import ROW_BYTES, TILE_COLUMNS, Product
from neo.engines.tvm.cpu.units.bfloat16 import PAIR
from neo.engines.tvm.cpu.units.tiles import LINE_BYTES
from neo.engines.tvm.ir.indices import flatten, unflatten


def multiply_in_tiles(
    function: tirx.PrimFunc, target: Target, packable: frozenset[int]
) -> tuple[tirx.PrimFunc, Mapping[int, Packing]] | None:
    """-> (function with its loops, {parameter: its packing}). None if the function is not marked for tiles, its weights
    cannot be packed, or its epilogue is more than one pass over the sums.
    """
    try:
        kernel = _read(Schedule(function), packable)
    except ScheduleError:  # an epilogue that cannot be inlined into one pass
        return None
    if kernel is None:
        return None
    weights = tirx.decl_buffer(kernel.product.packed_shape, PAIR, name="tiles")
    params = [weights if index == kernel.position else p for index, p in enumerate(function.params)]
    body = s_tir.SBlockRealize(
        [], tirx.const(1, "bool"), s_tir.SBlock([], [], [], "root", _over_blocks(kernel, weights, target))
    )
    return tirx.PrimFunc(params, body, function.ret_type, function.attrs), {kernel.position: kernel.product.pack}


@dataclass(frozen=True, slots=True)
class _TiledProduct:
    """A function, taken apart: a reduction, and an epilogue that is one pass over its sums."""

    product: Product
    mark: Mark
    #: region of the inputs that one step of the reduction reads
    inputs: Any
    #: spatial block variables of the reduction: the leading ones
    groups: Sequence[Any]
    #: the spatial block variable before the column
    row: Any
    #: reduction variables, except the inner ones
    outer: Sequence[Any]
    #: reduction variables over contiguous memory
    inner: Sequence[Any]
    #: buffer of the sums
    wide: Any
    #: store of the epilogue, in terms of ``leading`` and ``column``
    output: tirx.BufferStore
    #: block variables of the epilogue: all but the last
    leading: Sequence[Any]
    #: the last one
    column: Any
    #: index of the weights among the parameters
    position: int


def _read(schedule: Schedule, packable: frozenset[int]) -> _TiledProduct | None:
    blocks = blocks_of(schedule)
    mark = mark_of(schedule.get(blocks[0])) if blocks else None
    if mark is None or any(is_reduction(schedule, other) for other in blocks[1:]):
        return None
    first, *others = blocks
    for other in others[:-1]:
        schedule.compute_inline(other)
    block = schedule.get(first)
    parameters = schedule.mod["main"].params
    (weights,) = (read.source for read in block.reads if str(read.source.dtype) == PAIR)
    (inputs,) = (read for read in block.reads if str(read.source.dtype) != PAIR)
    position = next((i for i in packable if parameters[i].same_as(weights)), None)
    if position is None or not any(p.same_as(inputs.source) for p in parameters):
        return None
    *groups, row, column = [v for v in block.iter_vars if v.iter_type == tirx.IterVar.DataPar]
    steps = [v for v in block.iter_vars if v.iter_type == tirx.IterVar.CommReduce]
    outer, inner = steps[: len(steps) - mark.merged], steps[len(steps) - mark.merged :]
    product = Product(*(math.prod(map(extent_of, some)) for some in (groups, [row], [column], outer, inner)))
    wide = block.writes[0].source
    last = schedule.get(others[-1]) if others else block
    *leading, column = [v for v in last.iter_vars if v.iter_type == tirx.IterVar.DataPar]
    output = last.body if others else _as_it_is(wide, leading, column)
    kernel = _TiledProduct(product, mark, inputs, groups, row, outer, inner, wide, output, leading, column, position)
    return kernel if isinstance(output, tirx.BufferStore) and _is_one_pass(kernel) else None


def _as_it_is(wide: Any, leading: Sequence[Any], column: Any) -> tirx.BufferStore:
    at = [v.var for v in (*leading, column)]
    return tirx.BufferStore(wide, tirx.BufferLoad(wide, at), at)


def _is_one_pass(kernel: _TiledProduct) -> bool:
    """Has the output one element for each sum, computed from no other sum than this one?"""
    shape, sums = [extent_of(v) for v in kernel.leading], [*map(extent_of, kernel.groups), kernel.product.rows]
    if kernel.mark.pitch:
        *images, height, width = shape if len(shape) > len(sums) else [0, 0, 0]
        complete = [*images, (height - 1) * kernel.mark.pitch + width] == sums
    else:
        complete = math.prod(shape) == math.prod(sums)
    if not complete:
        return False
    analyzer = sym.Analyzer()
    at = [tirx.Var(f"at{index}", INDEX) for index in range(len(sums) + 1)]
    for variable, size in zip(at, [*sums, extent_of(kernel.column)], strict=True):
        analyzer.bind(variable, tvm.ir.Range(0, size))
    *groups, row, column = at
    leading, _ = _leading(kernel, groups, row)
    elsewhere: list[Scalar] = []

    def look(load: Any) -> None:
        if load.source.same_as(kernel.wide):
            pairs = zip(load.indices, at, strict=True)
            elsewhere.extend(index for index, own in pairs if not analyzer.can_prove_equal(index, own))

    values = dict(zip((v.var for v in (*kernel.leading, kernel.column)), (*leading, column), strict=True))
    tvm_ffi.structural_walk(replaced(kernel.output.value, values), (tvm.ir.TensorLoad, look))
    return not elsewhere


def _leading(kernel: _TiledProduct, groups: Sequence[Scalar], row: Scalar) -> tuple[list[Scalar], Scalar | None]:
    """-> (leading indices into the output for a row of sums, condition for the row to belong to it; None: always)."""
    shape, pitch = [extent_of(v) for v in kernel.leading], kernel.mark.pitch
    if pitch:
        return [*groups, row // pitch, row % pitch], row % pitch < shape[-1]
    own = [*map(extent_of, kernel.groups), kernel.product.rows]
    return ([*groups, row] if shape == own else unflatten(flatten([*groups, row], own), shape)), None


def _over_blocks(kernel: _TiledProduct, weights: Any, target: Target) -> tirx.Stmt:
    """Loop over all blocks of the output, divided between threads. A thread configures its tiles for each part it
    takes.
    """
    product = kernel.product
    across = -(-extent_of(kernel.column) // (product.across * TILE_COLUMNS))
    down = product.groups * product.blocks
    block = tirx.Var("block", INDEX)
    columns_first = _reads_weights_once(kernel, target)
    column, row = unflatten(block, [across, down]) if columns_first else reversed(unflatten(block, [down, across]))
    *groups, index = unflatten(row, [*map(extent_of, kernel.groups), product.blocks])
    first_row = fitting(index, product.block_rows, product.rows)
    fetching = _Fetching(row, down, (column + 1) % across) if columns_first and down > 1 else None
    at = _SumsBlock(groups, first_row, column * product.across, fetching)
    body = _widths(kernel, weights, at, column)
    return spread(product, (block, down * across), body, target, cycles=product.cycles)


def _reads_weights_once(kernel: _TiledProduct, target: Target) -> bool:
    """Compute all rows of some columns before the next columns? Weights are then read only once, but outputs and
    residuals are not accessed line by line.
    """
    rows = kernel.product.groups * kernel.product.rows * extent_of(kernel.column)
    lines = rows * sum(buffer.dtype.bits // 8 for buffer in (kernel.output.buffer, *_operands(kernel)))
    return bool(kernel.product.weights_bytes > min(lines, target.cpu.l2_kib * 1024))


@dataclass(frozen=True, slots=True)
class _Fetching:
    """Prefetching of the next columns' weights, divided between the blocks of rows."""

    #: index of the block of rows
    index: Scalar
    #: number of blocks of rows
    blocks: int
    #: index of the next block of columns
    columns: Scalar


@dataclass(frozen=True, slots=True)
class _SumsBlock:
    """Position of a block of sums."""

    #: indices of its group of rows
    groups: Sequence[Scalar]
    #: first row
    row: Scalar
    #: first tile of weights
    tile: Scalar
    #: None: no weights are prefetched
    fetching: _Fetching | None


def _widths(kernel: _TiledProduct, weights: Any, at: _SumsBlock, column: Scalar) -> tirx.Stmt:
    """A block of sums. The last one along the columns may have fewer of them, and gets loops of its own."""
    width = kernel.product.across * TILE_COLUMNS
    count, rest = divmod(extent_of(kernel.column), width)
    if not rest:
        return _block(kernel, weights, at, width)
    last = _block(kernel, weights, at, rest)
    return tirx.IfThenElse(column < count, _block(kernel, weights, at, width), last) if count else last


def _block(kernel: _TiledProduct, weights: Any, at: _SumsBlock, columns: int) -> tirx.Stmt:
    product, width = kernel.product, whole_tiles(columns)
    wide = width // TILE_COLUMNS
    sums = on_stack(product.block_rows * width, "sums")
    return tirx.stmt_seq(
        tirx.AllocBuffer(sums),
        summed_up(product, wide, _reduction(kernel, weights, at, wide), tirx.buffer_data(sums), width),
        _outputs(kernel, at, columns, sums),
    )


def _reduction(kernel: _TiledProduct, weights: Any, at: _SumsBlock, wide: int) -> tirx.Stmt:
    product, mark = kernel.product, kernel.mark
    runs, step = [tirx.Var("run", INDEX) for _ in kernel.outer], tirx.Var("step", INDEX)
    values = {
        **{v.var: group for v, group in zip(kernel.groups, at.groups, strict=True)},
        **{v.var: run for v, run in zip(kernel.outer, runs, strict=True)},
        **{v.var: number(0) for v in kernel.inner},
        kernel.row.var: at.row,
    }
    corner = tirx.BufferLoad(kernel.inputs.source, [replaced(b.min, values) for b in kernel.inputs.region])
    pair = fitting(step, product.depth, product.pairs)
    run = flatten(runs, [extent_of(v) for v in kernel.outer])

    def inputs(upper: int) -> RowPointer:
        offset = pair * amx.PAIR_BYTES + upper * product.heights[0] * mark.row_bytes
        return tirx.handle_add_byte_offset(tirx.address_of(corner), offset), mark.row_bytes

    def tile(left: int) -> RowPointer:
        element = tirx.BufferLoad(weights, [at.tile + left, run, step, number(0), number(0)])
        return tirx.address_of(element), ROW_BYTES

    turn = run * product.steps + step
    fetches = [*_fetch_weights(product, weights, at.fetching, turn), *_fetch_operands(kernel, at, turn, wide)]
    body = tirx.stmt_seq(*fetches, multiply_step(product, wide, inputs, tile))
    steps = loop(step, number(0), number(product.steps), body)
    for variable, own in zip(reversed(runs), reversed(kernel.outer), strict=True):
        steps = loop(variable, number(0), number(extent_of(own)), steps)
    return steps


def _fetch_weights(product: Product, weights: Any, fetching: _Fetching | None, turn: Scalar) -> list[tirx.Stmt]:
    """Prefetches for one step of the reduction. The next columns' weights would be in no cache when they are needed, so
    each block of rows fetches a part of them, a few lines at every step.
    """
    if fetching is None:
        return []
    turns, lines = product.runs * product.steps, product.across * product.depth
    # with more blocks than lines, several of them fetch the same part: a step fetches at least one line
    together = -(-fetching.blocks // lines)
    most = -(-lines * together // fetching.blocks)
    part = fetching.index // together * turns + turn
    begin = (fetching.columns * (turns * lines) + part * most) * LINE_BYTES
    offsets = (begin + index * LINE_BYTES for index in range(most))
    return [prefetch.fetch(tirx.handle_add_byte_offset(tirx.buffer_data(weights), offset)) for offset in offsets]


def _fetch_operands(kernel: _TiledProduct, at: _SumsBlock, turn: Scalar, wide: int) -> list[tirx.Stmt]:
    """Prefetches of residuals. Their rows are too far apart for the hardware prefetcher: a few are fetched at every
    step.
    """
    product = kernel.product
    if kernel.mark.pitch:  # rows have no constant stride
        return []
    leading, _ = _leading(kernel, at.groups, at.row)
    rows = -(-product.block_rows // (product.runs * product.steps))
    addresses = []
    for operand in _operands(kernel):
        size = operand.dtype.bits // 8
        distance, first = int(operand.shape[-1]) * size, [*leading, at.tile * TILE_COLUMNS]
        corner = tirx.address_of(tirx.BufferLoad(operand, first))
        for row, line in itertools.product(range(rows), range(0, wide * TILE_COLUMNS * size, LINE_BYTES)):
            addresses.append(tirx.handle_add_byte_offset(corner, (turn * rows + row) * distance + line))
    return [prefetch.fetch(address) for address in addresses]


def _operands(kernel: _TiledProduct) -> list[Any]:
    """Buffers that the epilogue reads with the indices of its output: residuals."""
    found: list[Any] = []
    own = [v.var for v in (*kernel.leading, kernel.column)]

    def look(load: Any) -> None:
        pairs = zip(load.indices, own, strict=False)
        in_order = len(load.indices) == len(own) and all(index.same_as(variable) for index, variable in pairs)
        if in_order and not load.source.same_as(kernel.wide):
            found.append(load.source)

    tvm_ffi.structural_walk(kernel.output.value, (tvm.ir.TensorLoad, look))
    return found


def _outputs(kernel: _TiledProduct, at: _SumsBlock, columns: int, sums: Any) -> tirx.Stmt:
    """The epilogue: row by row, in vectors of columns."""
    product, width = kernel.product, whole_tiles(columns)
    row = tirx.Var("row", INDEX)
    leading, condition = _leading(kernel, at.groups, at.row + row)
    stores = []
    for start, lanes in vectors(columns):
        lane = tirx.Var("lane", INDEX)
        values = dict(zip((v.var for v in kernel.leading), leading, strict=True))
        values[kernel.column.var] = at.tile * TILE_COLUMNS + start + lane
        total = tirx.BufferLoad(sums, [row * width + start + lane])
        value = replaced(kernel.output.value, values, {kernel.wide: total})
        store = tirx.BufferStore(kernel.output.buffer, value, [replaced(i, values) for i in kernel.output.indices])
        stores.append(vectorised(lane, lanes, store))
    body = tirx.stmt_seq(*stores)
    guarded = body if condition is None else tirx.IfThenElse(condition, body, None)
    return loop(row, number(0), number(product.block_rows), guarded)
