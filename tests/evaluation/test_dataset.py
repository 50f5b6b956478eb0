"""Data files: what fits, how it is cut into runs, and what is said about the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError
from neo.evaluation.dataset import DYNAMIC_BATCH, Dataset, read_dataset

X = TensorSpec("x", "float32", (1, 3, 8, 8))
IMAGES = np.zeros((5, 3, 8, 8), np.float32)
LABELS = np.arange(5)


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path / "data.npz", **arrays)
    return path / "data.npz"


@given(count=st.integers(1, 30), batch=st.integers(1, 8))
def test_every_sample_is_run_once(count: int, batch: int) -> None:
    dataset = Dataset({"x": np.arange(count)}, np.arange(count), batch)
    runs = list(dataset.batches())
    assert all(len(inputs["x"]) == batch for inputs, _ in runs)
    assert [n for inputs, real in runs for n in inputs["x"][:real]] == list(range(count))


def test_the_model_says_how_many_samples_go_into_a_run(tmp_path: Path) -> None:
    path = save(tmp_path, x=IMAGES, labels=LABELS)
    for leading, batch in ((1, 1), (4, 4), ("N", DYNAMIC_BATCH)):
        spec = TensorSpec("x", "float32", (leading, 3, 8, 8))
        assert read_dataset(path, (spec,), None).batch == batch


def test_numbers_become_the_models_dtype_where_nothing_is_lost(tmp_path: Path) -> None:
    for dtype in ("float64", "uint8", "int64"):
        dataset = read_dataset(save(tmp_path, x=IMAGES.astype(dtype), y=LABELS), (X,), None)
        assert dataset.inputs["x"].dtype == np.float32
    dataset = read_dataset(save(tmp_path, x=IMAGES, t=LABELS, unused=np.zeros(3)), (X,), "t")
    assert np.array_equal(dataset.labels, LABELS)


@pytest.mark.parametrize(
    ("arrays", "labels", "words"),
    [
        ({"image": IMAGES, "labels": LABELS}, None, "lacks 'x'"),
        ({"x": IMAGES}, None, "neither an array 'labels' nor 'y'"),
        ({"x": IMAGES, "labels": LABELS}, "truth", "no array 'truth'"),
        ({"x": IMAGES[:4], "labels": LABELS}, None, "4 samples"),
        ({"x": IMAGES[0], "labels": LABELS}, None, r"wants \[samples, 3, 8, 8\]"),
        ({"x": IMAGES.transpose(0, 2, 3, 1), "labels": LABELS}, None, r"wants \[samples, 3, 8, 8\]"),
        ({"x": IMAGES.astype(np.complex64), "labels": LABELS}, None, "without loss"),
        ({"x": IMAGES, "labels": np.array([1j] * 5)}, None, "labels"),
        ({"x": IMAGES.astype(str), "labels": LABELS}, None, "the model wants float32"),
        ({"x": IMAGES[:0], "labels": LABELS[:0]}, None, "labels"),
        ({"x": np.array([{}] * 5, dtype=object), "labels": LABELS}, None, "no plain array"),
    ],
)
def test_data_that_does_not_fit_says_why(
    tmp_path: Path, arrays: dict[str, np.ndarray], labels: str | None, words: str
) -> None:
    with pytest.raises(InputSpecError, match=words) as raised:
        read_dataset(save(tmp_path, **arrays), (X,), labels)
    assert raised.value.hint or "samples" in words


def test_pixels_in_another_order_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputSpecError) as raised:
        read_dataset(save(tmp_path, x=IMAGES.transpose(0, 2, 3, 1), labels=LABELS), (X,), None)
    assert "transpose(0, 3, 1, 2)" in raised.value.hint


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"text"])
def test_a_file_that_is_no_npz_is_an_error_of_ours(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(InputSpecError, match=r"data\.npz"):
        read_dataset(tmp_path / "data.npz", (X,), None)
    with pytest.raises(InputSpecError, match="no file"):
        read_dataset(tmp_path / "nothing.npz", (X,), None)


def test_words_are_inputs_and_labels(tmp_path: Path) -> None:
    spec = TensorSpec("words", "string", ("N", 1))
    path = save(tmp_path, words=np.array([["a"], ["b"]]), labels=np.array(["yes", "no"]))
    dataset = read_dataset(path, (spec,), None)
    assert dataset.inputs["words"].tolist() == [["a"], ["b"]]
    assert dataset.inputs["words"].dtype == object
    assert dataset.labels.tolist() == ["yes", "no"]
    with pytest.raises(InputSpecError, match="the model wants string"):
        read_dataset(save(tmp_path, words=np.zeros((2, 1)), labels=np.arange(2)), (spec,), None)
