"""The signed documents of a fleet: what a device shall run, and what it says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from neo.contract.fields import ContractError, as_object, dump_object, parse_object
from neo.contract.messages.desired import DESIRED_TYPE, MAX_DESIRED_BYTES, DesiredState
from neo.contract.messages.report import MAX_REPORT_BYTES, REPORT_TYPE, DocumentId, Report
from neo.contract.oci import digest_of
from neo.contract.versions import VERSION_KEY, require_version
from neo.errors import TrustError
from neo.trust.envelope import dump_envelope, open_envelope, parse_envelope, read_envelope, sign_payload
from neo.trust.keys import public_key_from_json, public_key_to_json

SIGNED_REPORT_VERSION = 1


@dataclass(frozen=True, slots=True)
class SignedDesired:
    """A document that one of the trusted keys signed."""

    state: DesiredState
    id: DocumentId
    keyids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SignedReport:
    """A report that was signed with the key that came with it. Whose key that is has to be known from elsewhere."""

    report: Report
    key: SSlibKey


def sign_desired(state: DesiredState, signer: Signer) -> bytes:
    """-> the envelope. Raises ContractError if it is larger than a device reads."""
    envelope = dump_envelope(state.to_bytes(), DESIRED_TYPE, signer)
    if len(envelope) > MAX_DESIRED_BYTES:
        raise ContractError(
            f"the document for {state.device} has {len(envelope)} bytes; a device reads {MAX_DESIRED_BYTES}",
            hint="assign fewer models to one device",
        )
    return envelope


def digest_of_payload(envelope_bytes: bytes) -> str:
    """The digest by which a document is named, whoever signed it. Raises TrustError for what is no envelope."""
    return digest_of(parse_envelope(envelope_bytes, max_bytes=MAX_DESIRED_BYTES).payload)


def open_desired(envelope_bytes: bytes, keys: Sequence[Key]) -> SignedDesired:
    """Raises TrustError unless one of the keys signed it, NewerFormat if a later version wrote it."""
    opened = open_envelope(
        parse_envelope(envelope_bytes, max_bytes=MAX_DESIRED_BYTES),
        DESIRED_TYPE,
        keys,
        what="a device's desired state",
        hint="push with the key that the device trusts (neo push --key), or give the device that key's .pub file "
        "(--trust)",
    )
    try:
        state = DesiredState.from_bytes(opened.payload)
    except ContractError as error:
        raise TrustError(f"the signed document cannot be read: {error.message}", hint=error.hint) from error
    return SignedDesired(state, DocumentId(state.counter, digest_of(opened.payload)), opened.keyids)


def sign_report(report: Report, signer: CryptoSigner) -> bytes:
    """-> the envelope, and the public half of the key beside it; a certificate of that key will stand there too."""
    return dump_object(
        {
            VERSION_KEY: SIGNED_REPORT_VERSION,
            "envelope": sign_payload(report.to_bytes(), REPORT_TYPE, signer),
            "key": public_key_to_json(signer.public_key),
        }
    )


def open_report(data: bytes) -> SignedReport:
    """Raises TrustError if it is not signed with the key that came with it, ContractError if it cannot be read."""
    obj = parse_object(data, what="signed report", max_bytes=MAX_REPORT_BYTES)
    require_version(obj, SIGNED_REPORT_VERSION, "signed report")
    key = public_key_from_json(as_object(obj.get("key"), "signed report.key"))
    envelope = read_envelope(as_object(obj.get("envelope"), "signed report.envelope"))
    opened = open_envelope(envelope, REPORT_TYPE, [key], what="a device's report", hint="")
    return SignedReport(Report.from_bytes(opened.payload), key)
