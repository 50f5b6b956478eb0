"""The fleet's TUF repository, where its keys are: who may say what, and which releases exist.

::

    metadata/<N>.root.json      every root that ever was
    metadata/targets.json       offline: who releases and who assigns
    metadata/<release>.json     the releases
    metadata/snapshot.json      the versions of those
    metadata/timestamp.json     the newest snapshot; valid for two weeks

A change alters signed documents and then ``_settle`` signs whatever no longer agrees, in the order in which devices
verify. Every file is written whole and durably, the timestamp last, so that a change that was cut short is completed
by the next one. Source: https://theupdateframework.github.io/specification/latest/
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from neo.contract.fields import dump_object
from neo.contract.tuf import TufSet, file_name
from neo.durable import replace_file
from neo.errors import TrustError
from neo.trust.tuf.clock import now
from neo.trust.tuf.files import KINDS, ONLINE_VALIDITY, SignedFiles
from neo.trust.tuf.keyfolder import ASSIGNMENT, RELEASE, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, KeyFolder
from neo.trust.tuf.signers import KeyNotAtHand
from neo.trust.tuf.trusted import (
    ASSIGNMENT_PATH,
    FLEET_FIELD,
    KEY_FIELD,
    Release,
    load_successor,
    load_verified,
    target_path,
)

#: of the paths in the delegation to the release role: a name and a version
RELEASE_PATHS = ["*/*"]
_RELEASE_ROLE = re.compile(r"release-([1-9][0-9]*)")
_TOP = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)
#: in the signed part of a snapshot: the version of the root that it was made under
ROOT_VERSION = "x-neo-edge-root"
#: what file names have room for
MOST_VERSIONS = 999_999_999


@dataclass(frozen=True, slots=True)
class RoleState:
    """One role as the newest metadata has it."""

    role: str
    threshold: int
    keyids: tuple[str, ...]
    version: int
    #: None for the assignment keys, which expire with the targets that name them
    expires: datetime | None


class Repository:
    """clock: the present time. Raises TrustError if a signature is missing, KeyNotAtHand if its key is not here."""

    def __init__(self, keys: KeyFolder, *, clock: Callable[[], datetime] = now) -> None:
        self.keys = keys
        self._clock = clock
        self._files = SignedFiles(keys, clock)

    def create(self, thresholds: Mapping[str, int], cross_signer: Signer | None = None) -> None:
        """The first version of everything, of the keys in the folder. thresholds: of root and targets, 1 if not given.

        cross_signer: a key that devices trust today; its signature below the first root lets them go over.
        """
        with self._changing():
            if self._files.root_path(1).exists():
                raise TrustError(f"{self.keys.folder} has metadata already")
            root = Root(version=1, consistent_snapshot=True)
            root.unrecognized_fields[FLEET_FIELD] = self.keys.fleet
            for role in _TOP:
                for key in self.keys.keys_of(role):
                    root.add_key(key, role)
                root.roles[role].threshold = thresholds.get(role, 1)
            targets = Targets(delegations=Delegations({}, {}))
            _name_assignment_keys(targets, self.keys.keys_of(ASSIGNMENT))
            self._files.sign_root(root, root, cross_signer)
            self._delegate(targets, self.keys.keys_of(RELEASE), 1, {})
            self._files.sign(TARGETS, targets, root)
            self._settle()

    def releases(self) -> dict[str, Release]:
        """Target path -> what is released under it."""
        _, release = self._files.release_role()
        return {path: Release(f"sha256:{t.hashes['sha256']}", t.length) for path, t in release.targets.items()}

    def release(self, reference: str, release: Release) -> bool:
        """Add a release; -> was it new? Raises TrustError if the reference is released with another digest."""
        with self._changing():
            role, signed = self._files.release_role()
            path = target_path(reference)
            known = signed.targets.get(path)
            target = TargetFile(release.size, {"sha256": release.digest.removeprefix("sha256:")}, path)
            if known is not None and (known.length, known.hashes) == (target.length, target.hashes):
                return False
            if known is not None:
                raise TrustError(
                    f"{reference} is released with the digest sha256:{known.hashes.get('sha256')}, this bundle is "
                    f"{release.digest}",
                    hint="a release never changes: compile it under a new version",
                )
            signed.targets[path] = target
            self._files.sign(role, signed, self._files.targets())
            self._settle()
            return True

    def withdraw(self, reference: str) -> None:
        """Take a release back: no device installs it any more. Raises TrustError if there is none."""
        with self._changing():
            role, signed = self._files.release_role()
            if signed.targets.pop(target_path(reference), None) is None:
                raise TrustError(f"{reference} is not released", hint="neo keys roles lists the releases")
            self._files.sign(role, signed, self._files.targets())
            self._settle()

    def renew(self) -> None:
        """A new timestamp, and a new snapshot if its time is half over. Needs the online keys alone."""
        with self._changing():
            self._settle(force=(TIMESTAMP,))

    def replace_key(self, role: str, old: str | None, new: Key) -> None:
        """Put a new key in an old one's place; None: the role's only one. new: in the folder already."""
        with self._changing():
            keyids = self._keyids(role)
            if old is None and len(keyids) != 1:
                raise TrustError(
                    f"{role} has {len(keyids)} keys: {', '.join(keyid[:12] for keyid in keyids)}",
                    hint="say which one is replaced: --old KEYID",
                )
            old = keyids[0] if old is None else old
            if old not in keyids:
                raise TrustError(f"{old[:12]} is no {role} key", hint="neo keys roles lists them")
            try:
                self._change_keys(role, add=[new], drop=[old])
            except KeyNotAtHand:
                self.keys.retire([new.keyid])  # it never signed, and must not be taken for one that does
                raise
            self.keys.retire([old])

    def set_threshold(self, role: str, threshold: int, new: Collection[Key] = ()) -> None:
        """How many of the role's keys have to sign. new: keys to add, in the folder already."""
        with self._changing():
            if role not in _TOP and role != RELEASE:
                raise TrustError(f"{role} keys have no threshold: each of them may sign alone")
            count = len(self._keyids(role)) + len(new)
            if not 1 <= threshold <= count:
                raise TrustError(
                    f"{role} has {count} keys; {threshold} of them cannot be asked for",
                    hint="add some in the same step: --count N",
                )
            self._change_keys(role, add=list(new), threshold=threshold)

    def roles(self) -> list[RoleState]:
        root, targets = self._files.root(), self._files.targets()
        found = []
        for role in _TOP:
            signed: Signed = root if role == ROOT else self._files.read(role, KINDS[role])
            state = root.roles[role]
            found.append(RoleState(role, state.threshold, tuple(state.keyids), signed.version, signed.expires))
        name, release = self._files.release_role()
        delegated = targets.get_delegated_role(name)
        found.append(RoleState(RELEASE, delegated.threshold, tuple(delegated.keyids), release.version, release.expires))
        found.append(RoleState(ASSIGNMENT, 1, tuple(self._keyids(ASSIGNMENT)), targets.version, None))
        return found

    def root_bytes(self) -> bytes:
        """The newest root: what a new device is given."""
        return self._files.root_path(self._files.root().version).read_bytes()

    def published(self) -> tuple[bytes, TufSet]:
        """The timestamp and the set, for devices. Raises TrustError if a change was cut short and not completed."""
        root = self._files.root()
        if not self._snapshot_is_current(root) or not self._timestamp_is_current(root):
            raise TrustError("a change of the fleet's keys was cut short", hint="complete it with: neo fleet renew")
        name, _ = self._files.release_role()
        files = {file_name(v, ROOT): self._files.root_path(v).read_bytes() for v in range(1, root.version + 1)}
        for role in (SNAPSHOT, TARGETS, name):
            files[file_name(self._files.version(role), role)] = self._files.path(role).read_bytes()
        return self._files.path(TIMESTAMP).read_bytes(), TufSet(files)

    def adopt(self, timestamp: bytes, published: TufSet) -> bool:
        """Take over what is newer and signed by this fleet's keys, from another place with some of them.

        -> did anything change? What does not verify is passed over: anybody may have published it.
        """
        with self._changing():
            before = self._files.contents()
            with contextlib.suppress(RepositoryError, ValueError):
                root = self._files.root()
                while (data := published.files.get(file_name(root.version + 1, ROOT))) is not None:
                    root = load_successor(data, root)
                    replace_file(self._files.root_path(root.version), data)
            by_role = {name.split(".")[1]: data for name, data in published.files.items()}
            self._adopt(TARGETS, by_role.get(TARGETS, b""), self._files.root())
            name, _ = self._files.release_role()
            self._adopt(name, by_role.get(name, b""), self._files.targets())
            self._adopt(SNAPSHOT, by_role.get(SNAPSHOT, b""), self._files.root())
            self._adopt(TIMESTAMP, timestamp, self._files.root())
            return before != self._files.contents()

    def _adopt(self, role: str, data: bytes, delegator: Root | Targets) -> None:
        with contextlib.suppress(RepositoryError, ValueError):
            signed: Signed = load_verified(KINDS.get(role, Targets), data, delegator, role)
            if self._files.version(role) < signed.version <= MOST_VERSIONS:
                replace_file(self._files.path(role), data)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with self.keys.locked():
            yield

    def _change_keys(
        self, role: str, *, add: Collection[Key] = (), drop: Collection[str] = (), threshold: int | None = None
    ) -> None:
        if role == ASSIGNMENT:
            targets = self._files.targets()
            kept = [self.keys.records[keyid].key for keyid in self._keyids(ASSIGNMENT) if keyid not in drop]
            _name_assignment_keys(targets, [*kept, *add])
            self._files.sign(TARGETS, targets, self._files.root())
        elif role == RELEASE:
            targets = self._files.targets()
            name, release = self._files.release_role()
            state = targets.get_delegated_role(name)
            keys = [targets.get_key(keyid) for keyid in state.keyids if keyid not in drop] + list(add)
            self._delegate(targets, keys, threshold or state.threshold, release.targets)
            self._files.sign(TARGETS, targets, self._files.root())
        else:
            old, new = self._files.root(), self._files.root()
            for keyid in drop:
                new.revoke_key(keyid, role)
            for key in add:
                new.add_key(key, role)
            new.roles[role].threshold = threshold or new.roles[role].threshold
            new.version += 1
            self._files.sign_root(new, old)
        self._settle()

    def _delegate(
        self, targets: Targets, keys: Collection[Key], threshold: int, releases: dict[str, TargetFile]
    ) -> None:
        """Give the releases to a role of a new name. TUF cannot take back the version that a stolen key gave to an old
        name, so no name of a role is used for other keys.
        """
        number = 1 + max(
            (
                int(found[1])
                for path in self.keys.metadata.glob("release-*.json")
                if (found := _RELEASE_ROLE.fullmatch(path.stem))
            ),
            default=0,
        )
        name = f"release-{number}"
        role = DelegatedRole(name, [], threshold, terminating=True, paths=RELEASE_PATHS)
        targets.delegations = Delegations({}, {name: role})
        for key in keys:
            targets.add_key(key, name)
        self._files.sign(name, Targets(targets=dict(releases)), targets)

    def _settle(self, force: Collection[str] = ()) -> None:
        """Sign whatever no longer agrees with what it stands on."""
        root = self._files.root()
        if not self._files.verifies(TARGETS, root):
            self._files.sign(TARGETS, self._files.targets(), root)
        name, release = self._files.release_role()
        if not self._files.verifies(name, self._files.targets()):
            self._files.sign(name, release, self._files.targets())
        if not self._snapshot_is_current(root) or self._is_half_over(SNAPSHOT):
            self._files.sign(SNAPSHOT, self._next_snapshot(root), root)
        if TIMESTAMP in force or not self._timestamp_is_current(root) or self._is_half_over(TIMESTAMP):
            data = self._files.path(SNAPSHOT).read_bytes()
            meta = MetaFile.from_data(self._files.version(SNAPSHOT), data, ["sha256"])
            self._files.sign(TIMESTAMP, Timestamp(snapshot_meta=meta), root)

    def _next_snapshot(self, root: Root) -> Snapshot:
        """What has been in a snapshot stays in it: devices refuse one that leaves out a name."""
        before = dict(self._files.read(SNAPSHOT, Snapshot).meta) if self._files.path(SNAPSHOT).exists() else {}
        snapshot = Snapshot(meta={**before, **self._metas()})
        snapshot.unrecognized_fields[ROOT_VERSION] = root.version
        return snapshot

    def _metas(self) -> dict[str, MetaFile]:
        name, _ = self._files.release_role()
        return {
            f"{role}.json": MetaFile.from_data(
                self._files.version(role), self._files.path(role).read_bytes(), ["sha256"]
            )
            for role in (TARGETS, name)
        }

    def _snapshot_is_current(self, root: Root) -> bool:
        if not self._files.verifies(SNAPSHOT, root):
            return False
        snapshot = self._files.read(SNAPSHOT, Snapshot)
        # a device asks for the set, and with it for new roots, only when the snapshot is another
        is_of_root = snapshot.unrecognized_fields.get(ROOT_VERSION) == root.version
        return is_of_root and all(snapshot.meta.get(name) == meta for name, meta in self._metas().items())

    def _timestamp_is_current(self, root: Root) -> bool:
        return self._files.verifies(TIMESTAMP, root) and self._files.read(
            TIMESTAMP, Timestamp
        ).snapshot_meta.version == self._files.version(SNAPSHOT)

    def _is_half_over(self, role: str) -> bool:
        signed: Signed = self._files.read(role, KINDS[role])
        return signed.expires - self._clock() < ONLINE_VALIDITY / 2

    def _keyids(self, role: str) -> list[str]:
        if role == ASSIGNMENT:
            paths = self._files.targets().targets
            return [path.removeprefix(ASSIGNMENT_PATH) for path in paths if path.startswith(ASSIGNMENT_PATH)]
        if role == RELEASE:
            return list(self._files.targets().get_delegated_role(self._files.release_role()[0]).keyids)
        return list(self._files.root().roles[role].keyids)


def _name_assignment_keys(targets: Targets, keys: Collection[Key]) -> None:
    for path in [path for path in targets.targets if path.startswith(ASSIGNMENT_PATH)]:
        del targets.targets[path]
    for key in keys:
        path = ASSIGNMENT_PATH + key.keyid
        data = dump_object(key.to_dict())
        target = TargetFile.from_data(path, data, ["sha256"])
        target.unrecognized_fields["custom"] = {KEY_FIELD: key.to_dict()}
        targets.targets[path] = target
