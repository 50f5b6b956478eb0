"""What ``docs/architecture.md`` says one has to touch to add a framework, an engine or a device is enough.

A toy of each is added by those places alone, for every process of the real commands: a ``sitecustomize`` adds the rows.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
MODEL = "toy model\n2.5\n"

# what a real one would write into the tables themselves
ROWS = """
from neo.engines import ENGINES, Recipe
from neo.frontends import FRONTENDS, Frontend
from neo.runtime.load import ENGINES as OPENERS, Opener

FRONTENDS["toy"] = Frontend(
    "toys.framework:convert",
    "toys.format:recognise",
    {"toy": "a toy model"},
    readable=("toy .toy",),
    endings={".toy": "a text file that begins with 'toy model'"},
    extra="toy",
    distributions=("no-such-toy", ),
)
ENGINES["toybox"] = Recipe("toys.build:build", distributions=("no-such-toolchain",))
OPENERS["toybox"] = Opener("toys.runtime:open_engine", "numpy")
"""

FORMAT = """
def recognise(contents):
    return "toy" if contents.head.startswith(b"toy model") else None
"""

FRAMEWORK = """
import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from neo.contract.tensors import TensorSpec
from neo.frontends.base import SourceModel
from neo.frontends.recognise import require_format


def convert(request):
    require_format(request.source, "toy")
    factor = np.float32(request.source.read_text().split()[-1])
    if factor < 0:
        import toy_that_nobody_has
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"])]
    graph = helper.make_graph(nodes, "toy", [x], [y], [numpy_helper.from_array(factor, "factor")])
    path = request.scratch / "toy.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    specs = [(TensorSpec(name, "float32", (1, 4)),) for name in "xy"]
    return SourceModel(path, "toy 1.0", *specs, lambda arrays: {"y": arrays["x"] * factor})
"""

BUILD = """
import importlib.metadata

import onnx
from onnx import numpy_helper

from neo.engines.base import BuiltEngine
from neo.errors import EngineError
from neo.runtime.engine_folder import ENGINE_FILE, EngineFolder


def build(request):
    graph = onnx.load(request.onnx).graph
    if [node.op_type for node in graph.node] != ["Mul"]:
        raise EngineError("a toy multiplies once")
    (request.folder / ENGINE_FILE).write_bytes(EngineFolder("toybox", request.inputs, request.outputs).to_bytes())
    (request.folder / "factor.txt").write_text(str(float(numpy_helper.to_array(graph.initializer[0]))))
    return BuiltEngine(importlib.metadata.version("numpy"), ("built by a toy",))
"""

RUNTIME = """
class ToyEngine:
    def __init__(self, folder, description):
        self.inputs, self.outputs = description.inputs, description.outputs
        self._factor = float((folder / "factor.txt").read_text())

    def run(self, arrays):
        return [(arrays[0] * self._factor).astype("float32")]

    def close(self):
        pass


def open_engine(folder, description, threads):
    return ToyEngine(folder, description)
"""

TARGET = """
name = "toy"
description = "a toy of this machine's kind"
glibc = "2.28"

[cpu]
arch = "{arch}"
mcpu = "{mcpu}"
features = []
attrs = []
vector_bits = 128
vector_registers = 16
cores = 1
l1d_kib = 32
l2_kib = 256
l3_kib = 0
"""


class Toys:
    """Commands of ``neo`` in a folder of their own, with the toys or without."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        package = folder / "added" / "toys"
        package.mkdir(parents=True)
        files = {"rows": ROWS, "format": FORMAT, "framework": FRAMEWORK, "build": BUILD, "runtime": RUNTIME}
        for name, content in {"__init__": "", **files}.items():
            (package / f"{name}.py").write_text(content)
        (package.parent / "sitecustomize.py").write_text("import toys.rows\n")
        (folder / "net.toy").write_text(MODEL)
        mcpu = {"x86_64": "x86-64"}.get(platform.machine(), "generic")
        (folder / "toy.toml").write_text(TARGET.format(arch=platform.machine(), mcpu=mcpu))

    def neo(self, *arguments: str, added: bool = True) -> subprocess.CompletedProcess[str]:
        imports = [str(self.folder / "added")] if added else []
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("NEO_")},
            "PYTHONPATH": os.pathsep.join([*imports, str(ROOT)]),
            "NEO_STORE": str(self.folder / "store"),
            "HOME": str(self.folder),
            # where zig keeps the C start-up files that it compiled
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        }
        return subprocess.run(
            [sys.executable, "-m", "neo.cli", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )


@pytest.fixture
def toys(tmp_path: Path) -> Toys:
    return Toys(tmp_path)


def test_a_framework_an_engine_and_a_target_work_together(toys: Toys) -> None:
    arguments = ("compile", "net.toy", "--target", "toy.toml", "--engine", "toybox", "--no-sign", "--json")
    without = toys.neo(*arguments, added=False)
    assert "unknown engine" in without.stderr + without.stdout
    done = toys.neo(*arguments)
    assert done.returncode == 0, done.stderr
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    np.save(toys.folder / "x.npy", x)
    predicted = toys.neo("predict", "net:1-toy", "--input", "x.npy", "--output", "y.npz", "--json")
    assert predicted.returncode == 0, predicted.stderr
    assert np.array_equal(np.load(toys.folder / "y.npz")["y"], x * np.float32(2.5))


@pytest.mark.slow
def test_an_added_engine_is_a_candidate_for_every_target_with_its_processor(toys: Toys) -> None:
    arguments = ("compile", "net.toy", "--target", "toy.toml", "--no-sign", "--json")
    done = toys.neo(*arguments)
    assert done.returncode == 0, done.stderr
    assert {"onnxruntime", "tvm", "toybox"} <= set(json.loads(done.stdout)["bundles"][0]["latency_ms"]), done.stdout
    left_out = toys.folder / "toy.toml"
    left_out.write_text('engines = ["onnxruntime"]\n' + left_out.read_text())
    refused = toys.neo(*arguments, "--engine", "toybox")
    assert "target toy has no toybox engine" in refused.stdout + refused.stderr


def test_an_added_framework_is_recognised_by_its_content(toys: Toys) -> None:
    without = toys.neo("compile", "net.toy", "--engine", "onnxruntime", "--no-sign", added=False)
    assert "is a text file, no model" in without.stderr
    (toys.folder / "other.toy").write_text("another toy\n")
    other = toys.neo("compile", "other.toy", "--no-sign")
    assert "a .toy file should be a text file that begins with 'toy model'" in " ".join(other.stderr.split())
    assert "toy .toy" in " ".join(other.stderr.split())


def test_a_framework_that_is_not_installed_names_its_extra(toys: Toys) -> None:
    (toys.folder / "net.toy").write_text("toy model\n-1\n")
    done = toys.neo("compile", "net.toy", "--no-sign")
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "converting a toy model needs toy_that_nobody_has" in said
    assert "pip install 'neo-edge[toy]'" in said


def test_the_doctor_looks_for_what_was_added(toys: Toys) -> None:
    done = toys.neo("doctor", "--json")
    checks = {check["check"]: check for check in json.loads(done.stdout)["findings"]}
    assert (checks["[toy]"]["state"], checks["[toy]"]["found"]) == ("missing", "not installed: no-such-toy")
    assert "no-such-toolchain" in checks["[compile]"]["found"]


def test_help_names_what_was_added(toys: Toys) -> None:
    said = toys.neo("compile", "--help").stdout
    assert "toybox" in said
    assert "lightgbm, toy" in " ".join(said.split())
