from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from neo.errors import DiskFull, MissingDependency, ModelError, NeoError, ResourceLimitExceeded
from neo.frontends.base import ConversionRequest
from neo.frontends.sandbox import convert
from neo.isolation import Limits
from neo.isolation.call import _environment
from tests.frontends.conftest import Convert

GIB = 1 << 30
ROOMY = Limits(memory_bytes=4 * GIB, seconds=120.0, file_bytes=GIB)


def save(path: Path, nodes: list[onnx.NodeProto], *constants: onnx.TensorProto) -> Path:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], list(constants))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return save(tmp_path / "models" / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])])


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules stand before the installed ones, in the worker only."""
    folder = tmp_path / "stub"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_nothing_is_written_outside_the_scratch_folder(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "cwd").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "cwd")
    before = files_below(tmp_path)
    converted = convert(ConversionRequest(model, "onnx", tmp_path / "scratch"), ROOMY)
    after = {name for name in files_below(tmp_path) - before if not name.startswith("scratch")}
    assert after == set()
    assert converted.onnx.is_relative_to(tmp_path / "scratch")


def test_a_memory_eater_is_stopped(tmp_path: Path, through_sandbox: Convert) -> None:
    shape = numpy_helper.from_array(np.array([8 * GIB // 4], np.int64), "shape")
    big = helper.make_node("ConstantOfShape", ["shape"], ["big"])
    total = helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=1)
    path = save(tmp_path / "m.onnx", [big, total, helper.make_node("Add", ["x", "sum"], ["y"])], shape)
    with pytest.raises(ResourceLimitExceeded, match="ran out of memory") as caught:
        through_sandbox(path, limits=Limits(memory_bytes=2 * GIB, seconds=60.0, file_bytes=GIB))
    assert caught.value.hint
    assert "Traceback" in caught.value.details["traceback"]


def test_a_file_beyond_the_limit_is_stopped(model: Path, through_sandbox: Convert) -> None:
    with pytest.raises(ResourceLimitExceeded, match="larger file than it may"):
        through_sandbox(model, limits=Limits(memory_bytes=4 * GIB, seconds=60.0, file_bytes=16))


def processes_below(folder: Path) -> list[str]:
    """Of those whose working directory is there, which is where workers work, the numbers."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):  # ended meanwhile, or somebody else's
            if entry.readlink().is_relative_to(folder):
                found.append(entry.parent.name)
    return found


@pytest.mark.slow
def test_a_model_that_never_ends_is_stopped_with_its_children(
    torch_models: Path, tmp_path: Path, through_sandbox: Convert
) -> None:
    start = time.monotonic()
    with pytest.raises(ResourceLimitExceeded, match=r"forever\.pt was not finished after 8 s"):
        through_sandbox(
            torch_models / "forever.pt",
            "x=float32[3]",
            limits=Limits(memory_bytes=4 * GIB, seconds=8.0, file_bytes=GIB),
        )
    assert time.monotonic() - start < 30
    assert not processes_below(tmp_path)


def test_a_crashing_library_is_reported_with_its_last_words(model: Path, stub: Path, through_sandbox: Convert) -> None:
    (stub / "onnxruntime.py").write_text(
        "import os, sys\nprint('all is lost', file=sys.stderr, flush=True)\nos.abort()\n", encoding="utf-8"
    )
    with pytest.raises(ModelError, match=r"converting m.onnx crashed \(signal SIGABRT\)") as caught:
        through_sandbox(model)
    assert "all is lost" in caught.value.details["log"]


def test_a_killed_worker_is_out_of_memory(model: Path, stub: Path, through_sandbox: Convert) -> None:
    (stub / "onnxruntime.py").write_text("import os\nos.kill(os.getpid(), 9)\n", encoding="utf-8")
    with pytest.raises(ResourceLimitExceeded, match="ran out of memory"):
        through_sandbox(model)


def test_a_talkative_library_neither_blocks_nor_spoils_the_answer(
    model: Path, stub: Path, through_sandbox: Convert
) -> None:
    (stub / "onnxruntime.py").write_text(
        "import os\nfor _ in range(400):\n    os.write(1, b'x' * 65536)\nraise ValueError('and that was it')\n",
        encoding="utf-8",
    )
    with pytest.raises(ModelError, match="ValueError: and that was it") as caught:
        through_sandbox(model)
    assert len(caught.value.details["log"]) < 1 << 17


@pytest.mark.parametrize(
    ("framework", "module", "extra"),
    [("pytorch", "torch", "pytorch"), ("keras", "keras", "tensorflow"), ("onnx", "onnxruntime", "compile")],
)
def test_a_missing_framework_gets_the_line_that_installs_it(
    model: Path, stub: Path, through_sandbox: Convert, framework: str, module: str, extra: str
) -> None:
    (stub / f"{module}.py").write_text(
        f"raise ModuleNotFoundError('it is not there', name={module!r})\n", encoding="utf-8"
    )
    with pytest.raises(MissingDependency, match=f"needs {module}, which is not installed") as caught:
        through_sandbox(model, framework=framework)
    assert caught.value.hint == f"pip install 'neo-edge[{extra}]'"


def test_secrets_of_the_environment_stay_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "NEO_KEY_PASSWORD", "HTTPS_PROXY", "SSH_AUTH_SOCK"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("NEO_MXNET_PYTHON", "/opt/mxnet/bin/python")
    environment = _environment(tmp_path)
    assert "secret" not in environment.values()
    assert environment["NEO_MXNET_PYTHON"] == "/opt/mxnet/bin/python"
    assert environment["HOME"] == str(tmp_path)


def test_a_full_disk_is_called_so(model: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)],  # noqa: S607
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        (disk / "filler").write_bytes(bytes(40 << 10))
        graph = onnx.load(model)
        graph.graph.initializer.append(numpy_helper.from_array(np.ones(16 << 10, np.float32), "unused"))
        onnx.save(graph, model)
        with pytest.raises(DiskFull, match="the disk is full"):
            convert(ConversionRequest(model, "onnx", disk / "scratch"), ROOMY)
    finally:
        subprocess.run(["umount", str(disk)], check=True)  # noqa: S607


def test_a_scratch_folder_that_cannot_be_written_is_named(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="ascii")
    with pytest.raises(NeoError, match="cannot write into the scratch folder"):
        convert(ConversionRequest(model, "onnx", tmp_path / "file" / "scratch"), ROOMY)


def test_a_second_conversion_may_not_share_a_scratch_folder(model: Path, tmp_path: Path) -> None:
    convert(ConversionRequest(model, "onnx", tmp_path / "scratch"), ROOMY)
    with pytest.raises(NeoError, match="cannot write into the scratch folder"):
        convert(ConversionRequest(model, "onnx", tmp_path / "scratch"), ROOMY)


def test_the_answer_survives_names_that_are_no_file_names(tmp_path: Path, through_sandbox: Convert) -> None:
    path = save(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])])
    graph = onnx.load(path)
    names = {"x": "file", "y": "../a/b:0"}
    graph.graph.node[0].input[0], graph.graph.node[0].output[0] = names["x"], names["y"]
    graph.graph.input[0].name, graph.graph.output[0].name = names["x"], names["y"]
    onnx.save(graph, path)
    (sample, *_) = through_sandbox(path).samples
    np.testing.assert_array_equal(sample.outputs["../a/b:0"], np.maximum(sample.inputs["file"], 0))


def test_an_error_of_the_worker_arrives_as_the_same_class_with_its_traceback(
    tmp_path: Path, through_sandbox: Convert
) -> None:
    (tmp_path / "m.onnx").write_text("words\n", encoding="ascii")
    with pytest.raises(ModelError, match="is a text file") as caught:
        through_sandbox(tmp_path / "m.onnx", framework="onnx")
    assert type(caught.value) is ModelError
    assert "recognise.py" in caught.value.details["traceback"]
