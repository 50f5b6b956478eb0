from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo.contract.manifest import CONFIG_PATH, ENGINE_DIR, Manifest
from neo.contract.tensors import NUMBERS
from neo.contract.versions import NewerFormat
from neo.errors import BundleError, EngineError, TargetError
from neo.runtime import engine_versions, load, load_engine
from neo.runtime.engine_folder import ENGINE_FILE, EngineFolder, WeightEntry
from neo.runtime.extensions import DISTRIBUTION
from neo.runtime.load import ENGINES, available_cores
from tests.contract import strategies
from tests.runtime.bundles import describe, onnxruntime_bundle


def test_a_folder_that_is_no_bundle_says_so(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing", Path(__file__)):
        with pytest.raises(BundleError, match="no bundle in"):
            load(folder)
        with pytest.raises(BundleError, match="no engine in"):
            load_engine(folder)


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b"[]", b"\xff", b"[" * 100_000])
def test_a_damaged_description_names_the_folder(tmp_path: Path, data: bytes) -> None:
    bundle = onnxruntime_bundle(tmp_path / "bundle")
    good = (bundle / CONFIG_PATH).read_bytes()
    (bundle / CONFIG_PATH).write_bytes(data)
    with pytest.raises(BundleError, match="bundle"):
        load(bundle)
    (bundle / CONFIG_PATH).write_bytes(good)
    (bundle / ENGINE_DIR / ENGINE_FILE).write_bytes(data)
    with pytest.raises(BundleError, match="engine"):
        load(bundle)


def test_an_unknown_engine_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="'openvino' is not one of onnxruntime, tvm"):
        load(describe(tmp_path, "openvino"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"arch": "riscv64"}, "built for riscv64 linux"), ({"features": ("no-such-feature",)}, "lacks no-such-feature")],
)
def test_machine_code_for_another_processor_is_not_loaded(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    """It would end the process by a signal; the graph of ONNX Runtime is the same for all processors."""
    for engine, error in (("tvm", TargetError), ("onnxruntime", EngineError)):
        bundle = describe(tmp_path / engine, engine)
        manifest = Manifest.from_bytes((bundle / CONFIG_PATH).read_bytes())
        strange = replace(manifest, requires=replace(manifest.requires, **change))
        (bundle / CONFIG_PATH).write_bytes(strange.to_bytes())
        with pytest.raises(error) as caught:
            load(bundle)
        assert (reason in caught.value.message) == (engine == "tvm")


def test_a_manifest_of_a_later_version_says_so(tmp_path: Path) -> None:
    bundle = onnxruntime_bundle(tmp_path)
    manifest = bundle / CONFIG_PATH
    manifest.write_bytes(manifest.read_bytes().replace(b'"schema":2', b'"schema":3'))
    with pytest.raises(NewerFormat, match="this version reads up to 2"):
        load(bundle)


def test_the_engines_that_are_installed_are_found_without_importing_them() -> None:
    script = (
        "import sys, json; from neo.runtime import engine_versions; v = engine_versions(); "
        "print(json.dumps([v, [m for m in ('onnxruntime', 'tvm', 'tvm_ffi', 'torch') if m in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    versions, imported = json.loads(done.stdout)
    assert imported == []
    assert versions == engine_versions()
    assert set(ENGINES) <= set(versions) <= {*ENGINES, DISTRIBUTION}


def test_the_cores_are_those_this_process_may_use() -> None:
    script = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); "
        "from neo.runtime.load import available_cores; print(available_cores())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "1"
    assert available_cores() >= 1


weight_entries = st.builds(
    WeightEntry,
    st.sampled_from(["weights/0000.bin", "weights/0001.bin"]),
    strategies.sizes,
    st.sampled_from(sorted(NUMBERS)),
    st.lists(st.integers(0, 1 << 40), max_size=4).map(tuple),
)
engine_folders = st.builds(
    EngineFolder,
    strategies.texts,
    st.lists(strategies.tensor_specs, max_size=2).map(tuple),
    st.lists(strategies.tensor_specs, max_size=2).map(tuple),
    st.lists(weight_entries, max_size=3).map(tuple),
    extensions=st.booleans(),
)


@given(engine_folders)
def test_an_engine_description_comes_back(tmp_path_factory: pytest.TempPathFactory, folder: EngineFolder) -> None:
    path = tmp_path_factory.getbasetemp() / "described"
    path.mkdir(exist_ok=True)
    (path / ENGINE_FILE).write_bytes(folder.to_bytes())
    assert EngineFolder.read(path) == folder
    assert EngineFolder.read(path).to_bytes() == folder.to_bytes()


@given(strategies.json_objects)
def test_any_json_is_no_engine_description(tmp_path_factory: pytest.TempPathFactory, value: dict[str, object]) -> None:
    path = tmp_path_factory.getbasetemp() / "spoiled"
    path.mkdir(exist_ok=True)
    (path / ENGINE_FILE).write_text(json.dumps(value))
    with pytest.raises(BundleError):
        EngineFolder.read(path)


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../../etc/passwd"},
        {"file": "/etc/passwd"},
        {"file": ""},
        {"offset": -1},
        {"offset": 1.5},
        {"dtype": "object"},
        {"dtype": "string"},
        {"shape": ["N"]},
        {"shape": [-1]},
        {"shape": None},
    ],
    ids=str,
)
def test_a_weight_outside_the_folder_or_of_no_size_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    weight = {**WeightEntry("weights/a.bin", 0, "float32", (1,)).to_json(), **change}
    description = {"engine": "tvm", "inputs": [], "outputs": [], "weights": [weight]}
    (tmp_path / ENGINE_FILE).write_text(json.dumps(description))
    with pytest.raises(BundleError):
        EngineFolder.read(tmp_path)


def test_the_manifest_is_at_hand(tmp_path: Path) -> None:
    predictor = load(onnxruntime_bundle(tmp_path))
    assert isinstance(predictor.manifest, Manifest)
    assert predictor.manifest.reference == "m:1-host"
    assert predictor.predict({"x": np.zeros((2, 4), np.float32)})["y"].shape == (2, 3)
    predictor.close()
