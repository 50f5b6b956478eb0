"""Nothing of a statement is believed unless a trusted key signed exactly these bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from neo.errors import TrustError
from neo.trust import Statement, sign_statement, verify_statement
from neo.trust.statement import PAYLOAD_TYPE
from tests.contract import strategies

SIGNER = CryptoSigner.generate_ed25519()
OTHER = CryptoSigner.generate_ed25519()
KEY = SIGNER.public_key
STATEMENT = Statement("sha256:" + "a" * 64, 1234, "digits:1-host")
ENVELOPE = sign_statement(STATEMENT, SIGNER)

Change = Callable[[dict[str, Any]], None]


def refusal(envelope: bytes, *keys: Any) -> TrustError:
    with pytest.raises(TrustError) as raised:
        verify_statement(envelope, keys or [KEY])
    return raised.value


def changed(change: Change) -> bytes:
    value = json.loads(ENVELOPE)
    change(value)
    return json.dumps(value).encode()


def payload(**fields: object) -> str:
    value = {**json.loads(base64.b64decode(json.loads(ENVELOPE)["payload"])), **fields}
    return base64.b64encode(json.dumps(value).encode()).decode()


@given(st.builds(Statement, strategies.digests, strategies.sizes, strategies.texts))
def test_what_a_trusted_key_signed_is_believed(statement: Statement) -> None:
    found = verify_statement(sign_statement(statement, SIGNER), [OTHER.public_key, KEY])
    assert (found.digest, found.size, found.reference) == (statement.digest, statement.size, statement.reference)
    assert found.keyids == (KEY.keyid,)


def test_another_key_is_not_trusted_and_both_are_named() -> None:
    error = refusal(sign_statement(STATEMENT, OTHER))
    assert f"signed by {OTHER.public_key.keyid[:12]}" in error.message
    assert f"(trusted: {KEY.keyid[:12]})" in error.message
    assert "--trust" in error.hint


def test_with_no_trusted_key_nothing_is_believed() -> None:
    with pytest.raises(TrustError):
        verify_statement(ENVELOPE, [])


def _no_signature(value: dict[str, Any]) -> None:
    value["signatures"] = []


def _strangers_signature(value: dict[str, Any]) -> None:
    value["signatures"][0]["sig"] = json.loads(sign_statement(STATEMENT, OTHER))["signatures"][0]["sig"]


def _strangers_signature_under_our_name(value: dict[str, Any]) -> None:
    value["signatures"] = json.loads(sign_statement(STATEMENT, OTHER))["signatures"]
    value["signatures"][0]["keyid"] = KEY.keyid


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(payload=payload(digest="sha256:" + "b" * 64)),
        lambda value: value.update(payload=payload(reference="digits:2-host")),
        lambda value: value.update(payload=payload(size=1)),
        lambda value: value.update(payload=""),
        lambda value: value.update(payloadType="application/vnd.in-toto+json"),
        lambda value: value.update(payloadType=None),
        lambda value: value.update(payloadType=[PAYLOAD_TYPE]),
        lambda value: value.update(signatures=None),
        lambda value: value.update(signatures={}),
        lambda value: value.update(signatures=["x"]),
        lambda value: value.update(signatures=value["signatures"] * 2),
        lambda value: value.pop("payload"),
        lambda value: value["signatures"][0].update(keyid=7),
        lambda value: value["signatures"][0].update(keyid=None),
        lambda value: value["signatures"][0].update(keyid=["x"]),
        lambda value: value["signatures"][0].update(keyid="\x1b[2J"),
        lambda value: value["signatures"][0].update(sig="!!!"),
        lambda value: value["signatures"][0].update(sig=""),
        lambda value: value["signatures"][0].update(sig=7),
        lambda value: value["signatures"][0].pop("keyid"),
        _no_signature,
        _strangers_signature,
        _strangers_signature_under_our_name,
    ],
)
def test_a_tampered_envelope_is_refused(change: Change) -> None:
    error = refusal(changed(change))
    assert error.message.isprintable()


@given(st.data())
def test_any_changed_byte_is_refused_or_changes_nothing(data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(ENVELOPE) - 1))
    spoiled = bytearray(ENVELOPE)
    spoiled[position] = data.draw(st.integers(0, 255))
    try:
        found = verify_statement(bytes(spoiled), [KEY])
    except TrustError:
        return
    # base64 has spare bits and ignored characters; what is signed is what it decodes to
    assert (found.digest, found.size, found.reference) == (STATEMENT.digest, STATEMENT.size, STATEMENT.reference)


@given(st.binary(max_size=200))
def test_rubbish_is_refused(data: bytes) -> None:
    refusal(data)


@given(strategies.json_objects)
def test_any_json_is_refused(value: dict[str, Any]) -> None:
    refusal(json.dumps(value).encode())


@given(strategies.json_values, strategies.json_values, strategies.json_values)
def test_any_envelope_is_refused(content: Any, kind: Any, signatures: Any) -> None:
    refusal(json.dumps({"payload": content, "payloadType": kind, "signatures": signatures}).encode())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"digest":"x","size":1,"reference":"r"}',
        b'{"digest":"sha256:%s","size":-1,"reference":"r"}' % (b"a" * 64),
        b'{"digest":"sha256:%s","size":1,"reference":7}' % (b"a" * 64),
    ],
)
def test_a_trusted_key_that_signed_nonsense_is_no_help(content: bytes) -> None:
    envelope = Envelope(content, PAYLOAD_TYPE, {})
    envelope.sign(SIGNER)
    refusal(json.dumps(envelope.to_dict()).encode())


def test_a_statement_of_another_kind_is_refused_though_the_key_is_trusted() -> None:
    envelope = Envelope(base64.b64decode(json.loads(ENVELOPE)["payload"]), "application/vnd.other+json", {})
    envelope.sign(SIGNER)
    assert "not about a bundle" in refusal(json.dumps(envelope.to_dict()).encode()).message


def test_many_signers_are_not_all_listed() -> None:
    value = json.loads(ENVELOPE)
    value["signatures"] = [{"keyid": f"stranger-{n:03d}", "sig": "AAAA"} for n in range(500)]
    message = refusal(json.dumps(value).encode()).message
    assert "stranger-000" in message
    assert "and 495 more" in message
    assert len(message) < 400
