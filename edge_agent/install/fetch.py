"""From an assignment to a whole bundle in the store, in the order of trust: signature, manifest, config, files.

Nothing is fetched before what names it was verified, and no file before the bundle is known to fit the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edge_agent.install.asking import Ask, TransferLimits, Wire
from edge_agent.install.slots import MAX_SIGNATURE_BYTES
from edge_agent.install.transfer import Transfer, missing_blobs
from neo.contract.chunks import CHUNK_BYTES, TABLE_TYPE, read_table
from neo.contract.device import Capabilities, mismatches
from neo.contract.fields import MAX_JSON_BYTES, ContractError
from neo.contract.messages import Assignment, Chunk, NumberedChunk
from neo.contract.oci import Descriptor
from neo.errors import BundleError, DiskFull, StoreError, TargetError, TrustError
from neo.store import Store
from neo.store.bundles import MAX_MANIFEST_BYTES, Bundle, open_bundle, parse_image
from neo.trust import Authority

# what the file system, the unpacked slot and the agent's own records need beside the blobs
DISK_RESERVE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class FetchRules:
    """make_room: drops what is no longer needed except the bundle with this digest, -> free bytes."""

    authority: Authority
    capabilities: Callable[[], Capabilities]
    make_room: Callable[[str], int]
    limits: TransferLimits = field(default_factory=TransferLimits)


class Fetch:
    """Fed with chunks and the time (monotonic, s); ``wants`` says what to ask the source for. When ``result`` is
    there, all is. Raises TrustError, BundleError, TargetError, DiskFull, TransferError, StoreError.
    """

    def __init__(self, assignment: Assignment, store: Store, rules: FetchRules, now: float) -> None:
        self.assignment = assignment
        self.result: tuple[Bundle, bytes] | None = None
        self._files_known = False
        self._trusted = False
        self._store = store
        self._rules = rules
        self._tables: Mapping[str, Sequence[bytes]] = {}
        self._wire = Wire()
        self._stages = self._plan()
        self._device_id = rules.capabilities().device_id
        self._transfer = self._transfer_of((), now)

    @property
    def progress(self) -> tuple[int, int]:
        """(done, total) bytes of the bundle's files; (0, 0) while they are not known yet."""
        return (self._transfer.done_bytes, self._transfer.total_bytes) if self._files_known else (0, 0)

    @property
    def expected(self) -> frozenset[str]:
        """Digests of the blobs that chunks may come of."""
        return self._transfer.expected

    def take(self, chunk: Chunk | NumberedChunk, now: float) -> None:
        self._transfer.take(chunk, now)

    def wants(self, now: float) -> list[Ask]:
        wants = self._transfer.wants(now)
        while self._transfer.done and self.result is None:
            blobs = next(self._stages, None)
            if blobs is None:
                farewell = self._transfer.farewell(now)
                return wants if farewell is None else [*wants, farewell]
            self._transfer = self._transfer_of(blobs, now)
            wants += self._transfer.wants(now)
        return wants

    def reconnected(self, now: float) -> None:
        self._transfer.reconnected(now)

    def close(self) -> None:
        """What a trusted key vouches for stays for the next fetch to go on from. All else goes: anybody can send it."""
        self._transfer.close(keep=self._trusted)

    def _transfer_of(self, blobs: Sequence[Descriptor], now: float) -> Transfer:
        return Transfer(
            self._device_id, blobs, self._store, now, self._rules.limits, tables=self._tables, wire=self._wire
        )

    def _plan(self) -> Iterator[Sequence[Descriptor]]:
        """Yields what to fetch next; goes on when that is in the store."""
        assignment = self.assignment
        _check_size(assignment.signature, MAX_SIGNATURE_BYTES, "signature")
        was_here = self._store.has(assignment.signature.digest)
        yield [assignment.signature]
        envelope = self._store.read(assignment.signature)
        try:
            self._rules.authority.verify_release(assignment.reference, assignment.manifest, envelope)
        except TrustError:
            if not was_here:  # what was may be a file of a bundle that is trusted
                self._store.path(assignment.signature.digest).unlink()
            raise
        self._trusted = True
        _check_size(assignment.manifest, MAX_MANIFEST_BYTES, "bundle manifest")
        yield self._undamaged(assignment.manifest)
        image = parse_image(self._store.read(assignment.manifest))
        _check_size(image.config, MAX_JSON_BYTES, "bundle config")
        yield self._undamaged(image.config)
        bundle = open_bundle(self._store, assignment.manifest)
        self._check_device(bundle)
        self._check_disk(bundle)
        yield [blob for table in tables_of(bundle) for blob in self._undamaged(table)]
        self._tables = read_tables(bundle, self._store)
        self._files_known = True
        yield bundle.image.layers
        self.result = (bundle, envelope)

    def _undamaged(self, blob: Descriptor) -> Sequence[Descriptor]:
        """The blob; if it is here but rotten, it is dropped first, to be fetched again."""
        if self._store.has(blob.digest):
            try:
                self._store.verify(blob)
            except StoreError:
                self._store.path(blob.digest).unlink()
        return [blob]

    def _check_device(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        reasons = mismatches(manifest.requires, manifest.engine, manifest.engine_version, self._rules.capabilities())
        if reasons:
            raise TargetError(
                f"{self.assignment.reference} does not run on {self._device_id}: {'; '.join(reasons)}",
                hint="compile it for this kind of device: neo compile MODEL --target TARGET (see neo targets)",
                details={"reasons": list(reasons)},
            )

    def _check_disk(self, bundle: Bundle) -> None:
        needed = sum(blob.size for blob in missing_blobs(bundle.image.layers, self._store)) + DISK_RESERVE_BYTES
        free = self._rules.make_room(bundle.descriptor.digest)
        if free < needed:
            raise DiskFull(
                f"{self.assignment.reference} needs {needed / 1e6:.1f} MB, {free / 1e6:.1f} MB are free",
                hint="free some space on the device; it tries again by itself",
                details={"needed_bytes": needed, "free_bytes": free},
            )


def tables_of(bundle: Bundle) -> tuple[Descriptor, ...]:
    """The chunk tables that are files of the bundle and of use here. Those of another grid are not: their blobs are
    checked as a whole.
    """
    named = {chunks.table for chunks in bundle.manifest.chunks if chunks.chunk_bytes == CHUNK_BYTES}
    tables = {layer.digest: layer for layer in bundle.image.layers if layer.media_type == TABLE_TYPE}
    return tuple(layer for digest, layer in tables.items() if digest in named)


def read_tables(bundle: Bundle, store: Store) -> Mapping[str, Sequence[bytes]]:
    """Digest of a blob -> the sha256 of its chunks. The tables are in the store. Raises BundleError, StoreError."""
    tables = {layer.digest: layer for layer in tables_of(bundle)}
    sizes = {layer.digest: layer.size for layer in bundle.image.layers}
    digests: dict[str, Sequence[bytes]] = {}
    for chunks in bundle.manifest.chunks:
        if chunks.table in tables and chunks.blob in sizes:
            try:
                digests[chunks.blob] = read_table(store.read(tables[chunks.table]), sizes[chunks.blob])
            except ContractError as error:
                raise BundleError(f"{bundle.manifest.reference}: {error.message}") from error
    return digests


def _check_size(descriptor: Descriptor, max_bytes: int, what: str) -> None:
    if descriptor.size > max_bytes:
        kind = TrustError if what == "signature" else BundleError
        raise kind(f"the {what} is said to have {descriptor.size} bytes; at most {max_bytes} are fetched")


def parse_chunk(payload: bytes) -> Chunk | NumberedChunk | None:
    """None for what is no chunk: a broker may send anything."""
    try:
        return NumberedChunk.from_bytes(payload) if NumberedChunk.is_one(payload) else Chunk.from_bytes(payload)
    except ContractError:
        return None
