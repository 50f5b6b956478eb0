"""The signed statement about a bundle: a DSSE envelope around the digest of its OCI manifest.

Every file of the bundle hangs on that digest. The reference is part of it, so that a broker cannot pass one bundle
off under another's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from securesystemslib.signer import Key, Signer

from neo.contract.fields import ContractError, dump_object, get, get_size, parse_object
from neo.contract.oci import parse_digest
from neo.errors import TrustError
from neo.trust.envelope import ENVELOPE_TYPE, dump_envelope, open_envelope, parse_envelope

__all__ = ["ENVELOPE_TYPE", "PAYLOAD_TYPE", "SIGNATURE_TYPE", "Statement", "sign_statement", "verify_statement"]

PAYLOAD_TYPE = "application/vnd.neo-edge.release.v1+json"
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
    return dump_envelope(payload, PAYLOAD_TYPE, signer)


def verify_statement(envelope_bytes: bytes, keys: Sequence[Key]) -> Statement:
    """The statement, if one of the keys signed it. Raises TrustError otherwise; nothing of it is used before.

    Raises NewerFormat for a statement of a later version that one of the keys signed.
    """
    opened = open_envelope(
        parse_envelope(envelope_bytes),
        PAYLOAD_TYPE,
        keys,
        what="a bundle",
        hint="sign with the operator's key (neo compile --key), or give the device that key's .pub file (--trust)",
    )
    try:
        obj = parse_object(opened.payload, what="statement")
        return Statement(
            parse_digest(obj.get("digest"), "statement.digest"),
            get_size(obj, "size", "statement"),
            get(obj, "reference", str, "statement"),
            opened.keyids,
        )
    except ContractError as error:
        raise TrustError(f"the signed statement cannot be read: {error.message}", hint=error.hint) from error
