"""Text in: a string becomes the pieces of a vocabulary inside the compiled model, on the device too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from falcon import testing
from onnx import TensorProto, helper, numpy_helper

from edge_agent.serve.http import make_app
from edge_agent.serve.infer import Inference
from edge_agent.worker.client import Worker, WorkerLimits
from edge_agent.worker.models import Model, Serving, Slot
from neo.compiler.pipeline import run
from neo.compiler.request import CompileRequest
from neo.compiler.result import CompiledBundle
from neo.contract.device import Capabilities, mismatches
from neo.contract.manifest import REPORT_PATH
from neo.contract.messages import Assignment
from neo.contract.tensors import TensorSpec
from neo.errors import EngineError, InputSpecError, MissingDependency, NeoError, UsageError
from neo.processing.documents import read_processing
from neo.processing.text import TextPreprocess
from neo.processing.tokenizers.wordpiece import WordPieces
from neo.runtime import extensions, load
from neo.runtime.engine_folder import EngineFolder
from neo.runtime.profiling.onnxruntime import WatchedOnnxRuntime
from neo.store import Store
from neo.store.bundles import unpack_bundle
from tests.models import IR_VERSION, OPSET
from tests.processing.text_models import BLOB, DOCUMENT, LENGTH, VOCABULARY, compiled, expected, network, write_document

TEXTS = {
    "Hello, worlds!": ("hello", ",", "world", "##s", "!"),
    "": (),
    "  UNABLE\t\u2603 ox\n": ("un", "##able", "[UNK]", "o", "##x"),
    "Café don't": ("caf", "##e", "don", "'", "t"),
    "good day good day good day": ("good", "day", "good", "day", "good", "day"),
    "hello world hello world hello world unably": ("hello", "world", "hello", "world", "hello", "world"),
    "中good": ("中", "good"),
}


ODD_TEXTS = ("hello\uff01world", "e\u0301at\u00a0ü", "h\u200bello", "a" * 101, "x" * 100, "(un)eat...", "ẞß", "3.14")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[CompiledBundle, Path]:
    pytest.importorskip("onnxruntime_extensions")
    folder = tmp_path_factory.mktemp("text")
    write_document(folder)
    return compiled(folder, "onnxruntime")


def test_a_string_becomes_numbers_padded_or_cut(bundle: tuple[CompiledBundle, Path]) -> None:
    predictor = load(bundle[1], 1)
    assert [str(spec) for spec in predictor.inputs] == ["text=string[1]"]
    for text, pieces in TEXTS.items():
        assert predictor.predict({"text": np.array([text])})["seen"].tolist() == expected(*pieces), text
    predictor.close()


def test_a_device_without_the_library_refuses_the_bundle_beforehand(bundle: tuple[CompiledBundle, Path]) -> None:
    manifest = bundle[0].bundle.manifest
    requires = manifest.requires
    engines = {"onnxruntime": "1.32.0"}
    device = Capabilities("d", "1", requires.arch, requires.os, "9.9", requires.features, 1, 1, 1, engines)
    reasons = mismatches(requires, manifest.engine, manifest.engine_version, device)
    assert len(reasons) == 1
    assert "no onnxruntime-extensions" in reasons[0]
    able = replace(device, engines={**engines, "onnxruntime-extensions": "99.0"})
    assert mismatches(requires, manifest.engine, manifest.engine_version, able) == ()


def test_a_bundle_opened_without_the_library_says_what_to_install(
    bundle: tuple[CompiledBundle, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extensions, "extensions_library", lambda: None)
    with pytest.raises(EngineError, match="onnxruntime-extensions, which is not installed") as raised:
        load(bundle[1], 1)
    assert "neo-edge[text]" in raised.value.hint


def test_the_report_tells_of_the_vocabulary_without_repeating_it(bundle: tuple[CompiledBundle, Path]) -> None:
    report = json.loads((bundle[1] / REPORT_PATH).read_bytes())
    assert report["processing"]["preprocess"]["text"]["vocabulary"] == f"{len(VOCABULARY)} lines"


@pytest.fixture
def client(bundle: tuple[CompiledBundle, Path]) -> Iterator[testing.TestClient]:
    manifest = bundle[0].bundle.manifest
    serving = Serving()
    assignment = Assignment("a", manifest.reference, BLOB, BLOB, "s", 1.0)
    worker = Worker(bundle[1], 1, WorkerLimits(), lambda _: None)
    serving.replace(Model(Slot(bundle[1], BLOB.digest, assignment, manifest), worker))
    yield testing.TestClient(make_app(Inference(serving)))
    serving.replace(None)


def test_a_device_takes_a_string_and_answers_with_the_models_outputs(client: testing.TestClient) -> None:
    entry = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["Hello, worlds!"]}
    reply = client.simulate_post("/v2/models/net/infer", json={"inputs": [entry]})
    assert reply.status_code == 200, reply.text
    outputs = {output["name"]: output["data"] for output in reply.json["outputs"]}
    assert [outputs["seen"]] == expected(*TEXTS["Hello, worlds!"])
    assert len(outputs["y"]) == 4


@pytest.mark.slow
def test_tvm_compiles_what_follows_the_text(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime_extensions")
    write_document(tmp_path)
    made, folder = compiled(tmp_path, "tvm", dtype=TensorProto.INT32, width=256)
    description = EngineFolder.read(folder / "engine")
    parts = [EngineFolder.read(folder / "engine" / name) for name in description.segments]
    assert {part.engine for part in parts} == {"onnxruntime", "tvm"}
    assert made.bundle.manifest.requires.engines.keys() == {"onnxruntime", "onnxruntime-extensions"}
    predictor = load(folder, 1)
    for text, pieces in TEXTS.items():
        assert predictor.predict({"text": np.array([text])})["seen"].tolist() == expected(*pieces), text
    predictor.close()


@pytest.mark.parametrize("lower_case", [True, False])
def test_the_reference_splits_as_transformers_does(tmp_path: Path, lower_case: bool) -> None:
    transformers = pytest.importorskip("transformers")
    write_document(tmp_path)
    theirs = transformers.BertTokenizer(str(tmp_path / "vocab.txt"), do_lower_case=lower_case)
    ours = WordPieces(VOCABULARY, lower_case, strip_accents=lower_case)
    for text in (*TEXTS, *ODD_TEXTS):
        assert ours.numbers(text, 32) == theirs(text, max_length=32, truncation=True)["input_ids"], text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (DOCUMENT + "lower = true\n", "lower_case"),
        (DOCUMENT + "lower_case = 1\n", "true or false"),
        (DOCUMENT.replace("bert", "words"), "'bert'"),
        (DOCUMENT.replace("bert", "gpt2"), "merges should be"),
        (DOCUMENT.replace("vocab.txt", "gone.txt"), "cannot read the vocabulary"),
        ('[text]\ntokenizer = "bert"\n', "vocabulary should be"),
        (DOCUMENT + '[[step]]\ndo = "resize"\n', "step"),
    ],
)
def test_a_document_that_cannot_be_used_says_why(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_processing(write_document(tmp_path, text), None)
    assert says in raised.value.message + raised.value.hint


def test_a_vocabulary_of_another_kind_or_without_some_letters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lacks \[CLS\], \[SEP\]"):
        read_processing(write_document(tmp_path, vocabulary=("[PAD]", "[UNK]", "a")), None)
    without_q = tuple(piece for piece in VOCABULARY if piece != "##q")
    with pytest.raises(UsageError, match="lacks ##q: unknown words"):
        read_processing(write_document(tmp_path, vocabulary=without_q), None)
    without_capital = tuple(piece for piece in VOCABULARY if piece != "Q")
    assert read_processing(write_document(tmp_path, vocabulary=without_capital), None)
    with pytest.raises(UsageError, match="lacks Q:"):
        read_processing(write_document(tmp_path, DOCUMENT + "lower_case = false\n", without_capital), None)


@pytest.mark.parametrize(
    ("more", "inputs", "says"),
    [
        ("", ("x=int64[1,8]",), "no input 'input_ids'"),
        ('types = "kinds"\n', ("input_ids=int64[1,8]",), "no input 'kinds'"),
        ("", ("input_ids=int64[1,L]",), "input_ids=int64[1,L]"),
        ("", ("input_ids=int64[2,8]",), "input_ids=int64[2,8]"),
        ("", ("input_ids=float32[1,8]",), "input_ids=float32[1,8]"),
        ("", ("input_ids=int64[1,8]", "attention_mask=int64[1,9]"), "attention_mask=int64[1,9]"),
        ("", ("input_ids=int64[]",), "input_ids=int64[]"),
    ],
)
def test_a_model_that_takes_no_pieces_is_refused(tmp_path: Path, more: str, inputs: tuple[str, ...], says: str) -> None:
    processing = read_processing(write_document(tmp_path, DOCUMENT + more), None)
    assert processing is not None
    assert isinstance(processing.preprocess, TextPreprocess)
    with pytest.raises(InputSpecError) as raised:
        processing.preprocess.fed(tuple(map(TensorSpec.parse, inputs)))
    assert says in raised.value.message


def test_without_the_library_nothing_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from neo.frontends import processed
    from neo.frontends.base import ConversionRequest
    from neo.frontends.conversion import convert

    monkeypatch.setattr(processed, "extensions_library", lambda: None)
    processing = read_processing(write_document(tmp_path), None)
    (tmp_path / "scratch").mkdir()
    request = ConversionRequest(
        network(tmp_path / "net.onnx"), "onnx", tmp_path / "scratch", dims={"L": LENGTH}, processing=processing
    )
    with pytest.raises(NeoError) as raised:
        convert(request)
    assert isinstance(raised.value, MissingDependency)
    assert "neo-edge[text]" in raised.value.hint


def test_an_onnx_file_with_a_tokenizer_of_its_own_is_taken_as_it_is(tmp_path: Path) -> None:
    """GPT-2's, as others put it in front of a model; it is inside a branch, where it is found too."""
    pytest.importorskip("onnxruntime_extensions")
    vocab = {"h": 0, "e": 1, "l": 2, "o": 3, "he": 4, "llo": 5, "ll": 6, "hello": 7, "<|endoftext|>": 8}
    split = helper.make_node(
        "GPT2Tokenizer",
        ["text"],
        ["ids", "mask"],
        domain="ai.onnx.contrib",
        vocab=json.dumps(vocab),
        merges="#version: 0.2\nh e\nl l\nll o\nhe llo\n",
        padding_length=-1,
    )
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "L"])
    branch = helper.make_graph([split], "branch", [], [ids])
    graph = helper.make_graph(
        [helper.make_node("If", ["always"], ["pieces"], then_branch=branch, else_branch=branch)],
        "g",
        [helper.make_tensor_value_info("text", TensorProto.STRING, [1])],
        [helper.make_tensor_value_info("pieces", TensorProto.INT64, [1, "L"])],
        [numpy_helper.from_array(np.array(True), "always")],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.contrib", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), tmp_path / "gpt2.onnx")
    np.savez(tmp_path / "golden.npz", text=np.array(["hello"]), pieces=np.array([[7]]))
    store = Store(tmp_path / "store")
    (made,) = run(CompileRequest(tmp_path / "gpt2.onnx", store, None, golden=tmp_path / "golden.npz"))
    assert made.bundle.manifest.requires.engines.keys() == {"onnxruntime-extensions"}
    unpack_bundle(store, made.bundle, tmp_path / "bundle")
    predictor = load(tmp_path / "bundle", 1)
    assert predictor.predict({"text": np.array(["hell"])})["pieces"].tolist() == [[4, 6]]
    predictor.close()


def test_an_onnx_file_with_a_tokenizer_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from neo.frontends import onnx_names

    node = helper.make_node("StringLength", ["text"], ["y"], domain="ai.onnx.contrib")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("text", TensorProto.STRING, [1])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.contrib", 1)]), tmp_path / "m.onnx")
    monkeypatch.setattr(onnx_names, "extensions_library", lambda: None)
    with pytest.raises(MissingDependency, match="StringLength is of onnxruntime-extensions"):
        onnx_names.refuse_unknown_operators(tmp_path / "m.onnx", hint="")


def test_a_profile_shows_what_splitting_costs(bundle: tuple[CompiledBundle, Path]) -> None:
    engine = bundle[1] / "engine"
    watched = WatchedOnnxRuntime(engine, EngineFolder.read(engine), 1)
    for _ in range(3):
        watched.run([np.array(["good day"], object)])
    assert "BertTokenizer" in {kernel.operator for kernel in watched.kernels()}
