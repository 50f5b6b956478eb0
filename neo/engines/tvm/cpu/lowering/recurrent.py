"""The recurrence of LSTM, GRU and RNN cells: all time steps in one function.

The contribution of inputs to the gates does not depend on the step before, so it is computed by one matrix product over
all steps. What remains for each step is the product of the hidden states and the recurrent weights, and the gates. The
weights are read once in each step, in their order in memory. The sums of a tile (see ``blocking.py``) stay in registers
over the whole reduction, and the gates compute the new state from them while they are in L1.

If LANES does not divide the number of units, it is padded: weights of the added units are zero, and nothing reads their
state.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T  # noqa: N812  # its name everywhere in TVM

from neo.contract.device import Target
from neo.engines.tvm.cpu.lowering.blocking import Blocking, Spread, choose_blocking
from neo.engines.tvm.cpu.lowering.cells import CELLS, Cell, GateProduct, Iteration, lanes
from neo.engines.tvm.ir.activations import number
from neo.engines.tvm.ir.recurrence import FLOAT, LANES, Recurrence, RecurrenceKernel
from neo.engines.tvm.tvm_private import BARRIER, FLOPS, IS_SCHEDULED, NO_ALIAS, PARALLEL_REGION


def write_recurrence(spec: Recurrence, target: Target) -> RecurrenceKernel:
    """A ``WriteRecurrence`` for one target."""
    blocking = choose_blocking(spec, target)
    return RecurrenceKernel(recurrence_function(spec, blocking), blocking.gates)


def recurrence_function(spec: Recurrence, blocking: Blocking) -> tvm.tirx.PrimFunc:
    """Parameters: as ``WriteRecurrence`` lists them."""
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_attr({NO_ALIAS: True, IS_SCHEDULED: True, FLOPS: spec.flops})
        cell = CELLS[spec.cell](spec, blocking)
        cell.declare()
        with T.sblock("root"):
            cell.allocate()
            cell.begin()
            _run(cell)
            cell.end()
    return builder.get()


def _run(cell: Cell) -> None:
    """All time steps, of the part that this thread computes."""
    spec, blocking = cell.spec, cell.blocking
    if blocking.spread is Spread.BLOCKS:
        with _region(spec.blocks) as own:
            _steps(cell, 0, own, _Range(0, blocking.tiles))
        return
    tiles, everything = blocking.tiles, _Range(0, spec.blocks)
    if blocking.spread is Spread.NOTHING:
        with T.serial(0, spec.directions) as direction:
            _steps(cell, direction, everything, _Range(0, tiles))
        return
    with _region(spec.directions * tiles) as own, T.serial(0, spec.directions) as direction:
        _steps(cell, direction, everything, own.behind(direction * tiles, tiles))


@dataclass(frozen=True, slots=True)
class _Range:
    """Half-open range [first, end), as TensorIR expressions."""

    first: Any
    end: Any

    @property
    def size(self) -> Any:
        return tirx.max(0, self.end - self.first)

    def behind(self, start: Any, most: int) -> _Range:
        """The intersection with [start, start + most), relative to start."""
        return _Range(*(tirx.max(0, tirx.min(edge - start, most)) for edge in (self.first, self.end)))


@contextmanager
def _region(items: int) -> Iterator[_Range]:
    """A parallel region: every thread runs the body for its share of the items, which is contiguous."""
    with T.attr(0, PARALLEL_REGION, 1):
        own = T.alloc_buffer((2,), "int32", scope="local")
        T.buffer_store(own, items, [0])
        T.buffer_store(own, 0, [1])
        # TVM tells a thread its share only by the bounds of a parallel loop: this one records them
        with T.parallel(0, items) as item:
            T.buffer_store(own, tirx.min(own[0], item), [0])
            T.buffer_store(own, item + 1, [1])
        yield _Range(own[0], own[1])


def _steps(cell: Cell, direction: Any, blocks: _Range, tiles: _Range) -> None:
    waits = cell.blocking.spread is Spread.BLOCKS
    with T.serial(0, cell.spec.steps) as count:
        for product in cell.products:
            barrier = T.attr(0, BARRIER, 1) if waits else nullcontext()
            with barrier, T.serial(0, blocks.size) as turn, T.serial(0, tiles.size) as tile:
                # alternating direction: what one step reads last is still in the cache for the next one
                block = blocks.first + turn + count % 2 * (blocks.size - 1 - 2 * turn)
                at = Iteration(count, _step(cell.spec, direction, count), direction, block, 0)
                _tile(cell, product, at, tiles.first + tile)


def _step(spec: Recurrence, direction: Any, count: Any) -> Any:
    """Position in the sequence."""
    if spec.directions == 1:
        return spec.steps - 1 - count if spec.reverse[0] else count
    return count + direction * (spec.steps - 1 - 2 * count)


def _tile(cell: Cell, product: GateProduct, at: Iteration, tile: Any) -> None:
    """One tile of rows; tiles have at most two heights."""
    (high, count), *others = cell.blocking.heights(cell.spec.batch)
    if not others:
        _advance(cell, product, at.down(tile * high), high)
        return
    with T.If(tile < count):
        with T.Then():
            _advance(cell, product, at.down(tile * high), high)
        with T.Else():
            low, _ = others[0]
            _advance(cell, product, at.down(tile * low + count), low)


def _advance(cell: Cell, product: GateProduct, at: Iteration, rows: int) -> None:
    sums = _sums(cell, product, at, rows)
    with T.serial(0, rows) as row:
        product.finish(at.down(row), lambda gate, lane: sums[(row * product.gates + gate) * LANES + lane])


def _sums(cell: Cell, product: GateProduct, at: Iteration, rows: int) -> Any:
    """The product of the state and the weights of one block of units: (rows * gates * LANES)."""
    gates = cell.blocking.gates[product.group]
    sums = T.alloc_buffer((rows * product.gates * LANES,), FLOAT, scope="local")
    for turn in range(product.gates // gates):
        tile = _RegisterTile(cell, product, at, rows)
        tile.sum(turn)
        for row, gate in itertools.product(range(rows), range(gates)):
            index = (row * product.gates + turn * gates + gate) * LANES
            with lanes() as lane:
                T.buffer_store(sums, tile.total(row, gate, lane), [index + lane])
    return sums


class _RegisterTile:
    """Sums in registers: of some rows, and of as many gates of one block of units as the blocking has in a tile."""

    def __init__(self, cell: Cell, product: GateProduct, at: Iteration, rows: int) -> None:
        self._product, self._at, self._rows, self._units = product, at, rows, cell.spec.units
        self._weights = cell.weights[product.group]
        self._gates = cell.blocking.gates[product.group]
        self._splits = cell.blocking.splits(rows, self._gates)
        self._sums = T.alloc_buffer((self._splits * rows * self._gates * LANES,), FLOAT, scope="local")

    def sum(self, turn: int) -> None:
        """turn: index among the tiles that a group's gates are cut into."""
        for index in range(self._splits * self._rows * self._gates):
            with lanes() as lane:
                T.buffer_store(self._sums, number(0), [index * LANES + lane])
        whole, left = divmod(self._units, self._splits)
        with T.serial(0, whole) as some:
            for split in range(self._splits):
                self._add(turn, split, some * self._splits + split)
        for split in range(left):
            self._add(turn, split, whole * self._splits + split)

    def _add(self, turn: int, split: int, unit: Any) -> None:
        at = self._at
        for row, gate in itertools.product(range(self._rows), range(self._gates)):
            state = self._product.source(at.down(row), unit)
            with lanes() as lane:
                index = self._index(split, row, gate) + lane
                term = state * self._weights[at.direction, at.block, turn, unit, gate, lane]
                T.buffer_store(self._sums, self._sums[index] + term, [index])

    def total(self, row: int, gate: int, lane: Any) -> Any:
        first, *others = (self._sums[self._index(split, row, gate) + lane] for split in range(self._splits))
        return sum(others, first)

    def _index(self, split: int, row: int, gate: int) -> int:
        return ((split * self._rows + row) * self._gates + gate) * LANES
