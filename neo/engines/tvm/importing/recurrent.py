"""ONNX's LSTM, GRU and RNN -> one matrix product over all time steps, and one function that runs the recurrence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from neo.engines.tvm.importing.refusal import Refused
from neo.engines.tvm.ir.activations import ACTIVATIONS, Activation
from neo.engines.tvm.ir.constants import constant_of
from neo.engines.tvm.ir.recurrence import FLOAT, GATES, LANES, Recurrence

DEFAULT_ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
# positions of the node's inputs
X, W, R, B, LENGTHS, START, CELL_START, PEEPHOLES = range(8)

# values of inputs; None for those that are not constant. ``read_recurrence`` refuses weights that are not
Constants = Sequence[Any]
_REVERSE = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def read_recurrence(
    cell: str, attributes: Mapping[str, Any], x_shape: Sequence[int], constants: Constants, given: Sequence[bool]
) -> Recurrence:
    """x_shape: (steps, batch, inputs). constants: the value of each input, None if it is not constant. given: does the
    node have that input? Both may be shorter than the operator's list of inputs. Raises Refused.
    """

    def value(position: int) -> NDArray[Any] | None:
        return constants[position] if position < len(constants) else None

    def has(position: int) -> bool:
        return position < len(given) and given[position]

    steps, batch, _ = x_shape
    weights = value(R)
    if value(W) is None or weights is None or (has(B) and value(B) is None):
        raise Refused("its weights are computed, not constant")
    if weights.dtype != np.float32:
        raise Refused(f"its weights are {weights.dtype}; float32 is compiled")
    lengths = value(LENGTHS)
    if has(LENGTHS) and (lengths is None or not (lengths == steps).all()):
        raise Refused("sequence_lens are shorter than the sequence, or computed")
    if has(PEEPHOLES) and (value(PEEPHOLES) is None or np.any(value(PEEPHOLES))):
        raise Refused("it has peepholes")
    if attributes.get("layout") or attributes.get("input_forget"):
        raise Refused("layout=1 and input_forget=1 are not compiled")
    reverse = _REVERSE[_text(attributes.get("direction", "forward"))]
    clip = attributes.get("clip")
    return Recurrence(
        cell,
        int(steps),
        int(batch),
        int(weights.shape[2]),
        reverse,
        _read_activations(cell, attributes, len(reverse)),
        None if clip is None else float(clip),
        reset_first=cell == "GRU" and not attributes.get("linear_before_reset"),
    )


def _read_activations(cell: str, attributes: Mapping[str, Any], directions: int) -> tuple[Activation, ...]:
    """ONNX lists alphas and betas in the order of the activations, only for those that have such a parameter."""
    names = [_text(name) for name in attributes.get("activations", ())]
    names = names or list(DEFAULT_ACTIVATIONS[cell]) * directions
    known = {name.lower(): name for name in ACTIVATIONS}
    unknown = sorted({name for name in names if name.lower() not in known})
    if unknown:
        raise Refused(f"its activation {', '.join(unknown)} is not compiled; these are: {', '.join(ACTIVATIONS)}")
    alphas, betas = (iter(attributes.get(f"activation_{which}", ())) for which in ("alpha", "beta"))
    activations = []
    for name in (known[name.lower()] for name in names):
        kind = ACTIVATIONS[name]
        alpha = kind.alpha if kind.alpha is None else next(alphas, kind.alpha)
        beta = kind.beta if kind.beta is None else next(betas, kind.beta)
        activations.append(Activation(name, float(alpha or 0.0), float(beta or 0.0)))
    first = tuple(activations[: len(DEFAULT_ACTIVATIONS[cell])])
    if any(tuple(activations[i : i + len(first)]) != first for i in range(0, len(activations), len(first))):
        raise Refused("its two directions have different activations")
    return first


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def input_weights(spec: Recurrence, w: NDArray[Any]) -> NDArray[Any]:
    """(directions, gates * units, inputs) -> (inputs, directions * gates * width)"""
    gates = w.reshape(spec.directions, GATES[spec.cell], spec.units, -1)
    return np.ascontiguousarray(_fill(gates, 2, spec).reshape(-1, w.shape[2]).T)


def input_bias(spec: Recurrence, b: NDArray[Any]) -> NDArray[Any]:
    """(directions, 2 * gates * units) -> (directions * gates * width): the input's bias plus the state's, except where
    ``state_bias`` handles the latter.
    """
    both = b.reshape(spec.directions, 2, GATES[spec.cell], spec.units).copy()
    if spec.cell == "GRU" and not spec.reset_first:
        both[:, 1, 2] = 0
    return _fill(both.sum(1), 2, spec).reshape(-1)


def state_bias(spec: Recurrence, b: NDArray[Any]) -> NDArray[Any]:
    """Bias of the product that a GRU's reset gate multiplies, for a GRU without reset_first: (directions, width)."""
    return _fill(b.reshape(spec.directions, 2, GATES[spec.cell], spec.units)[:, 1, 2], 1, spec)


def state_weights(spec: Recurrence, together: Sequence[int], r: NDArray[Any]) -> list[NDArray[Any]]:
    """(directions, gates * units, units) -> for each group (directions, blocks, passes, units, gates, LANES).

    together: for each group the last dimension but one, ``RecurrenceKernel.gates``.
    """
    gates = _fill(r.reshape(spec.directions, GATES[spec.cell], spec.units, spec.units), 2, spec)
    blocks = gates.reshape(spec.directions, GATES[spec.cell], spec.blocks, LANES, spec.units)
    groups = np.split(blocks, np.cumsum(spec.groups)[:-1], axis=1)
    packed = []
    for group, own in zip(groups, together, strict=True):
        passes = group.reshape(spec.directions, -1, own, spec.blocks, LANES, spec.units)
        packed.append(np.ascontiguousarray(passes.transpose(0, 3, 1, 5, 2, 4)))
    return packed


def _fill(array: NDArray[Any], axis: int, spec: Recurrence) -> NDArray[Any]:
    """Pads the units with zeros to whole blocks."""
    widths = [(0, spec.width - spec.units if index == axis else 0) for index in range(array.ndim)]
    return np.pad(array, widths)


class _Recurrent(onnx_frontend.OnnxOpConverter):  # type: ignore[misc]  # tvm has no types
    cell = ""

    @classmethod
    def _impl_v1(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any) -> Any:
        *_, write_recurrence = params
        x = bb.normalize(inputs[X])
        constants: Constants = [constant_of(value) for value in inputs]
        shape = [int(dim) for dim in x.ty.shape]
        spec = read_recurrence(cls.cell, attr, shape, constants, [value is not None for value in inputs])
        kernel = write_recurrence(spec)
        arguments = [_project(bb, spec, x, constants)]
        bias = _bias(spec, constants)
        arguments += [relax.const(weights) for weights in state_weights(spec, kernel.gates, constants[R])]
        if cls.cell == "GRU" and not spec.reset_first:
            arguments.append(relax.const(state_bias(spec, bias)))
        starts = (inputs[START], inputs[CELL_START])[: len(spec.output_shapes) - 1]
        arguments += [_start(bb, spec, start) for start in starts]
        function = bb.add_func(kernel.function, f"recurrence_{cls.cell.lower()}")
        types = [relax.TensorType(shape, FLOAT) for shape in spec.output_shapes]
        outputs = bb.emit(relax.call_tir(function, relax.Tuple(arguments), types))
        return relax.Tuple([_cut(bb, spec, bb.emit(relax.TupleGetItem(outputs, i))) for i in range(len(types))])


class Lstm(_Recurrent):
    cell = "LSTM"


class Gru(_Recurrent):
    cell = "GRU"


class Rnn(_Recurrent):
    cell = "RNN"


def _project(bb: Any, spec: Recurrence, x: Any, constants: Constants) -> Any:
    """Contributions of inputs and biases to the gates, for all steps in one matrix product."""
    rows = relax.op.reshape(x, (spec.steps * spec.batch, int(x.ty.shape[2])))
    product = relax.op.matmul(rows, relax.const(input_weights(spec, constants[W])))
    return bb.emit(relax.op.add(product, relax.const(input_bias(spec, _bias(spec, constants)))))


def _bias(spec: Recurrence, constants: Constants) -> NDArray[Any]:
    given = constants[B] if len(constants) > B else None
    return np.zeros((spec.directions, 2 * GATES[spec.cell] * spec.units), np.float32) if given is None else given


def _start(bb: Any, spec: Recurrence, state: Any) -> Any:
    if state is None:
        return relax.const(np.zeros(spec.state_shape, np.float32))
    known = constant_of(state)
    if known is not None:
        return relax.const(_fill(known, 2, spec))
    behind = spec.width - spec.units
    return state if not behind else bb.emit(relax.op.nn.pad(state, [0, 0, 0, 0, 0, behind]))


def _cut(bb: Any, spec: Recurrence, state: Any) -> Any:
    """Removes the padding of the units."""
    if spec.width == spec.units:
        return state
    return bb.emit(relax.op.strided_slice(state, [len(state.ty.shape) - 1], [0], [spec.units]))
