from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo.contract.strings import dtype_name, numpy_dtype
from neo.contract.tensors import DTYPES, TensorSpec
from neo.errors import InputSpecError
from neo.frontends.samples import MAX_INTEGER, random_inputs, read_golden

X = TensorSpec("x", "float32", (1, 3))
Y = TensorSpec("y", "float32", (1,))


@given(dtype=st.sampled_from(sorted(DTYPES)), shape=st.lists(st.integers(0, 4), max_size=4), seed=st.integers(0, 2**32))
def test_inputs_have_the_asked_dtype_and_shape_and_depend_on_the_seed_alone(
    dtype: str, shape: list[int], seed: int
) -> None:
    spec = TensorSpec("t", dtype, tuple(shape))
    first, again = random_inputs((spec,), 2, seed), random_inputs((spec,), 2, seed)
    for one, other in zip(first, again, strict=True):
        assert one["t"].dtype == numpy_dtype(dtype)
        assert one["t"].size == 0 or dtype_name(one["t"]) == dtype
        assert one["t"].shape == tuple(shape)
        np.testing.assert_array_equal(one["t"], other["t"])


def test_samples_differ_from_each_other_and_so_do_seeds() -> None:
    one, two = random_inputs((X,), 2, 0)
    (other,) = random_inputs((X,), 1, 1)
    assert not np.array_equal(one["x"], two["x"])
    assert not np.array_equal(one["x"], other["x"])


def test_pixels_take_all_values_and_indices_stay_small() -> None:
    pixels, indices = TensorSpec("p", "uint8", (4096,)), TensorSpec("i", "int64", (4096,))
    (sample,) = random_inputs((pixels, indices), 1, 0)
    assert (sample["p"].min(), sample["p"].max()) == (0, 255)
    assert (sample["i"].min(), sample["i"].max()) == (0, MAX_INTEGER)


def test_a_mask_of_whole_numbers_is_zeros_and_ones() -> None:
    (sample,) = random_inputs((TensorSpec("attention_mask", "int64", (4096,)),), 1, 0)
    assert sorted(set(sample["attention_mask"])) == [0, 1]


def test_a_dimension_that_is_still_dynamic_gets_one() -> None:
    (sample,) = random_inputs((TensorSpec("x", "float32", ("N", 3)),), 1, 0)
    assert sample["x"].shape == (1, 3)


def test_a_golden_file_gives_the_arrays_by_name(tmp_path: Path) -> None:
    x, y = np.ones((1, 3), np.float32), np.full(1, 7.0)
    np.savez(tmp_path / "g.npz", x=x, y=y, other=x)
    sample = read_golden(tmp_path / "g.npz", (X,), (Y,))
    assert sample.inputs.keys() == {"x"}
    assert sample.outputs["y"].dtype == np.float32
    assert sample.outputs["y"] == 7.0


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.ones((1, 3), np.float32)}, "lacks y; it holds x"),
        ({"x": np.ones((1, 3)), "y": np.ones(1)}, "'x' is float64[1, 3], the model wants x=float32[1,3]"),
        ({"x": np.ones((2, 3), np.float32), "y": np.ones(1)}, "'x' is float32[2, 3]"),
        ({"x": np.array([None]), "y": np.ones(1)}, "is no .npz file of arrays"),
    ],
)
def test_a_golden_file_that_does_not_fit_says_why(tmp_path: Path, arrays: dict[str, np.ndarray], says: str) -> None:
    np.savez(tmp_path / "g.npz", **arrays)
    with pytest.raises(InputSpecError) as caught:
        read_golden(tmp_path / "g.npz", (X,), (Y,))
    assert says in caught.value.message


@pytest.mark.parametrize("content", [b"", b"x,y\n1,2\n", b"PK\x03\x04broken"])
def test_another_file_is_no_golden_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "g.npz").write_bytes(content)
    with pytest.raises(InputSpecError, match=r"is no \.npz file"):
        read_golden(tmp_path / "g.npz", (X,), (Y,))


def test_a_lone_array_is_no_golden_file(tmp_path: Path) -> None:
    with (tmp_path / "g.npz").open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(InputSpecError, match="it is a single array"):
        read_golden(tmp_path / "g.npz", (X,), (Y,))
