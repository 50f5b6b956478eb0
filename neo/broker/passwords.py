"""Who may connect: a file with a line name:hash for each user. The hashes are Argon2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from neo.durable import replace_file
from neo.errors import StoreError, UsageError

_HASHER = PasswordHash((Argon2Hasher(),))
MAX_FILE_BYTES = 16 << 20


def read_passwords(path: Path) -> dict[str, str]:
    """User name -> hash. Raises UsageError that names the line that cannot be used."""
    try:
        lines = path.read_bytes()[:MAX_FILE_BYTES].decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the password file {path}: {error}",
            hint=f"make it with: neo broker --password-file {path} --add-user NAME",
        ) from error
    users = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, hashed = line.strip().partition(":")
        if not name or not hashed.startswith("$argon2"):
            raise UsageError(
                f"line {number} of {path} is not name:hash with an Argon2 hash",
                hint=f"add users with: neo broker --password-file {path} --add-user NAME",
            )
        users[name] = hashed
    return users


def add_user(path: Path, name: str, password: str) -> None:
    """Add the user, or change the password. Raises UsageError, StoreError."""
    if not name or ":" in name or not name.isprintable() or name != name.strip():
        raise UsageError(f"{name!r} cannot be a user name", hint="use letters and digits, and no colon")
    if not password:
        raise UsageError("an empty password", hint="give one of a few words")
    users = read_passwords(path) if path.exists() else {}
    users[name] = _HASHER.hash(password)
    if not path.parent.is_dir():
        raise StoreError(f"there is no folder {path.parent}", hint="make it first, or choose another --password-file")
    replace_file(path, "".join(f"{user}:{hashed}\n" for user, hashed in users.items()).encode(), mode=0o600)


def is_right(users: Mapping[str, str], name: str, password: str) -> bool:
    """Takes tens of milliseconds on purpose, also for a name that is not there."""
    hashed = users.get(name)
    if hashed is None:
        _HASHER.hash(password)
        return False
    return _HASHER.verify(password, hashed)
