"""What a folder of verified TUF metadata says: which releases exist, who assigns, and until when that is known.

Signatures are verified again when it is read: the keys of a role that a newer root has replaced count no more, even if
their last metadata is all there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from securesystemslib.signer import Key, SSlibKey
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import DelegatedRole, Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from neo.contract.fields import ContractError, parse_object
from neo.contract.oci import parse_digest
from neo.contract.tuf import MAX_SET_BYTES
from neo.errors import TrustError
from neo.trust.tuf.clock import signed_at

S = TypeVar("S", Root, Timestamp, Snapshot, Targets)

#: a target of the offline role "targets" below this path is a key that may sign desired states
ASSIGNMENT_PATH = "keys/assignment/"
#: in the signed part of a root: the name of its fleet
FLEET_FIELD = "x-neo-edge-fleet"
#: in a target's custom data
KEY_FIELD = "neo-edge-key"


@dataclass(frozen=True, slots=True)
class Release:
    #: "sha256:..." of the bundle's OCI manifest
    digest: str
    #: bytes of the manifest
    size: int


@dataclass(frozen=True, slots=True)
class Trusted:
    """Empty before anything was verified."""

    root_version: int = 0
    #: the exact bytes; empty if none is trusted
    timestamp: bytes = b""
    snapshot_version: int = 0
    #: the first expiry of all of it
    expires: datetime | None = None
    #: the latest time at which any of it was signed
    signed_at: datetime | None = None
    #: target path -> what it is
    releases: Mapping[str, Release] = field(default_factory=dict)
    assignment_keys: tuple[Key, ...] = ()
    #: whether everything is there that the timestamp names
    is_complete: bool = False


def load_verified(kind: type[S], data: bytes, delegator: Root | Targets, role: str) -> S:
    """Data as metadata that the delegator's keys for the role have signed. Raises RepositoryError otherwise."""
    check_json(data)
    metadata: Metadata[S] = Metadata.from_bytes(data)
    delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    if not isinstance(metadata.signed, kind):
        raise RepositoryError(f"{role} is metadata of type {metadata.signed.type}")
    return metadata.signed


def load_root(data: bytes) -> Root:
    """Root metadata that its own keys have signed. Raises TrustError otherwise."""
    try:
        check_json(data)
        claimed = Metadata[Root].from_bytes(data).signed
        return load_verified(Root, data, claimed, Root.type)
    except (RepositoryError, ValueError, AttributeError) as error:  # AttributeError: metadata of another role
        raise TrustError(f"no root metadata of a fleet: {error}", hint="take what `neo keys export` wrote") from error


def require_fleet(root: Root, fleet: str) -> None:
    """Raises TrustError for the root of another fleet: one key may stand behind several."""
    named = root.unrecognized_fields.get(FLEET_FIELD)
    if named != fleet:
        raise TrustError(
            f"this is the TUF root of fleet {str(named)[:200]!r}, the device is of {fleet!r}",
            hint="give the root.json that `neo keys export` wrote for this fleet, or start the agent with its --fleet",
        )


def load_successor(data: bytes, root: Root) -> Root:
    """The next root, signed by the keys of the one before and by its own. Raises RepositoryError otherwise."""
    successor = load_verified(Root, data, root, Root.type)
    load_verified(Root, data, successor, Root.type)
    if successor.version != root.version + 1:
        raise RepositoryError(f"version {successor.version} of the root follows version {root.version}")
    return successor


def check_json(data: bytes) -> None:
    """Refuse what is too large or nested too deep before a recursive reader sees it. Raises RepositoryError."""
    try:
        parse_object(data, what="metadata", max_bytes=MAX_SET_BYTES)
    except ContractError as error:
        raise RepositoryError(error.message) from error


def latest(times: list[datetime | None]) -> datetime | None:
    return max((time for time in times if time is not None), default=None)


def target_path(reference: str) -> str:
    """The TUF path of a release: "digits:1-host" is "digits/1-host". A name has one tag, and neither has a slash."""
    return reference.replace(":", "/", 1)


def read_trusted(folder: Path) -> Trusted:
    """folder: python-tuf's. Metadata that is missing or does not verify is left out, with all that hangs on it."""
    root = Metadata[Root].from_bytes((folder / "root.json").read_bytes()).signed
    timestamp = _stored(Timestamp, folder, "timestamp", root)
    snapshot = _stored(Snapshot, folder, "snapshot", root)
    targets = _stored(Targets, folder, "targets", root)
    delegated = [] if targets is None else _delegated(folder, targets)
    parts: list[Signed | None] = [root, timestamp, snapshot, targets, *(signed for _, signed in delegated)]
    there = [signed for signed in parts if signed is not None]
    releases: dict[str, Release] = {}
    for _, signed in delegated:
        for path, target in () if signed is None else signed.targets.items():
            if (release := _release(target)) is not None:
                releases.setdefault(path, release)
    return Trusted(
        root_version=root.version,
        timestamp=b"" if timestamp is None else (folder / "timestamp.json").read_bytes(),
        snapshot_version=0 if snapshot is None else snapshot.version,
        expires=min(signed.expires for signed in there),
        signed_at=latest([signed_at(signed) for signed in there]),
        releases=releases,
        assignment_keys=() if targets is None else _assignment_keys(targets),
        is_complete=len(there) == len(parts) and _fit(timestamp, snapshot, targets, delegated),
    )


def _fit(
    timestamp: Timestamp | None,
    snapshot: Snapshot | None,
    targets: Targets | None,
    delegated: list[tuple[str, Targets | None]],
) -> bool:
    if timestamp is None or snapshot is None or timestamp.snapshot_meta.version != snapshot.version:
        return False
    named = [("targets", targets), *delegated]
    return all(
        signed is not None and snapshot.meta.get(f"{role}.json", MetaFile(1 << 62)).version == signed.version
        for role, signed in named
    )


def _stored(kind: type[S], folder: Path, role: str, delegator: Root | Targets) -> S | None:
    try:
        return load_verified(kind, (folder / f"{role}.json").read_bytes(), delegator, role)
    except (OSError, RepositoryError, ValueError):
        return None


def delegated_roles(targets: Targets) -> list[DelegatedRole]:
    delegations = targets.delegations
    return [] if delegations is None or delegations.roles is None else list(delegations.roles.values())


def _delegated(folder: Path, targets: Targets) -> list[tuple[str, Targets | None]]:
    return [(role.name, _stored(Targets, folder, role.name, targets)) for role in delegated_roles(targets)]


def _release(target: TargetFile) -> Release | None:
    """None for a target that names no SHA-256."""
    try:
        return Release(parse_digest(f"sha256:{target.hashes.get('sha256')}", "target"), target.length)
    except ContractError:
        return None


def _assignment_keys(targets: Targets) -> tuple[Key, ...]:
    found = [
        _key(path.removeprefix(ASSIGNMENT_PATH), target.custom)
        for path, target in targets.targets.items()
        if path.startswith(ASSIGNMENT_PATH)
    ]
    return tuple(key for key in found if key is not None)


def _key(keyid: str, custom: Any) -> Key | None:
    """None for a key that this version cannot use: the others count."""
    value = custom.get(KEY_FIELD) if isinstance(custom, dict) else None
    if not isinstance(value, dict):
        return None
    try:
        return SSlibKey.from_dict(keyid, dict(value))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
