"""Key files: a private key is PKCS#8 PEM with mode 0600, its public half is ``<path>.pub``, JSON as in TUF metadata.

Source: https://theupdateframework.github.io/specification/latest/#keys for the JSON form.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, SSlibKey

from neo.errors import TrustError

_log = logging.getLogger(__name__)

MAX_KEY_BYTES = 64 << 10


def public_path(private: Path) -> Path:
    return private.with_name(private.name + ".pub")


def generate_key(path: Path) -> SSlibKey:
    """Make an Ed25519 key pair: path (0600) and path.pub. Raises TrustError if path exists: no key is overwritten."""
    signer = CryptoSigner.generate_ed25519()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise TrustError(
            f"a key exists already at {path}", hint="choose another path, or keep using this one"
        ) from error
    with os.fdopen(fd, "wb") as file:
        file.write(signer.private_bytes)
    key: SSlibKey = signer.public_key
    public_path(path).write_text(dump_public_key(key), encoding="utf-8")
    return key


def dump_public_key(key: SSlibKey) -> str:
    return json.dumps({"keyid": key.keyid, **key.to_dict()}, indent=2, sort_keys=True) + "\n"


def load_signer(path: Path) -> CryptoSigner:
    """The private key at path. Raises TrustError if it is missing, no key, or no Ed25519 key."""
    try:
        data = path.read_bytes()[:MAX_KEY_BYTES]
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


def load_or_make_signer(path: Path) -> CryptoSigner:
    """The private key at path, made if there is none yet: the first compile needs no preparation."""
    if not path.exists():
        generate_key(path)
        _log.info("made the signing key %s; devices trust %s", path, public_path(path))
    return load_signer(path)


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
        data = path.read_bytes()[:MAX_KEY_BYTES]
    except OSError as error:
        raise TrustError(
            f"cannot read the trusted key {path}: {error.strerror}",
            hint="copy the operator's .pub file there; `neo keys show` prints where it is",
        ) from error
    if b"PRIVATE KEY" in data:
        raise TrustError(f"{path} is a private key", hint=f"a device gets the public half only: {public_path(path)}")
    try:
        value = json.loads(data)
        key = SSlibKey.from_dict(value.pop("keyid"), value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrustError(f"{path} is no public key file", hint="use the .pub file of `neo keys generate`") from error
    if key.keytype != "ed25519":
        raise TrustError(f"{path} is a {key.keytype} key; bundles are signed with Ed25519")
    return key
