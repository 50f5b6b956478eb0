"""Which engine is taken where nothing can be measured, and that it is said."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import helper

from neo.compiler.candidates import Candidate, choose
from neo.compiler.choice import ModelKind, UnmeasuredChoice, choose_unmeasured, find_kind, kind_of
from neo.compiler.pipeline import run
from neo.compiler.request import CompileRequest
from neo.contract.precision import PRECISIONS
from neo.engines import ENGINES
from neo.errors import EngineError
from neo.store import Store
from neo.targets import list_targets, load_target
from tests.models import classifier

OPERATORS = {
    "resnet": ({"Conv": 53, "Relu": 49, "Gemm": 1}, ModelKind.CONVOLUTIONAL),
    "vit": ({"Conv": 1, "MatMul": 48, "Gemm": 1, "Softmax": 12}, ModelKind.TRANSFORMER),
    "bert": ({"MatMul": 96, "Softmax": 12, "Gather": 3}, ModelKind.TRANSFORMER),
    "attention": ({"Attention": 2, "MatMul": 8}, ModelKind.TRANSFORMER),
    "classifier with one softmax": ({"Conv": 1, "Gemm": 2, "Softmax": 1}, ModelKind.CONVOLUTIONAL),
    "lstm": ({"LSTM": 2, "Gemm": 1}, ModelKind.RECURRENT),
    "crnn": ({"Conv": 7, "LSTM": 2}, ModelKind.CONVOLUTIONAL),
    "mlp": ({"Gemm": 3, "Relu": 2, "Softmax": 1}, ModelKind.DENSE),
    "int8": ({"Conv": 53, "DequantizeLinear": 106, "QuantizeLinear": 53}, ModelKind.QUANTISED),
    "forest": ({"ai.onnx.ml.TreeEnsembleClassifier": 1, "Cast": 1}, ModelKind.TABULAR),
    "filter": ({"Add": 1, "Sort": 1}, ModelKind.OTHER),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_a_model_is_of_the_kind_that_most_of_its_time_goes_to(name: str) -> None:
    operators, kind = OPERATORS[name]
    assert kind_of(operators) is kind


@pytest.mark.parametrize("kind", ModelKind)
def test_every_target_has_an_engine_for_every_kind(kind: ModelKind) -> None:
    for target in list_targets():
        chosen = choose_unmeasured(kind, target)
        assert chosen.engine in ENGINES
        assert chosen.evidence
        if target.cpu.arch == "aarch64" and chosen.engine == "tvm":
            assert "nothing was timed on ARM" in chosen.evidence


def test_operators_are_counted_in_subgraphs_too(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"])],
        "body",
        [],
        [helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, None)],
    )
    nodes = [helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner)]
    graph = helper.make_graph(nodes, "g", [], [])
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    (tmp_path / "scratch").mkdir()
    assert find_kind(tmp_path / "model.onnx", tmp_path / "scratch") is ModelKind.CONVOLUTIONAL


def _candidates(**errors: EngineError | None) -> list[Candidate]:
    labels = [(label.split("_"), error) for label, error in errors.items()]
    return [Candidate(engine, PRECISIONS[precision], error=error) for (engine, precision), error in labels]


def test_the_engine_of_the_table_is_taken_unless_it_is_out() -> None:
    by_table = UnmeasuredChoice("tvm", ModelKind.CONVOLUTIONAL, "measured elsewhere")
    right = _candidates(onnxruntime_fp32=None, tvm_fp32=None, tvm_bf16=None)
    assert choose(right, by_table).label == "tvm"
    out = _candidates(onnxruntime_fp32=None, tvm_fp32=EngineError("no"), tvm_bf16=None)
    assert choose(out, by_table).label == "onnxruntime"
    only_half = _candidates(tvm_bf16=None)
    assert choose(only_half, by_table).label == "tvm-bf16"


def test_a_device_that_is_not_here_gets_the_engine_of_the_table_and_the_reason(tmp_path: Path) -> None:
    """The README's first compile."""
    store = Store(tmp_path / "store")
    (compiled,) = run(CompileRequest(classifier(tmp_path / "net.onnx"), store, None, targets=("raspberry-pi-4",)))
    assert compiled.bundle.manifest.engine == "tvm"
    assert any("not measured on this machine" in note for note in compiled.notes)
    assert any(
        "tvm was taken unmeasured, for a convolutional model: nothing was timed on ARM" in n for n in compiled.notes
    )
    report = next(layer for layer in compiled.bundle.image.layers if layer.title == "report.json")
    said = json.loads(store.read(report))["unmeasured_choice"]
    assert said == choose_unmeasured(ModelKind.CONVOLUTIONAL, load_target("raspberry-pi-4")).to_json()
    assert said["measured"] is False


def test_what_was_measured_needs_no_table(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    (compiled,) = run(CompileRequest(classifier(tmp_path / "net.onnx"), store, None))
    report = next(layer for layer in compiled.bundle.image.layers if layer.title == "report.json")
    assert json.loads(store.read(report))["unmeasured_choice"] is None
    # one engine is no choice either
    request = CompileRequest(tmp_path / "net.onnx", store, None, targets=("raspberry-pi-4",), engine="onnxruntime")
    (forced,) = run(request)
    assert not any("taken unmeasured" in note for note in forced.notes)
