"""A signed document says what its key signed, or is refused; whatever stands around it changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from neo.contract.fields import MAX_JSON_DEPTH, ContractError
from neo.contract.messages import DesiredModel, DesiredState, Report
from neo.contract.messages.desired import MAX_DESIRED_BYTES
from neo.contract.oci import MANIFEST_TYPE, Descriptor, digest_of
from neo.contract.versions import NewerFormat
from neo.errors import TrustError
from neo.trust.documents import digest_of_payload, open_desired, open_report, sign_desired, sign_report
from neo.trust.envelope import dump_envelope
from neo.trust.keys import public_key_to_json
from tests.contract import strategies

SIGNER, OTHER = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
KEYS = [SIGNER.public_key]
MODEL = DesiredModel("tiny:1-host", Descriptor(MANIFEST_TYPE, "sha256:" + "a" * 64, 10), None)
STATE = DesiredState("default", "porch", 1, 1000.0, 2000.0, {"tiny": MODEL}, ("src",), "ann@build")
REPORT = Report(
    "default", "porch", "s", 1, "active", None, {}, 0, 0, False, None, None, None, 0, (), "http://here", 1000.0
)


@given(strategies.desired_states)
def test_a_document_comes_back_with_the_digest_of_what_was_signed(state: DesiredState) -> None:
    envelope = sign_desired(state, SIGNER)
    found = open_desired(envelope, [OTHER.public_key, *KEYS])
    assert found.state == state
    assert found.id.counter == state.counter
    assert found.id.digest == digest_of(state.to_bytes()) == digest_of_payload(envelope)
    assert found.keyids == (SIGNER.public_key.keyid,)


@given(strategies.reports)
def test_a_report_comes_back_with_the_key_that_signed_it(report: Report) -> None:
    found = open_report(sign_report(report, SIGNER))
    assert (found.report, found.key) == (report, SIGNER.public_key)


def test_a_strangers_document_is_refused() -> None:
    with pytest.raises(TrustError, match="not trusted here"):
        open_desired(sign_desired(STATE, OTHER), KEYS)


def test_a_report_under_anothers_key_is_refused() -> None:
    value = json.loads(sign_report(REPORT, OTHER))
    value["key"] = public_key_to_json(SIGNER.public_key)
    with pytest.raises(TrustError):
        open_report(json.dumps(value).encode())


def test_a_key_under_another_keys_id_is_refused() -> None:
    """Whoever remembers only the id would take it for the other device."""
    value = json.loads(sign_report(REPORT, OTHER))
    value["key"]["keyid"] = value["envelope"]["signatures"][0]["keyid"] = SIGNER.public_key.keyid
    with pytest.raises(TrustError, match="has not the id"):
        open_report(json.dumps(value).encode())


def test_a_report_is_no_document_and_a_document_no_report() -> None:
    report = json.loads(sign_report(REPORT, SIGNER))
    with pytest.raises(TrustError, match="not about a device's desired state"):
        open_desired(json.dumps(report["envelope"]).encode(), KEYS)
    report["envelope"] = json.loads(sign_desired(STATE, SIGNER))
    with pytest.raises(TrustError, match="not about a device's report"):
        open_report(json.dumps(report).encode())


def test_a_signed_document_of_a_later_version_is_kept_apart_from_damage() -> None:
    with pytest.raises(NewerFormat):
        open_desired(dump_envelope(b"{}", "application/vnd.neo-edge.desired.v2+json", SIGNER), KEYS)
    with pytest.raises(TrustError):
        open_desired(dump_envelope(b"{}", "application/vnd.neo-edge.desired.v2+json", OTHER), KEYS)


def test_more_than_a_device_reads_is_not_written() -> None:
    models = {f"m{number}": replace(MODEL, settings={"text": "x" * 2000}) for number in range(40)}
    with pytest.raises(ContractError, match="a device reads"):
        sign_desired(replace(STATE, models=models), SIGNER)


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize("opened", [lambda data: open_desired(data, KEYS), open_report])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        deep(MAX_JSON_DEPTH + 1),
        deep(100_000),
        b'{"x":"' + b"y" * MAX_DESIRED_BYTES + b'"}',
        b'{"payload":"e30=","payloadType":"x","signatures":[]}',
        b"\xff\xfe",
    ],
)
def test_deep_huge_and_empty_input_is_refused(opened: Any, data: bytes) -> None:
    with pytest.raises((TrustError, ContractError)):
        opened(data)


@pytest.mark.parametrize("payload", [deep(MAX_JSON_DEPTH + 1), b"[]", b'{"counter": 1}', b"\xff"])
def test_what_cannot_be_read_is_refused_even_if_it_is_signed(payload: bytes) -> None:
    with pytest.raises(TrustError, match="cannot be read"):
        open_desired(dump_envelope(payload, "application/vnd.neo-edge.desired.v1+json", SIGNER), KEYS)


@pytest.mark.parametrize("name", ["+", "#", "a/b", "..", "", "a" * 65, "x\n"])
@pytest.mark.parametrize("place", ["fleet", "device", "models", "sources", "role"])
def test_a_name_that_could_leave_its_place_is_refused(name: str, place: str) -> None:
    value = json.loads(STATE.to_bytes())
    if place == "models":
        value["models"] = {name: MODEL.to_json()}
    elif place == "sources":
        value["sources"] = [name]
    elif place == "role":
        value["models"]["tiny"]["role"] = name
    else:
        value[place] = name
    with pytest.raises(ContractError):
        DesiredState.from_bytes(json.dumps(value).encode())


@pytest.mark.parametrize("counter", [0, -1, 1 << 63, 1.5, True, "1", None])
def test_a_counter_is_a_whole_number_from_one_on(counter: Any) -> None:
    value = {**json.loads(STATE.to_bytes()), "counter": counter}
    with pytest.raises(ContractError, match="counter"):
        DesiredState.from_bytes(json.dumps(value).encode())


@given(st.data())
def test_any_changed_byte_of_a_document_is_refused_or_changes_nothing(data: st.DataObject) -> None:
    envelope = sign_desired(STATE, SIGNER)
    spoiled = bytearray(envelope)
    spoiled[data.draw(st.integers(0, len(envelope) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = open_desired(bytes(spoiled), KEYS)
    except TrustError:
        return
    assert found == open_desired(envelope, KEYS)
