"""The signed statement about a bundle: a DSSE envelope around the digest of its OCI manifest.

Every file of the bundle hangs on that digest. The reference is part of it, so that a broker cannot pass one bundle
off under another's name. Source: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError, VerificationError
from securesystemslib.signer import Key, Signer

from neo.contract.fields import ContractError, dump_object, get, get_size, parse_object
from neo.contract.oci import parse_digest
from neo.contract.versions import check_media_type, is_later_media_type
from neo.errors import TrustError

PAYLOAD_TYPE = "application/vnd.neo-edge.release.v1+json"
ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
SHOWN_KEYS = 5
SIGNATURE_TYPE = "application/vnd.neo-edge.signature.v1"


@dataclass(frozen=True, slots=True)
class Statement:
    """digest, size (bytes): of the OCI manifest. reference: the name it was released under. keyids: who signed."""

    digest: str
    size: int
    reference: str
    keyids: tuple[str, ...] = ()


def sign_statement(statement: Statement, signer: Signer) -> bytes:
    """-> the DSSE envelope as JSON."""
    payload = dump_object({"digest": statement.digest, "size": statement.size, "reference": statement.reference})
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return dump_object(envelope.to_dict())


def verify_statement(envelope_bytes: bytes, keys: Sequence[Key]) -> Statement:
    """The statement, if one of the keys signed it. Raises TrustError otherwise; nothing of it is used before.

    Raises NewerFormat for a statement of a later version that one of the keys signed.
    """
    try:
        envelope = Envelope.from_dict(parse_object(envelope_bytes, what="signature"))
    except (ContractError, KeyError, ValueError, TypeError, AttributeError, FormatError) as error:
        raise TrustError(f"the signature cannot be read: {error}") from error
    is_later = is_later_media_type(str(envelope.payload_type), PAYLOAD_TYPE)
    if envelope.payload_type != PAYLOAD_TYPE and not is_later:
        raise TrustError(f"the signature is about {envelope.payload_type!r}, not about a bundle")
    try:
        accepted = envelope.verify(list(keys), 1)
    except (VerificationError, ValueError) as error:  # ValueError: no keys at all
        raise TrustError(
            f"signed by {_names(envelope.signatures)}, which is not trusted here (trusted: "
            f"{_names(key.keyid for key in keys)})",
            hint="sign with the operator's key (neo compile --key), or give the device that key's .pub file (--trust)",
        ) from error
    check_media_type(str(envelope.payload_type), PAYLOAD_TYPE, "the signed statement")
    try:
        obj = parse_object(envelope.payload, what="statement")
        return Statement(
            parse_digest(obj.get("digest"), "statement.digest"),
            get_size(obj, "size", "statement"),
            get(obj, "reference", str, "statement"),
            tuple(accepted),
        )
    except ContractError as error:
        raise TrustError(f"the signed statement cannot be read: {error.message}", hint=error.hint) from error


def _names(keyids: Iterable[Any]) -> str:
    """A few, short and printable: whoever wrote an envelope chose them, and they need not even be text."""
    short = sorted(str(keyid)[:12] for keyid in keyids)
    shown = ", ".join(keyid if keyid.isprintable() else ascii(keyid) for keyid in short[:SHOWN_KEYS])
    return (shown + (f" and {len(short) - SHOWN_KEYS} more" if len(short) > SHOWN_KEYS else "")) or "nobody"
