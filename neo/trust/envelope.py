"""Signed documents: DSSE envelopes, through securesystemslib. One way to write and to open all of them.

Source: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError, VerificationError
from securesystemslib.signer import Key, Signer

from neo.contract.fields import MAX_JSON_BYTES, ContractError, dump_object, parse_object
from neo.contract.versions import check_media_type, is_later_media_type
from neo.errors import TrustError

ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
SHOWN_KEYS = 5


@dataclass(frozen=True, slots=True)
class Opened:
    """What a trusted key has signed."""

    #: the exact bytes
    payload: bytes
    #: whose signatures were verified
    keyids: tuple[str, ...]


def sign_payload(payload: bytes, payload_type: str, signer: Signer) -> dict[str, Any]:
    """-> the envelope, as JSON."""
    envelope = Envelope(payload, payload_type, {})
    envelope.sign(signer)
    value: dict[str, Any] = envelope.to_dict()
    return value


def dump_envelope(payload: bytes, payload_type: str, signer: Signer) -> bytes:
    return dump_object(sign_payload(payload, payload_type, signer))


def parse_envelope(data: bytes, *, max_bytes: int = MAX_JSON_BYTES) -> Envelope:
    """Nothing of it is verified. Raises TrustError for what is no envelope."""
    try:
        return read_envelope(parse_object(data, what="signature", max_bytes=max_bytes))
    except ContractError as error:
        raise TrustError(f"the signature cannot be read: {error.message}") from error


def read_envelope(value: dict[str, Any]) -> Envelope:
    """As ``parse_envelope``, of what is parsed already."""
    try:
        envelope = Envelope.from_dict(value)
        envelope.pae()  # fails if the type is no text
    except (KeyError, ValueError, TypeError, AttributeError, FormatError) as error:
        raise TrustError(f"the signature cannot be read: {error}") from error
    return envelope


def open_envelope(envelope: Envelope, payload_type: str, keys: Sequence[Key], *, what: str, hint: str) -> Opened:
    """The payload, if one of the keys signed it as what it is said to be. Raises TrustError otherwise.

    what: the kind of document, with its article. Raises NewerFormat for one of a later version that one of the keys
    signed.
    """
    found = str(envelope.payload_type)
    if found != payload_type and not is_later_media_type(found, payload_type):
        raise TrustError(f"the signature is about {envelope.payload_type!r}, not about {what}")
    try:
        accepted = envelope.verify(list(keys), 1)
    except (VerificationError, ValueError) as error:  # ValueError: no keys at all
        raise TrustError(
            f"signed by {_names(envelope.signatures)}, which is not trusted here (trusted: "
            f"{_names(key.keyid for key in keys)})",
            hint=hint,
        ) from error
    check_media_type(found, payload_type, what)
    return Opened(envelope.payload, tuple(accepted))


def _names(keyids: Iterable[Any]) -> str:
    """A few, short and printable: whoever wrote an envelope chose them, and they need not even be text."""
    short = sorted(str(keyid)[:12] for keyid in keyids)
    shown = ", ".join(keyid if keyid.isprintable() else ascii(keyid) for keyid in short[:SHOWN_KEYS])
    return (shown + (f" and {len(short) - SHOWN_KEYS} more" if len(short) > SHOWN_KEYS else "")) or "nobody"
