"""Every document and message: one spelling, a round trip without loss, and ContractError for everything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo.contract.device import Target
from neo.contract.fields import (
    MAX_JSON_BYTES,
    MAX_JSON_DEPTH,
    ContractError,
    dump_object,
    get,
    get_number,
    get_size,
    parse_object,
)
from neo.contract.messages import Chunk, DeviceState, NumberedChunk, Want
from neo.contract.oci import MAX_LAYERS, Descriptor, ImageManifest, digest_of, parse_digest
from neo.contract.parity import Tolerance
from neo.contract.tensors import TensorSpec
from tests.contract import strategies

DOCUMENTS = sorted(strategies.DOCUMENTS, key=lambda cls: cls.__name__)
JSON_DOCUMENTS = [cls for cls in DOCUMENTS if cls not in (Chunk, NumberedChunk)]
DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize("document", DOCUMENTS)
@given(data=st.data())
def test_what_is_written_is_read_as_the_same_and_written_as_the_same_bytes(document: Any, data: st.DataObject) -> None:
    value = data.draw(strategies.DOCUMENTS[document])
    written = value.to_bytes()
    assert document.from_bytes(written) == value
    assert document.from_bytes(written).to_bytes() == written


@pytest.mark.parametrize("document", [Target, TensorSpec, Descriptor, Tolerance])
@given(data=st.data())
def test_a_part_comes_back_from_json(document: Any, data: st.DataObject) -> None:
    parts = {
        Target: strategies.targets,
        TensorSpec: strategies.tensor_specs,
        Descriptor: strategies.descriptors,
        Tolerance: strategies.tolerances,
    }
    value = data.draw(parts[document])
    assert document.from_json(json.loads(dump_object(value.to_json()))) == value


@pytest.mark.parametrize("document", DOCUMENTS)
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_or_understood(document: Any, data: bytes) -> None:
    try:
        value = document.from_bytes(data)
    except ContractError:
        return
    assert document in (Chunk, NumberedChunk)
    assert value.to_bytes() == data


@pytest.mark.parametrize("document", JSON_DOCUMENTS)
@given(value=strategies.json_values)
def test_arbitrary_json_is_refused(document: Any, value: Any) -> None:
    with pytest.raises(ContractError):
        document.from_bytes(json.dumps(value).encode())


@pytest.mark.parametrize("document", JSON_DOCUMENTS)
@given(data=st.data())
def test_a_field_of_another_kind_is_refused_or_can_be_written_again(document: Any, data: st.DataObject) -> None:
    """Whatever a broker puts in the place of any field: parsing raises ContractError, or what came can be kept."""
    obj = json.loads(data.draw(strategies.DOCUMENTS[document]).to_bytes())
    holder, key = data.draw(st.sampled_from(list(_places(obj))))
    if data.draw(st.booleans()):
        del holder[key]
    else:
        holder[key] = data.draw(
            strategies.json_values | st.sampled_from([float("nan"), float("inf"), 10**400, -1, 1 << 63, "\ud800", "\0"])
        )
    try:
        value = document.from_bytes(json.dumps(obj).encode())
    except ContractError:
        return
    assert document.from_bytes(value.to_bytes()) == value


def _places(value: Any) -> Any:
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


@pytest.mark.parametrize("document", JSON_DOCUMENTS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b"{",
        b'\xef\xbb\xbf{"a":1}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"\xff"}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":"' + b"x" * MAX_JSON_BYTES + b'"}',
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_document_is_refused(document: Any, data: bytes) -> None:
    with pytest.raises(ContractError):
        document.from_bytes(data)


def test_json_is_read_down_to_a_depth_that_can_be_written_again() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' * depth + b"1" + b"}" * depth

    assert parse_object(nested(MAX_JSON_DEPTH), what="it")["a"]
    with pytest.raises(ContractError, match=f"more than {MAX_JSON_DEPTH} deep"):
        parse_object(nested(MAX_JSON_DEPTH + 1), what="it")
    wide = b'{"a":[' + b",".join([b"[1]"] * 1000) + b"]}"
    assert len(parse_object(wide, what="it")["a"]) == 1000


def test_size_is_checked_before_anything_is_parsed() -> None:
    with pytest.raises(ContractError, match="it has 11 bytes; at most 10 are read"):
        parse_object(b'{"a":"bcd"}', what="it", max_bytes=10)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_error_that_json_cannot_say_is_refused(value: float) -> None:
    good = DeviceState("s", "failed", "", None, 0, 0, {"details": {"x": 1.5}}, "", 0.0).to_bytes()
    assert DeviceState.from_bytes(good).error == {"details": {"x": 1.5}}
    with pytest.raises(ContractError, match="cannot be written as JSON"):
        DeviceState.from_bytes(good.replace(b"1.5", json.dumps(value).encode()))


@pytest.mark.parametrize("value", ["1", 1.5, None, [], {}])
def test_a_whole_number_is_asked_for_and_nothing_else_is_taken(value: object) -> None:
    with pytest.raises(ContractError, match=r"it\.n should be int, found "):
        get({"n": value}, "n", int, "it")


def test_true_is_no_number() -> None:
    for read in (get_size, get_number):
        with pytest.raises(ContractError):
            read({"n": True}, "n", "it")


@pytest.mark.parametrize("value", [-1, 1 << 63, 10**400])
def test_a_size_is_between_nothing_and_63_bits(value: int) -> None:
    with pytest.raises(ContractError, match=r"2\*\*63"):
        get_size({"n": value}, "n", "it")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "A" * 64,
        "sha512:" + "a" * 128,
        "a" * 64,
        "sha256:" + "a" * 64 + "\n",
        "sha256:../../" + "a" * 58,
        None,
        7,
    ],
)
def test_only_a_digest_is_a_digest(text: object) -> None:
    with pytest.raises(ContractError):
        parse_digest(text)


def test_a_digest_is_over_the_exact_bytes() -> None:
    assert digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert Descriptor.of(b"abc", "t") == Descriptor("t", digest_of(b"abc"), 3)


def test_a_manifest_with_too_many_layers_is_refused() -> None:
    layer = b'{"digest":"' + DIGEST.encode() + b'","mediaType":"","size":0}'
    head = b'{"schemaVersion":2,"config":' + layer + b',"layers":['

    def manifest(count: int) -> bytes:
        return head + b",".join([layer] * count) + b"]}"

    assert len(ImageManifest.from_bytes(manifest(MAX_LAYERS)).layers) == MAX_LAYERS
    with pytest.raises(ContractError, match="layers"):
        ImageManifest.from_bytes(manifest(MAX_LAYERS + 1))


@pytest.mark.parametrize("length", [0, -1, (64 << 20) + 1])
def test_a_device_cannot_ask_for_nothing_or_for_too_much(length: int) -> None:
    with pytest.raises(ContractError):
        Want.from_bytes(Want("d", DIGEST, 0, length).to_bytes())


def test_a_chunk_that_is_cut_grown_or_of_another_version_is_refused() -> None:
    good = Chunk(DIGEST, 5, b"abc").to_bytes()
    assert Chunk.from_bytes(good[:-1]).data == b"ab"  # the length is the payload's own
    absent = Chunk(DIGEST, 5, b"", absent=True).to_bytes()
    for bad in (good[:44], b"NEO2" + good[4:], good[:4] + b"\2" + good[5:], absent + b"x", good + bytes(128_000)):
        with pytest.raises(ContractError):
            Chunk.from_bytes(bad)


def test_the_largest_chunk_fits_the_payload_limit() -> None:
    assert len(Chunk(DIGEST, 0, bytes(Chunk.MAX_DATA_BYTES)).to_bytes()) == 128_000
