"""An OCI image layout on disk.

Guarantees: a blob under ``blobs/`` is whole, was checked against its digest, is read-only, and survives a power cut
from the moment ``commit`` returns. An interrupted ingest keeps what was written and goes on from there. Not
guaranteed: that bytes do not rot on the medium afterwards; ``verify`` reads them again.
Source: https://github.com/opencontainers/image-spec, image-layout.md (v1.1). The ``ingest`` folder beside it is ours.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from neo.contract.fields import MAX_JSON_BYTES, ContractError
from neo.contract.manifest import parse_path
from neo.contract.oci import (
    EMPTY_BYTES,
    EMPTY_TYPE,
    INDEX_TYPE,
    MANIFEST_TYPE,
    REF_NAME,
    Descriptor,
    ImageIndex,
    ImageManifest,
    digest_of,
    parse_digest,
)
from neo.durable import replace_file, sync_directory, translating_os_errors
from neo.errors import StoreError
from neo.store.chunked import ChunkedIngest
from neo.store.ingest import READ_BYTES, Ingest, digest_of_rest

_LAYOUT_FILE = "oci-layout"
LAYOUT_BYTES = b'{"imageLayoutVersion":"1.0.0"}'


class Store:
    """root: the layout's folder, made if missing. Several processes may use one store at a time.

    create: False for one that is only read: then nothing is made or written, and StoreError is raised if root is no
    store.
    """

    def __init__(self, root: Path, *, create: bool = True) -> None:
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self._ingest = root / "ingest"
        layout = root / _LAYOUT_FILE
        if create:
            self._make(layout)
        elif not is_store(root):
            raise StoreError(
                f"there is no store in {root}", hint="give its folder with --store; neo compile makes one and fills it"
            )
        with translating_os_errors(layout, "read"):
            if b"1.0.0" not in layout.read_bytes():
                raise StoreError(f"{root} is an OCI layout of another version", hint="choose another folder: --store")

    def _make(self, layout: Path) -> None:
        root = self.root
        with translating_os_errors(root):
            self._blobs.mkdir(parents=True, exist_ok=True)
            self._ingest.mkdir(exist_ok=True)
        if not layout.exists():
            self._make_layout(layout)

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
        with translating_os_errors(path, "read"), path.open("rb") as file:
            found = os.fstat(file.fileno()).st_size
            if found != descriptor.size:
                raise StoreError(f"blob {descriptor.digest} has {found} bytes, expected {descriptor.size}")
            data = file.read()
        if digest_of(data) != descriptor.digest:
            raise StoreError(f"blob {descriptor.digest} is damaged on disk", hint="remove it and fetch it again")
        return data

    def verify(self, descriptor: Descriptor) -> None:
        """Read the blob again, piece by piece. Raises StoreError if it is missing or damaged."""
        path = self.path(descriptor.digest)
        with translating_os_errors(path, "read"), path.open("rb") as file:
            found = (digest_of_rest(file), file.tell())
        if found != (descriptor.digest, descriptor.size):
            raise StoreError(f"blob {descriptor.digest} is damaged on disk", hint="remove it and fetch it again")

    def ingest(self, digest: str, size: int) -> Ingest:
        """Begin or go on writing the blob with this digest and size (bytes); see ``Ingest``."""
        return self._begin(digest, size, wait=False)

    def ingest_chunks(self, digest: str, size: int, digests: Sequence[bytes]) -> ChunkedIngest:
        """As ``ingest``, in chunks with these sha256; see ``ChunkedIngest``."""
        final = self._blob_path(digest)
        return ChunkedIngest(self._ingest / final.name, final, digest, size, digests)

    def put(self, data: bytes, media_type: str) -> Descriptor:
        """Raises DiskFull, StoreError. A blob that is here but damaged is replaced."""
        descriptor = Descriptor.of(data, media_type)
        if not self._is_whole(descriptor):
            replace_file(self._blob_path(descriptor.digest), data, mode=0o444)
        return descriptor

    def put_file(self, source: Path, media_type: str) -> Descriptor:
        """Copy a file of any size in. Raises DiskFull, StoreError. A blob that is here but damaged is replaced."""
        with translating_os_errors(source, "read"), source.open("rb") as file:
            descriptor = Descriptor(media_type, digest_of_rest(file), file.tell())
            if not self._is_whole(descriptor):
                file.seek(0)
                self._copy_in(file, descriptor)
        return descriptor

    def put_empty(self) -> Descriptor:
        return self.put(EMPTY_BYTES, EMPTY_TYPE)

    def put_manifest(self, manifest: ImageManifest) -> Descriptor:
        return self.put(manifest.to_bytes(), MANIFEST_TYPE)

    def put_index(self, index: ImageIndex) -> Descriptor:
        return self.put(index.to_bytes(), INDEX_TYPE)

    def index(self) -> ImageIndex:
        """Every manifest that is listed, with its artifact type: other tools drop that from the entries they write.

        Raises StoreError.
        """
        path = self.root / "index.json"
        try:
            with translating_os_errors(path, "read"):
                index = ImageIndex.from_bytes(path.read_bytes()) if path.exists() else ImageIndex()
        except ContractError as error:
            raise StoreError(
                f"{path} is damaged: {error.message}", hint="choose another folder with --store, or remove this one"
            ) from error
        return replace(index, manifests=tuple(self._typed(entry) for entry in index.manifests))

    def manifests(self) -> tuple[Descriptor, ...]:
        """Every manifest that is listed, by itself or in an image index that is: a release that skopeo copied lists its
        variants and their signatures there alone. Typed as in ``index``. Raises StoreError.
        """
        listed = self.index().manifests
        own = [entry for entry in listed if entry.media_type != INDEX_TYPE]
        digests = {entry.digest for entry in own}
        nested = {
            entry.digest: self._typed(entry)
            for index in listed
            if index.media_type == INDEX_TYPE
            for entry in self._members(index)
            if entry.digest not in digests
        }
        return (*own, *nested.values())

    def add_to_index(self, entry: Descriptor) -> None:
        """List a manifest. An entry with the same digest or the same reference name is replaced by it."""
        with self.changing_index() as entries:
            list_entry(entries, entry)

    def remove_from_index(self, digests: Collection[str]) -> None:
        """List these manifests no more, nor the image indexes that have one of them."""
        with self.changing_index() as entries:
            entries[:] = [
                entry
                for entry in entries
                if entry.digest not in digests
                and not (entry.media_type == INDEX_TYPE and any(m.digest in digests for m in self._members(entry)))
            ]

    @contextmanager
    def changing_index(self) -> Iterator[list[Descriptor]]:
        """The entries, to be changed in place: they are written when the block ends, not if it raises.

        Nobody else changes the index meanwhile. Raises DiskFull, StoreError.
        """
        with self._locked():
            index = self.index()
            entries = list(index.manifests)
            yield entries
            replace_file(self.root / "index.json", replace(index, manifests=tuple(entries)).to_bytes())

    def materialise(self, manifest: ImageManifest, folder: Path) -> None:
        """Lay the layers out as files of an empty or new folder, as hard links where the file system allows.

        Raises DiskFull, StoreError, and ContractError for a title that leads out of the folder, before anything is
        written.
        """
        places = {folder / parse_path(layer.title): layer.digest for layer in manifest.layers}
        with translating_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for place, digest in places.items():
                place.parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(self.path(digest), place)
            for directory in {folder.parent, *_folders_of(folder, places)}:
                sync_directory(directory)

    def collect_garbage(self, keep: Collection[str]) -> int:
        """Remove every blob that is neither kept nor named by a manifest that is; -> bytes freed.

        keep: digests of manifests. Blobs being ingested for other digests are dropped too, so nobody else may write
        meanwhile. Raises StoreError, and removes nothing, if a kept manifest cannot be read.
        """
        live = set(keep)
        with translating_os_errors(self.root):
            for digest in keep:
                if self.has(digest):
                    manifest = self._manifest(digest)
                    live.update(d.digest for d in (manifest.config, *manifest.layers))
            freed = 0
            for path in [*self._blobs.iterdir(), *self._ingest.iterdir()]:
                if f"sha256:{path.name}" not in live:
                    freed += path.stat().st_size
                    path.unlink()
        return freed

    def _blob_path(self, digest: str) -> Path:
        return self._blobs / parse_digest(digest).removeprefix("sha256:")

    def _make_layout(self, layout: Path) -> None:
        with self._locked():  # another process may be making it too, and have listed a bundle since
            index = self.root / "index.json"
            if not index.exists():
                replace_file(index, ImageIndex().to_bytes())
            if not layout.exists():
                replace_file(layout, LAYOUT_BYTES)

    def _begin(self, digest: str, size: int, *, wait: bool) -> Ingest:
        final = self._blob_path(digest)
        return Ingest(self._ingest / final.name, final, digest, size, wait=wait)

    def _copy_in(self, file: IO[bytes], descriptor: Descriptor) -> None:
        with self._begin(descriptor.digest, descriptor.size, wait=True) as ingest:
            if self._is_whole(descriptor):  # another process was faster
                ingest.discard()
                return
            ingest.restart()
            try:
                while piece := file.read(READ_BYTES):
                    ingest.write(piece)
                ingest.commit()
            except StoreError:
                ingest.discard()  # the source is here: nothing is won by going on from a part
                raise

    def _is_whole(self, descriptor: Descriptor) -> bool:
        try:
            self.verify(descriptor)
        except StoreError:
            return False
        return True

    def _manifest(self, digest: str) -> ImageManifest:
        path = self.path(digest)
        if path.stat().st_size > MAX_JSON_BYTES:
            raise StoreError(f"{path} is no manifest: it has {path.stat().st_size} bytes")
        try:
            return ImageManifest.from_bytes(path.read_bytes())
        except ContractError as error:
            raise StoreError(f"{path} is no manifest: {error.message}", hint="fetch it again") from error

    def _typed(self, entry: Descriptor) -> Descriptor:
        if entry.artifact_type or entry.media_type != MANIFEST_TYPE:
            return entry
        try:
            return replace(entry, artifact_type=self._manifest(entry.digest).artifact_type)
        except (StoreError, OSError):
            return entry  # of no use to anybody, and none of our business

    def _members(self, index: Descriptor) -> tuple[Descriptor, ...]:
        try:
            return ImageIndex.from_bytes(self.read(index)).manifests
        except (StoreError, ContractError):
            return ()  # as in _typed

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with translating_os_errors(self.root), (self.root / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file closes
            yield


def list_entry(entries: list[Descriptor], entry: Descriptor) -> None:
    """Add to the entries of an index. One with the same digest or the same reference name is replaced."""
    name = entry.annotations.get(REF_NAME)
    entries[:] = [
        other
        for other in entries
        if other.digest != entry.digest and (name is None or other.annotations.get(REF_NAME) != name)
    ]
    entries.append(entry)


def is_store(root: Path) -> bool:
    """Is the folder an OCI image layout, of whatever version?"""
    try:
        return (root / _LAYOUT_FILE).is_file()
    except OSError:  # a name too long, say
        return False


def _link_or_copy(source: Path, place: Path) -> None:
    place.unlink(missing_ok=True)
    try:
        os.link(source, place)
    except OSError:  # another file system, or one without hard links (FAT)
        with source.open("rb") as blob, place.open("wb") as file:
            shutil.copyfileobj(blob, file, READ_BYTES)
            file.flush()
            os.fchmod(file.fileno(), 0o444)
            os.fsync(file.fileno())


def _folders_of(folder: Path, places: Iterable[Path]) -> set[Path]:
    """The folder and every directory between it and the places."""
    return {folder, *(parent for place in places for parent in place.parents if parent.is_relative_to(folder))}
