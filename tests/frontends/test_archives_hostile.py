"""Archives and JSON of model files, damaged byte by byte: read or refused, in little memory, and nothing unpacked."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from neo.errors import ModelError, NeoError
from neo.frontends import FRONTENDS
from neo.frontends.json_tree import objects
from neo.frontends.keras_config import MAX_CONFIG_BYTES, read_config, refuse_code, refuse_custom_layers
from neo.frontends.pt2_archive import operators, read_documents, refuse_damage
from neo.frontends.pt2_archive import refuse_code as refuse_program_code
from neo.frontends.recognise import framework_of, recognise_format
from neo.frontends.wire import read_wire_file

LAYER = {"class_name": "Dense", "module": "keras.layers", "config": {"name": "dense", "units": 3}}
CONFIG = json.dumps({"class_name": "Sequential", "module": "keras", "config": {"layers": [LAYER, LAYER]}})
GRAPH = json.dumps({"nodes": [{"target": "torch.ops.aten.add.Tensor", "inputs": [{"expr_str": "2*s0 + 1"}]}]})


def zip_bytes(members: dict[str, str | bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


KERAS = zip_bytes({"metadata.json": "{}", "config.json": CONFIG, "model.weights.h5": b"\x89HDF\r\n\x1a\n"})
PT2 = zip_bytes({"m/archive_format": "pt2", "m/models/model.json": GRAPH, "m/data/weights/w0": bytes(16)})


def changed(content: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
    result = bytearray(content)
    for position, value in changes:
        result[position % len(result)] = value
    return bytes(result[: len(result) - cut])


CHANGES = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=6)
CUT = st.integers(0, 30)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(changes=CHANGES, cut=CUT)
def test_a_changed_keras_archive_is_read_or_refused(tmp_path: Path, changes: list[tuple[int, int]], cut: int) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(changed(KERAS, changes, cut))
    try:
        if recognise_format(path) == "keras":
            config = read_config(path, "keras")
            refuse_code(path, config)
            refuse_custom_layers(path, config)
    except NeoError as error:
        assert error.message  # noqa: PT017
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.keras"]


@FUZZ
@example(changes=[(458, 1)], cut=0)  # a member before the file's beginning
@given(changes=CHANGES, cut=CUT)
def test_a_changed_exported_program_is_read_or_refused(
    tmp_path: Path, changes: list[tuple[int, int]], cut: int
) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(changed(PT2, changes, cut))
    try:
        if recognise_format(path) == "pt2":
            refuse_damage(path)
            documents = read_documents(path)
            refuse_program_code(path, documents)
            assert all(operators(documents))
    except NeoError as error:
        assert error.message  # noqa: PT017
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.pt2"]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
KEYS = st.sampled_from(
    ["class_name", "module", "registered_name", "config", "layers", "path_name", "expr_str", "target"]
)


@FUZZ
@given(document=st.dictionaries(KEYS, JSON | st.dictionaries(KEYS, JSON, max_size=4), max_size=4))
def test_documents_of_any_shape_are_walked(document: dict[str, object]) -> None:
    assert all(isinstance(value, dict) for value in objects(document))
    for refuse in (lambda: refuse_code(Path("m"), document), lambda: refuse_custom_layers(Path("m"), document)):
        try:
            refuse()
        except NeoError as error:
            assert error.message  # noqa: PT017
    try:
        refuse_program_code(Path("m"), [document])
        operators([document])
    except NeoError as error:
        assert error.message  # noqa: PT017


def test_json_nested_beyond_reason_is_damaged(tmp_path: Path) -> None:
    deep = "[" * 100_000
    (tmp_path / "m.keras").write_bytes(zip_bytes({"metadata.json": "{}", "config.json": deep}))
    with pytest.raises(ModelError, match="not JSON"):
        read_config(tmp_path / "m.keras", "keras")
    (tmp_path / "m.pt2").write_bytes(zip_bytes({"m/archive_format": "pt2", "m/models/model.json": deep}))
    with pytest.raises(ModelError, match="cannot be read"):
        read_documents(tmp_path / "m.pt2")


def test_a_bomb_in_an_archive_does_not_go_off(tmp_path: Path) -> None:
    """A configuration that unpacks to more than any real one is refused by its size, before it is unpacked."""
    bomb = zip_bytes({"metadata.json": "{}", "config.json": bytes(MAX_CONFIG_BYTES + 1)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < MAX_CONFIG_BYTES // 500
    (tmp_path / "m.keras").write_bytes(bomb)
    tracemalloc.start()
    with pytest.raises(ModelError, match="more than any real model's"):
        read_config(tmp_path / "m.keras", "keras")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "C:\\escaped", "a/../../escaped"])
def test_members_with_paths_that_lead_out_are_never_written(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    members: dict[str, str | bytes] = {"metadata.json": "{}", "config.json": CONFIG, name: b"x"}
    (folder / "m.keras").write_bytes(zip_bytes(members))
    assert recognise_format(folder / "m.keras") == "keras"
    read_config(folder / "m.keras", "keras")
    (folder / "m.pt2").write_bytes(zip_bytes({"m/archive_format": "pt2", "m/models/model.json": GRAPH, name: b"x"}))
    refuse_damage(folder / "m.pt2")
    read_documents(folder / "m.pt2")
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "b", "m.keras", "m.pt2"}
    assert not Path("/escaped").exists()


@FUZZ
@given(content=st.binary(max_size=200))
def test_any_bytes_are_walked_as_protobuf_within_their_size(content: bytes) -> None:
    file = io.BytesIO(content)
    wire = read_wire_file(file, len(content))
    assert file.tell() <= len(content)
    assert wire is None or all(number >= 1 for number in wire.numbers)


@FUZZ
@given(start=st.sampled_from([KERAS, PT2]), changes=CHANGES, cut=CUT)
def test_a_changed_archive_is_recognised_or_refused(
    tmp_path: Path, start: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    (tmp_path / "m").write_bytes(changed(start, changes, cut))
    try:
        assert framework_of(recognise_format(tmp_path / "m")) in FRONTENDS
    except ModelError as error:
        assert error.message  # noqa: PT017
