"""Both engines against one suite."""

from __future__ import annotations

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
