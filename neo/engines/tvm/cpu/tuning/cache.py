"""What was measured before: one document for each processor, in the user's folder or shipped with the package.

A file is ``{"format": 2, "documents": [...]}``. The user's folder has one file for each document, named by its key.
Files that come with the package or are exported may have several documents. Format 1 had one version number for all
schedules of a document instead of one for each kernel; it is still read and listed, but its measurements are not used.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import neo
from neo.contract.device import Target
from neo.contract.fields import (
    ContractError,
    as_document,
    as_object,
    as_string,
    dump_object,
    get,
    get_list,
    get_number,
    get_size,
    parse_object,
)
from neo.contract.versions import NewerFormat, read_versioned
from neo.durable import replace_file, translating_os_errors
from neo.engines.tvm.cpu.units.configuration import VERSIONS, Configuration
from neo.errors import StoreError

FORMAT = 2
# the one before: read, never written
_OLD_FORMAT = 1
MAX_FILE_BYTES = 64 << 20
LOCK_FILE = ".lock"
_WHAT = "tuning"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a search found for one kernel."""

    #: the fastest one
    configuration: Configuration
    #: how many times as fast as the default, which the cost model chooses; 1 if that one was kept
    gain: float
    #: of one call
    microseconds: float
    #: how many it was measured with
    threads: int
    #: their dtypes and shapes, for people to read
    operands: str
    #: of schedules, a key of VERSIONS; "" in format 1
    family: str = ""
    #: of the family when this was measured; 0 in format 1
    version: int = 0

    @classmethod
    def from_json(cls, value: Any) -> Measured:
        obj = as_object(value, _WHAT)
        return cls(
            Configuration.from_json(obj.get("configuration")),
            get_number(obj, "gain", _WHAT),
            get_number(obj, "microseconds", _WHAT),
            get_size(obj, "threads", _WHAT),
            get(obj, "operands", str, _WHAT),
            get(obj, "family", str, _WHAT) if "family" in obj else "",
            get_size(obj, "version", _WHAT) if "version" in obj else 0,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "configuration": self.configuration.to_json(),
            "gain": self.gain,
            "microseconds": self.microseconds,
            "threads": self.threads,
            "operands": self.operands,
            "family": self.family,
            "version": self.version,
        }

    @property
    def is_current(self) -> bool:
        """Is it of this version of its schedule family? Another version makes other loops of the same configuration."""
        return VERSIONS.get(self.family) == self.version


@dataclass(frozen=True, slots=True)
class Key:
    """What measurements are valid for."""

    #: the properties of the processor that code generation and schedules depend on
    machine: dict[str, Any]
    #: version of TVM
    tvm: str

    @classmethod
    def of(cls, target: Target) -> Key:
        """The target's name, its C library and features that LLVM is not told about make no difference."""
        machine = {
            "arch": target.cpu.arch,
            "mcpu": target.cpu.mcpu,
            "attrs": sorted(target.cpu.attrs),
            "vector_bits": target.cpu.vector_bits,
            "vector_registers": target.cpu.vector_registers,
            "cores": target.cpu.cores,
            "l1d_kib": target.cpu.l1d_kib,
            "l2_kib": target.cpu.l2_kib,
            "l3_kib": target.cpu.l3_kib,
        }
        return cls(machine, _tvm_version())

    @property
    def digest(self) -> str:
        return hashlib.sha256(dump_object(self.to_json())).hexdigest()

    @property
    def is_current(self) -> bool:
        """Was it measured with the version that is installed?"""
        return self.tvm == _tvm_version()

    def to_json(self) -> dict[str, Any]:
        return {"machine": self.machine, "tvm": self.tvm}


@dataclass(frozen=True, slots=True)
class Document:
    """All measurements for one key."""

    key: Key
    #: signature of a kernel -> what was found for it
    kernels: Mapping[str, Measured]

    @classmethod
    def from_json(cls, value: Any) -> Document:
        obj = as_object(value, _WHAT)
        key = Key(as_document(obj.get("machine"), f"{_WHAT}.machine"), get(obj, "tvm", str, _WHAT))
        kernels = as_object(obj.get("kernels"), f"{_WHAT}.kernels")
        return cls(key, {as_string(name, _WHAT): Measured.from_json(kernel) for name, kernel in kernels.items()})

    def to_json(self) -> dict[str, Any]:
        return {**self.key.to_json(), "kernels": {name: kernel.to_json() for name, kernel in self.kernels.items()}}

    @property
    def is_current(self) -> bool:
        """Is any of its measurements still used?"""
        return self.key.is_current and (not self.kernels or any(kernel.is_current for kernel in self.kernels.values()))

    def current(self) -> Document:
        """Only the kernels that are still used."""
        return Document(self.key, {name: kernel for name, kernel in self.kernels.items() if kernel.is_current})

    def with_gains(self, least: float) -> Document:
        """Only the kernels with at least this gain."""
        return Document(self.key, {name: kernel for name, kernel in self.kernels.items() if kernel.gain >= least})

    def updated(self, other: Document) -> Document:
        """Both documents' kernels; the other's win where both know one."""
        return Document(self.key, {**self.kernels, **other.kernels})


@dataclass(frozen=True, slots=True)
class Known:
    """What is known for one target."""

    #: signature of a kernel -> what was found for it
    kernels: Mapping[str, Measured] = field(default_factory=dict)
    #: signatures of those that the user measured or imported
    own: frozenset[str] = frozenset()
    #: about files that could not be read
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cache:
    """Documents in two folders. Where both know a kernel, the user's own entry wins."""

    #: the user's folder, made when something is added
    own: Path
    #: comes with the package and is never written
    shipped: Path

    def known(self, target: Target) -> Known:
        key = Key.of(target)
        kernels: dict[str, Measured] = {}
        own: set[str] = set()
        notes = []
        for path in (*sorted(self.shipped.glob("*.json")), self._file(key)):
            try:
                documents = read_documents(path) if path.exists() else ()
            except (ContractError, StoreError) as error:
                notes.append(f"what was measured before is not used: {error.message}")
                continue
            for document in documents:
                if document.key == key:
                    current = document.current().kernels
                    kernels.update(current)
                    own.update(current if path.parent == self.own else ())
        return Known(kernels, frozenset(own), tuple(notes))

    def add(self, document: Document) -> None:
        """Merge the document into the user's folder; its kernels replace older ones. Raises StoreError, DiskFull."""
        with translating_os_errors(self.own):
            self.own.mkdir(parents=True, exist_ok=True)
        path = self._file(document.key)
        with _locked(self.own):
            try:
                before = [old for old in read_documents(path) if old.key == document.key]
            except NewerFormat:
                raise
            except (ContractError, StoreError):  # absent, or damaged: it is replaced
                before = []
            for old in before:
                document = old.updated(document)
            replace_file(path, documents_to_bytes([document]))

    def documents(self) -> tuple[Document, ...]:
        """The user's, in the order of their keys. Raises ContractError or StoreError if one is damaged."""
        return tuple(document for path in sorted(self.own.glob("*.json")) for document in read_documents(path))

    def shipped_documents(self) -> tuple[Document, ...]:
        return tuple(document for path in sorted(self.shipped.glob("*.json")) for document in read_documents(path))

    def forget(self, key: Key) -> None:
        """Raises StoreError."""
        with translating_os_errors(self.own, "remove from"):
            self._file(key).unlink(missing_ok=True)

    def _file(self, key: Key) -> Path:
        return self.own / f"{key.digest[:32]}.json"


def cache_at(own: Path) -> Cache:
    """own: the user's folder. The shipped documents are those of this package."""
    return Cache(own, Path(neo.__file__).parent / "data" / "tuning")


def read_documents(path: Path) -> tuple[Document, ...]:
    """Raises ContractError if the file is damaged or not a tuning file, NewerFormat if a later version wrote it,
    StoreError if it cannot be read.
    """
    with translating_os_errors(path, "read"):
        data = path.read_bytes()
    try:
        return _parse(data)
    except NewerFormat:
        raise
    except ContractError as error:
        raise ContractError(f"{path}: {error.message}", hint="export it again, or remove it") from error


def _parse(data: bytes) -> tuple[Document, ...]:
    obj = parse_object(data, what="the file", max_bytes=MAX_FILE_BYTES)
    if "format" not in obj:
        raise ContractError("it is no file of `neo tune export`")
    return read_versioned(obj, {_OLD_FORMAT: _read, FORMAT: _read}, "the file", key="format")


def _read(obj: dict[str, Any]) -> tuple[Document, ...]:
    return get_list(obj, "documents", Document.from_json, "the file")


def documents_to_bytes(documents: Iterable[Document]) -> bytes:
    return dump_object({"format": FORMAT, "documents": [document.to_json() for document in documents]}) + b"\n"


def _tvm_version() -> str:
    """Of the installed TVM; "" if there is none."""
    try:
        return importlib.metadata.version("apache-tvm")
    except importlib.metadata.PackageNotFoundError:
        return ""


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two builds may add to one document at the same time; neither may lose what the other measured."""
    with translating_os_errors(folder), (folder / LOCK_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
