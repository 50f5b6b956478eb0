"""The fused RNN: several layers, one or two directions, all weights in one vector.

Order in that vector: first the weights of all layers, then the biases of all layers; within a layer the forward
direction before the backward one, and for each the input's part before the state's. Each part holds the gates one
after the other: input, forget, cell, output for an LSTM; reset, update, new for a GRU. Source: MXNet 1.9.1,
src/operator/rnn-inl.h, and gluon/rnn/rnn_layer.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neo.errors import InputSpecError
from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation


@dataclass(frozen=True, slots=True)
class Cell:
    """A kind of recurrent cell."""

    #: of ONNX
    operator: str
    #: for each of ONNX's gates: its index among MXNet's
    gates: tuple[int, ...]
    activation: str = ""


CELLS = {
    "rnn_relu": Cell("RNN", (0,), "Relu"),
    "rnn_tanh": Cell("RNN", (0,), "Tanh"),
    "gru": Cell("GRU", (1, 0, 2)),
    "lstm": Cell("LSTM", (0, 3, 1, 2)),
}
MAX_LAYERS = 1024


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of one layer, with gates in ONNX's order."""

    #: (directions, gates h, n)
    inputs: NDArray[np.floating]
    #: (directions, gates h, h)
    states: NDArray[np.floating]
    #: (directions, 2 gates h)
    biases: NDArray[np.floating]


def rnn(op: Operation) -> tuple[Value, ...]:
    """(T, N, features) to (T, N, directions h), and the states after the last step, (layers directions, N, h)."""
    _refuse_what_no_cpu_has(op)
    cell = CELLS[op.attributes.choice("mode", tuple(CELLS))]
    op.require_rank(op.data, 3)
    layers, hidden = op.attributes.integer("num_layers"), op.attributes.integer("state_size")
    directions = 2 if op.attributes.boolean("bidirectional", default=False) else 1
    if not 1 <= layers <= MAX_LAYERS or hidden < 1:
        raise op.unsupported(f"num_layers={layers}, state_size={hidden}")
    weights = _unpack(op, cell, layers, directions, hidden)
    states = [_by_layer(op, position, layers, directions, hidden) for position in _state_inputs(cell)]
    x, finals = op.data, []
    for layer, layer_weights in enumerate(weights):
        x, *after = _layer(op, cell, x, layer_weights, [state[layer] for state in states])
        finals.append(after)
    return x, *(op.emit("Concat", *parts, axis=0) if layers > 1 else parts[0] for parts in zip(*finals, strict=True))


def _refuse_what_no_cpu_has(op: Operation) -> None:
    for name in ("projection_size", "lstm_state_clip_min", "lstm_state_clip_max"):
        if op.attributes.has(name):
            raise op.unsupported(f"{name}={op.attributes.text(name)}")
    if op.attributes.boolean("use_sequence_length", default=False):
        raise op.unsupported("use_sequence_length=True", "mask its output with SequenceMask instead")


def _state_inputs(cell: Cell) -> range:
    return range(2, 4) if cell.operator == "LSTM" else range(2, 3)


def _unpack(op: Operation, cell: Cell, layers: int, directions: int, hidden: int) -> list[Weights]:
    packed = op.input(1, "parameters").array
    if packed is None:
        raise op.unsupported("weights that are computed by the model itself")
    if packed.dtype.name != op.data.dtype:
        raise InputSpecError(f"{op.where} has {packed.dtype} weights, found {op.data}")
    rows, features = len(cell.gates) * hidden, op.size(op.data, 2)
    widths = [features] + [directions * hidden] * (layers - 1)
    sizes = [part for width in widths for _ in range(directions) for part in (rows * width, rows * hidden)]
    sizes += [rows] * (2 * layers * directions)
    if packed.size != sum(sizes):
        raise InputSpecError(
            f"{op.where} has {packed.size} weights, for {features} features it wants {sum(sizes)}",
            hint="is --input (time, batch, features), with the features that the model was trained with?",
        )
    parts = [_reordered(part, cell, hidden) for part in np.split(packed.reshape(-1), np.cumsum(sizes)[:-1])]
    matrices, biases = parts[: 2 * layers * directions], parts[2 * layers * directions :]
    return [_weights_of(layer, directions, matrices, biases) for layer in range(layers)]


def _reordered(part: NDArray[np.floating], cell: Cell, hidden: int) -> NDArray[np.floating]:
    """(gates h, n) with the gates in ONNX's order; a bias has n = 1."""
    gates = part.reshape(len(cell.gates), -1)
    return gates[list(cell.gates)].reshape(len(cell.gates) * hidden, -1)


def _weights_of(
    layer: int, directions: int, matrices: list[NDArray[np.floating]], biases: list[NDArray[np.floating]]
) -> Weights:
    start = 2 * layer * directions
    chosen = range(start, start + 2 * directions, 2)
    return Weights(
        np.stack([matrices[i] for i in chosen]),
        np.stack([matrices[i + 1] for i in chosen]),
        np.stack([np.concatenate((biases[i][:, 0], biases[i + 1][:, 0])) for i in chosen]),
    )


def _by_layer(op: Operation, position: int, layers: int, directions: int, hidden: int) -> list[Value | None]:
    """A state layer by layer; None, which ONNX takes for zeros, where the model begins with zeros."""
    state = op.input(position, "state")
    if state.array is not None and not state.array.any():
        return [None] * layers
    op.require_rank(state, 3)
    op.require_size(state, 0, layers * directions, "states")
    op.require_size(state, 2, hidden, "elements in a state")
    batch = op.data.shape[1]
    if isinstance(batch, int):
        op.require_size(state, 1, batch, "states, one per example of the batch,")
    if layers == 1:
        return [state]
    return list(op.emit_several("Split", layers, state, op.constant([directions] * layers), axis=0))


def _layer(op: Operation, cell: Cell, x: Value, weights: Weights, states: list[Value | None]) -> list[Value]:
    """The layer's output (T, N, directions h) and its states (directions, N, h) after the last step."""
    directions, _, hidden = weights.states.shape
    extra: dict[str, int | list[str]] = {"linear_before_reset": 1} if cell.operator == "GRU" else {}
    if cell.activation:
        extra = {"activations": [cell.activation] * directions}
    y, *finals = op.emit_several(
        cell.operator,
        1 + len(states),
        x,
        *(op.constant(array, x.dtype) for array in (weights.inputs, weights.states, weights.biases)),
        None,
        *states,
        hidden_size=hidden,
        direction="bidirectional" if directions == 2 else "forward",
        **extra,
    )
    # ONNX gives (T, directions, N, h)
    if directions == 1:
        return [op.emit("Squeeze", y, op.constant([1])), *finals]
    return [op.reshape(op.emit("Transpose", y, perm=(0, 2, 1, 3)), (0, 0, directions * hidden)), *finals]


CONVERTERS: dict[str, Converter] = {"RNN": rnn}
