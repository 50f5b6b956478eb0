"""Key files: a private key is PKCS#8 PEM with mode 0600, its public half is ``<path>.pub``, JSON as in TUF metadata.

Source: https://theupdateframework.github.io/specification/latest/#keys for the JSON form.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, SSlibKey

from neo.contract.fields import ContractError, parse_object
from neo.errors import DiskFull, TrustError

_log = logging.getLogger(__name__)

MAX_KEY_BYTES = 64 << 10
_ED25519_PUBLIC = re.compile(r"[0-9a-fA-F]{64}")


def public_path(private: Path) -> Path:
    return private.with_name(private.name + ".pub")


def generate_key(path: Path) -> SSlibKey:
    """Make an Ed25519 key pair: path (0600) and path.pub (0644).

    Raises TrustError if one of the two exists (no key is overwritten), TrustError or DiskFull if one cannot be written;
    then neither is new.
    """
    signer = CryptoSigner.generate_ed25519()
    key: SSlibKey = signer.public_key
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _unwritten(f"cannot make the folder {path.parent}", error) from error
    if _exists(path):
        raise _exists_already(path)
    if _exists(public_path(path)):
        raise TrustError(
            f"{public_path(path)} exists already; its private key is not at {path}",
            hint="choose another path, or bring the private key back",
        )
    _write_new(path, signer.private_bytes, 0o600)
    try:
        _write_public(path, key)
    except (TrustError, DiskFull):
        path.unlink()
        raise
    return key


def dump_public_key(key: SSlibKey) -> str:
    return json.dumps(public_key_to_json(key), indent=2, sort_keys=True) + "\n"


def public_key_to_json(key: SSlibKey) -> dict[str, Any]:
    return {"keyid": key.keyid, **key.to_dict()}


def public_key_from_json(value: dict[str, Any]) -> SSlibKey:
    """Raises TrustError for what is no Ed25519 key, or has not the id that its bytes give it."""
    try:
        value = dict(value)
        key = SSlibKey.from_dict(value.pop("keyid"), value)
        public = key.keyval["public"]
        if (key.keytype, key.scheme) != ("ed25519", "ed25519") or not _ED25519_PUBLIC.fullmatch(public):
            raise TrustError("the key is no Ed25519 key")
        expected = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrustError("the key cannot be read: it is no public key as in TUF metadata") from error
    if key.keyid != expected.keyid:  # two keys under one id, or one under two, would be two devices that look alike
        raise TrustError("the key has not the id that its bytes give it")
    return expected


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise _exists_already(path) from error
    except OSError as error:
        raise _unwritten(f"cannot write the key {path}", error) from error
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink()
        raise _unwritten(f"cannot write the key {path}", error) from error


def _exists_already(path: Path) -> TrustError:
    return TrustError(f"a key exists already at {path}", hint="choose another path, or keep using this one")


def _unwritten(what: str, error: OSError) -> TrustError | DiskFull:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(f"{what}: no space left", hint="free some space and try again")
    return TrustError(f"{what}: {error.strerror}", hint="choose another path")


def _write_public(path: Path, key: SSlibKey) -> None:
    public = public_path(path)
    fresh = public.with_name(f".{public.name}.{secrets.token_hex(4)}")
    _write_new(fresh, dump_public_key(key).encode(), 0o644)
    try:
        fresh.replace(public)  # whole or not at all: it is copied to devices
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise _unwritten(f"cannot write the key {public}", error) from error


def load_signer(path: Path) -> CryptoSigner:
    """The private key at path. Raises TrustError if it is missing, no key, or no Ed25519 key."""
    try:
        data = _read(path)
    except OSError as error:
        raise TrustError(
            f"cannot read the signing key {path}: {error.strerror}", hint=f"make one with: neo keys generate {path}"
        ) from error
    try:
        signer = CryptoSigner(load_pem_private_key(data, password=None))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TrustError(
            f"{path} is no private key that can sign: {error}",
            hint="give an unencrypted PKCS#8 PEM file, as `neo keys generate` makes; the .pub file is the public half",
        ) from error
    if signer.public_key.keytype != "ed25519":
        raise TrustError(f"{path} is a {signer.public_key.keytype} key; bundles are signed with Ed25519")
    return signer


def operator_signer(key: Path | None, default: Path) -> CryptoSigner:
    """The key that was named; where none was, the one at default, made if there is none yet.

    Raises TrustError for a named key that does not exist: a typing error would make one that no device trusts.
    """
    return load_or_make_signer(default) if key is None else load_signer(key)


def load_or_make_signer(path: Path) -> CryptoSigner:
    """The private key at path, made if there is none yet: the first compile needs no preparation."""
    if not _exists(path):
        try:
            generate_key(path)
        except TrustError:
            if not _exists(path):  # it does where another process was faster
                raise
        else:
            _log.info("made the signing key %s; devices trust %s", path, public_path(path))
    signer = load_signer(path)
    if not _exists(public_path(path)):  # we were killed between the two
        _write_public(path, signer.public_key)
    return signer


def load_public_keys(paths: Sequence[Path]) -> tuple[SSlibKey, ...]:
    """The public keys of the .pub files. Raises TrustError if one is missing or no public key, or there is none."""
    keys = tuple(_load_public_key(path) for path in paths)
    if not keys:
        raise TrustError(
            "no trusted key was given", hint="give the operator's public key with --trust operator.key.pub"
        )
    return keys


def _load_public_key(path: Path) -> SSlibKey:
    try:
        data = _read(path)
    except OSError as error:
        raise TrustError(
            f"cannot read the trusted key {path}: {error.strerror}",
            hint="copy the operator's .pub file there; `neo keys show` prints where it is",
        ) from error
    if b"PRIVATE KEY" in data:
        raise TrustError(f"{path} is a private key", hint=f"a device gets the public half only: {public_path(path)}")
    try:
        value = parse_object(data, what="the key")
        key = SSlibKey.from_dict(value.pop("keyid"), value)
    except (ContractError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrustError(f"{path} is no public key file", hint="use the .pub file of `neo keys generate`") from error
    if (key.keytype, key.scheme) != ("ed25519", "ed25519"):
        raise TrustError(f"{path} is a {key.keytype[:40]} key; bundles are signed with Ed25519")
    # securesystemslib would notice at the first signature only, and blame that
    if not _ED25519_PUBLIC.fullmatch(key.keyval["public"]):
        raise TrustError(f"{path} is damaged: an Ed25519 public key has 64 hexadecimal digits", hint="copy it again")
    return key


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, say; whoever opens it says so
        return False


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_KEY_BYTES)
