"""Which tensors a symbol wants from outside, and what the user said about them."""

from __future__ import annotations

from collections.abc import Mapping

from neo.contract.tensors import Dim, TensorSpec
from neo.errors import InputSpecError, ModelError
from neo.frontends.mxnet.attributes import Attributes
from neo.frontends.mxnet.params import ELEMENT_TYPES, Parameters, names_look_like_blocks
from neo.frontends.mxnet.symbol import VARIABLE, SymbolGraph, SymbolNode

# operators whose inputs from the second on are learnt: a variable there that the file lacks is no input but missing
LEARNT_INPUTS = frozenset(
    [
        "BatchNorm",
        "BatchNorm_v1",
        "Convolution",
        "CuDNNBatchNorm",
        "Deconvolution",
        "Embedding",
        "FullyConnected",
        "GroupNorm",
        "InstanceNorm",
        "LayerNorm",
        "LeakyReLU",
        "_contrib_SyncBatchNorm",
    ]
)
# what stands in an example of --input where the model does not tell: the height and width of most image models
USUAL_SIZE = 224


def input_specs(
    graph: SymbolGraph, parameters: Parameters, given: tuple[TensorSpec, ...], dims: Mapping[str, int]
) -> tuple[TensorSpec, ...]:
    """The model's inputs in its own order, from ``given`` or the symbol's own __shape__ attributes.

    Raises ModelError for a parameter that the file lacks, InputSpecError for an input that is not described, or a
    description that fits no input.
    """
    wanted = [graph.nodes[number] for number in _free_variables(graph, parameters)]
    _check_given([node.name for node in wanted], given, dims, parameters)
    described = {spec.name: spec for spec in given}
    specs = tuple(described.get(node.name) or _own_spec(node) for node in wanted)
    missing = [node.name for node, spec in zip(wanted, specs, strict=True) if spec is None]
    if missing:
        raise _missing(graph, parameters, missing)
    return tuple(spec.fixed(dims) for spec in specs if spec is not None)


def _free_variables(graph: SymbolGraph, parameters: Parameters) -> list[int]:
    reachable = sorted(graph.reachable())
    free = [n for n in reachable if graph.nodes[n].operator == VARIABLE and graph.nodes[n].name not in parameters]
    learnt = {
        entry.node
        for number in reachable
        if graph.nodes[number].operator in LEARNT_INPUTS
        for entry in graph.nodes[number].inputs[1:]
    }
    absent = [graph.nodes[number].name for number in free if number in learnt]
    if absent:
        raise missing_parameters(absent, parameters)
    return free


def missing_parameters(names: list[str], parameters: Parameters) -> ModelError:
    """The error for parameters that the graph uses and the file lacks."""
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    hint = "take the .params file that was saved together with this symbol"
    if names_look_like_blocks(parameters):
        hint = "this file was written by save_parameters(), which names blocks; net.export('x') writes the right pair"
    return ModelError(f"the parameter file lacks {shown}", hint=hint, details={"missing": names})


def _check_given(
    names: list[str], given: tuple[TensorSpec, ...], dims: Mapping[str, int], parameters: Parameters
) -> None:
    for spec in given:
        if spec.name not in names:
            kind = "a parameter" if spec.name in parameters else "no input of this model"
            raise InputSpecError(f"{spec.name!r} is {kind}", hint=f"the inputs are: {', '.join(names) or 'none'}")
    if len({spec.name for spec in given}) != len(given):
        raise InputSpecError("an input is described twice", hint="give --input once for each input")
    dynamic = {dim for spec in given for dim in spec.dynamic_dims}
    unknown = sorted(dims.keys() - dynamic)
    if unknown:
        raise InputSpecError(
            f"no input has a dimension {unknown[0]!r}",
            hint=f"dimensions with a name: {', '.join(sorted(dynamic)) or 'none'}",
        )


def _own_spec(node: SymbolNode) -> TensorSpec | None:
    """What the symbol itself says about its input, if it says all: a size of 0 or -1 is an unknown one."""
    attributes = Attributes(node.where, node.attributes)
    shape = attributes.integers("__shape__", ())
    if not shape or min(shape) < 1:
        return None
    code = attributes.integer("__dtype__", 0)
    if code not in ELEMENT_TYPES:
        return None
    return TensorSpec(node.name, ELEMENT_TYPES[code].name, shape)


def _missing(graph: SymbolGraph, parameters: Parameters, names: list[str]) -> InputSpecError:
    flags = " ".join(f"--input {_example(graph, parameters, name)}" for name in names)
    return InputSpecError(
        f"the symbol does not tell the shape of its input {', '.join(map(repr, names))}",
        hint=f"add {flags} with the size that the model was trained with",
        details={"missing": names},
    )


def _example(graph: SymbolGraph, parameters: Parameters, name: str) -> TensorSpec:
    """A likely description, with the channels or features that the first layer's weight tells."""
    numbers = {number for number, node in enumerate(graph.nodes) if node.operator == VARIABLE and node.name == name}
    for number, node in enumerate(graph.nodes):
        if node.operator == "RNN" and numbers.intersection(entry.node for entry in node.inputs[2:]):
            return TensorSpec(name, "float32", _state_shape(node))
        if not node.inputs or node.inputs[0].node not in numbers:
            continue
        shape = _shape_for(node, graph, parameters)
        if shape is not None:
            return TensorSpec(name, "int32" if node.operator == "Embedding" else "float32", shape)
        numbers.add(number)
    return TensorSpec(name, "float32", (1, 3, USUAL_SIZE, USUAL_SIZE))


def _state_shape(node: SymbolNode) -> tuple[Dim, ...]:
    """Of a recurrent layer's state: (layers directions, batch, size)."""
    attributes = Attributes(node.where, node.attributes)
    directions = 2 if attributes.boolean("bidirectional", default=False) else 1
    return (attributes.integer("num_layers", 1) * directions, 1, attributes.integer("state_size"))


def _shape_for(node: SymbolNode, graph: SymbolGraph, parameters: Parameters) -> tuple[Dim, ...] | None:
    if node.operator not in {"Convolution", "FullyConnected", "Embedding"} or len(node.inputs) < 2:
        return None
    weight = parameters.get(graph.nodes[node.inputs[1].node].name)
    if weight is None or weight.ndim < 2:
        return None
    if node.operator == "FullyConnected":
        return (1, weight.shape[1])
    if node.operator == "Embedding":
        return (1, USUAL_SIZE)
    group = Attributes(node.where, node.attributes).integer("num_group", 1)
    return (1, weight.shape[1] * group, *(USUAL_SIZE,) * (weight.ndim - 2))
