"""neo evaluate: bundle and source side by side, through real processes."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.models import build, classifier

Neo = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def neo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Neo:
    monkeypatch.setenv("NEO_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("NEO_KEY", str(tmp_path / "operator.key"))

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "neo.cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, cwd=tmp_path)

    return call


@pytest.mark.slow
def test_bundle_and_source_are_judged_side_by_side(neo: Neo, tmp_path: Path) -> None:
    classifier(tmp_path / "net.onnx")
    assert neo("compile", "net.onnx", "--engine", "onnxruntime").returncode == 0
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.normal(size=(40, 1, 8, 8)), labels=rng.integers(0, 10, 40))
    done = neo(
        *("evaluate", "net", "--data", "data.npz", "--source", "net.onnx", "--picture", "confusion.png", "--json"),
        *("--metric", "accuracy", "--metric", "f1", "--metric", "top5"),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["samples"] == 40
    assert result["agreement"] == 1
    assert set(result["bundle"]["metrics"]) == {"accuracy", "f1", "top5"}
    assert result["bundle"]["metrics"] == pytest.approx(result["source"]["metrics"])
    assert result["bundle"]["confusion"] == result["source"]["confusion"]
    matrix = np.array(result["bundle"]["confusion"])
    assert matrix.shape == (10, 10)
    assert np.trace(matrix) / 40 == pytest.approx(result["bundle"]["metrics"]["accuracy"])
    assert 0 < result["bundle"]["latency_ms"]["median"] <= result["bundle"]["latency_ms"]["p90"]
    head = (tmp_path / "confusion.png").read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", head[16:])
    assert min(width, height) > 200

    text = neo("evaluate", "net", "--data", "data.npz", "--metric", "confusion")
    assert text.returncode == 0, text.stderr
    assert "predicted class across" in text.stdout
    assert "median per sample" in text.stdout


def test_values_are_judged_in_runs_of_the_models_batch(neo: Neo, tmp_path: Path) -> None:
    weights = {"w": np.array([[1.0], [2.0], [3.0]], np.float32)}
    model = build([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": (4, 3)}, {"y": (4, 1)}, weights)
    onnx.save(model, tmp_path / "line.onnx")
    assert neo("compile", "line.onnx", "--engine", "onnxruntime").returncode == 0
    x = np.random.default_rng(0).normal(size=(10, 3))
    np.savez(tmp_path / "data.npz", x=x, target=(x @ [1, 2, 3]) + 0.5)
    done = neo("evaluate", "line", "--data", "data.npz", "--labels", "target", "--metric", "rmse", "--json")
    result = json.loads(done.stdout)
    assert result["bundle"]["batch"] == 4
    assert result["bundle"]["metrics"]["rmse"] == pytest.approx(0.5, abs=1e-5)
    assert result["agreement"] is None
    assert result["bundle"]["confusion"] is None


BAD = [
    (("evaluate", "net", "--data", "nothing.npz"), 12, "nothing.npz"),
    (("evaluate", "net", "--data", "wrong.npz"), 12, "wants [samples, 1, 8, 8]"),
    (("evaluate", "net", "--data", "data.npz", "--metric", "speed"), 2, "accuracy"),
    (("evaluate", "net", "--data", "data.npz", "--metric", "rmse"), 2, "--output"),
    (("evaluate", "net", "--data", "data.npz", "--output", "z"), 2, "it has: y"),
    (("evaluate", "net", "--data", "data.npz", "--picture", "c.gif"), 2, "confusion.png"),
    (("evaluate", "net", "--data", "data.npz", "--source", "other.onnx"), 12, "--postprocess"),
    (("evaluate", "net", "--data", "data.npz", "--source", "nothing.onnx"), 10, "nothing.onnx"),
    (("evaluate", "gone", "--data", "data.npz"), 30, "neo compile"),
]


@pytest.mark.slow
def test_what_cannot_be_judged_says_why(neo: Neo, tmp_path: Path) -> None:
    classifier(tmp_path / "net.onnx")
    renamed = onnx.load(tmp_path / "net.onnx")
    renamed.graph.node[-1].output[0] = renamed.graph.output[0].name = "other"
    onnx.save(renamed, tmp_path / "other.onnx")
    np.savez(tmp_path / "data.npz", x=np.zeros((3, 1, 8, 8), np.float32), labels=np.arange(3))
    np.savez(tmp_path / "wrong.npz", x=np.zeros((3, 8, 8), np.float32), labels=np.arange(3))
    gone = neo(*BAD[-1][0])
    assert gone.returncode == 30
    assert neo("compile", "net.onnx", "--engine", "onnxruntime").returncode == 0
    for arguments, code, word in BAD[:-1]:
        done = neo(*arguments)
        assert done.returncode == code, (arguments, done.stderr)
        assert word in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_model_of_words_is_judged_by_words_and_predicts_from_the_command_line(neo: Neo, tmp_path: Path) -> None:
    skops_io = pytest.importorskip("skops.io")
    from sklearn.compose import ColumnTransformer
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    flowers = load_iris()
    petals = np.where(flowers.data[:, 2] > 4.9, "long", np.where(flowers.data[:, 2] > 2, "middling", "short"))
    rows = petals.astype(object)[:, np.newaxis]
    species = flowers.target_names[flowers.target]
    encoded = ColumnTransformer([("petal", OneHotEncoder(), [0])])
    model = make_pipeline(encoded, LogisticRegression()).fit(rows, species.astype(object))
    skops_io.dump(model, tmp_path / "iris.skops")
    assert neo("compile", "iris.skops", "--engine", "onnxruntime").returncode == 0
    np.savez(tmp_path / "data.npz", column_0=rows.astype(str), labels=species)
    for output in ("label", "probabilities"):
        chosen = ("--output", output, "--source", "iris.skops", "--metric", "accuracy", "--metric", "confusion")
        done = neo("evaluate", "iris", "--data", "data.npz", *chosen, "--json")
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert result["classes"] == list(flowers.target_names)
        assert result["agreement"] == 1
        assert result["bundle"]["metrics"]["accuracy"] == pytest.approx(model.score(rows, species))

    np.savez(tmp_path / "one.npz", column_0=np.array([["short"]]))
    done = neo("predict", "iris", "--input", "one.npz", "--json")
    assert json.loads(done.stdout)["outputs"]["label"] == {"dtype": "string", "shape": [1], "data": ["setosa"]}
    assert neo("predict", "iris", "--input", "one.npz", "--output", "answer.npz").returncode == 0
    with np.load(tmp_path / "answer.npz", allow_pickle=False) as answer:
        assert answer["label"].tolist() == ["setosa"]
