"""Which engine is taken where nothing can be measured: by kind of model and architecture, from measured ratios.

What was measured stands in docs/performance.md, all of it on x86-64. On ARM nothing was ever timed, only checked under
emulation (decision 23); those rows are judgements and say so. A row that somebody measures is to be replaced here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from neo.contract.device import Target
from neo.contract.fields import as_object, dump_object, get_size, parse_object
from neo.errors import EngineError
from neo.isolation import isolated
from neo.isolation.call import Work

REQUEST_FILE = "choice.json"


class ModelKind(Enum):
    """What most of a model's time goes to."""

    CONVOLUTIONAL = "convolutional"
    TRANSFORMER = "transformer"
    RECURRENT = "recurrent"
    DENSE = "dense"
    QUANTISED = "quantised"
    TABULAR = "tabular"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class UnmeasuredChoice:
    """Why an engine is taken although nobody measured it for this model and target."""

    #: A key of ENGINES.
    engine: str
    #: The row of the table that said so.
    kind: ModelKind
    #: What it rests on, for the report.
    evidence: str

    def to_json(self) -> dict[str, Any]:
        return {"engine": self.engine, "kind": self.kind.value, "evidence": self.evidence, "measured": False}


_X86, _ARM = "x86_64", "aarch64"
_NO_TIMES = "nothing was timed on ARM"
_TABLE: Mapping[ModelKind, Mapping[str, tuple[str, str]]] = {
    ModelKind.CONVOLUTIONAL: {
        _X86: ("tvm", "tvm was 1.26 to 2.5 times as fast in ten networks on one core with AVX-512"),
        _ARM: ("tvm", f"{_NO_TIMES}; on x86-64 tvm was 1.26 to 2.5 times as fast, by the same schedules"),
    },
    ModelKind.TRANSFORMER: {
        _X86: ("tvm", "tvm was 1.19 to 1.38 times as fast in three networks on one core with AVX-512"),
        _ARM: (
            "onnxruntime",
            f"{_NO_TIMES}; products of weights are nearly all of it, where tvm's lead on x86-64 was least",
        ),
    },
    ModelKind.RECURRENT: {
        _X86: ("tvm", "tvm was 1.0 to 2.3 times as fast in LSTM, GRU and RNN cells on one core with AVX-512"),
        _ARM: ("tvm", f"{_NO_TIMES}; on x86-64 tvm was 1.0 to 2.3 times as fast, by the same loops"),
    },
    ModelKind.DENSE: {
        _X86: ("tvm", "tvm was twice as fast in a small network of dense layers on one core with AVX-512"),
        _ARM: (
            "onnxruntime",
            f"{_NO_TIMES}; products of weights are nearly all of it, where tvm's lead on x86-64 was least",
        ),
    },
    ModelKind.QUANTISED: {"": ("onnxruntime", "it has kernels for whole numbers; the other was not compared")},
    ModelKind.TABULAR: {"": ("onnxruntime", "trees and tables run on it in either engine")},
    ModelKind.OTHER: {"": ("onnxruntime", "no model of this kind was measured")},
}

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_PRODUCTS = ("MatMul", "Gemm", "Einsum")
_ATTENTION = ("Attention", "MultiHeadAttention")
_CELLS = ("LSTM", "GRU", "RNN")
_WHOLE_NUMBERS = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "QuantizeLinear", "DequantizeLinear")


def choose_unmeasured(kind: ModelKind, target: Target) -> UnmeasuredChoice:
    by_architecture = _TABLE[kind]
    engine, evidence = by_architecture.get(target.cpu.arch) or by_architecture.get("") or _TABLE[ModelKind.OTHER][""]
    return UnmeasuredChoice(engine, kind, evidence)


def kind_of(operators: Mapping[str, int]) -> ModelKind:
    """operators: how often each stands in the graph, those of ai.onnx.ml as "ai.onnx.ml.<name>"."""

    def count(names: tuple[str, ...]) -> int:
        return sum(operators.get(name, 0) for name in names)

    convolutions, products, cells = count(_CONVOLUTIONS), count(_PRODUCTS), count(_CELLS)
    if any(name.startswith("ai.onnx.ml.") for name in operators) and not (convolutions or cells):
        return ModelKind.TABULAR
    if count(_WHOLE_NUMBERS):
        return ModelKind.QUANTISED
    # a convolution or two read the input of a transformer, or write it as patches
    if (count(_ATTENTION) or operators.get("Softmax", 0) > 1) and products > convolutions:
        return ModelKind.TRANSFORMER
    if cells >= convolutions and cells:
        return ModelKind.RECURRENT
    if convolutions:
        return ModelKind.CONVOLUTIONAL
    return ModelKind.DENSE if products else ModelKind.OTHER


def find_kind(model: Path, scratch: Path) -> ModelKind:
    """Of an ONNX file, which is read in a confined process. scratch: an empty folder.

    Raises EngineError, ResourceLimitExceeded, DiskFull.
    """
    (scratch / REQUEST_FILE).write_bytes(dump_object({"model": str(model.resolve())}))
    work = Work("neo.compiler.choice:answer", f"counting the operators of {model.name}", EngineError)
    counts = as_object(isolated(work, scratch).get("operators"), "answer.operators")
    return kind_of({name: get_size(counts, name, "answer.operators") for name in counts})


def answer(scratch: Path) -> dict[str, Any]:
    """In the confined process."""
    from neo.onnx_tools.files import load
    from neo.onnx_tools.walk import nodes

    obj = parse_object((scratch / REQUEST_FILE).read_bytes(), what="choice request")
    counts: dict[str, int] = {}
    for node in nodes(load(Path(obj["model"]), weights=False).graph.node):
        name = f"{node.domain}.{node.op_type}" if node.domain == "ai.onnx.ml" else node.op_type
        counts[name] = counts.get(name, 0) + 1
    return {"operators": counts}
