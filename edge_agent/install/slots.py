"""Bundles laid out on disk, and which of them is live.

::

    slots/<hex>/bundle/          manifest.json, engine/, golden samples, report.json
    slots/<hex>/signature.json   the signed statement about the bundle
    slots/<hex>/assignment.json  how it came here
    current -> slots/<hex>       the live bundle
    previous -> slots/<hex>      the one before, to fall back to

<hex> is the digest of the bundle's OCI manifest. A slot appears whole or not at all; a folder whose name begins with
a dot is rubbish. Every change of a link is one rename.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from edge_agent.worker.models import Slot
from neo.contract.fields import ContractError
from neo.contract.manifest import CONFIG_PATH
from neo.contract.messages import Assignment
from neo.contract.oci import Descriptor
from neo.contract.versions import NewerFormat
from neo.durable import replace_file, replace_symlink, sync_directory, translating_os_errors
from neo.errors import BundleError, StoreError
from neo.store import Store
from neo.store.bundles import Bundle, open_bundle, unpack_bundle
from neo.trust import Authority

BUNDLE_DIR = "bundle"
SIGNATURE_FILE = "signature.json"
ASSIGNMENT_FILE = "assignment.json"
MAX_SIGNATURE_BYTES = 64 << 10


class Slots:
    """root: the agent's state folder. One process at a time (the agent holds a lock)."""

    def __init__(self, root: Path, store: Store) -> None:
        self._root = root
        self._store = store
        # one thread unpacks while another makes room: what is being unpacked belongs to nothing yet
        self._unpacking = threading.Lock()
        self._slots = root / "slots"
        with translating_os_errors(self._slots):
            self._slots.mkdir(parents=True, exist_ok=True)

    @property
    def current(self) -> str | None:
        """Digest of the live bundle, None if there is none."""
        return self._linked("current")

    @property
    def current_since(self) -> float:
        """Unix time in seconds at which the live bundle became it."""
        return (self._root / "current").lstat().st_mtime

    @property
    def previous(self) -> str | None:
        return self._linked("previous")

    def unpack(self, bundle: Bundle, assignment: Assignment, envelope: bytes) -> None:
        """Make the bundle's slot from the store. Raises StoreError for a damaged blob, which is dropped."""
        final = self._slot(bundle.descriptor.digest)
        fresh = final.with_name(f".{final.name}")
        with self._unpacking, translating_os_errors(fresh):
            self._drop_damaged(bundle)
            _remove(fresh)
            unpack_bundle(self._store, bundle, fresh / BUNDLE_DIR)
            replace_file(fresh / ASSIGNMENT_FILE, assignment.to_bytes())
            replace_file(fresh / SIGNATURE_FILE, envelope)
            self._discard(final)
            fresh.rename(final)
            sync_directory(self._slots)

    def check(self, digest: str, authority: Authority) -> Slot:
        """Verify a slot from the signature down to every byte that will run. Raises TrustError, BundleError,
        StoreError, and NewerFormat for what a later version of the agent put there.
        """
        slot = self._slot(digest)
        try:
            assignment = Assignment.from_bytes((slot / ASSIGNMENT_FILE).read_bytes())
            envelope = (slot / SIGNATURE_FILE).read_bytes()
            if assignment.manifest.digest != digest:
                raise BundleError(f"{slot} holds {assignment.manifest.digest}")
            authority.verify_installed(assignment.reference, assignment.manifest, envelope)
            bundle = open_bundle(self._store, assignment.manifest)
            _check_files(bundle, slot / BUNDLE_DIR)
        except NewerFormat:
            raise
        except ContractError as error:
            raise BundleError(f"{slot} is damaged: {error.message}") from error
        except OSError as error:
            raise BundleError(f"{slot} is damaged: {error}", hint="push the bundle again") from error
        return Slot(slot / BUNDLE_DIR, digest, assignment, bundle.manifest)

    def switch(self, digest: str) -> None:
        """Make a slot the live one, and the live one ``previous``. Killed in between, the old one is still live."""
        live = self.current
        if live == digest:
            return
        if live is not None:
            replace_symlink(self._root / "previous", f"slots/{_hex(live)}")
        replace_symlink(self._root / "current", f"slots/{_hex(digest)}")

    def fall_back(self) -> None:
        """Make ``previous`` the live one; there is none to fall back to afterwards."""
        previous = self.previous
        if previous is None:
            raise StoreError("there is no previous bundle to fall back to")
        replace_symlink(self._root / "current", f"slots/{_hex(previous)}")
        with translating_os_errors(self._root):
            (self._root / "previous").unlink()
            sync_directory(self._root)

    def remove_all_but(self, digests: Sequence[str | None]) -> None:
        """Drop the slots and blobs that belong to none of these bundles, and what a kill left half done. While a
        bundle is being unpacked nothing is dropped; the end of that install asks again.
        """
        if not self._unpacking.acquire(blocking=False):
            return
        try:
            self._remove_all_but(digests)
        finally:
            self._unpacking.release()

    def _remove_all_but(self, digests: Sequence[str | None]) -> None:
        keep = [digest for digest in digests if digest is not None]
        names = {_hex(digest) for digest in keep}
        with translating_os_errors(self._slots):
            for path in list(self._slots.iterdir()):
                if path.name not in names:
                    self._discard(path)
            self._store.collect_garbage(keep)

    def _linked(self, name: str) -> str | None:
        try:
            target = (self._root / name).readlink()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._root / name} is no symbolic link", hint="remove it") from error
        return f"sha256:{target.name}"

    def _slot(self, digest: str) -> Path:
        return self._slots / _hex(digest)

    def _discard(self, path: Path) -> None:
        if not path.name.startswith("."):
            # out of sight first: a slot that is half removed must not look like one
            rubbish = path.with_name(f".old-{path.name}")
            _remove(rubbish)
            if path.exists():
                path.rename(rubbish)
            path = rubbish
        _remove(path)

    def _drop_damaged(self, bundle: Bundle) -> None:
        damaged = []
        for layer in bundle.image.layers:
            try:
                self._store.verify(layer)
            except StoreError:
                damaged.append(layer.digest)
                self._store.path(layer.digest).unlink()
        if damaged:
            raise StoreError(
                f"{len(damaged)} files of the bundle were damaged on disk ({damaged[0]}...) and are fetched again",
                hint="check the storage of the device if this comes back",
            )


def _check_files(bundle: Bundle, folder: Path) -> None:
    config = Descriptor.of((folder / CONFIG_PATH).read_bytes(), bundle.image.config.media_type)
    if config.digest != bundle.image.config.digest:
        raise BundleError(f"{folder / CONFIG_PATH} is damaged on disk", hint="push the bundle again")
    for layer in bundle.image.layers:
        path = folder / layer.title
        if _digest_of_file(path) != layer.digest:
            raise BundleError(f"{path} is damaged on disk", hint="push the bundle again")


def _digest_of_file(path: Path) -> str:
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            sha256.update(piece)
    return "sha256:" + sha256.hexdigest()


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
