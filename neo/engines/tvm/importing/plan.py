"""Which part of a model TVM compiles: all of it, or the segments that it can import and that are worth a cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import onnx
import tvm

from neo.contract.fields import ContractError
from neo.contract.tensors import TensorSpec
from neo.engines.tvm.importing.importer import import_model, known_operators
from neo.engines.tvm.importing.onnx_facts import Facts, read_facts, tensor_dtype
from neo.engines.tvm.importing.partition import ONNXRUNTIME, TVM, Segment, extract, partition
from neo.engines.tvm.importing.refusal import Refused, refused_operators, refused_tensors
from neo.engines.tvm.ir.recurrence import WriteRecurrence
from neo.errors import EngineError

# each attempt finds at most one more node that the importer does not take
MOST_ATTEMPTS = 32
MOST_REASONS = 3
HINT = "use --engine onnxruntime"


@dataclass(frozen=True, slots=True)
class Part:
    """A segment with its imported module, ready to be built."""

    #: TVM or ONNXRUNTIME
    engine: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    #: the segment as a model of its own
    model: onnx.ModelProto
    #: the imported model; None for ONNX Runtime
    module: tvm.IRModule | None


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is divided between the engines."""

    #: in execution order; a single one if TVM takes the whole model
    parts: tuple[Part, ...]
    #: what ONNX Runtime runs, and why
    notes: tuple[str, ...] = ()


def plan(
    model: onnx.ModelProto,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    write_recurrence: WriteRecurrence,
    *,
    may_cut: bool,
) -> Plan:
    """write_recurrence: as for ``import_model``. may_cut: may ONNX Runtime run what TVM cannot? Renames the model's
    nodes.

    Raises EngineError with the reasons if TVM does not take enough of the model.
    """
    said = [f"{node.op_type} ({node.name or 'unnamed'})" for node in model.graph.node]
    for index, node in enumerate(model.graph.node):
        node.name = str(index)  # by which the importer names a node that it refuses
    facts = read_facts(model.graph)
    refused = refused_operators(model.graph, facts, known_operators())
    for _ in range(MOST_ATTEMPTS):
        try:
            if not refused:
                return Plan((Part(TVM, inputs, outputs, model, import_model(model, inputs, write_recurrence)),))
            if not may_cut:
                break
            moved = {**refused_tensors(model.graph, facts), **refused}
            segments = partition(model.graph, facts, moved)
            parts = tuple(_part(model, facts, segment, write_recurrence) for segment in segments)
            return Plan(parts, tuple(_notes(said, segments, refused)))
        except Refused as error:
            if not error.node:
                raise _too_much(said, refused, error.reason) from error
            refused[int(error.node)] = error.reason
    raise _too_much(said, refused, "")


def _part(model: onnx.ModelProto, facts: Facts, segment: Segment, write_recurrence: WriteRecurrence) -> Part:
    """Raises Refused if the importer does not take it."""
    values = {value.name: value for value in (*model.graph.value_info, *model.graph.input, *model.graph.output)}
    inputs, outputs = (
        tuple(facts.specs.get(name) or _loose_spec(name, values) for name in names)
        for names in (segment.inputs, segment.outputs)
    )
    cut = extract(model, facts, segment)
    module = import_model(cut, inputs, write_recurrence) if segment.engine == TVM else None
    return Part(segment.engine, inputs, outputs, cut, module)


def _loose_spec(name: str, values: Mapping[str, onnx.ValueInfoProto]) -> TensorSpec:
    """Spec of a tensor without a fixed shape, which only ONNX Runtime handles."""
    if name not in values or not values[name].type.tensor_type.HasField("shape"):
        raise Refused(f"nothing is known about {name!r}, where the graph would be cut")
    tensor = values[name].type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else f"dim_{i}" for i, dim in enumerate(tensor.shape.dim)]
    try:
        return TensorSpec(name, tensor_dtype(tensor.elem_type), tuple(dims))
    except (KeyError, ContractError) as error:
        raise Refused(f"{name!r}, where the graph would be cut, is no tensor of numbers or strings") from error


def _notes(said: list[str], segments: tuple[Segment, ...], refused: Mapping[int, str]) -> list[str]:
    elsewhere = sum(len(segment.nodes) for segment in segments if segment.engine == ONNXRUNTIME)
    return [
        f"ONNX Runtime runs {elsewhere} of {len(said)} operators, the graph is cut into {len(segments)} segments: "
        + _reasons(said, refused)
    ]


def _too_much(said: list[str], refused: Mapping[int, str], why: str) -> EngineError:
    parts = [part for part in (_reasons(said, refused), why) if part]
    return EngineError(f"tvm does not take the model: {'; '.join(parts)}", hint=HINT)


def _reasons(said: list[str], refused: Mapping[int, str]) -> str:
    """Each reason once, with its first node and the number of further ones."""
    counts = Counter(refused.values())
    first = {reason: index for index, reason in sorted(refused.items(), reverse=True)}
    shown = [
        f"{said[first[reason]]}{f' and {count - 1} more' if count > 1 else ''}: {reason}"
        for reason, count in list(counts.items())[:MOST_REASONS]
    ]
    more = len(counts) - len(shown)
    return "; ".join([*shown, f"and {more} other reasons"] if more > 0 else shown)
