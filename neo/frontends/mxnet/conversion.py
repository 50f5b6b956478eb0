"""The graph of a symbol, node by node, into ONNX."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import onnx

from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError, ModelError, UnsupportedModel
from neo.frontends.mxnet.attributes import Attributes
from neo.frontends.mxnet.inputs import missing_parameters
from neo.frontends.mxnet.onnx_graph import OnnxGraph, Value
from neo.frontends.mxnet.operation import Operation
from neo.frontends.mxnet.operators import OPERATORS
from neo.frontends.mxnet.params import Parameters
from neo.frontends.mxnet.symbol import BATCH_NORMS, VARIABLE, Entry, SymbolGraph, SymbolNode

TRAINING_ONLY = frozenset(
    ["_contrib_MultiBoxTarget", "_contrib_MultiProposalTarget", "CTCLoss", "softmax_cross_entropy"]
)
AUXILIARY_STATES = ("moving_mean", "moving_var")


def check_operators(graph: SymbolGraph) -> None:
    """Raises UnsupportedModel, naming every operator without a converter and where it is first used."""
    unknown: dict[str, str] = {}
    uses: Counter[str] = Counter()
    for number in sorted(graph.reachable()):
        node = graph.nodes[number]
        if node.operator != VARIABLE and node.operator not in OPERATORS:
            unknown.setdefault(node.operator, node.name)
            uses[node.operator] += 1
    if unknown:
        listed = ", ".join(f"{operator} ({uses[operator]}x, first {name!r})" for operator, name in unknown.items())
        raise UnsupportedModel(
            f"the model uses MXNet operators that are not converted: {listed}",
            hint=_way_out(unknown.keys()),
            details={"operators": sorted(unknown)},
        )


def _way_out(operators: Iterable[str]) -> str:
    training = sorted(TRAINING_ONLY.intersection(operators))
    if training:
        return f"{', '.join(training)} only makes sense in training: export the network that predicts"
    return "rewrite these layers with other operators, or export the model to ONNX and compile the .onnx file"


def build(
    graph: SymbolGraph, parameters: Parameters, inputs: Sequence[TensorSpec]
) -> tuple[onnx.ModelProto, tuple[TensorSpec, ...]]:
    """The ONNX model and its outputs, named as MXNet names them. Initialisers keep the parameters' names."""
    return _Conversion(graph, parameters, inputs).run()


class _Conversion:
    def __init__(self, graph: SymbolGraph, parameters: Parameters, inputs: Sequence[TensorSpec]) -> None:
        self._graph = graph
        self._parameters = parameters
        self._heads = _named_heads(graph)
        self._onnx = OnnxGraph([spec.name for spec in inputs] + list(self._heads))
        self._inputs = {spec.name: self._onnx.input(spec) for spec in inputs}
        self._values: dict[Entry, Value] = {}

    def run(self) -> tuple[onnx.ModelProto, tuple[TensorSpec, ...]]:
        for number in sorted(self._graph.reachable()):
            node = self._graph.nodes[number]
            results = (self._variable(node),) if node.operator == VARIABLE else self._convert(node)
            self._values |= {Entry(number, output): value for output, value in enumerate(results)}
        outputs = [(name, self._value(head, "the model's outputs")) for name, head in self._heads.items()]
        model = self._onnx.model(list(self._inputs.values()), outputs, f"mxnet {self._graph.version}")
        return model, tuple(TensorSpec(name, value.dtype, value.shape) for name, value in outputs)

    def _variable(self, node: SymbolNode) -> Value:
        known = self._inputs.get(node.name)
        return known if known is not None else self._parameter(node.name)

    def _parameter(self, name: str) -> Value:
        array = self._parameters.get(name)
        if array is None:
            raise missing_parameters([name], self._parameters)
        return self._onnx.constant(name, array)

    def _convert(self, node: SymbolNode) -> tuple[Value, ...]:
        inputs = [self._value(entry, node.where) for entry in self._graph.data_inputs(node)]
        if node.operator in BATCH_NORMS and len(inputs) == 3:
            # symbols before 0.9 do not mention the running statistics
            inputs += [self._parameter(f"{node.name}_{state}") for state in AUXILIARY_STATES]
        for value in inputs:
            if (value.rank == 0 and not self._graph.numpy) or 0 in value.shape:
                raise InputSpecError(
                    f"{node.where}: {value.name!r} is {value}; MXNet's tensors have a dimension and an element at least"
                )
        attributes = Attributes(node.where, node.attributes)
        operation = Operation(
            self._onnx, node.operator, node.name, node.where, tuple(inputs), attributes, self._graph.numpy
        )
        result = OPERATORS[node.operator](operation)
        return result if isinstance(result, tuple) else (result,)

    def _value(self, entry: Entry, reader: str) -> Value:
        value = self._values.get(entry)
        if value is None:
            source = self._graph.nodes[entry.node]
            raise UnsupportedModel(f"{reader} reads output {entry.output} of {source.where}, which is not converted")
        return value


def _named_heads(graph: SymbolGraph) -> dict[str, Entry]:
    heads: dict[str, Entry] = {}
    for head in graph.heads:
        node = graph.nodes[head.node]
        if node.operator == VARIABLE:
            raise UnsupportedModel(f"the variable {node.name!r} is an output of the model without any computation")
        name = node.output_name(head.output)
        if heads.setdefault(name, head) != head:
            raise ModelError(f"two outputs of the model have the name {name!r}")
    return heads
