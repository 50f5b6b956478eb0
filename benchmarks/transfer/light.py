"""Devices that take next to no room: the agent's own fetch over a store that checks every chunk and keeps none."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from securesystemslib.signer import CryptoSigner

from edge_agent.install.asking import Ask
from edge_agent.install.fetch import Fetch, FetchRules, parse_chunk
from neo.compiler.bundle import publish, sign_bundle
from neo.compiler.draft import stage
from neo.contract.chunks import is_chunk
from neo.contract.device import Capabilities, Requirements
from neo.contract.manifest import Manifest
from neo.contract.messages import Assignment
from neo.contract.oci import MANIFEST_TYPE, Descriptor
from neo.contract.parity import Tolerance
from neo.contract.tensors import TensorSpec
from neo.errors import StoreError
from neo.fleet.source import source_id_of
from neo.runtime.host import read_host
from neo.store import Store
from neo.store.chunked import ChunkedIngest
from neo.trust import KeyAuthority

KEPT_BYTES = 90_000  # documents are read again; weights are not


class _LightIngest:
    """As ``ChunkedIngest``, in memory."""

    def __init__(self, store: LightStore, digest: str, size: int, digests: Sequence[bytes]) -> None:
        self.missing = set(range(len(digests)))
        self._store, self._digest, self._size, self._digests = store, digest, size, digests
        self._data = b""

    @property
    def missing_bytes(self) -> int:
        return len(self.missing) * self._size // max(len(self._digests), 1)

    def write(self, index: int, data: bytes) -> bool:
        if not is_chunk(data, index, self._digests):
            return False
        self.missing.discard(index)
        if self._size <= KEPT_BYTES:
            self._data = data
        return True

    def commit(self) -> None:
        self._store.blobs[self._digest] = self._data

    def discard(self) -> None: ...

    def close(self) -> None: ...


class LightStore(Store):
    """Digests of what came, and the bytes of what is small."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def has(self, digest: str) -> bool:
        return digest in self.blobs

    def read(self, descriptor: Descriptor) -> bytes:
        try:
            return self.blobs[descriptor.digest]
        except KeyError:
            raise StoreError(f"blob {descriptor.digest} is not here") from None

    def verify(self, descriptor: Descriptor) -> None: ...

    def ingest_chunks(self, digest: str, size: int, digests: Sequence[bytes]) -> ChunkedIngest:
        return cast("ChunkedIngest", _LightIngest(self, digest, size, digests))


class LightDevice:
    """Fed with payloads and the time (s); ``step`` -> what it says to the source."""

    def __init__(self, device_id: str, load: Load, now: float) -> None:
        self.id = device_id
        self.done_at: float | None = None
        rules = FetchRules(load.authority, lambda: _capabilities(device_id, load.host), lambda _: 1 << 40)
        self._fetch = Fetch(load.assignment, LightStore(), rules, now)

    @property
    def expected(self) -> frozenset[str]:
        """Blobs whose shared topics it listens to."""
        return self._fetch.expected

    def take(self, payload: bytes, now: float) -> None:
        chunk = parse_chunk(payload)
        if chunk is not None:
            self._fetch.take(chunk, now)

    def step(self, now: float) -> list[Ask]:
        asks = self._fetch.wants(now)
        if self._fetch.result is not None and self.done_at is None:
            self.done_at = now
        return asks


@dataclass(frozen=True, slots=True)
class Load:
    """One signed bundle in a store, assigned."""

    store: Store
    assignment: Assignment
    authority: KeyAuthority
    bundle_bytes: int
    host: Capabilities


def make_load(folder: Path, size: int) -> Load:
    """folder: an empty one. size: bytes of the bundle's one large file."""
    files = folder / "files"
    files.mkdir()
    seed = b"".join(number.to_bytes(8, "big") for number in range(size // 8 + 1))
    (files / "weights.bin").write_bytes(seed[:size])
    host = read_host()
    spec = TensorSpec("x", "float32", (1, 4))
    requires = Requirements(host.arch, host.os, (), host.glibc)
    manifest = Manifest("big", "1", "host", requires, "onnxruntime", "", "fp32", "onnx", (spec,), (spec,), Tolerance())
    store, signer = Store(folder / "store"), CryptoSigner.generate_ed25519()
    (bundle,) = publish(store, [stage(store, manifest, files)])
    envelope = sign_bundle(store, bundle, signer)
    plain = Descriptor(MANIFEST_TYPE, bundle.descriptor.digest, bundle.descriptor.size)
    assignment = Assignment("one", bundle.manifest.reference, plain, envelope, source_id_of(store), time.time())
    return Load(store, assignment, KeyAuthority([signer.public_key]), bundle.size_bytes + envelope.size, _this_host())


def _this_host() -> Capabilities:
    host = read_host()
    engines = {"onnxruntime": "99.0"}
    return Capabilities(
        "?", "0", host.arch, host.os, host.glibc, host.features, host.cores, host.memory_bytes, 1 << 40, engines
    )


def _capabilities(device_id: str, host: Capabilities) -> Capabilities:
    return replace(host, device_id=device_id)
