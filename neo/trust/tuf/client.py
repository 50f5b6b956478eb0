"""TUF on a device: python-tuf's updater over bytes that came by MQTT, and a folder that survives a power cut.

The updater works on a copy of the folder. What it has verified, also before it failed, is made durable, and only then
becomes the folder that counts: python-tuf itself replaces its files one by one and never syncs them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from tuf.api.exceptions import DownloadError, DownloadHTTPError, ExpiredMetadataError, RepositoryError
from tuf.api.metadata import Metadata, Root, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from neo.contract.tuf import MAX_SET_BYTES, MAX_TIMESTAMP_BYTES, TIMESTAMP_FILE, file_name
from neo.durable import replace_symlink, sync_directory, translating_os_errors
from neo.errors import TrustError
from neo.trust.tuf.clock import TrustedTime, now, signed_at, trusted_time
from neo.trust.tuf.trusted import Trusted, check_json, latest, load_root, load_successor, load_verified, read_trusted

log = logging.getLogger(__name__)

CURRENT = "current"
ROOT_FILE = "root.json"
_BASE_URL = "neo:/"
_PREFIX = "set-"
#: below every path that a release can have, and none itself: looking for it loads all delegated roles
_PROBE = "-/-"
LIMITS = UpdaterConfig(
    max_root_rotations=256,
    max_delegations=8,
    root_max_length=MAX_SET_BYTES,
    timestamp_max_length=MAX_TIMESTAMP_BYTES,
    snapshot_max_length=MAX_SET_BYTES,
    targets_max_length=MAX_SET_BYTES,
)


class StaleTrust(TrustError):
    """Correctly signed, but not valid any more at the trusted time."""


class BytesFetcher(FetcherInterface):
    """Serves files by name; what is not there is "404", which TUF needs to find the end of the chain of roots."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        data = self._files.get(url.removeprefix(_BASE_URL))
        if data is None:
            raise DownloadHTTPError(f"{url.removeprefix(_BASE_URL)} is not in the set", 404)
        return iter((data,))


@dataclass(frozen=True, slots=True)
class Freshness:
    """What is known of how new the trusted metadata is."""

    #: until when it is valid; None before the first refresh
    expires: datetime | None
    #: why it may be older than it should be; "" if it is fresh
    stale: str = ""
    #: why the clock is not believed; "" if it is
    clock: str = ""


class TufClient:
    """A device's memory of whom it trusts, in a folder of its own. One at a time uses the folder; not thread-safe.

    root: the trusted root metadata that the device was given, None to go on with what the folder has. A root that is
    not part of the chain in the folder begins anew: who may write the device's settings decides whom it trusts.

    Raises TrustError for a root that is none, or if there is none at all; StoreError, DiskFull.
    """

    def __init__(self, folder: Path, root: bytes | None = None, *, clock: Callable[[], datetime] = now) -> None:
        self._folder = folder
        self._clock = clock
        self._root = _initial_root(folder, root)
        self.trusted = read_trusted(folder / CURRENT) if (folder / CURRENT).exists() else Trusted()

    @property
    def freshness(self) -> Freshness:
        trusted = self.trusted
        time = trusted_time(self._clock(), trusted.signed_at)
        stale = ""
        if trusted.expires is None:
            stale = "no TUF set was received yet"
        elif not trusted.is_complete:
            stale = "the set that the newest TUF timestamp names has not come yet"
        elif trusted.expires <= time.at:
            stale = f"the TUF set expired at {trusted.expires:%Y-%m-%d %H:%M} UTC"
        return Freshness(trusted.expires, stale, time.doubt)

    def knows(self, timestamp: bytes) -> bool:
        """Has this very timestamp been verified, with all that it names?"""
        return self.trusted.is_complete and timestamp == self.trusted.timestamp

    def needs_set(self, timestamp: bytes) -> bool:
        """Does the timestamp name a snapshot that is not the trusted one? It is believed in nothing else: whoever
        forges one can make devices ask for the set, which is retained and bounded.
        """
        try:
            meta = Metadata[Timestamp].from_bytes(timestamp).signed.snapshot_meta
        except RepositoryError:
            return False
        return not self.trusted.is_complete or meta.version != self.trusted.snapshot_version

    def refresh(self, timestamp: bytes, files: Mapping[str, bytes]) -> None:
        """Verify what has come and, if it is newer and whole, make it what is trusted.

        files: those of the set, and none if the timestamp names the snapshot that is trusted. Costs a comparison when
        the timestamp is the one that is trusted. Raises StaleTrust for what has expired, TrustError for everything
        else that must not be trusted, StoreError, DiskFull; what was trusted goes on.
        """
        if self.knows(timestamp):
            return
        received = {**files, TIMESTAMP_FILE: timestamp}
        with _translating_tuf_errors():
            for data in received.values():
                check_json(data)
        try:
            with updating(self._folder, received, root=self._root, clock=self._clock()) as updater:
                updater.refresh()
                updater.get_targetinfo(_PROBE)
        finally:
            if (self._folder / CURRENT).exists():
                self.trusted = read_trusted(self._folder / CURRENT)
                self._root = (self._folder / CURRENT / ROOT_FILE).read_bytes()


@contextlib.contextmanager
def updating(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    root: bytes,
    clock: datetime,
    limits: UpdaterConfig = LIMITS,
    targets: Path | None = None,
) -> Iterator[Updater]:
    """python-tuf's updater over files. At the end, also after an error, what it has verified is durable in
    folder/current. targets: where ``Updater.download_target`` puts files.

    Raises StaleTrust, TrustError, StoreError, DiskFull.
    """
    with translating_os_errors(folder):
        old, fresh = _copied(folder)
        try:
            with _translating_tuf_errors():
                updater = Updater(
                    str(fresh),
                    _BASE_URL,
                    None if targets is None else str(targets),
                    _BASE_URL,
                    fetcher=BytesFetcher(files),
                    config=replace(limits),
                    bootstrap=root,
                )
                # the one private name of python-tuf that is used: there is no other way to tell it what time it is
                updater._trusted_set.reference_time = _time_of(fresh, files, clock).at  # noqa: SLF001
                yield updater
        except TrustError:
            _commit(folder, fresh, old)
            raise
        _commit(folder, fresh, old)


def _time_of(folder: Path, files: Mapping[str, bytes], clock: datetime) -> TrustedTime:
    """The clock against the newest signed time of all that verifies: what is in the folder, and what has come."""
    root = Metadata[Root].from_bytes((folder / ROOT_FILE).read_bytes()).signed
    newest = [signed_at(root)]
    incoming: str | None = TIMESTAMP_FILE
    while (data := files.get(file_name(root.version + 1, Root.type))) is not None:
        try:
            root = load_successor(data, root)
        except (RepositoryError, ValueError):
            incoming = None  # the updater will refuse it, and not look at the timestamp
            break
        newest.append(signed_at(root))
    stored = folder / TIMESTAMP_FILE
    for data in (stored.read_bytes() if stored.exists() else None, files.get(incoming) if incoming else None):
        with contextlib.suppress(RepositoryError, ValueError):
            if data is not None:
                newest.append(signed_at(load_verified(Timestamp, data, root, Timestamp.type)))
    return trusted_time(clock, latest(newest))


def _initial_root(folder: Path, given: bytes | None) -> bytes:
    """The newest root of the chain in the folder, if that chain goes through the given one; else the given one."""
    current = folder / CURRENT
    try:
        known = (current / ROOT_FILE).read_bytes()
        load_root(known)
    except (OSError, TrustError) as error:
        if given is None:
            raise TrustError(
                f"no trusted root in {folder}", hint="give the fleet's root metadata: --trust root.json"
            ) from error
        known = b""
    if given is None:
        return known
    version = load_root(given).version
    history = current / "root_history" / file_name(version, Root.type)
    if known and history.exists() and history.read_bytes() == given:
        return known
    if current.is_symlink():
        log.warning("version %d of the given root is not part of the chain in %s: trust begins anew", version, folder)
        with translating_os_errors(folder):
            current.unlink()
            sync_directory(folder)
    return given


def _current(folder: Path) -> Path | None:
    current = folder / CURRENT
    return folder / current.readlink() if current.exists() else None


def _copied(folder: Path) -> tuple[Path | None, Path]:
    """-> the folder that counts, None if there is none yet, and a copy to work on."""
    folder.mkdir(parents=True, exist_ok=True)
    old = _current(folder)
    _clean(folder, keep=old)
    fresh = folder / f"{_PREFIX}{_number(old) + 1}"
    if old is None:
        fresh.mkdir()
    else:
        # links will do: python-tuf replaces files and never writes into one
        shutil.copytree(old, fresh, symlinks=True, copy_function=os.link)
    return old, fresh


def _number(path: Path | None) -> int:
    return 0 if path is None else int(path.name.removeprefix(_PREFIX))


def _clean(folder: Path, keep: Path | None) -> None:
    for path in folder.glob(f"{_PREFIX}*"):
        if path != keep:
            shutil.rmtree(path)


def _commit(folder: Path, fresh: Path, old: Path | None) -> None:
    """Make fresh durable, then the one that counts; leave things as they are if it says nothing new."""
    if not (fresh / ROOT_FILE).exists() or (old is not None and _contents(old) == _contents(fresh)):
        shutil.rmtree(fresh)
        return
    for path in (*fresh.rglob("*"), fresh, folder):
        if path.is_dir():
            sync_directory(path)
        elif not path.is_symlink() and path.stat().st_nlink == 1:  # a linked one is durable already
            with path.open("rb") as file:
                os.fsync(file.fileno())
    replace_symlink(folder / CURRENT, fresh.name)
    _clean(folder, keep=fresh)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.json")}


@contextlib.contextmanager
def _translating_tuf_errors() -> Iterator[None]:
    try:
        yield
    except ExpiredMetadataError as error:
        raise StaleTrust(
            f"the TUF metadata that came is not valid any more: {error}",
            hint="renew it where the online keys are: neo fleet renew",
        ) from error
    except DownloadHTTPError as error:
        raise TrustError(f"the TUF set is not whole: {error}", hint="publish it again: neo fleet renew") from error
    except (RepositoryError, DownloadError) as error:
        raise TrustError(f"the TUF metadata that came is not trusted: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        # of what JSON can hold, python-tuf translates most
        raise TrustError(f"the TUF metadata that came cannot be read: {error!r}") from error
