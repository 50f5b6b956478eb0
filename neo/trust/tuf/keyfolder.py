"""The folder with a fleet's keys: what each key is for and where its private half is.

::

    keys.json        which keys there are; the format's version
    private/         private keys that live here; others are on a stick, in an HSM, in a cloud
    metadata/        the signed metadata, see ``neo.trust.tuf.repository``

A key counts as soon as keys.json has it, and that is written after the private key.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from securesystemslib.signer import Key, SecretsHandler, Signer

from neo.contract.device import parse_name
from neo.contract.fields import ContractError, as_object, as_string, dump_object, get, parse_object
from neo.contract.versions import VERSION_KEY, read_versioned
from neo.durable import replace_file, translating_os_errors
from neo.errors import TrustError
from neo.trust.tuf.signers import SCHEME, KeyNotAtHand, is_encrypted, make_key, open_signer

SCHEMA = 1
KEYS_FILE = "keys.json"
PRIVATE = "private"
METADATA = "metadata"
ROOT, TARGETS, RELEASE, SNAPSHOT, TIMESTAMP, ASSIGNMENT = (
    "root",
    "targets",
    "release",
    "snapshot",
    "timestamp",
    "assignment",
)
ROLES = (ROOT, TARGETS, RELEASE, SNAPSHOT, TIMESTAMP, ASSIGNMENT)
OFFLINE = (ROOT, TARGETS)
ONLINE = (SNAPSHOT, TIMESTAMP, ASSIGNMENT)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    key: Key
    role: str
    #: of the private key; a relative path of a file: belongs to the folder
    uri: str
    #: it signs nothing any more
    retired: bool = False


class KeyFolder:
    """Raises TrustError for a folder that has no keys, ContractError for one that is damaged, StoreError, DiskFull.

    secret: asked for the passphrase of an encrypted key. offline: where new root and targets keys are put.
    """

    def __init__(self, folder: Path, secret: SecretsHandler, offline: Path | None = None) -> None:
        self.folder = folder
        self._secret = secret
        self._offline = offline
        self.fleet, self._records = self._read()

    @classmethod
    def create(cls, folder: Path, fleet: str, secret: SecretsHandler, offline: Path | None = None) -> KeyFolder:
        """Raises TrustError if there is one already."""
        parse_name(fleet, "fleet")
        with translating_os_errors(folder):
            if (folder / KEYS_FILE).exists():
                raise TrustError(
                    f"{folder} has keys already",
                    hint="show them with: neo keys roles --fleet NAME; or give another folder: --keys DIR",
                )
            (folder / METADATA).mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(folder / KEYS_FILE, dump_object({VERSION_KEY: SCHEMA, "fleet": fleet, "keys": {}}), 0o600)
        return cls(folder, secret, offline)

    @property
    def metadata(self) -> Path:
        return self.folder / METADATA

    @property
    def records(self) -> Mapping[str, KeyRecord]:
        """Key id -> what it is, retired ones too."""
        return MappingProxyType(self._records)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time changes keys and metadata; the broker renews while a person rotates."""
        with translating_os_errors(self.folder), (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.fleet, self._records = self._read()
            yield

    def make(self, role: str, passphrase: str | None) -> Key:
        """A new key in a file."""
        number = 1 + sum(record.role == role for record in self._records.values())
        name = f"{role}-{number}.pem"
        path = self.folder / PRIVATE / name
        if self._offline is not None and role in OFFLINE:
            path = self._offline.resolve() / name
        key = make_key(path, passphrase)
        uri = f"{SCHEME}:{path.relative_to(self.folder) if path.is_relative_to(self.folder) else path}"
        self.bring(role, key, uri)
        return key

    def bring(self, role: str, key: Key, uri: str) -> None:
        """A key that exists. Raises TrustError if its private half is there and another, or it has a role already."""
        known = self._records.get(key.keyid)
        if known is not None:
            raise TrustError(
                f"key {key.keyid[:12]} is a {known.role} key of this fleet already",
                hint="every role gets keys of its own, and a key that was retired is not used again",
            )
        if uri.startswith(f"{SCHEME}:"):
            self._open(uri, key)
        self._write({**self._records, key.keyid: KeyRecord(key, role, uri)})

    def retire(self, keyids: Iterable[str]) -> None:
        retired = {keyid: replace(self._records[keyid], retired=True) for keyid in keyids if keyid in self._records}
        self._write({**self._records, **retired})

    def keys_of(self, role: str) -> list[Key]:
        """Those that are not retired."""
        return [record.key for record in self._records.values() if record.role == role and not record.retired]

    def signer(self, keyid: str) -> Signer:
        """Raises KeyNotAtHand if its private half is not there now, TrustError if it cannot be used."""
        record = self._records.get(keyid)
        if record is None:
            raise KeyNotAtHand(f"{self.folder} has no key {keyid[:12]}")
        return self._open(record.uri, record.key)

    def secret_for(self, role: str) -> str | None:
        """What a new key of the role is encrypted with: the secret of its other keys; None if they are plain."""
        for key in self.keys_of(role):
            path = self.path(key.keyid)
            if path is not None and path.exists() and is_encrypted(path):
                return self._secret(str(path))
        return None

    def path(self, keyid: str) -> Path | None:
        """Of the private key's file; None for a key that is in none."""
        uri = self._records[keyid].uri
        return self.folder / uri.removeprefix(f"{SCHEME}:") if uri.startswith(f"{SCHEME}:") else None

    def replace_records(self, records: Mapping[str, KeyRecord]) -> None:
        """Exactly these keys, whose private halves are in their places."""
        self._write(dict(records))

    def _open(self, uri: str, key: Key) -> Signer:
        if uri.startswith(f"{SCHEME}:"):
            uri = f"{SCHEME}:{self.folder / uri.removeprefix(f'{SCHEME}:')}"
        return open_signer(uri, key, self._secret)

    def _read(self) -> tuple[str, dict[str, KeyRecord]]:
        path = self.folder / KEYS_FILE
        try:
            data = path.read_bytes()
        except OSError as error:
            raise TrustError(
                f"no keys of a fleet in {self.folder}: {error.strerror}", hint="make them with: neo keys init"
            ) from error
        return read_versioned(parse_object(data, what=str(path)), {SCHEMA: _read_first}, str(path))

    def _write(self, records: dict[str, KeyRecord]) -> None:
        keys = {
            keyid: {
                "role": record.role,
                "uri": record.uri,
                "retired": record.retired,
                "public": record.key.to_dict(),
            }
            for keyid, record in records.items()
        }
        replace_file(
            self.folder / KEYS_FILE, dump_object({VERSION_KEY: SCHEMA, "fleet": self.fleet, "keys": keys}), 0o600
        )
        self._records = records


def export_online(keys: KeyFolder, folder: Path) -> None:
    """A new folder with the online keys and all metadata, for the host that renews. Raises TrustError if it exists."""
    if folder.exists():
        raise TrustError(f"{folder} exists already", hint="name a new folder")
    copy = KeyFolder.create(folder, keys.fleet, _no_secret)
    (folder / PRIVATE).mkdir(mode=0o700)
    records = {}
    for keyid, record in keys.records.items():
        path = keys.path(keyid)
        if record.role not in ONLINE or record.retired:
            continue
        uri = record.uri
        if path is not None:
            replace_file(folder / PRIVATE / path.name, path.read_bytes(), 0o600)
            uri = f"{SCHEME}:{PRIVATE}/{path.name}"
        records[keyid] = replace(record, uri=uri)
    for path in keys.metadata.glob("*.json"):
        replace_file(folder / METADATA / path.name, path.read_bytes())
    copy.replace_records(records)


def _no_secret(what: str) -> str:
    raise TrustError(f"{what} is encrypted")


def _read_first(obj: dict[str, Any]) -> tuple[str, dict[str, KeyRecord]]:
    what = KEYS_FILE
    keys = as_object(obj.get("keys"), f"{what}.keys")
    return parse_name(obj.get("fleet"), f"{what}.fleet"), {
        keyid: _read_record(keyid, as_object(value, f"{what}.keys.{keyid[:12]}")) for keyid, value in keys.items()
    }


def _read_record(keyid: str, obj: dict[str, Any]) -> KeyRecord:
    what = f"{KEYS_FILE}.keys.{keyid[:12]}"
    role = as_string(obj.get("role"), f"{what}.role")
    if role not in ROLES:
        raise ContractError(f"{what}.role is {role[:40]!r}, not one of {', '.join(ROLES)}")
    return KeyRecord(
        read_key(keyid, obj.get("public"), f"{what}.public"),
        role,
        as_string(obj.get("uri"), f"{what}.uri"),
        get(obj, "retired", bool, what),
    )


def read_key(keyid: str, value: Any, what: str) -> Key:
    """A public key as TUF writes it, of any type that securesystemslib knows."""
    try:
        key: Key = Key.from_dict(keyid, dict(as_object(value, what)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ContractError(f"{what} is no public key: {error}") from error
    return key


def parse_public_key(data: bytes, what: str) -> Key:
    """A .pub file. Raises ContractError."""
    value = parse_object(data, what=what)
    return read_key(as_string(value.pop("keyid", None), f"{what}.keyid"), value, what)
