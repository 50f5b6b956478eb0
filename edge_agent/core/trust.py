"""Whom this device trusts: a key, or a fleet's TUF set that comes by two retained topics and changes while it runs.

Both topics may bring anything; what comes is verified on the disk's thread, and the event loop only learns the outcome.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from securesystemslib.signer import Key

from edge_agent.tasks import Tasks
from neo.contract.fields import ContractError
from neo.contract.oci import Descriptor
from neo.contract.tuf import MAX_TIMESTAMP_BYTES, TufSet, file_name
from neo.errors import NeoError, TrustError, UsageError
from neo.trust.authority import Authority, KeyAuthority
from neo.trust.keys import load_public_keys

if TYPE_CHECKING:
    from neo.trust.tuf.client import Freshness, TufClient

logger = logging.getLogger(__name__)

TUF_FOLDER = "tuf"
MAX_ROOT_BYTES = 100 << 10
REFRESH_EVERY_S = 1.0  # a flood of forged timestamps must not keep the disk busy
SETTLE_S = 10.0  # how long an assignment waits for a set that a timestamp has announced


@dataclass(frozen=True, slots=True)
class Given:
    """What --trust names: keys, or the root of a fleet."""

    keys: tuple[Key, ...] = ()
    root: bytes | None = None


def read_given(paths: Sequence[Path]) -> Given:
    """Keys and roots are told apart by what is in the files. Raises TrustError, UsageError for a mixture."""
    roots = [data for data in map(_root_in, paths) if data is not None]
    if not roots:
        return Given(load_public_keys(paths))
    if len(paths) > 1:
        raise UsageError(
            "--trust names a fleet's root and something else", hint="give one root.json, or one or more .pub files"
        )
    return Given(root=roots[0])


def _root_in(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_ROOT_BYTES)
    except OSError:
        return None  # whoever reads keys says so
    return data if b'"signatures"' in data and b'"signed"' in data else None


class TrustKeeper:
    """An ``Authority`` that changes while the agent runs. ``take`` and ``tick`` belong to the event loop's thread.

    state_dir, fleet: the agent's. watch_set: asked to subscribe to the set's topic, or to leave it.

    Raises TrustError for what --trust names if it is no root, StoreError, DiskFull.
    """

    def __init__(
        self, given: Given, state_dir: Path, fleet: str, disk: Tasks, watch_set: Callable[[bool], None]
    ) -> None:
        self._keys = given.keys
        self._folder = state_dir / TUF_FOLDER
        self._fleet = fleet
        self._disk = disk
        self._watch_set = watch_set
        self._client = _open(given, self._folder, fleet)
        self._authority: Authority = KeyAuthority(given.keys)
        if self._client is not None:
            self._authority = self._made(self._client)
        self._timestamp: bytes | None = None
        self._files: Mapping[str, bytes] | None = None
        self._is_due = self._is_busy = self._awaits_set = False
        self._refreshed_at = -math.inf
        self._announced_at = -math.inf

    def verify_release(self, reference: str, manifest: Descriptor, envelope: bytes) -> None:
        self._authority.verify_release(reference, manifest, envelope)

    def verify_installed(self, reference: str, manifest: Descriptor, envelope: bytes) -> None:
        self._authority.verify_installed(reference, manifest, envelope)

    def assignment_keys(self) -> Sequence[Key]:
        return self._authority.assignment_keys()

    @property
    def doubt(self) -> str:
        """Why what is trusted may be older than it should be, or the clock is not believed; "" if all is well."""
        if self._client is None:
            return ""
        freshness: Freshness = self._client.freshness
        return "; ".join(part for part in (freshness.stale, freshness.clock) if part)

    def is_settling(self, now: float) -> bool:
        """Is something newer announced that is not verified yet? Ends after SETTLE_S, whatever happens."""
        return (self._is_due or self._is_busy or self._awaits_set) and now - self._announced_at < SETTLE_S

    def take(self, leaf: str, payload: bytes, now: float) -> None:
        """A message on one of the two topics."""
        if leaf == "timestamp" and payload:
            if len(payload) > MAX_TIMESTAMP_BYTES:
                logger.warning("ignored a TUF timestamp of %d bytes", len(payload))
                return
            if payload != self._timestamp:
                self._announced_at = now
            self._timestamp, self._is_due = payload, True
        elif leaf == "set" and payload:
            try:
                self._files, self._is_due = TufSet.from_bytes(payload).files, True
            except ContractError as error:
                logger.warning("ignored a TUF set: %s", error)
        self.tick(now)

    def tick(self, now: float) -> None:
        if not self._is_due or self._is_busy or self._timestamp is None or now - self._refreshed_at < REFRESH_EVERY_S:
            return
        self._is_due, self._is_busy = False, True
        timestamp, files = self._timestamp, self._files
        self._refreshed_at = now
        self._disk.submit(lambda: self._refresh(timestamp, files), self._refreshed)

    def _refresh(self, timestamp: bytes, files: Mapping[str, bytes] | None) -> bool:
        """On the disk's thread; -> is the set needed to go on?"""
        if self._client is None:
            return self._go_over(timestamp, files)
        if files is None and self._client.needs_set(timestamp):
            return True
        try:
            self._client.refresh(timestamp, files or {})
        finally:
            self._authority = self._made(self._client)
        return False

    def _go_over(self, timestamp: bytes, files: Mapping[str, bytes] | None) -> bool:
        """From a key to the fleet's root that this key has signed."""
        if files is None:
            return True
        from neo.trust.tuf.authority import is_cross_signed
        from neo.trust.tuf.client import TufClient

        root = files.get(file_name(1, "root"), b"")
        if not is_cross_signed(root, self._keys, self._fleet):
            raise TrustError(
                "the TUF root at the broker is of another fleet, or none of the keys of --trust has signed it"
            )
        client = TufClient(self._folder, root)
        client.refresh(timestamp, files)
        self._client, self._authority = client, self._made(client)
        logger.warning("this device trusts the fleet's TUF root from now on, which the key of --trust has signed")
        return False

    def _refreshed(self, needs_set: bool | None, error: NeoError | None) -> None:
        self._is_busy = False
        if error is not None:
            logger.warning("%s", error)
        else:
            self._refreshed_at = -math.inf  # only what fails is slowed down
        awaits = bool(needs_set) if error is None else self._awaits_set
        self._files = None
        if awaits != self._awaits_set or needs_set:
            self._watch_set(awaits)
        self._awaits_set = awaits

    def _made(self, client: TufClient) -> Authority:
        from neo.trust.tuf.authority import TufAuthority

        return TufAuthority(self._folder, client.trusted, KeyAuthority(self._keys) if self._keys else None)


def _open(given: Given, folder: Path, fleet: str) -> TufClient | None:
    """None where keys alone are trusted: python-tuf is not even imported then."""
    if given.root is None and not (folder / "current").exists():
        return None
    from neo.trust.tuf.authority import is_cross_signed
    from neo.trust.tuf.client import TufClient
    from neo.trust.tuf.trusted import load_root, require_fleet

    if given.root is not None:
        require_fleet(load_root(given.root), fleet)
        return TufClient(folder, given.root)
    first = folder / "current" / "root_history" / file_name(1, "root")
    if not first.exists() or not is_cross_signed(first.read_bytes(), given.keys, fleet):
        logger.warning("the keys of --trust have not signed the TUF root in %s: the keys alone are trusted", folder)
        return None
    return TufClient(folder)
