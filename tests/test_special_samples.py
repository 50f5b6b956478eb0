"""Special samples from the conversion to the choice of an engine; never in a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neo.compiler.candidates import Candidate, choose, explain, measure_candidates
from neo.compiler.measure import Measurement, measure
from neo.compiler.pipeline import run
from neo.compiler.request import CompileRequest
from neo.contract.manifest import ENGINE_DIR
from neo.contract.parity import Parity, Tolerance
from neo.contract.precision import FP32
from neo.engines.base import BuiltEngine
from neo.runtime.golden import read_special, special_path, write_special
from neo.runtime.stopwatch import stopwatch
from neo.store import Store
from tests.models import classifier
from tests.runtime.bundles import answer, onnxruntime_bundle

NAN = np.full((2, 4), np.nan, np.float32)
ZEROS = np.zeros((2, 4), np.float32)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return onnxruntime_bundle(tmp_path / "bundle")


def test_special_samples_lie_beside_the_folder_not_in_it(bundle: Path) -> None:
    before = sorted(bundle.rglob("*"))
    samples = [
        ("NaN", {"x": NAN}, answer(NAN)),
        ("NaN", {"x": ZEROS}, {}),
        ("2 zeros", {"x": ZEROS}, answer(ZEROS)),
    ]
    write_special(bundle, samples)
    assert sorted(bundle.rglob("*")) == before
    assert special_path(bundle).parent == bundle.parent
    found = read_special(bundle)
    assert [kind for kind, _, _ in found] == ["NaN", "NaN", "2 zeros"]
    np.testing.assert_array_equal(found[2][2]["y"], answer(ZEROS)["y"])


def test_without_special_samples_there_is_no_file(bundle: Path) -> None:
    write_special(bundle, [])
    assert not special_path(bundle).exists()
    assert read_special(bundle) == ()
    assert stopwatch(bundle, 1, 5, 0.0)["special"] == {}


def test_the_distance_is_told_by_kind_and_nan_is_no_number(bundle: Path) -> None:
    right, wrong = answer(NAN), {name: np.zeros_like(array) for name, array in answer(NAN).items()}
    near = {name: array + 0.5 for name, array in answer(ZEROS).items()}
    write_special(bundle, [("NaN", {"x": NAN}, right), ("some", {"x": NAN}, wrong), ("zeros", {"x": ZEROS}, near)])
    found = measure(bundle, 1, runs=5)
    assert found.special["NaN"] == Parity(0.0, 0.0)
    assert found.special["some"] == Parity(np.inf, np.inf)
    assert found.special["zeros"].max_abs == pytest.approx(0.5)
    assert found.parity.max_rel < 1e-5
    assert found.to_json()["special"]["some"] == {"max_abs": None, "max_rel": None}


def test_a_sample_that_the_engine_fails_of_is_infinitely_far(bundle: Path) -> None:
    write_special(bundle, [("odd", {"x": ZEROS[:1, :1]}, answer(ZEROS))])
    assert measure(bundle, 1, runs=5).special["odd"] == Parity(np.inf, np.inf)


def candidate(name: str, ms: float, strays: tuple[str, ...] = ()) -> Candidate:
    measured = Measurement(ms, ms, ms, ms, ms, 1, 5, 1, Parity(0.0, 0.0))
    return Candidate(name, FP32, Path(name), BuiltEngine("1"), measured, strays=strays)


def test_a_slower_engine_that_answers_as_the_source_does_wins() -> None:
    fast, slow = candidate("tvm", 1.0, ("NaN",)), candidate("onnxruntime", 3.0)
    assert choose([slow, fast], None) is slow
    notes = list(explain([slow, fast], slow, (), None))
    assert notes == ["tvm answers otherwise than the source on NaN, so it was not taken"]


def test_where_all_engines_stray_the_fastest_is_taken_and_it_is_told() -> None:
    fast, slow = candidate("tvm", 1.0, ("NaN",)), candidate("onnxruntime", 3.0, ("NaN", "zeros"))
    assert choose([slow, fast], None) is fast
    assert "tvm answers otherwise than the source on NaN, and is taken" in " ".join(
        explain([slow, fast], fast, (), None)
    )
    assert choose([fast], None) is fast


def test_a_built_engine_is_judged_by_the_tolerance(bundle: Path) -> None:
    near = {name: array + 1e-7 for name, array in answer(ZEROS).items()}
    write_special(bundle, [("NaN", {"x": NAN}, answer(ZEROS)), ("zeros", {"x": ZEROS}, near)])
    (judged,) = measure_candidates([Candidate("onnxruntime", FP32, bundle, BuiltEngine("1"))], 1, Tolerance())
    assert judged.error is None
    assert judged.strays == ("NaN",)
    assert judged.to_json()["strays"] == ["NaN"]


def test_a_compiled_bundle_holds_no_special_sample_but_the_report_tells_of_them(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    (compiled,) = run(CompileRequest(classifier(tmp_path / "m.onnx"), store, None, engine="onnxruntime"))
    files = [layer.annotations["org.opencontainers.image.title"] for layer in compiled.bundle.image.layers]
    assert not [name for name in files if "special" in name]
    assert any(name.startswith(ENGINE_DIR) for name in files)
    (only,) = compiled.candidates
    assert only.measurement is not None
    assert {"NaN", "zeros", "infinities"} <= set(only.measurement.special)
    assert only.strays == ()
