"""A compile whose every input is as it was before is answered by the bundle that came of it.

The key of a compile stands in the report inside its bundle, so the store itself is the cache: a bundle that is gone or
damaged is a miss, and nothing can point to what is not there. See decision 0038.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import mmap
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import neo
from neo.compiler.candidates import Candidate
from neo.compiler.request import CompileRequest
from neo.compiler.result import CompiledBundle
from neo.contract.device import Target
from neo.contract.fields import ContractError, dump_object
from neo.contract.manifest import REPORT_PATH
from neo.contract.oci import REF_NAME, Descriptor
from neo.contract.parity import Parity
from neo.errors import BundleError, StoreError, TrustError
from neo.processing.documents import Processing
from neo.runtime.host import read_host
from neo.runtime.load import available_cores
from neo.settings import tuning_path
from neo.store import Store
from neo.store.bundles import Bundle, bundle_entries, open_bundle, signatures_of
from neo.targets import why_not_here
from neo.trust import verify_statement
from neo.trust.statement import SIGNATURE_TYPE

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

# of the report's object
KEY = "cache_key"
# a folder with more files is no model, and hashing it would take longer than it saves
MOST_FILES = 10_000

# where things are, who signs, what is held against the bundle itself, and what the files' digests say better
_NO_PART_OF_THE_KEY = {
    *("model", "store", "signer", "cache", "name", "version", "targets", "debug_folder", "tune_s"),
    *("golden", "preprocess", "postprocess", "module", "weights"),
}
# what decides which numbers go in and come out
_OF_THE_SOURCE = ("framework", "inputs", "dims", "signature", "outputs", "layouts")
# other interpreters whose frameworks answer for a model
_ENVIRONMENT = ("NEO_MXNET_PYTHON", "NEO_CHAINER_PYTHON")
_EPOCH = re.compile(r"-[0-9]{4,9}$")
# TensorProto.external_data, an entry with the key "location": the value is the file's name
_LOCATION = re.compile(rb"\n\x08location\x12([\x01-\x7f]|[\x80-\xff][\x01-\x7f])")


def source_key(request: CompileRequest, processing: Processing | None) -> str | None:
    """Of what is compiled: the model's files and what makes it take and give what it does, whatever the target.

    None if that is not known: where the user's code runs, which may read anything.
    """
    if request.model is None or request.trust_pickle:
        return None
    try:
        files = _files_of(request.model.resolve())
        if not 0 < len(files) <= MOST_FILES:
            return None
        return _sha256(
            dump_object(
                {
                    "files": _digest_of(files, request.model.resolve().parent),
                    "golden": None if request.golden is None else _digest_of([request.golden]),
                    "processing": None if processing is None else processing.to_json(),
                    "options": {name: _plain(getattr(request, name)) for name in _OF_THE_SOURCE},
                }
            )
        )
    except (OSError, RuntimeError, _UnknownReference):  # whoever reads the file says what is wrong with it
        return None


def request_keys(request: CompileRequest, targets: Sequence[Target], source: str | None) -> tuple[str | None, ...]:
    """One for each target; None for what is compiled each time: what has no ``source_key``, and what measures kernels.

    Everything else that an answer depends on is in the key: the source, the options, the target, the machine, this
    package's own files, the versions of all packages, and what was measured before.
    """
    none = tuple(None for _ in targets)
    if not request.cache or source is None:
        return none
    try:
        own, tuning = _folder_digest(Path(neo.__file__).parent), _folder_digest(tuning_path())
    except OSError:
        return none
    common = {
        "source": source,
        "options": {f.name: _plain(getattr(request, f.name)) for f in fields(request) if _is_part(f.name)},
        "package": own,
        "installed": sorted(f"{found.name}=={found.version}" for found in importlib.metadata.distributions()),
        "environment": [os.environ.get(name) for name in _ENVIRONMENT],
        "tuning": tuning,
        "machine": [read_host().model_name, list(read_host().features), available_cores()],
    }
    return tuple(
        None
        if request.tune_s and not why_not_here(target)
        else _sha256(dump_object({**common, "target": target.to_json()}))
        for target in targets
    )


def find_cached(store: Store, key: str, name: str, version: str | None, target: str) -> CompiledBundle | None:
    """The newest bundle that came of a compile with this key, whole in the store. version: None for any."""
    for entry in reversed(bundle_entries(store)):
        if entry.annotations.get(REF_NAME, "").startswith(f"{name}:"):
            try:
                found = _read(store, entry, key)
            except (StoreError, BundleError, ContractError, ValueError, KeyError, TypeError, AttributeError):
                continue  # damaged, or of another program: then it is made again
            if found is None:
                continue
            manifest = found.bundle.manifest
            if (manifest.name, manifest.target) == (name, target) and version in {None, manifest.version}:
                return found
    return None


def is_signed_by(store: Store, bundle: Bundle, signer: Signer) -> bool:
    """Whether a signature about the bundle by the signer's key lies in the store, whole."""
    try:
        envelopes = [store.read(found) for found in signatures_of(store, bundle.descriptor.digest, SIGNATURE_TYPE)]
    except StoreError:
        return False
    for envelope in envelopes:
        with suppress(TrustError):
            verify_statement(envelope, [signer.public_key])
            return True
    return False


def _read(store: Store, entry: Descriptor, key: str) -> CompiledBundle | None:
    bundle = open_bundle(store, entry)
    layers = {layer.title: layer for layer in bundle.image.layers}
    report = json.loads(store.read(layers[REPORT_PATH]))
    if report.get(KEY) != key:
        return None
    for layer in bundle.image.layers:
        store.verify(layer)
    candidates = {label: Candidate.from_json(label, value) for label, value in report["candidates"].items()}
    measured, converted = candidates[report["chosen"]].measurement, report["conversion_parity"]
    parity = None if converted is None else Parity.from_json(converted)
    return CompiledBundle(
        bundle,
        tuple(candidates.values()),
        parity if measured is None else measured.parity,
        report["seconds"],
        tuple(report["notes"]),
        cached=True,
    )


def _is_part(field: str) -> bool:
    return field not in _NO_PART_OF_THE_KEY


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value.to_json() if hasattr(value, "to_json") else dict(value) if hasattr(value, "items") else value


class _UnknownReference(Exception):
    """A file names others in a way that is not understood here."""


def _files_of(model: Path) -> list[Path]:
    """All of a folder; of a file itself and what belongs to it: parameters beside a symbol, and external data."""
    if model.is_dir():
        return [path for path in model.rglob("*") if path.is_file()]
    if model.suffix in {".json", ".params", ".npz"} or not model.exists():
        stem = model.name.removesuffix(model.suffix if model.exists() else "").removesuffix("-symbol")
        stem = _EPOCH.sub("", stem)
        return [path for path in model.parent.iterdir() if path.name.startswith(stem) and path.is_file()]
    return [model, *(path for path in _external_data(model) if path.is_file())]


def _external_data(model: Path) -> set[Path]:
    with model.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return set()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            mentioned = sum(1 for _ in re.finditer(b"location", content))
            names = []
            for match in _LOCATION.finditer(content):
                size = match[1][0] if len(match[1]) == 1 else (match[1][0] & 0x7F) | match[1][1] << 7
                names.append(content[match.end() : match.end() + size])
    if names and len(names) != mentioned:
        raise _UnknownReference
    return {model.parent / os.fsdecode(name) for name in names}


def _folder_digest(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    return _digest_of(files, folder)


def _digest_of(files: Iterable[Path], root: Path | None = None) -> str:
    """Of names, relative to root, and contents. Raises OSError."""
    digests = {}
    for path in files:
        sha256 = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                sha256.update(piece)
        digests[path.name if root is None else os.path.relpath(path, root)] = sha256.hexdigest()
    return _sha256(json.dumps(sorted(digests.items())).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
