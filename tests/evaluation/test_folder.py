"""An engine folder is judged as it is: in no store, in no bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from neo.contract.labels import OutputLabels
from neo.contract.manifest import CONFIG_PATH, ENGINE_DIR
from neo.contract.tensors import TensorSpec
from neo.errors import EngineError, InputSpecError, UsageError
from neo.evaluation.answers import DataRequest
from neo.evaluation.run import evaluate_folder
from tests.runtime.bundles import OUTPUTS, answer, onnxruntime_bundle


@dataclass(frozen=True)
class Interface:
    outputs: tuple[TensorSpec, ...] = OUTPUTS
    labels: tuple[OutputLabels, ...] = ()


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    bundle = onnxruntime_bundle(tmp_path / "bundle")
    (bundle / CONFIG_PATH).unlink()
    return (bundle / ENGINE_DIR).rename(tmp_path / "engine")


@pytest.fixture
def data(tmp_path: Path) -> DataRequest:
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    best = np.concatenate([answer(x[i : i + 2])["y"].argmax(axis=1) for i in range(0, 20, 2)])
    # one of twenty is meant otherwise
    best[7] = (best[7] + 1) % 3
    np.savez(tmp_path / "data.npz", x=x, labels=best)
    return DataRequest(tmp_path / "data.npz")


def test_an_engine_folder_is_judged_without_a_bundle(engine: Path, data: DataRequest) -> None:
    judged = evaluate_folder(engine, Interface(), data, ("accuracy", "confusion"), threads=1)
    assert judged.metrics == {"accuracy": pytest.approx(0.95)}
    assert judged.confusion is not None
    assert np.trace(judged.confusion) == 19
    assert (judged.by, judged.batch) == ("onnxruntime", 2)
    assert 0 < judged.median_ms <= judged.p90_ms


def test_another_output_and_the_usual_metric(engine: Path, data: DataRequest) -> None:
    judged = evaluate_folder(engine, Interface(), data, output="z")
    assert set(judged.metrics) == {"accuracy"}
    assert judged.metrics["accuracy"] < 0.2  # z is -y: what is best there is worst here
    assert judged.confusion is None


def test_what_cannot_be_judged_says_why(engine: Path, data: DataRequest, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no metric 'speed'"):
        evaluate_folder(engine, Interface(), data, ("speed",))
    with pytest.raises(UsageError, match="no output 'q'"):
        evaluate_folder(engine, Interface(), data, output="q")
    with pytest.raises(InputSpecError, match="there is no file"):
        evaluate_folder(engine, Interface(), DataRequest(tmp_path / "missing.npz"))
    (engine / "model.onnx").write_bytes(b"rubbish")
    with pytest.raises(EngineError):
        evaluate_folder(engine, Interface(), data)
