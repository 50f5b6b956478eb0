"""neo.compile and neo.runtime.load as a person at a prompt meets them."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import neo
from neo.cli.__main__ import main
from neo.cli.compile import compile_command
from neo.compiler.arguments import read_fields
from neo.compiler.request import CompileRequest
from neo.compiler.result import CompiledBundles
from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError, ModelError, NeoError, TargetError, TrustError, UsageError
from neo.store import Store
from neo.store.bundles import find_bundle, unpack_bundle
from tests.models import classifier, two_inputs

# what is called otherwise than the field, and why
IN_PYTHON = {"targets": "target", "signer": "key"}
ON_THE_COMMAND_LINE = {"signer": "key"}


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("NEO_KEY", str(tmp_path / "operator.key"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    classifier(tmp_path / "net.onnx")


def test_each_field_of_the_request_is_an_argument_and_an_option() -> None:
    parameters = inspect.signature(neo.compile).parameters
    options = {parameter.name for parameter in compile_command.params}
    names = [field.name for field in fields(CompileRequest)]
    assert [name for name in names if IN_PYTHON.get(name, name) not in parameters] == []
    assert [name for name in names if ON_THE_COMMAND_LINE.get(name, name) not in options] == []
    # and nothing is offered that goes nowhere
    also = {"example_inputs", "sign"}
    assert set(parameters) - {IN_PYTHON.get(name, name) for name in names} == also
    assert options - {ON_THE_COMMAND_LINE.get(name, name) for name in names} == {"no_sign", "as_json"}


def test_each_field_has_one_default_everywhere() -> None:
    parameters = inspect.signature(neo.compile).parameters
    options = {parameter.name: parameter for parameter in compile_command.params}
    context = click.Context(compile_command)
    typed = {field.name for field in fields(CompileRequest)} - {"model", "store", "signer"}
    in_python = {name: parameters[IN_PYTHON.get(name, name)].default for name in typed}
    on_the_command_line = {name: options[name].get_default(context) for name in typed}
    request = CompileRequest(None, None, None)  # type: ignore[arg-type]
    expected = {name: getattr(request, name) for name in typed}
    assert read_fields(in_python, str) == expected
    for name, value in on_the_command_line.items():
        is_absent = value is None or "Sentinel" in type(value).__name__
        assert (
            read_fields({name: None if is_absent and not isinstance(expected[name], bool) else value}, str)[name]
            == expected[name]
        )


def test_help_says_all_that_is_needed() -> None:
    words = neo.compile.__doc__ or ""
    for name in inspect.signature(neo.compile).parameters:
        assert re.search(rf"^    ([a-z_]+[,:] )*{name}[,:]", words, re.MULTILINE) or f"; {name}:" in words, name
    assert {"Example", "Raises", "Default"} <= set(re.findall(r"\w+", words))
    assert all(
        parameter.kind is not parameter.VAR_KEYWORD for parameter in inspect.signature(neo.compile).parameters.values()
    )


def test_an_option_is_spelled_in_three_places() -> None:
    """tune_s stands for all: declared, offered twice, used by the engine; nothing in between repeats it."""
    root = Path(neo.__file__).parent
    spelled = {
        str(path.relative_to(root)): len(re.findall(r"(?<!\.)\btune_s\b\"?\s*[:,]", path.read_text()))
        for path in root.rglob("*.py")
    }
    declared = {name: count for name, count in spelled.items() if count and not name.startswith("engines/tvm")}
    assert set(declared) == {"engines/base.py", "cli/compile.py", "compiler/api.py"}


@pytest.mark.parametrize(
    "inputs",
    [
        "x=float32[1,1,8,8]",
        ["x=float32[1,1,8,8]"],
        TensorSpec("x", "float32", (1, 1, 8, 8)),
        (TensorSpec("x", "float32", (1, 1, 8, 8)),),
        {"x": np.zeros((1, 1, 8, 8), np.float32)},
    ],
    ids=lambda value: type(value).__name__,
)
def test_inputs_are_taken_as_a_person_writes_them(inputs: Any) -> None:
    (read,) = read_fields({"inputs": inputs}, str)["inputs"]
    assert read == TensorSpec("x", "float32", (1, 1, 8, 8))


def test_sizes_layouts_and_names_are_taken_as_a_person_writes_them() -> None:
    for dims in ("N=8", ["N=8"], {"N": 8}, {"N": np.int64(8)}, {"N": "8"}):
        assert read_fields({"dims": dims}, str) == {"dims": {"N": 8}}
    for layouts in ("NHWC", ["NHWC"], {"": "NHWC"}):
        assert read_fields({"layouts": layouts}, str) == {"layouts": {"": "NHWC"}}
    assert read_fields({"layouts": "mask=NCHW"}, str) == {"layouts": {"mask": "NCHW"}}
    for outputs in ("a,b", "a, b,", ["a", "b"], ("a", "b", "a")):
        assert read_fields({"outputs": outputs}, str) == {"outputs": ("a", "b")}
    assert read_fields({"golden": "x.npz", "weights": Path("w")}, str) == {
        "golden": Path("x.npz"),
        "weights": Path("w"),
    }


def test_a_file_is_compiled_by_its_name_with_what_a_person_types(tmp_path: Path) -> None:
    compiled = neo.compile(
        "net.onnx", {"x": np.zeros((1, 1, 8, 8), np.float32)}, engine="onnxruntime", target=["host"], store="other"
    )
    (bundle,) = compiled
    assert bundle.reference == "net:1-host"
    assert find_bundle(Store(tmp_path / "other"), "net").manifest == bundle.bundle.manifest
    assert len(list(tmp_path.glob("operator.key*"))) == 2


WRONG: list[tuple[dict[str, Any], type[NeoError], str]] = [
    ({"precison": "bf16"}, UsageError, "did you mean 'precision'"),
    ({"targets": "host"}, UsageError, "did you mean 'target'"),
    ({"nonsense": 1}, UsageError, "it takes: model"),
    ({"model": 7}, UsageError, "give the file"),
    ({"model": "missing.onnx"}, ModelError, ""),
    ({"target": "rasperry-pi-4"}, TargetError, "raspberry-pi-4"),
    ({"target": 4}, UsageError, "a name or a list of names"),
    ({"target": ""}, UsageError, "neo targets"),
    ({"target": []}, UsageError, "neo targets"),
    ({"engine": "fast"}, UsageError, "onnxruntime"),
    ({"engine": None}, UsageError, ""),
    ({"inputs": "x"}, InputSpecError, "NAME=DTYPE"),
    ({"inputs": 3}, InputSpecError, "x=float32[1,3,224,224]"),
    ({"inputs": {"x": "text"}}, InputSpecError, "numpy arrays"),
    ({"inputs": {"x": np.zeros(3, np.complex64)}}, InputSpecError, "known dtypes"),
    ({"example_inputs": np.zeros(3)}, UsageError, "inputs={'x': array}"),
    ({"dims": "N"}, InputSpecError, "NAME=SIZE"),
    ({"dims": {"N": -1}}, InputSpecError, "NAME=SIZE"),
    ({"dims": {"N": 1.5}}, InputSpecError, "NAME=SIZE"),
    ({"dims": 4}, InputSpecError, "NAME=SIZE"),
    ({"layouts": "CHWN"}, UsageError, "NCHW"),
    ({"layouts": {"x": 3}}, UsageError, "NCHW"),
    ({"golden": 3}, UsageError, "give golden a path"),
    ({"golden": ""}, UsageError, "give golden a path"),
    ({"golden": "a\0b"}, UsageError, "give golden a path"),
    ({"name": 3}, UsageError, "give name a str"),
    ({"signature": "\udcff"}, UsageError, "UTF-8"),
    ({"model": "x" * 400}, ModelError, "model file or folder"),
    ({"name": "no/slash"}, UsageError, ""),
    ({"trust_pickle": "yes"}, UsageError, "True or False"),
    ({"threads": 0}, UsageError, "from 1 on"),
    ({"threads": True}, UsageError, "from 1 on"),
    ({"tolerance": float("nan")}, UsageError, "give tolerance a number"),
    ({"tolerance": 2}, UsageError, "0.001"),
    ({"tune_s": "long"}, UsageError, "give tune_s a number"),
    ({"tune_s": -1}, UsageError, "give tune_s a number"),
    ({"store": 3}, UsageError, "give store a path"),
    ({"key": 3}, UsageError, "private key"),
    ({"key": "typo.key"}, TrustError, "neo keys generate typo.key"),
]


@pytest.mark.parametrize(("arguments", "error", "hint"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_argument_is_an_error_of_ours_with_a_way_out(
    tmp_path: Path, arguments: dict[str, Any], error: type[NeoError], hint: str
) -> None:
    with pytest.raises(error) as raised:
        neo.compile(**{"model": "net.onnx", **arguments})
    assert type(raised.value) is error
    assert hint in raised.value.hint
    assert raised.value.hint
    assert not (tmp_path / "typo.key").exists()


def test_too_many_arguments_are_told_with_the_way_to_the_help() -> None:
    with pytest.raises(UsageError, match="too many positional") as raised:
        neo.compile("net.onnx", None, "host")  # type: ignore[misc]
    assert raised.value.hint == "see help(neo.compile)"


@pytest.mark.parametrize(
    ("on_the_command_line", "in_python"),
    [
        (["--input", "x"], {"inputs": "x"}),
        (["--dim", "N"], {"dims": "N"}),
        (["--layout", "CHWN"], {"layouts": "CHWN"}),
        (["--tolerance", "nan"], {"tolerance": float("nan")}),
        (["--engine", "fast"], {"engine": "fast"}),
        (["--target", "toaster"], {"target": "toaster"}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_both_ways_in_say_the_same(
    on_the_command_line: list[str], in_python: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NeoError) as raised:
        neo.compile("net.onnx", **in_python)
    with pytest.raises(SystemExit):
        main(["compile", "net.onnx", *on_the_command_line, "--json"])
    said = json.loads(capsys.readouterr().out)
    (name,) = in_python
    assert said["error"] == type(raised.value).__name__
    for part in ("message", "hint"):
        assert said[part].replace(on_the_command_line[0], name) == getattr(raised.value, part)


def test_a_module_is_compiled_from_arrays_tensors_or_descriptions() -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(4, 2).train()
    x = np.ones((1, 4), np.float32)
    examples: list[dict[str, Any]] = [
        {"example_inputs": x},
        {"example_inputs": (torch.ones(1, 4),)},
        {"example_inputs": {"input": x}},
        {"inputs": "input=float32[1,4]"},
    ]
    for index, given in enumerate(examples):
        (compiled,) = neo.compile(module, **given, name=f"m{index}", engine="onnxruntime", sign=False)
        assert [spec.shape for spec in compiled.bundle.manifest.inputs] == [(1, 4)]
    assert module.training
    with pytest.raises(InputSpecError, match="forward"):
        neo.compile(module)
    with pytest.raises(UsageError, match="example_inputs is a int"):
        neo.compile(module, 3)


def test_a_result_tells_what_it_is(tmp_path: Path) -> None:
    compiled = neo.compile("net.onnx", engine="onnxruntime", target=["host", "raspberry-pi-4"])
    assert isinstance(compiled, CompiledBundles)
    here, there = compiled
    assert re.fullmatch(r"<net:1-host: onnxruntime, [0-9.]+ ms, [0-9.]+ MB>", repr(here))
    assert repr(there).startswith("<net:1-raspberry-pi-4: onnxruntime, not measured")
    assert repr(compiled) == f"({here!r}, {there!r})"
    html = compiled._repr_html_()
    assert html.count("<table>") == 2
    assert "onnxruntime (chosen)" in html
    assert "net:1-raspberry-pi-4" in html


def test_a_bundle_predicts_from_whatever_becomes_an_array(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    (compiled,) = neo.compile("net.onnx", engine="onnxruntime")
    unpack_bundle(Store(tmp_path / "store"), compiled.bundle, tmp_path / "bundle")
    predictor = neo.runtime.load("bundle")
    assert repr(predictor) == "<net:1-host on onnxruntime: x=float32[1,1,8,8] -> y=float32[1,10]>"
    x = np.random.default_rng(0).normal(size=(1, 1, 8, 8)).astype(np.float32)
    expected = predictor.predict({"x": x})["y"]
    for given in (x, torch.tensor(x, requires_grad=True), x.tolist(), {"x": torch.tensor(x)}):
        np.testing.assert_array_equal(predictor.predict(given)["y"], expected)
    for wrong in ([[1, 2], [3]], "text", None, {"y": x}, {"x": object()}, x.astype(np.float64)):
        with pytest.raises(InputSpecError):
            predictor.predict(wrong)


def test_two_inputs_want_names(tmp_path: Path) -> None:
    two_inputs(tmp_path / "two.onnx")
    (compiled,) = neo.compile("two.onnx", engine="onnxruntime")
    unpack_bundle(Store(tmp_path / "store"), compiled.bundle, tmp_path / "bundle")
    with pytest.raises(InputSpecError, match="'left', 'right'") as raised:
        neo.runtime.load(tmp_path / "bundle").predict(np.zeros((2, 3), np.float32))
    assert "dict" in raised.value.hint


def test_a_wrong_folder_or_number_of_threads_is_told(tmp_path: Path) -> None:
    (compiled,) = neo.compile("net.onnx", engine="onnxruntime")
    unpack_bundle(Store(tmp_path / "store"), compiled.bundle, tmp_path / "bundle")
    with pytest.raises(UsageError, match="folder"):
        neo.runtime.load(3)  # type: ignore[arg-type]
    for threads in (0, -1, 1.5, "two"):
        with pytest.raises(NeoError, match="threads"):
            neo.runtime.load("bundle", threads)  # type: ignore[arg-type]


def test_importing_neo_loads_neither_compiler_nor_runtime() -> None:
    code = "import sys, neo; print([m for m in sys.modules if m.startswith(('neo.compiler', 'neo.runtime', 'numpy'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
