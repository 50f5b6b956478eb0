"""An OCI image layout on disk.

Guarantees: a blob under ``blobs/`` is whole, was checked against its digest, is read-only, and survives a power cut
from the moment ``commit`` returns. An interrupted ingest keeps what was written and goes on from there. Not
guaranteed: that bytes do not rot on the medium afterwards; ``verify`` reads them again.
Source: https://github.com/opencontainers/image-spec, image-layout.md (v1.1). The ``ingest`` folder beside it is ours.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from neo.contract.oci import (
    EMPTY_BYTES,
    EMPTY_TYPE,
    MANIFEST_TYPE,
    REF_NAME,
    Descriptor,
    ImageIndex,
    ImageManifest,
    digest_of,
    parse_digest,
)
from neo.errors import StoreError
from neo.store.durable import replace_file, sync_directory, translating_os_errors

LAYOUT_BYTES = b'{"imageLayoutVersion":"1.0.0"}'
READ_BYTES = 1 << 20


class Store:
    """root: the layout's folder, made if missing. Several processes may use one store at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self._ingest = root / "ingest"
        with translating_os_errors(root):
            self._blobs.mkdir(parents=True, exist_ok=True)
            self._ingest.mkdir(exist_ok=True)
        layout = root / "oci-layout"
        if not layout.exists():
            replace_file(root / "index.json", ImageIndex().to_bytes())
            replace_file(layout, LAYOUT_BYTES)
        elif b"1.0.0" not in layout.read_bytes():
            raise StoreError(f"{root} is an OCI layout of another version", hint="choose another folder with --store")

    def path(self, digest: str) -> Path:
        """Where the blob is. Raises StoreError if it is not here."""
        path = self._blob_path(digest)
        if not path.is_file():
            raise StoreError(f"blob {digest} is not in the store {self.root}")
        return path

    def has(self, digest: str) -> bool:
        return self._blob_path(digest).is_file()

    def read(self, descriptor: Descriptor) -> bytes:
        """The whole blob, checked against its digest. Raises StoreError if it is missing or damaged."""
        path = self.path(descriptor.digest)
        if path.stat().st_size != descriptor.size:
            raise StoreError(f"blob {descriptor.digest} has {path.stat().st_size} bytes, expected {descriptor.size}")
        data = path.read_bytes()
        if digest_of(data) != descriptor.digest:
            raise StoreError(f"blob {descriptor.digest} is damaged on disk", hint="remove it and fetch it again")
        return data

    def verify(self, descriptor: Descriptor) -> None:
        """Read the blob again, piece by piece. Raises StoreError if it is missing or damaged."""
        path = self.path(descriptor.digest)
        with path.open("rb") as file:
            found = _sha256_of(file)
        if found != descriptor.digest or path.stat().st_size != descriptor.size:
            raise StoreError(f"blob {descriptor.digest} is damaged on disk", hint="remove it and fetch it again")

    def ingest(self, digest: str, size: int) -> Ingest:
        """Begin or go on writing the blob with this digest and size (bytes); see ``Ingest``."""
        return Ingest(self._ingest / digest.removeprefix("sha256:"), self._blob_path(digest), digest, size)

    def put(self, data: bytes, media_type: str) -> Descriptor:
        descriptor = Descriptor.of(data, media_type)
        if not self.has(descriptor.digest):
            path = self._blob_path(descriptor.digest)
            replace_file(path, data, mode=0o444)
        return descriptor

    def put_file(self, source: Path, media_type: str) -> Descriptor:
        """Copy a file of any size in. Raises DiskFull, StoreError."""
        with source.open("rb") as file:
            digest = _sha256_of(file)
            size = file.tell()
            if not self.has(digest):
                file.seek(0)
                with self.ingest(digest, size) as ingest:
                    ingest.restart()
                    while piece := file.read(READ_BYTES):
                        ingest.write(piece)
                    ingest.commit()
        return Descriptor(media_type, digest, size)

    def put_empty(self) -> Descriptor:
        return self.put(EMPTY_BYTES, EMPTY_TYPE)

    def put_manifest(self, manifest: ImageManifest) -> Descriptor:
        return self.put(manifest.to_bytes(), MANIFEST_TYPE)

    def index(self) -> ImageIndex:
        try:
            return ImageIndex.from_bytes((self.root / "index.json").read_bytes())
        except FileNotFoundError:
            return ImageIndex()

    def add_to_index(self, entry: Descriptor) -> None:
        """List a manifest. An entry with the same digest or the same reference name is replaced by it."""
        name = entry.annotations.get(REF_NAME)

        def is_same(other: Descriptor) -> bool:
            return other.digest == entry.digest or (name is not None and other.annotations.get(REF_NAME) == name)

        self._change_index(lambda entries: [*(e for e in entries if not is_same(e)), entry])

    def remove_from_index(self, digests: Collection[str]) -> None:
        self._change_index(lambda entries: [e for e in entries if e.digest not in digests])

    def materialise(self, manifest: ImageManifest, folder: Path) -> None:
        """Lay the layers out as files of an empty or new folder, as hard links where the file system allows.

        Titles must have been checked to stay inside the folder (``neo.bundle``).
        """
        with translating_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for layer in manifest.layers:
                place = folder / layer.title
                place.parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(self.path(layer.digest), place)
            for directory in {folder, *((folder / layer.title).parent for layer in manifest.layers)}:
                sync_directory(directory)

    def collect_garbage(self, keep: Collection[str]) -> int:
        """Remove every blob that is neither kept nor named by a manifest that is; -> bytes freed.

        keep: digests of manifests. Blobs being ingested for other digests are dropped too.
        """
        live = set(keep)
        for digest in keep:
            if self.has(digest):
                manifest = ImageManifest.from_bytes(self.path(digest).read_bytes())
                live.update(d.digest for d in (manifest.config, *manifest.layers))
        freed = 0
        for path in [*self._blobs.iterdir(), *self._ingest.iterdir()]:
            if f"sha256:{path.name}" not in live:
                freed += path.stat().st_size
                path.unlink()
        return freed

    def _blob_path(self, digest: str) -> Path:
        return self._blobs / parse_digest(digest).removeprefix("sha256:")

    def _change_index(self, change: Callable[[tuple[Descriptor, ...]], list[Descriptor]]) -> None:
        with self._locked():
            replace_file(self.root / "index.json", ImageIndex(tuple(change(self.index().manifests))).to_bytes())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with translating_os_errors(self.root), (self.root / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file closes
            yield


class Ingest:
    """A blob on its way in: append with ``write``, end with ``commit``; leave the ``with`` block to go on later.

    offset: how many bytes are already here; the next ``write`` must start there.
    """

    def __init__(self, part: Path, final: Path, digest: str, size: int) -> None:
        self.digest = digest
        self.size = size
        self._part = part
        self._final = final
        with translating_os_errors(part):
            self._file: IO[bytes] = part.open("a+b")
        self._file.seek(0)
        self._sha256 = hashlib.sha256()
        while piece := self._file.read(READ_BYTES):
            self._sha256.update(piece)
        self.offset = self._file.tell()
        if self.offset > size:
            self.restart()

    def __enter__(self) -> Ingest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """What was written stays, for another ingest to go on from. Raises DiskFull, StoreError."""
        with translating_os_errors(self._part):
            self._file.close()

    def restart(self) -> None:
        """Forget what is here and begin at offset 0."""
        self._file.truncate(0)
        self._sha256 = hashlib.sha256()
        self.offset = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append. Raises DiskFull, StoreError; StoreError too when the blob would grow past its size."""
        if self.offset + len(data) > self.size:
            raise StoreError(f"blob {self.digest} should have {self.size} bytes; more came")
        with translating_os_errors(self._part):
            self._file.write(data)
        self._sha256.update(data)
        self.offset += len(data)

    def commit(self) -> None:
        """Check, make durable and read-only, and publish. A blob with the wrong digest is dropped: StoreError."""
        found = "sha256:" + self._sha256.hexdigest()
        if self.offset != self.size or found != self.digest:
            self.restart()
            self._part.unlink(missing_ok=True)
            raise StoreError(f"expected {self.digest} with {self.size} bytes, got {found}; what came was dropped")
        with translating_os_errors(self._part):
            self._file.flush()
            os.fchmod(self._file.fileno(), 0o444)
            os.fsync(self._file.fileno())
            self._part.replace(self._final)
            sync_directory(self._final.parent)


def _sha256_of(file: IO[bytes]) -> str:
    sha256 = hashlib.sha256()
    while piece := file.read(READ_BYTES):
        sha256.update(piece)
    return "sha256:" + sha256.hexdigest()


def _link_or_copy(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except FileExistsError:
        place.unlink()
        os.link(source, place)
    except OSError:  # another file system, or one without hard links (FAT)
        shutil.copyfile(source, place)
        with place.open("rb") as file:
            os.fsync(file.fileno())
