"""Loops of LSTM, GRU and RNN cells: what they compute from the sums of their gates.

Source of the formulas: https://onnx.ai/onnx/operators/onnx__LSTM.html, onnx__GRU.html and onnx__RNN.html.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tvm.tirx.script import builder as T  # noqa: N812  # its name everywhere in TVM

from neo.engines.tvm.cpu.lowering.blocking import Blocking
from neo.engines.tvm.ir.activations import clamp, number
from neo.engines.tvm.ir.extremes import Scalar
from neo.engines.tvm.ir.recurrence import FLOAT, GATES, LANES, Recurrence

# (gate, lane) -> sum
Sums = Callable[[int, Any], Scalar]


@dataclass(frozen=True, slots=True)
class Iteration:
    """Loop indices, as TensorIR expressions."""

    #: number of completed time steps
    count: Any
    #: position in the sequence; the reverse direction counts down
    step: Any
    direction: Any
    block: Any
    row: Any

    def unit(self, lane: Any) -> Any:
        return self.block * LANES + lane

    def down(self, rows: Any) -> Iteration:
        return replace(self, row=self.row + rows)


@dataclass(frozen=True, slots=True)
class GateProduct:
    """A product of the state and the recurrent weights of one group of gates, and what follows it."""

    #: index of the group, see ``Recurrence.groups``
    group: int
    #: number of gates in the group
    gates: int
    #: (iteration, unit) -> element of the state that the weights are multiplied by
    source: Callable[[Iteration, Any], Scalar]
    #: computes from the sums of one row what the next product, or the next time step, reads
    finish: Callable[[Iteration, Sums], None]


class Cell:
    """Emits one kind of cell. products: run in each time step, one after the other, each over all units."""

    def __init__(self, spec: Recurrence, blocking: Blocking) -> None:
        self.spec = spec
        self.blocking = blocking
        self.products: tuple[GateProduct, ...] = (GateProduct(0, GATES[spec.cell], self._old, self._advance),)

    def declare(self) -> None:
        spec = self.spec
        gates = spec.directions * GATES[spec.cell] * spec.width
        self._gates = _argument("gates", (spec.steps * spec.batch, gates))
        self.weights = [
            _argument("weights", (spec.directions, spec.blocks, gates // together, spec.units, together, LANES))
            for gates, together in zip(spec.groups, self.blocking.gates, strict=True)
        ]
        self._declare_bias()
        sequence, *states = spec.output_shapes
        self.start = [_argument("start", shape) for shape in states]
        self.y = _argument("y", sequence)
        self.states = [_argument("state", shape) for shape in states]

    def allocate(self) -> None:
        """Scratch memory. The hidden state is double-buffered: a step reads one copy and writes the other."""
        self._hidden = T.sblock_alloc_buffer((2, *self.spec.state_shape), FLOAT)

    def begin(self) -> None:
        """Initialise the states before the first step."""
        self._copy(self.start[0], self._hidden, into=(0,))
        for start, state in zip(self.start[1:], self.states[1:], strict=True):
            self._copy(start, state)

    def end(self) -> None:
        self._copy(self._hidden, self.states[0], out_of=(self.spec.steps % 2,))

    def _copy(self, source: Any, to: Any, out_of: tuple[int, ...] = (), into: tuple[int, ...] = ()) -> None:
        """Copy a state. out_of, into: leading indices, in front of those of the state."""
        spec = self.spec
        with T.grid(spec.directions, spec.batch, spec.blocks) as (direction, row, block), lanes() as lane:
            at = (direction, row, block * LANES + lane)
            T.buffer_store(to, source[out_of + at], [*into, *at])

    def _declare_bias(self) -> None:
        """Declare the parameter ``state_bias``, for cells that have one."""

    def _advance(self, at: Iteration, sums: Sums) -> None:
        raise NotImplementedError

    def _old(self, at: Iteration, unit: Any) -> Scalar:
        """The hidden state before this step."""
        return self._hidden[at.count % 2, at.direction, at.row, unit]

    def _activate(self, index: int, x: Scalar) -> Scalar:
        clipped = x if self.spec.clip is None else clamp(x, self.spec.clip)
        return self.spec.activations[index](clipped)

    def _given(self, at: Iteration, gate: int, lane: Any) -> Scalar:
        """The contribution of inputs and biases to a gate."""
        spec = self.spec
        column = (at.direction * GATES[spec.cell] + gate) * spec.width + at.unit(lane)
        return self._gates[at.step * spec.batch + at.row, column]

    def _emit(self, at: Iteration, value: Callable[[Any], Scalar]) -> None:
        """Store the new hidden state. value: lane -> element."""
        with lanes() as lane:
            T.buffer_store(self.y, value(lane), [at.step, at.direction, at.row, at.unit(lane)])
        with lanes() as lane:
            new = self.y[at.step, at.direction, at.row, at.unit(lane)]
            T.buffer_store(self._hidden, new, [1 - at.count % 2, at.direction, at.row, at.unit(lane)])


class _Rnn(Cell):
    def _advance(self, at: Iteration, sums: Sums) -> None:
        self._emit(at, lambda lane: self._activate(0, self._given(at, 0, lane) + sums(0, lane)))


class _Lstm(Cell):
    """Gates: input, output, forget, cell."""

    def _advance(self, at: Iteration, sums: Sums) -> None:
        def gate(which: int, lane: Any) -> Scalar:
            return self._activate(1 if which == 3 else 0, self._given(at, which, lane) + sums(which, lane))

        cell = self.states[1]
        with lanes() as lane:
            index = [at.direction, at.row, at.unit(lane)]
            T.buffer_store(cell, gate(2, lane) * cell[tuple(index)] + gate(0, lane) * gate(3, lane), index)
        # ONNX does not clip the cell state before its activation
        out = self.spec.activations[2]
        self._emit(at, lambda lane: gate(1, lane) * out(cell[at.direction, at.row, at.unit(lane)]))


class _Gru(Cell):
    """Gates: update, reset, hidden."""

    def __init__(self, spec: Recurrence, blocking: Blocking) -> None:
        super().__init__(spec, blocking)
        if spec.reset_first:
            self.products = (
                GateProduct(0, 2, self._old, self._reset),
                GateProduct(1, 1, self._kept_state, self._advance_reset),
            )

    def _declare_bias(self) -> None:
        if not self.spec.reset_first:
            self._bias = _argument("bias", (self.spec.directions, self.spec.width))

    def allocate(self) -> None:
        super().allocate()
        if self.spec.reset_first:
            self._update = T.sblock_alloc_buffer(self.spec.state_shape, FLOAT)
            self._kept = T.sblock_alloc_buffer(self.spec.state_shape, FLOAT)

    def _kept_state(self, at: Iteration, unit: Any) -> Scalar:
        return self._kept[at.direction, at.row, unit]

    def _gate(self, at: Iteration, gate: int, sums: Sums, lane: Any) -> Scalar:
        return self._activate(0, self._given(at, gate, lane) + sums(gate, lane))

    def _advance(self, at: Iteration, sums: Sums) -> None:
        def new(lane: Any) -> Scalar:
            product = self._gate(at, 1, sums, lane) * (self._bias[at.direction, at.unit(lane)] + sums(2, lane))
            return self._blend(at, lane, self._gate(at, 0, sums, lane), self._given(at, 2, lane) + product)

        self._emit(at, new)

    def _reset(self, at: Iteration, sums: Sums) -> None:
        with lanes() as lane:
            T.buffer_store(self._update, self._gate(at, 0, sums, lane), [at.direction, at.row, at.unit(lane)])
        with lanes() as lane:
            kept = self._gate(at, 1, sums, lane) * self._old(at, at.unit(lane))
            T.buffer_store(self._kept, kept, [at.direction, at.row, at.unit(lane)])

    def _advance_reset(self, at: Iteration, sums: Sums) -> None:
        def new(lane: Any) -> Scalar:
            update = self._update[at.direction, at.row, at.unit(lane)]
            return self._blend(at, lane, update, self._given(at, 2, lane) + sums(0, lane))

        self._emit(at, new)

    def _blend(self, at: Iteration, lane: Any, update: Scalar, hidden: Scalar) -> Scalar:
        return (number(1) - update) * self._activate(1, hidden) + update * self._old(at, at.unit(lane))


CELLS = {"LSTM": _Lstm, "GRU": _Gru, "RNN": _Rnn}


def lanes() -> Any:
    return T.vectorized(0, LANES)


def _argument(name: str, shape: tuple[int, ...]) -> Any:
    return T.match_buffer(T.arg(name, T.handle()), shape, FLOAT)
