"""The converted models against real MXNet, which runs in an interpreter of its own."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from test_mxnet_params import UNVERSIONED, V1, V2, V3, list_file, record

from neo.contract.parity import Parity, compare
from neo.contract.tensors import TensorSpec
from neo.errors import ModelError
from neo.frontends.base import Arrays, ConversionRequest, SourceModel
from neo.frontends.mxnet import convert
from neo.frontends.mxnet.operators import OPERATORS
from neo.frontends.mxnet.operators.aliases import ALIASES

SCRIPTS = Path(__file__).with_name("mxnet_oracle")
DIGITS = Path(__file__).parents[2] / "neo/demo/mxnet_digits/digits-symbol.json"
with pytest.MonkeyPatch.context() as _paths:
    _paths.syspath_prepend(SCRIPTS)
    CASES = importlib.import_module("all_cases").CASES
MAX_REL = 1e-4
# name in gluon's model zoo, the smallest image that its architecture takes
ZOO = {
    "alexnet": 96,
    "vgg11": 32,
    "vgg11_bn": 32,
    "resnet18_v1": 64,
    "resnet18_v2": 64,
    "squeezenet1_0": 224,
    "densenet121": 224,
    "mobilenet0_25": 64,
    "mobilenet_v2_0_25": 64,
    "inception_v3": 299,
}
# of export_networks.py, with the inputs that a user would give
NETWORKS = {
    "gluon lstm": ["data=float32[2,6]"],
    "gluon gru": ["data=float32[2,6]"],
    "gluon rnn": ["data=float32[2,6]"],
    "gluon cells": ["data=float32[2,6,5]"],
    "symbolic cells": ["data=float32[2,6,5]"],
    "symbolic fused": ["data=float32[2,6,5]"],
    "detector": ["data=float32[1,3,32,32]"],
    "segmenter": ["data=float32[2,3,20,24]"],
    "encoder": ["data0=float32[7,2,12]", "data1=float32[2]"],
    "numpy": ["data=float32[2,3,8,8]"],
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def mxnet_python() -> str:
    python = os.environ.get("NEO_MXNET_PYTHON")
    if not python:
        pytest.fail('no MXNet to compare with: export NEO_MXNET_PYTHON="$(scripts/mxnet-oracle)"')
    return python


def run_with_mxnet(python: str, script: str, *arguments: str, onednn: bool = False) -> None:
    # MXNet's own kernels, not oneDNN's: the latter refuse some of the cases, and what both do is the same
    environment = {
        **os.environ,
        "MXNET_MKLDNN_ENABLED": str(int(onednn)),
        "MXNET_STORAGE_FALLBACK_LOG_VERBOSE": "0",
    }
    done = subprocess.run(
        [python, str(SCRIPTS / script), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="session")
def answers(mxnet_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("operators")
    run_with_mxnet(mxnet_python, "answer_operators.py", str(folder))
    run_with_mxnet(mxnet_python, "answer_operators.py", str(folder), onednn=True)
    return folder


def run_converted(model: SourceModel, inputs: Arrays) -> Arrays:
    session = onnxruntime.InferenceSession(model.onnx, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in model.outputs]
    assert [output.name for output in session.get_outputs()] == names
    assert [item.name for item in session.get_inputs()] == [spec.name for spec in model.inputs]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_operator_answers_like_mxnet(name: str, answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEO_MXNET_PYTHON")  # MXNet has answered already
    prefix = answers / str(list(CASES).index(name))
    with np.load(f"{prefix}.npz") as arrays:
        asked = {name: arrays[name] for name in arrays if not name.startswith("output")}
        answered = [arrays[f"output{number}"] for number in range(len(arrays) - len(asked))]
    specs = tuple(TensorSpec(name, array.dtype.name, array.shape) for name, array in asked.items())
    model = convert(ConversionRequest(prefix, "mxnet", tmp_path, specs))
    outputs = run_converted(model, {spec.name: asked[spec.name] for spec in model.inputs})
    expected = {spec.name: array for spec, array in zip(model.outputs, answered, strict=True)}
    assert {spec.name: (spec.dtype, spec.shape) for spec in model.outputs} == {
        name: (x.dtype.name, x.shape) for name, x in expected.items()
    }
    assert compare(expected, outputs).max_rel <= MAX_REL


# how oneDNN, CUDA or older versions called what is tested under another name; and one whose size only data tell
NOT_IN_ANY_CASE = {"CuDNNBatchNorm", "Softmax", "_contrib_boolean_mask"}


def test_every_operator_is_compared_with_mxnet(answers: Path) -> None:
    stored = [json.loads(path.read_text())["nodes"] for path in answers.glob("*-symbol.json")]
    used = {node["op"] for nodes in stored for node in nodes}
    compared = used | {ALIASES.get(name, name) for name in used}
    assert OPERATORS.keys() - ALIASES.keys() - compared == NOT_IN_ANY_CASE


def parity_on_random_images(model: SourceModel) -> Parity:
    assert model.run is not None
    random = np.random.default_rng(1)
    inputs = {spec.name: random.random(spec.shape, np.float32) for spec in model.inputs}
    expected = model.run(inputs)
    for array in expected.values():
        # numbers that say nothing would agree with anything
        assert np.isfinite(array).all()
        assert array.std() > 0
    return compare(expected, run_converted(model, inputs))


@pytest.mark.parametrize("name", ZOO)
def test_model_zoo_network_answers_like_mxnet(name: str, mxnet_python: str, tmp_path: Path) -> None:
    run_with_mxnet(mxnet_python, "export_zoo.py", name, str(ZOO[name]), str(tmp_path / name))
    inputs = (TensorSpec("data", "float32", (1, 3, ZOO[name], ZOO[name])),)
    model = convert(ConversionRequest(tmp_path / f"{name}-symbol.json", "mxnet", tmp_path, inputs))
    assert model.framework == "mxnet 1.9.1"
    assert parity_on_random_images(model).max_rel <= MAX_REL


@pytest.mark.parametrize("name", NETWORKS)
def test_network_answers_like_mxnet(name: str, mxnet_python: str, tmp_path: Path) -> None:
    run_with_mxnet(mxnet_python, "export_networks.py", name, str(tmp_path / "net"), onednn=True)
    inputs = tuple(TensorSpec.parse(text) for text in NETWORKS[name])
    model = convert(ConversionRequest(tmp_path / "net", "mxnet", tmp_path, inputs))
    assert parity_on_random_images(model).max_rel <= MAX_REL


@pytest.mark.usefixtures("mxnet_python")
def test_digits_network_answers_like_mxnet(tmp_path: Path) -> None:
    inputs = (TensorSpec("data", "float32", (5, 1, 8, 8)),)
    model = convert(ConversionRequest(DIGITS, "mxnet", tmp_path, inputs))
    assert parity_on_random_images(model).max_rel <= MAX_REL


@pytest.mark.usefixtures("mxnet_python")
def test_symbol_from_before_mxnet_0_9_answers_like_mxnet(tmp_path: Path) -> None:
    """Then, running statistics were no nodes, and an operator's attributes were under "param"."""
    modern = json.loads(DIGITS.read_text())
    kept = [node for node in modern["nodes"] if "_moving_" not in node["name"]]
    number = {node["name"]: new for new, node in enumerate(kept)}
    for node in kept:
        names = [modern["nodes"][entry[0]]["name"] for entry in node["inputs"]]
        node["inputs"] = [[number[name], 0] for name in names if name in number]
        node["param" if node["op"] != "null" else "attr"] = node.pop("attrs", {})
        if node["op"] == "null":
            node["attr"] = {}
        node["backward_source_id"] = -1
    legacy = {"nodes": kept, "arg_nodes": [], "heads": [[len(kept) - 1, 0]]}
    (tmp_path / "old-symbol.json").write_text(json.dumps(legacy))
    (tmp_path / "old-0000.params").write_bytes(DIGITS.with_name("digits-0000.params").read_bytes())
    inputs = (TensorSpec("data", "float32", (2, 1, 8, 8)),)
    model = convert(ConversionRequest(tmp_path / "old", "mxnet", tmp_path, inputs))
    assert parity_on_random_images(model).max_rel <= MAX_REL


@pytest.mark.usefixtures("mxnet_python")
def test_what_mxnet_itself_refuses_is_told_without_a_stack_trace(tmp_path: Path) -> None:
    inputs = (TensorSpec("data", "float32", ("N", 1, 8, 8)),)
    model = convert(ConversionRequest(DIGITS, "mxnet", tmp_path, inputs))
    assert model.run is not None
    with pytest.raises(ModelError, match="MXNet itself cannot run the model") as caught:
        model.run({"data": np.zeros((1, 2, 8, 8), np.float32)})
    assert len(caught.value.message.splitlines()) == 1


@pytest.mark.parametrize("version", [UNVERSIONED, V1, V2, V3])
def test_mxnet_itself_reads_every_layout_that_our_tests_write(version: int, mxnet_python: str, tmp_path: Path) -> None:
    """What ``test_mxnet_params`` writes is the format: MXNet answers with what was written."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    (tmp_path / "x-0000.params").write_bytes(list_file([record(array, version)], ["arg:w"]))
    scope = f"mx.util.np_shape({version == V3})"
    program = f"import sys, mxnet as mx\nwith {scope}: print(mx.nd.load(sys.argv[1])['arg:w'].asnumpy().tolist())"
    done = subprocess.run(
        [mxnet_python, "-W", "ignore", "-c", program, str(tmp_path / "x-0000.params")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout) == array.tolist(), done.stderr[-2000:]
