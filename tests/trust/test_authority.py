"""Who may release, and who may assign, in the eyes of a device that was given keys."""

from __future__ import annotations

import pytest
from securesystemslib.signer import CryptoSigner

from neo.contract.oci import MANIFEST_TYPE, Descriptor
from neo.errors import TrustError
from neo.trust import KeyAuthority, Statement, sign_statement

SIGNER = CryptoSigner.generate_ed25519()
ONE = Descriptor(MANIFEST_TYPE, "sha256:" + "1" * 64, 100)
TWO = Descriptor(MANIFEST_TYPE, "sha256:" + "2" * 64, 100)
AUTHORITY = KeyAuthority([SIGNER.public_key])


def statement_about(manifest: Descriptor, reference: str = "digits:1-host", signer: CryptoSigner = SIGNER) -> bytes:
    return sign_statement(Statement(manifest.digest, manifest.size, reference), signer)


def test_a_release_that_a_trusted_key_signed_is_one() -> None:
    AUTHORITY.verify_release("digits:1-host", ONE, statement_about(ONE))
    assert AUTHORITY.assignment_keys() == (SIGNER.public_key,)


@pytest.mark.parametrize(
    "envelope",
    [statement_about(TWO), statement_about(ONE, "better:1-host"), statement_about(Descriptor("", ONE.digest, 99))],
)
def test_a_signature_about_another_name_bundle_or_size_is_refused(envelope: bytes) -> None:
    with pytest.raises(TrustError, match="the signature is about"):
        AUTHORITY.verify_release("digits:1-host", ONE, envelope)


def test_a_stranger_releases_nothing() -> None:
    with pytest.raises(TrustError, match="not trusted here"):
        AUTHORITY.verify_release("digits:1-host", ONE, statement_about(ONE, signer=CryptoSigner.generate_ed25519()))
