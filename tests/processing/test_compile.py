"""From a model and two documents to a bundle that takes a picture and answers with labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from neo.compiler.pipeline import run
from neo.compiler.request import CompileRequest
from neo.contract.labels import OutputLabels
from neo.errors import NeoError
from neo.frontends.base import ConversionRequest
from neo.frontends.sandbox import convert
from neo.processing.documents import read_processing
from neo.runtime import load
from neo.runtime.golden import self_test
from neo.store import Store
from neo.store.bundles import bundle_entries, unpack_bundle
from tests.engines.reference import reference_outputs
from tests.models import build, classifier

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
PRE = """
[image]
size = [20, 24]

[[step]]
do = "resize"
shortest = 10

[[step]]
do = "crop"
size = 8

[[step]]
do = "channels"
to = "GRAY"

[[step]]
do = "scale"
divide_by = 255

[[step]]
do = "layout"
to = "NCHW"
"""
POST = f"labels = {json.dumps(WORDS)}\n[[step]]\ndo = 'topk'\nk = 3\n"


@pytest.fixture
def documents(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "pre.toml").write_text(PRE)
    (tmp_path / "post.toml").write_text(POST)
    return tmp_path / "pre.toml", tmp_path / "post.toml"


def by_hand(model: Path, image: np.ndarray) -> np.ndarray:
    """Pillow and the model as it came; -> scores (10,)."""
    from PIL import Image

    grey = np.asarray(Image.fromarray(image[0]).convert("F").resize((12, 10), Image.Resampling.BILINEAR))
    x = (grey[1:9, 2:10] / 255).astype(np.float32)[np.newaxis, np.newaxis]
    return reference_outputs(onnx.load(model), [x])[0][0]


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("auto", marks=pytest.mark.slow)])
def test_a_picture_goes_in_and_labels_come_out(tmp_path: Path, documents: tuple[Path, Path], engine: str) -> None:
    pytest.importorskip("PIL")
    model, store = classifier(tmp_path / "net.onnx"), Store(tmp_path / "store")
    pre, post = documents
    (compiled,) = run(CompileRequest(model, store, None, engine=engine, preprocess=pre, postprocess=post))
    manifest = compiled.bundle.manifest
    assert list(map(str, manifest.inputs)) == ["image=uint8[1,20,24,3]"]
    assert manifest.labels == (OutputLabels("index", "value", tuple(WORDS)),)
    assert compiled.parity is not None
    assert compiled.parity.max_rel < 1e-3
    if engine == "auto":
        tvm = next(candidate for candidate in compiled.candidates if candidate.engine == "tvm")
        assert tvm.measurement is not None or any("tvm is out" in note for note in compiled.notes)
    unpack_bundle(store, compiled.bundle, tmp_path / "bundle")
    predictor = load(tmp_path / "bundle", 1)
    assert self_test(predictor, tmp_path / "bundle").max_rel < 1e-3
    image = np.random.default_rng(1).integers(0, 256, (1, 20, 24, 3)).astype(np.uint8)
    answer = predictor.predict({"image": image})
    scores = by_hand(model, image)
    assert answer["index"][0].tolist() == np.argsort(-scores)[:3].tolist()
    assert np.allclose(answer["score"][0], np.sort(scores)[::-1][:3], atol=1e-3)
    assert manifest.labels[0].of(answer["index"]) == [WORDS[i] for i in answer["index"][0]]
    report = json.loads((tmp_path / "bundle" / "report.json").read_bytes())
    assert report["processing"]["preprocess"]["image"]["size"] == [20, 24]
    assert "numpy" in report["golden_outputs_from"]


@pytest.mark.slow
def test_the_tvm_engine_runs_the_pictures_arithmetic(tmp_path: Path, documents: tuple[Path, Path]) -> None:
    model, store = classifier(tmp_path / "net.onnx"), Store(tmp_path / "store")
    (tmp_path / "post.toml").write_text("[[step]]\ndo = 'argmax'\n")
    (compiled,) = run(
        CompileRequest(model, store, None, engine="tvm", preprocess=documents[0], postprocess=documents[1])
    )
    assert compiled.parity is not None
    assert compiled.parity.max_rel < 1e-3
    assert str(compiled.bundle.manifest.outputs[0]) == "index=int64[1]"


@pytest.mark.slow
def test_the_golden_file_is_about_the_whole(tmp_path: Path, documents: tuple[Path, Path]) -> None:
    pytest.importorskip("PIL")
    model, store = classifier(tmp_path / "net.onnx"), Store(tmp_path / "store")
    image = np.random.default_rng(2).integers(0, 256, (1, 20, 24, 3)).astype(np.uint8)
    scores = by_hand(model, image)
    index, score = np.argsort(-scores)[np.newaxis, :3], np.sort(scores)[np.newaxis, ::-1][:, :3]
    pre, post = documents
    request = CompileRequest(model, store, None, engine="onnxruntime", preprocess=pre, postprocess=post)
    np.savez(tmp_path / "right.npz", image=image, index=index, score=score)
    (compiled,) = run(
        CompileRequest(**{f: getattr(request, f) for f in request.__slots__} | {"golden": tmp_path / "right.npz"})
    )
    assert compiled.parity is not None
    np.savez(tmp_path / "wrong.npz", image=image, index=index[:, ::-1], score=score)
    with pytest.raises(NeoError, match="index"):
        run(CompileRequest(**{f: getattr(request, f) for f in request.__slots__} | {"golden": tmp_path / "wrong.npz"}))


def test_names_that_the_model_uses_inside_make_way(tmp_path: Path) -> None:
    """A value called like the new image or answer, also one that a branch reads from outside."""
    constant = helper.make_tensor("zero", onnx.TensorProto.FLOAT, [1], [0.0])
    branches = []
    for name, operator in (("then", "Relu"), ("else", "Neg")):
        nodes = [helper.make_node(operator, ["index"], [f"{name}-out"])]
        outputs = [helper.make_tensor_value_info(f"{name}-out", onnx.TensorProto.FLOAT, [1, 4])]
        branches.append(helper.make_graph(nodes, name, [], outputs))
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["image"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["image", "w"], ["index"]),
        helper.make_node("Constant", [], ["z"], value=constant),
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "z"], ["condition"]),
        helper.make_node("Squeeze", ["condition"], ["flag"]),
        helper.make_node("If", ["flag"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    weights = {"w": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)}
    onnx.save(build(nodes, {"x": (1, 6, 6, 3)}, {"y": (1, 4)}, weights), tmp_path / "net.onnx")
    (tmp_path / "pre.toml").write_text("[image]\nsize = 9\n[[step]]\ndo = 'resize'\nsize = 6\n")
    (tmp_path / "post.toml").write_text("[[step]]\ndo = 'softmax'\n[[step]]\ndo = 'argmax'\n")
    processing = read_processing(tmp_path / "pre.toml", tmp_path / "post.toml")
    request = ConversionRequest(tmp_path / "net.onnx", "onnx", tmp_path / "scratch", processing=processing)
    conversion = convert(request)
    assert [spec.name for spec in (*conversion.inputs, *conversion.outputs)] == ["image", "index"]
    assert len({int(sample.outputs["index"][0]) for sample in conversion.samples}) >= 1


def test_a_model_of_an_old_opset_is_upgraded(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gemm", ["f", "w", "b"], ["g"]), helper.make_node("Softmax", ["g"], ["y"], axis=1)]
    nodes.insert(0, helper.make_node("Flatten", ["x"], ["f"]))
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(192, 5)).astype(np.float32), "b": np.zeros(5, np.float32)}
    model = build(nodes, {"x": (1, 3, 8, 8)}, {"y": (1, 5)}, weights)
    model.opset_import[0].version = 9
    model.ir_version = 4
    model.graph.input.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, array.shape) for name, array in weights.items()
    )
    onnx.save(model, tmp_path / "old.onnx")
    steps = "[[step]]\ndo = 'normalise'\nmean = 127.5\nstd = 127.5\n[[step]]\ndo = 'layout'\nto = 'NCHW'\n"
    (tmp_path / "pre.toml").write_text(f"[image]\nsize = 8\n{steps}")
    (tmp_path / "post.toml").write_text("[[step]]\ndo = 'topk'\nk = 2\n")
    processing = read_processing(tmp_path / "pre.toml", tmp_path / "post.toml")
    request = ConversionRequest(tmp_path / "old.onnx", "onnx", tmp_path / "scratch", processing=processing)
    assert convert(request).parity is not None


def test_a_document_that_does_not_fit_leaves_no_bundle(tmp_path: Path, documents: tuple[Path, Path]) -> None:
    model, store = classifier(tmp_path / "net.onnx"), Store(tmp_path / "store")
    documents[0].write_text(PRE.replace("NCHW", "NHWC"))
    with pytest.raises(NeoError, match="step 5: layout: the image is NHWC"):
        run(CompileRequest(model, store, None, preprocess=documents[0], postprocess=documents[1]))
    assert bundle_entries(store) == ()
