"""The authority of a device with a TUF set: a bundle is released if the set lists it, and the set names who assigns."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import Key, Signature
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from neo.contract.fields import ContractError, dump_object, get_strings, parse_object
from neo.contract.oci import Descriptor
from neo.contract.versions import VERSION_KEY, require_version
from neo.durable import replace_file
from neo.errors import NotReleased, TrustError
from neo.trust.authority import Authority
from neo.trust.tuf.trusted import Release, Trusted, load_root, require_fleet, target_path

log = logging.getLogger(__name__)

INSTALLED_FILE = "installed.json"
SCHEMA = 1
#: the newest; a device keeps two bundles
MOST_INSTALLED = 16


class TufAuthority:
    """Asked from several threads while ``trusted`` is replaced in another.

    folder: where it remembers what it let be installed. before: who was trusted before the device went over to TUF, for
    what was installed then; None for a device that began with TUF.
    """

    def __init__(self, folder: Path, trusted: Trusted, before: Authority | None = None) -> None:
        self.trusted = trusted
        self._path = folder / INSTALLED_FILE
        self._before = before
        self._writing = threading.Lock()
        self._installed = self._read()

    def verify_release(self, reference: str, manifest: Descriptor, envelope: bytes) -> None:  # noqa: ARG002
        """The signed statement is not looked at: what the set lists is released wherever its bytes came from.

        Raises NotReleased: the set that lists it may still be on its way.
        """
        known = self.trusted.releases.get(target_path(reference))
        if known is None:
            raise NotReleased(
                f"{reference[:200]} is not among the {len(self.trusted.releases)} releases that this device knows",
                hint=f"neo release {reference[:200]}",
            )
        if known != Release(manifest.digest, manifest.size):
            raise TrustError(
                f"{reference[:200]} is released as {known.digest} ({known.size} bytes), assigned was {manifest.digest} "
                f"({manifest.size} bytes)",
                hint="push what was released; if this comes back, somebody assigns what he has made",
            )
        self._remember(_line(reference, manifest))

    def verify_installed(self, reference: str, manifest: Descriptor, envelope: bytes) -> None:
        """What was released when it was installed goes on, also when it was withdrawn or the set has expired."""
        if _line(reference, manifest) in self._installed:
            return
        try:
            self.verify_release(reference, manifest, envelope)
        except TrustError:
            if self._before is None:
                raise
            self._before.verify_installed(reference, manifest, envelope)

    def assignment_keys(self) -> Sequence[Key]:
        return self.trusted.assignment_keys

    def _remember(self, line: str) -> None:
        with self._writing:
            if line in self._installed:
                return
            self._installed = (*self._installed, line)[-MOST_INSTALLED:]
            replace_file(self._path, dump_object({VERSION_KEY: SCHEMA, "installed": list(self._installed)}))

    def _read(self) -> tuple[str, ...]:
        try:
            value = parse_object(self._path.read_bytes(), what=str(self._path))
            require_version(value, SCHEMA, str(self._path))
            return get_strings(value, "installed", str(self._path))
        except FileNotFoundError:
            return ()
        except ContractError as error:
            log.warning("%s is begun anew: %s", self._path, error)
            return ()


def is_cross_signed(root: bytes, keys: Sequence[Key], fleet: str) -> bool:
    """Is this the first root of the fleet, signed by one of the keys that were trusted before there was one?"""
    try:
        require_fleet(load_root(root), fleet)
        metadata = Metadata[Root].from_bytes(root)
        found = [(key, metadata.signatures[key.keyid]) for key in keys if key.keyid in metadata.signatures]
        return any(_is_signature(key, signature, metadata.signed_bytes) for key, signature in found)
    except (TrustError, RepositoryError):
        return False


def _is_signature(key: Key, signature: Signature, data: bytes) -> bool:
    try:
        key.verify_signature(signature, data)
    except (UnverifiedSignatureError, VerificationError):
        return False
    return True


def _line(reference: str, manifest: Descriptor) -> str:
    return f"{reference} {manifest.digest} {manifest.size}"
