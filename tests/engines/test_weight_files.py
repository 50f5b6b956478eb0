from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from neo.contract.oci import MAX_LAYERS
from neo.engines.weight_files import FILE_BYTES, MAX_FILES, WeightFiles, place_weights
from neo.runtime.engine_folder import ALIGNMENT_BYTES

tensors = st.lists(st.integers(0, 3 * FILE_BYTES) | st.integers(0, 300), max_size=60)


@given(tensors)
def test_every_tensor_has_a_place_of_its_own_at_an_aligned_offset(sizes: list[int]) -> None:
    used: dict[str, int] = {}
    for place, size in zip(place_weights(sizes), sizes, strict=True):
        assert place.offset % ALIGNMENT_BYTES == 0
        assert place.offset >= used.get(place.file, 0)
        used[place.file] = place.offset + size
    # only a tensor that is larger is in a larger file
    assert all(size <= max(FILE_BYTES, *sizes) for size in used.values())


@given(tensors, st.data())
def test_a_change_of_one_tensors_bytes_changes_one_file_of_bounded_size(sizes: list[int], data: st.DataObject) -> None:
    """The places follow from the sizes alone."""
    if not sizes:
        return
    places = place_weights(sizes)
    changed = data.draw(st.integers(0, len(sizes) - 1))
    together = sum(size for place, size in zip(places, sizes, strict=True) if place.file == places[changed].file)
    assert together <= max(FILE_BYTES, sizes[changed])


def test_many_tensors_fit_into_a_bundle() -> None:
    places = place_weights([FILE_BYTES] * 10_000)
    assert len({place.file for place in places}) <= MAX_FILES < MAX_LAYERS


def test_what_is_written_is_at_its_place(tmp_path: Path) -> None:
    tensors = [b"a" * 100, b"", b"b" * FILE_BYTES, b"c" * 3, b"d"]
    files = WeightFiles(tmp_path)
    places = place_weights([len(tensor) for tensor in tensors])
    for place, tensor in zip(places, tensors, strict=True):
        files.write(place, tensor)
    for place, tensor in zip(places, tensors, strict=True):
        data = (tmp_path / place.file).read_bytes()
        assert data[place.offset : place.offset + len(tensor)] == tensor
        assert len(data) >= place.offset
