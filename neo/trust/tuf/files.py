"""The signed files of a repository: reading them, and signing the next version of one, durably."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Signed, Snapshot, Targets, Timestamp

from neo.contract.tuf import MAX_TIMESTAMP_BYTES, file_name
from neo.durable import replace_file
from neo.errors import TrustError
from neo.trust.tuf.clock import SIGNED_AT
from neo.trust.tuf.keyfolder import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, KeyFolder
from neo.trust.tuf.signers import KeyNotAtHand
from neo.trust.tuf.trusted import delegated_roles, load_verified

# what is renewed by a program may expire soon: that is what shows a device that it is kept from the newest
ONLINE_VALIDITY = timedelta(days=14)
# what a person signs with a key from a safe: its expiry protects nobody from a thief of the key, and a fleet must not
# stop because nobody opened the safe. Devices of today are retired within this time
ROOT_VALIDITY = timedelta(days=10 * 365)
TARGETS_VALIDITY = timedelta(days=5 * 365)
KINDS: dict[str, type[Any]] = {TARGETS: Targets, SNAPSHOT: Snapshot, TIMESTAMP: Timestamp}
S = TypeVar("S", bound=Signed)


class SignedFiles:
    """What is read is read anew each time: the caller may change it. clock: the present time.

    Raises TrustError for what is not there, KeyNotAtHand if a key that has to sign is not here, StoreError, DiskFull.
    """

    def __init__(self, keys: KeyFolder, clock: Callable[[], datetime]) -> None:
        self._keys = keys
        self._clock = clock

    def verifies(self, role: str, delegator: Root | Targets) -> bool:
        try:
            load_verified(KINDS.get(role, Targets), self.path(role).read_bytes(), delegator, role)
        except (OSError, RepositoryError):
            return False
        return True

    def sign_root(self, new: Root, old: Root, cross_signer: Signer | None = None) -> None:
        self._date(ROOT, new)
        metadata: Metadata[Any] = Metadata(new)
        for root in (old, new):
            self._add_signatures(metadata, root, ROOT)
        if cross_signer is not None:
            metadata.sign(cross_signer, append=True)
        replace_file(self.root_path(new.version), metadata.to_bytes())

    def sign(self, role: str, signed: Signed, delegator: Root | Targets) -> None:
        """The next version of a role's metadata, on disk."""
        signed.version = self.version(role) + 1
        self._date(role, signed)
        metadata: Metadata[Any] = Metadata(signed)
        self._add_signatures(metadata, delegator, role)
        data = metadata.to_bytes()
        if role == TIMESTAMP and len(data) > MAX_TIMESTAMP_BYTES:
            raise TrustError(
                f"the timestamp has {len(data)} bytes; devices read {MAX_TIMESTAMP_BYTES}",
                hint="ask for fewer signatures: neo keys threshold timestamp 1",
            )
        replace_file(self.path(role), data)

    def _date(self, role: str, signed: Signed) -> None:
        moment = self._clock().replace(microsecond=0)
        validity = {ROOT: ROOT_VALIDITY, SNAPSHOT: ONLINE_VALIDITY, TIMESTAMP: ONLINE_VALIDITY}
        signed.expires = moment + validity.get(role, TARGETS_VALIDITY)
        signed.unrecognized_fields[SIGNED_AT] = int(moment.timestamp())

    def _add_signatures(self, metadata: Metadata[Any], delegator: Root | Targets, role: str) -> None:
        state = delegator.get_delegated_role(role)
        away: list[str] = []
        signed = [keyid for keyid in state.keyids if keyid in metadata.signatures]
        for keyid in state.keyids:
            if len(signed) >= state.threshold or keyid in signed:
                continue
            try:
                metadata.sign(self._keys.signer(keyid), append=True)
            except KeyNotAtHand as error:
                away.append(error.message)
            else:
                signed.append(keyid)
        if len(signed) < state.threshold:
            raise KeyNotAtHand(
                f"{role} needs {state.threshold} of its {len(state.keyids)} keys, {len(signed)} of them at hand: "
                f"{'; '.join(away)}",
                hint="bring the folder or the device with the keys back to where they were, and run the command again",
            )

    def root(self) -> Root:
        """The newest. Always read anew: it is what the caller may change."""
        versions = [int(path.name.split(".")[0]) for path in self._keys.metadata.glob("[1-9]*.root.json")]
        if not versions:
            raise TrustError(f"no metadata in {self._keys.folder}", hint="make it with: neo keys init")
        return Metadata[Root].from_bytes(self.root_path(max(versions)).read_bytes()).signed

    def targets(self) -> Targets:
        return self.read(TARGETS, Targets)

    def release_role(self) -> tuple[str, Targets]:
        name = delegated_roles(self.targets())[-1].name
        return name, self.read(name, Targets)

    def read(self, role: str, kind: type[S]) -> S:
        signed = Metadata[Any].from_bytes(self.path(role).read_bytes()).signed
        if not isinstance(signed, kind):
            raise TrustError(f"{self.path(role)} is metadata of type {signed.type}")
        return signed

    def version(self, role: str) -> int:
        if not self.path(role).exists():
            return 0
        signed: Signed = self.read(role, KINDS.get(role, Targets))
        return signed.version

    def path(self, role: str) -> Path:
        return self._keys.metadata / f"{role}.json"

    def root_path(self, version: int) -> Path:
        return self._keys.metadata / file_name(version, ROOT)

    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self._keys.metadata.glob("*.json")}
