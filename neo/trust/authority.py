"""Who may say what: which releases exist, and who assigns them. What a device was given with --trust stands behind it.

The agent asks an authority and never a list of keys, so that one operator's key and a set of TUF's roles look the same
to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from securesystemslib.signer import Key

from neo.contract.fields import ContractError
from neo.contract.oci import Descriptor
from neo.contract.versions import NewerFormat
from neo.errors import TrustError
from neo.trust.statement import verify_statement


class Authority(Protocol):
    """Asked from several threads; what it answers may change while the agent runs."""

    def verify_release(self, reference: str, manifest: Descriptor, envelope: bytes) -> None:
        """Is this bundle released under this name? envelope: the signed statement that came with it.

        Raises TrustError unless it is; NewerFormat for a statement of a later version.
        """

    def verify_installed(self, reference: str, manifest: Descriptor, envelope: bytes) -> None:
        """May it go on that was let in before? As ``verify_release``, but what has expired or was withdrawn goes on."""

    def assignment_keys(self) -> Sequence[Key]:
        """Who may sign what a device shall run: one of them is enough."""


class KeyAuthority:
    """Keys that count as release keys and as assignment keys alike: one operator who does both."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    def verify_release(self, reference: str, manifest: Descriptor, envelope: bytes) -> None:
        try:
            statement = verify_statement(envelope, self._keys)
        except NewerFormat:
            raise
        except ContractError as error:
            raise TrustError(f"the signed statement cannot be read: {error.message}") from error
        signed = (statement.digest, statement.size, statement.reference)
        if signed != (manifest.digest, manifest.size, reference):
            raise TrustError(
                f"the signature is about {statement.reference} {statement.digest} ({statement.size} bytes), assigned "
                f"was {reference[:200]} {manifest.digest} ({manifest.size} bytes)",
                hint="push the bundle again; if this comes back, somebody between the operator and the device changes "
                "it",
            )

    def verify_installed(self, reference: str, manifest: Descriptor, envelope: bytes) -> None:
        self.verify_release(reference, manifest, envelope)

    def assignment_keys(self) -> Sequence[Key]:
        return self._keys
