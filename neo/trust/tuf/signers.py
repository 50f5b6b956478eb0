"""Private keys behind URIs, through securesystemslib's signers: a file of ours, or an HSM or cloud KMS.

``file:PATH`` is a PKCS#8 PEM file, encrypted or not; relative paths belong to the folder of keys. What else stands in
securesystemslib's table works as well: ``hsm:``, ``awskms:``, ``gcpkms:``, ``azurekms:``, ``hv:`` and so on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Key, SecretsHandler, Signer, SSlibKey

from neo.durable import replace_file
from neo.errors import MissingDependency, TrustError

SCHEME = "file"
PASSPHRASE_VARIABLE = "NEO_KEY_PASSPHRASE"  # noqa: S105  the name of it
KEYRING_SERVICE = "neo-edge"
_ENCRYPTED = b"BEGIN ENCRYPTED PRIVATE KEY"
MAX_KEY_BYTES = 64 << 10


class KeyNotAtHand(TrustError):
    """A private key that is somewhere else: offline, on a stick that is not plugged in, in an HSM that is away."""


class _FileSigner(CryptoSigner):
    """securesystemslib's own reads no encrypted files."""

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> CryptoSigner:
        path = Path(priv_key_uri.removeprefix(f"{SCHEME}:"))
        with path.open("rb") as file:
            data = file.read(MAX_KEY_BYTES)
        passphrase = None
        if _ENCRYPTED in data:
            if secrets_handler is None:
                raise ValueError("it is encrypted, and nobody is here to give the passphrase")
            passphrase = secrets_handler(str(path)).encode()
        if not isinstance(public_key, SSlibKey):
            raise TypeError(f"a {public_key.keytype} key is in no file")
        private: Any = load_pem_private_key(data, passphrase)  # CryptoSigner refuses the kinds that cannot sign
        return CryptoSigner(private, public_key)


SIGNER_FOR_URI_SCHEME[SCHEME] = _FileSigner


def open_signer(uri: str, public: Key, secret: SecretsHandler) -> Signer:
    """Raises KeyNotAtHand if the key is not there now, TrustError if it cannot be used."""
    try:
        return Signer.from_priv_key_uri(uri, public, secret)
    except FileNotFoundError as error:
        raise KeyNotAtHand(f"the private key {public.keyid[:12]} is not at {uri}") from error
    except TrustError:
        raise
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TrustError(f"the private key {public.keyid[:12]} at {uri} cannot be used: {error}") from error
    except Exception as error:  # not narrower: an HSM's or a cloud's library raises whatever it likes
        raise KeyNotAtHand(f"the private key {public.keyid[:12]} at {uri} does not answer: {error}") from error


def is_encrypted(path: Path) -> bool:
    with path.open("rb") as file:
        return _ENCRYPTED in file.read(MAX_KEY_BYTES)


def make_key(path: Path, passphrase: str | None) -> SSlibKey:
    """A new Ed25519 key at path (0600), durable when this returns. Raises TrustError if there is something already."""
    if path.exists():
        raise TrustError(f"a key exists already at {path}", hint="no key is ever overwritten; move it away")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    private = Ed25519PrivateKey.generate()
    encryption: KeySerializationEncryption = (
        NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    )
    replace_file(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), 0o600)
    key: SSlibKey = SSlibKey.from_crypto(private.public_key())
    return key


class Passphrase:
    """Where the secret comes from that keys are encrypted with: the environment, a keyring, or a person, asked once.

    name: under which the keyring has it. ask: shows a question, gives the answer; None where nobody can be asked.
    """

    def __init__(self, name: str, ask: Callable[[str], str] | None) -> None:
        self._name = name
        self._ask = ask
        self._known: str | None = None

    def __call__(self, what: str) -> str:
        """A securesystemslib SecretsHandler. Raises TrustError if nobody knows the secret."""
        if self._known is None:
            self._known = os.environ.get(PASSPHRASE_VARIABLE) or from_keyring(self._name)
        if self._known is None and self._ask is not None:
            self._known = self._ask(f"passphrase of {what}")
        if not self._known:
            raise TrustError(
                f"the key {what} is encrypted, and there is no passphrase",
                hint=f"set {PASSPHRASE_VARIABLE}, or run the command in a terminal",
            )
        return self._known


def from_keyring(name: str) -> str | None:
    """The secret in the user's keyring; None where there is no keyring or it has none."""
    try:
        import keyring
    except ImportError:
        return None
    try:
        secret: str | None = keyring.get_password(KEYRING_SERVICE, name)
    except keyring.errors.KeyringError:  # a machine without a desktop has the library and no keyring
        return None
    return secret


def to_keyring(name: str, secret: str) -> None:
    """Raises MissingDependency without the library, TrustError if the keyring does not take it."""
    try:
        import keyring
    except ImportError as error:
        raise MissingDependency("the user's keyring needs the package keyring", hint="pip install keyring") from error
    try:
        keyring.set_password(KEYRING_SERVICE, name, secret)
    except keyring.errors.KeyringError as error:
        raise TrustError(f"the keyring does not take the secret: {error}") from error
