"""Both engines against one suite."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from neo.contract.manifest import ENGINE_DIR
from neo.engines.base import BuildRequest
from neo.engines.tvm.build import build
from neo.engines.tvm.cpu.codegen.runtime_library import add_runtime_library
from neo.errors import BundleError, EngineError
from neo.runtime import load_engine
from neo.runtime.engine_folder import EngineFolder, WeightEntry
from neo.targets import load_target
from tests.runtime.bundles import INPUTS, OUTPUTS, describe, model, onnxruntime_bundle
from tests.suites.engine_runtime import EngineRuntimeSuite


class TestOnnxRuntime(EngineRuntimeSuite):
    @pytest.fixture
    def bundle(self, tmp_path: Path) -> Path:
        return onnxruntime_bundle(tmp_path / "bundle")

    @pytest.mark.parametrize("data", [b"", b"\0" * 100, b"not a model"])
    def test_a_damaged_graph_does_not_load(self, bundle: Path, data: bytes) -> None:
        (bundle / ENGINE_DIR / "model.onnx").write_bytes(data)
        with pytest.raises(EngineError, match="onnxruntime cannot load"):
            load_engine(bundle / ENGINE_DIR)

    def test_a_graph_of_another_model_fails_when_it_runs(self, bundle: Path) -> None:
        graph = model()
        graph.graph.input[0].name = graph.graph.node[0].input[0] = "other"
        onnx.save(graph, bundle / ENGINE_DIR / "model.onnx")
        engine = load_engine(bundle / ENGINE_DIR)
        with pytest.raises(EngineError, match="onnxruntime failed"):
            engine.run([None])  # type: ignore[list-item]
        engine.close()


@pytest.fixture(scope="module")
def tvm_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tvm") / "bundle"
    describe(folder, "tvm")
    onnx.save(model(), folder.parent / "model.onnx")
    request = BuildRequest(folder.parent / "model.onnx", load_target("host"), INPUTS, OUTPUTS, folder / ENGINE_DIR)
    build(request)
    add_runtime_library(request)
    return folder


@pytest.mark.slow
class TestTvm(EngineRuntimeSuite):
    @pytest.fixture
    def bundle(self, tvm_bundle: Path) -> Path:
        return tvm_bundle

    @pytest.mark.parametrize(
        ("offset", "shape"),
        [(0, (1 << 20,)), (64, (3, 4)), (1 << 40, (1,)), (4, (1,)), (0, (1 << 39, 1 << 39))],
    )
    def test_weights_that_the_file_does_not_hold_are_refused(
        self, bundle: Path, tmp_path: Path, offset: int, shape: tuple[int, ...]
    ) -> None:
        folder = tmp_path / "engine"
        (folder / "weights").mkdir(parents=True)
        for path in (bundle / ENGINE_DIR).iterdir():
            if path.is_file():
                (folder / path.name).symlink_to(path)
        (folder / "weights" / "a.bin").write_bytes(bytes(100))
        (folder / "engine.json").unlink()
        entry = WeightEntry("weights/a.bin", offset, "float32", shape)
        (folder / "engine.json").write_bytes(EngineFolder("tvm", INPUTS, OUTPUTS, (entry,), steps=("k",)).to_bytes())
        with pytest.raises(BundleError, match=r"a\.bin does not hold float32"):
            load_engine(folder, 1)

    def test_a_damaged_library_does_not_load(self, bundle: Path, tmp_path: Path) -> None:
        folder = tmp_path / "engine"
        folder.mkdir()
        for path in (bundle / ENGINE_DIR).iterdir():
            (folder / path.name).symlink_to(path)
        (folder / "model.so").unlink()
        (folder / "model.so").write_bytes(b"\x7fELF and no more")
        with pytest.raises(EngineError, match="tvm cannot load"):
            load_engine(folder, 1)

    def test_words_for_compiled_code_are_refused(self, bundle: Path, tmp_path: Path) -> None:
        folder = tmp_path / "engine"
        folder.mkdir()
        for path in (bundle / ENGINE_DIR).iterdir():
            (folder / path.name).symlink_to(path)
        (folder / "engine.json").unlink()
        words = tuple(replace(spec, dtype="string") for spec in INPUTS)
        description = replace(EngineFolder.read(bundle / ENGINE_DIR), inputs=words)
        (folder / "engine.json").write_bytes(description.to_bytes())
        with pytest.raises(EngineError, match="numbers only"):
            load_engine(folder, 1)


@pytest.mark.slow
class TestWhatTvmHasOnce:
    """In processes of their own: here, tests before have loaded a runtime and made a pool."""

    def run(self, bundle: Path, program: str, *more: str) -> list[str]:
        preface = """
import sys
from pathlib import Path
import numpy as np
import tvm_ffi
from neo.errors import EngineError
from neo.runtime import load
folder, x = Path(sys.argv[1]), np.ones((2, 4), np.float32)
def threads(predictor):
    # of the pool that the call used
    engine, found = predictor._engine, []
    function = engine._function
    def asking(*arguments):
        found.append(tvm_ffi.get_global_func("runtime.NumThreads")())
        return function(*arguments)
    engine._function = asking
    predictor.predict({"x": x})
    engine._function = function
    return found[-1]
"""
        command = [sys.executable, "-c", preface + textwrap.dedent(program), str(bundle), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    @pytest.mark.parametrize("counts", ["1 2", "2 1", "1 3 2 1", "4 1"])
    def test_every_engine_runs_with_its_own_number_of_threads_whichever_came_first(
        self, tvm_bundle: Path, counts: str
    ) -> None:
        program = """
            engines = [load(folder, int(count)) for count in sys.argv[2:]]
            print(*[threads(engine) for _ in range(2) for engine in engines])
        """
        assert self.run(tvm_bundle, program, *counts.split()) == counts.split() * 2

    def test_a_copy_of_the_runtime_is_taken_and_another_one_is_refused(self, tvm_bundle: Path, tmp_path: Path) -> None:
        program = """
            first = load(folder, 1)
            first.predict({"x": x})
            load(sys.argv[2], 1).predict({"x": x})
            library = Path(sys.argv[2]) / "engine" / "libtvm_runtime.so"
            library.write_bytes(library.read_bytes() + b"another version")
            try:
                load(sys.argv[2], 1)
            except EngineError as error:
                print("is another TVM runtime" in error.message)
            print(threads(first))
        """
        copy = shutil.copytree(tvm_bundle, tmp_path / "copy")
        assert self.run(tvm_bundle, program, str(copy)) == ["True", "1"]
