from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neo.contract.manifest import GOLDEN_INPUTS_PATH as INPUTS
from neo.contract.manifest import GOLDEN_OUTPUTS_PATH as OUTPUTS
from neo.errors import BundleError
from neo.runtime import golden, load
from neo.runtime.golden import read_golden, self_test, write_golden
from tests.contract import strategies
from tests.runtime.bundles import onnxruntime_bundle, samples

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
some_arrays = st.dictionaries(names, strategies.arrays, min_size=1, max_size=2)


@settings(max_examples=50)
@given(st.lists(st.tuples(some_arrays, some_arrays), min_size=1, max_size=3))
def test_samples_come_back_under_any_name(tmp_path_factory: pytest.TempPathFactory, written: list) -> None:
    folder = tmp_path_factory.getbasetemp()
    write_golden(folder, written)
    back = read_golden(folder)
    assert len(back) == len(written)
    for sample, want in zip(back, written, strict=True):
        for got_arrays, want_arrays in zip(sample, want, strict=True):
            assert got_arrays.keys() == want_arrays.keys()
            for name, array in want_arrays.items():
                np.testing.assert_array_equal(got_arrays[name], array, strict=True)


def test_the_same_samples_make_the_same_bytes_and_the_inputs_are_a_file_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first = samples(1)
    write_golden(tmp_path / "one", first)
    write_golden(tmp_path / "two", [(inputs, {"y": outputs["y"] + 1}) for inputs, outputs in first])
    files = {(n, f): (tmp_path / n / f).read_bytes() for n in ("one", "two") for f in (INPUTS, OUTPUTS)}
    assert files["one", INPUTS] == files["two", INPUTS]
    assert files["one", OUTPUTS] != files["two", OUTPUTS]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_gives_only_values_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    written = samples(1)
    write_golden(folder, written)
    path = folder / data.draw(st.sampled_from([INPUTS, OUTPUTS]))
    spoiled = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(spoiled[: data.draw(st.sampled_from([len(spoiled), len(spoiled) // 2]))])
    try:
        read = read_golden(folder)
    except BundleError:
        return
    # names have no checksum in a zip file, values have one
    known = [(array.shape, array.tobytes()) for sample in written for part in sample for array in part.values()]
    for inputs, outputs in read:
        assert outputs
        assert all((array.shape, array.tobytes()) in known for array in (*inputs.values(), *outputs.values()))


def write_zip(folder: Path, entries: dict[str, bytes]) -> None:
    """With the entries for outputs; there are no inputs."""
    for path, content_of in ((INPUTS, {}), (OUTPUTS, entries)):
        with zipfile.ZipFile(folder / path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in content_of.items():
                archive.writestr(name, content)


def npy(array: np.ndarray, path: Path) -> bytes:
    np.save(path, array, allow_pickle=True)
    return path.read_bytes()


def test_what_are_no_samples_is_refused(tmp_path: Path) -> None:
    one = npy(np.zeros(1), tmp_path / "one.npy")
    pickled = npy(np.array([{}], dtype=object), tmp_path / "object.npy")
    huge = one.replace(b"(1,)", b"(1099511627776,)").replace(b" " * 12, b"", 1)
    for entries in (
        {},
        {"x.npy": one},
        {"0/input/x.npy": one},
        {"a/output/y.npy": one},
        {"0/other/y.npy": one},
        {"0/output/y.npy": one, "1/input/x.npy": one},
        {"0/output/y.npy": pickled},
        {"0/output/y.npy": b"\x93NUMPY"},
        {"0/output/y.npy": huge},
        {f"{index}/output/y.npy": one for index in range(65)},
    ):
        write_zip(tmp_path, entries)
        with pytest.raises(BundleError):
            read_golden(tmp_path)
    for content in (b"", one, pickled, b"PK\5\6"):
        (tmp_path / OUTPUTS).write_bytes(content)
        with pytest.raises(BundleError):
            read_golden(tmp_path)
    (tmp_path / OUTPUTS).unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        read_golden(tmp_path)


def test_a_small_file_does_not_unpack_to_a_large_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zip(tmp_path, {"0/output/y.npy": npy(np.zeros(1 << 20), tmp_path / "y.npy")})
    assert (tmp_path / OUTPUTS).stat().st_size < 100_000
    assert len(read_golden(tmp_path)) == 1
    monkeypatch.setattr(golden, "MAX_BYTES", 1 << 20)
    with pytest.raises(BundleError, match="unpack to"):
        read_golden(tmp_path)


def test_samples_that_leave_an_output_out_prove_nothing(tmp_path: Path) -> None:
    bundle = onnxruntime_bundle(tmp_path)
    predictor = load(bundle)
    self_test(predictor, bundle)
    write_golden(bundle, [(inputs, {"y": outputs["y"]}) for inputs, outputs in samples()])
    with pytest.raises(BundleError, match="a golden sample has the outputs y; the model has y, z"):
        self_test(predictor, bundle)
    predictor.close()


def test_one_wrong_sample_among_good_ones_fails(tmp_path: Path) -> None:
    bundle = onnxruntime_bundle(tmp_path)
    good, bad = samples()
    bad[1]["z"][0, 0] += 1
    write_golden(bundle, [good, bad])
    predictor = load(bundle)
    with pytest.raises(BundleError, match="largest difference is 1"):
        self_test(predictor, bundle)
    predictor.close()
