"""The recurrence of LSTM, GRU and RNN cells: all time steps in one function.

What the inputs contribute to the gates does not depend on the step before: it comes in as one matrix product over all
steps. What is left is, per step, the product of the hidden state with the recurrent weights, and the gates. The
weights are read once per step and bound the speed, so they lie in the order in which they are read: units are taken
LANES at a time, all their gates together, and their sums stay in registers until the gates have made the new state.

A number of units that LANES does not divide is filled up: weights into the units behind the end are zero, and nothing
reads their state.

Source of the cells: https://onnx.ai/onnx/operators/onnx__LSTM.html, onnx__GRU.html and onnx__RNN.html.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import tvm
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T  # noqa: N812  # its name everywhere in TVM

from neo.engines.tvm.activations import Activation, Scalar, clamp, number

LANES = 16
# multiply-adds: of one step, whose units are spread over the threads, and of one direction of two, which has a thread
# of its own. Below, the threads wait for each other longer than they work
PARALLEL_STEP_WORK = 1 << 20
PARALLEL_DIRECTION_WORK = 1 << 17
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FLOAT = "float32"


@dataclass(frozen=True, slots=True)
class Recurrence:
    """cell: a key of GATES. reverse: for each direction, does it run from the last step to the first.

    activations: as ONNX orders them, the same for both directions. clip: what goes into an activation is at most so
    large; None for no limit. reset_first: the reset gate of a GRU acts on the state, not on its product.
    """

    cell: str
    steps: int
    batch: int
    units: int
    reverse: tuple[bool, ...]
    activations: tuple[Activation, ...]
    clip: float | None = None
    reset_first: bool = False

    @property
    def directions(self) -> int:
        return len(self.reverse)

    @property
    def blocks(self) -> int:
        return -(-self.units // LANES)

    @property
    def width(self) -> int:
        """Units, filled up to whole blocks."""
        return self.blocks * LANES

    @property
    def groups(self) -> tuple[int, ...]:
        """How many gates are summed together, in ONNX's order of gates. All of a group read the same state."""
        return (2, 1) if self.reset_first else (GATES[self.cell],)

    @property
    def state_shape(self) -> tuple[int, int, int]:
        return (self.directions, self.batch, self.width)

    @property
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the outputs: (steps, directions, batch, width), and each state behind the last step."""
        states = 2 if self.cell == "LSTM" else 1
        return ((self.steps, *self.state_shape), *([self.state_shape] * states))

    @property
    def step_work(self) -> int:
        return self.batch * GATES[self.cell] * self.units * self.units


def recurrence_function(spec: Recurrence) -> tvm.tirx.PrimFunc:
    """Arguments, all float32: gates (steps * batch, directions * GATES * width): what inputs and biases contribute;
    for each of ``groups`` the weights (directions, blocks, units, gates, LANES); for a GRU that is not reset first, the
    bias of its product (directions, width); the states before the first step; then the outputs.
    """
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
        emitter = CELLS[spec.cell](spec)
        emitter.declare()
        with T.sblock("root"):
            emitter.allocate()
            with _directions(spec) as direction:
                _copy(spec, direction, zip(emitter.start, emitter.states, strict=True))
                with T.serial(0, spec.steps) as count:
                    _step(emitter, direction, count)
    return builder.get()


def _step(emitter: _Cell, direction: Any, count: Any) -> None:
    spec = emitter.spec
    if spec.directions == 1:
        step = spec.steps - 1 - count if spec.reverse[0] else count
    else:
        step = count + direction * (spec.steps - 1 - 2 * count)
    for phase in emitter.phases:
        with _blocks(spec) as turn, T.serial(0, spec.batch) as row:
            # back and forth: what one step read last is still in the cache when the next step begins
            block = turn + count % 2 * (spec.blocks - 1 - 2 * turn)
            phase(_Place(step, direction, row, block))
    with T.grid(spec.batch, spec.blocks) as (row, block), _lanes() as lane:
        unit = block * LANES + lane
        T.buffer_store(emitter.states[0], emitter.y[step, direction, row, unit], [direction, row, unit])


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the loops are: TensorIR variables."""

    step: Any
    direction: Any
    row: Any
    block: Any

    def unit(self, lane: Any) -> Any:
        return self.block * LANES + lane


class _Cell:
    """Emits one kind of cell. phases: what runs, one after the other over all units, in each step."""

    def __init__(self, spec: Recurrence) -> None:
        self.spec = spec
        self.phases: tuple[Callable[[_Place], None], ...] = (self._advance,)

    def declare(self) -> None:
        spec = self.spec
        gates = spec.directions * GATES[spec.cell] * spec.width
        self._gates = _argument("gates", (spec.steps * spec.batch, gates))
        self._weights = [
            _argument("weights", (spec.directions, spec.blocks, spec.units, gates, LANES)) for gates in spec.groups
        ]
        self._declare_bias()
        sequence, *states = spec.output_shapes
        self.start = [_argument("start", shape) for shape in states]
        self.y = _argument("y", sequence)
        self.states = [_argument("state", shape) for shape in states]

    def allocate(self) -> None:
        """Scratch memory, where the cell needs some."""

    def _declare_bias(self) -> None:
        """For the cell that has one of its own."""

    def _advance(self, at: _Place) -> None:
        raise NotImplementedError

    def _activate(self, index: int, x: Scalar) -> Scalar:
        clipped = x if self.spec.clip is None else clamp(x, self.spec.clip)
        return self.spec.activations[index](clipped)

    def _gate(self, at: _Place, gate: int, lane: Any) -> Scalar:
        """What inputs and biases contribute."""
        spec = self.spec
        column = (at.direction * GATES[spec.cell] + gate) * spec.width + at.unit(lane)
        return self._gates[at.step * spec.batch + at.row, column]

    def _sums(
        self, at: _Place, group: int, source: Any, start: Callable[[int, Any], Scalar]
    ) -> Callable[[int, Any], Scalar]:
        """start(gate, lane) plus source times the group's weights, for one block of units; -> the same, summed."""
        gates = self.spec.groups[group]
        sums = T.alloc_buffer((gates * LANES,), FLOAT, scope="local")
        for gate in range(gates):
            with _lanes() as lane:
                T.buffer_store(sums, start(gate, lane), [gate * LANES + lane])
        with T.serial(0, self.spec.units) as k:
            for gate in range(gates):
                with _lanes() as lane:
                    weight = self._weights[group][at.direction, at.block, k, gate, lane]
                    product = source[at.direction, at.row, k] * weight
                    T.buffer_store(sums, sums[gate * LANES + lane] + product, [gate * LANES + lane])
        return lambda gate, lane: sums[gate * LANES + lane]

    def _emit_y(self, at: _Place, value: Callable[[Any], Scalar]) -> None:
        with _lanes() as lane:
            T.buffer_store(self.y, value(lane), [at.step, at.direction, at.row, at.unit(lane)])


class _Rnn(_Cell):
    def _advance(self, at: _Place) -> None:
        sums = self._sums(at, 0, self.states[0], lambda gate, lane: self._gate(at, gate, lane))
        self._emit_y(at, lambda lane: self._activate(0, sums(0, lane)))


class _Lstm(_Cell):
    """Gates: input, output, forget, cell."""

    def _advance(self, at: _Place) -> None:
        hidden, cell = self.states
        sums = self._sums(at, 0, hidden, lambda gate, lane: self._gate(at, gate, lane))
        with _lanes() as lane:
            index = [at.direction, at.row, at.unit(lane)]
            kept = self._activate(0, sums(2, lane)) * cell[tuple(index)]
            T.buffer_store(cell, kept + self._activate(0, sums(0, lane)) * self._activate(1, sums(3, lane)), index)
        # the cell's state is not clipped on its way out
        out = self.spec.activations[2]
        self._emit_y(
            at,
            lambda lane: self._activate(0, sums(1, lane)) * out(cell[at.direction, at.row, at.unit(lane)]),
        )


class _Gru(_Cell):
    """Gates: update, reset, hidden."""

    def __init__(self, spec: Recurrence) -> None:
        super().__init__(spec)
        if spec.reset_first:
            self.phases = (self._reset, self._advance_reset)

    def _declare_bias(self) -> None:
        if not self.spec.reset_first:
            self._bias = _argument("bias", (self.spec.directions, self.spec.width))

    def allocate(self) -> None:
        if self.spec.reset_first:
            self._update = T.sblock_alloc_buffer(self.spec.state_shape, FLOAT)
            self._kept = T.sblock_alloc_buffer(self.spec.state_shape, FLOAT)

    def _advance(self, at: _Place) -> None:
        def start(gate: int, lane: Any) -> Scalar:
            return self._bias[at.direction, at.unit(lane)] if gate == 2 else self._gate(at, gate, lane)

        sums = self._sums(at, 0, self.states[0], start)

        def new(lane: Any) -> Scalar:
            product = self._activate(0, sums(1, lane)) * sums(2, lane)
            return self._blend(at, lane, self._activate(0, sums(0, lane)), self._gate(at, 2, lane) + product)

        self._emit_y(at, new)

    def _reset(self, at: _Place) -> None:
        sums = self._sums(at, 0, self.states[0], lambda gate, lane: self._gate(at, gate, lane))
        with _lanes() as lane:
            index = [at.direction, at.row, at.unit(lane)]
            T.buffer_store(self._update, self._activate(0, sums(0, lane)), index)
        with _lanes() as lane:
            index = [at.direction, at.row, at.unit(lane)]
            T.buffer_store(self._kept, self._activate(0, sums(1, lane)) * self.states[0][tuple(index)], index)

    def _advance_reset(self, at: _Place) -> None:
        sums = self._sums(at, 1, self._kept, lambda _, lane: self._gate(at, 2, lane))
        self._emit_y(
            at,
            lambda lane: self._blend(at, lane, self._update[at.direction, at.row, at.unit(lane)], sums(0, lane)),
        )

    def _blend(self, at: _Place, lane: Any, update: Scalar, hidden: Scalar) -> Scalar:
        old = self.states[0][at.direction, at.row, at.unit(lane)]
        return (number(1) - update) * self._activate(1, hidden) + update * old


CELLS = {"LSTM": _Lstm, "GRU": _Gru, "RNN": _Rnn}


def _argument(name: str, shape: tuple[int, ...]) -> Any:
    return T.match_buffer(T.arg(name, T.handle()), shape, FLOAT)


def _lanes() -> Any:
    return T.vectorized(0, LANES)


def _blocks(spec: Recurrence) -> Any:
    spread = spec.directions == 1 and spec.step_work >= PARALLEL_STEP_WORK
    return (T.parallel if spread else T.serial)(0, spec.blocks)


@contextmanager
def _directions(spec: Recurrence) -> Iterator[Any]:
    spread = spec.step_work * spec.steps >= PARALLEL_DIRECTION_WORK
    loop = (T.parallel if spread else T.serial)(0, 2) if spec.directions == 2 else nullcontext(0)
    with loop as direction:
        yield direction


def _copy(spec: Recurrence, direction: Any, pairs: Any) -> None:
    for source, destination in pairs:
        with T.grid(spec.batch, spec.blocks) as (row, block), _lanes() as lane:
            index = (direction, row, block * LANES + lane)
            T.buffer_store(destination, source[index], list(index))
