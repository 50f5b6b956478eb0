"""`neo keys init|rotate|revoke|threshold|export|roles`: the TUF keys of a fleet."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neo.cli.options import PathArgument, json_option
from neo.cli.output import emit
from neo.cli.trust import asker, fleet_option, keys_folder, keys_option, open_repository, require_tuf

if TYPE_CHECKING:
    from securesystemslib.signer import Key

    from neo.trust.tuf.keyfolder import KeyFolder

_ROLES = ("root", "targets", "release", "snapshot", "timestamp", "assignment")
_role = click.argument("role", type=click.Choice(_ROLES))
_offline = click.option(
    "--offline", type=PathArgument(file_okay=False), help="Folder for new root and targets keys: a stick, say."
)
_HOW = ("none", "prompt", "keyring", "env")


@click.command("init", epilog="Example: neo keys init --root-keys 3 --root-threshold 2 --offline /media/stick")
@click.option("--root-keys", type=click.IntRange(1, 16), default=1, show_default=True)
@click.option("--root-threshold", type=click.IntRange(1, 16), default=1, show_default=True)
@click.option("--targets-keys", type=click.IntRange(1, 16), default=1, show_default=True)
@click.option("--targets-threshold", type=click.IntRange(1, 16), default=1, show_default=True)
@click.option(
    "--from",
    "operator_key",
    type=PathArgument(dir_okay=False),
    help="The key that devices trust now (operator.key): it becomes the release key and signs the first root too, so "
    "that devices with --trust KEY.pub go over.",
)
@click.option(
    "--passphrase",
    type=click.Choice(_HOW),
    default="none",
    help="Encrypt the keys; where the secret comes from. [default: env if NEO_KEY_PASSPHRASE is set, else none]",
)
@_offline
@keys_option
@fleet_option
@json_option
def init(
    *,
    root_keys: int,
    root_threshold: int,
    targets_keys: int,
    targets_threshold: int,
    operator_key: Path | None,
    passphrase: str,
    offline: Path | None,
    keys: Path | None,
    fleet: str,
    as_json: bool,
) -> None:
    """Make a fleet's TUF keys and first metadata. Devices are given the root.json that is written beside them."""
    require_tuf()
    from neo.durable import replace_file
    from neo.errors import UsageError
    from neo.trust.keys import load_signer
    from neo.trust.tuf.keyfolder import ONLINE, KeyFolder
    from neo.trust.tuf.repository import Repository
    from neo.trust.tuf.signers import Passphrase

    if root_threshold > root_keys or targets_threshold > targets_keys:
        raise UsageError("a threshold is above the number of keys", hint="--root-keys 3 --root-threshold 2")
    folder = keys_folder(keys, fleet)
    signer = None if operator_key is None else load_signer(operator_key)
    made = KeyFolder.create(folder, fleet, Passphrase(fleet, asker()), offline)
    secret, how = _new_secret(passphrase, fleet)
    for role in _ROLES:
        if role == "release" and signer is not None and operator_key is not None:
            made.bring(role, signer.public_key, f"file:{operator_key.resolve()}")
            continue
        # what a person types, no program can give at night: the online keys are not encrypted then
        encrypt = None if role in ONLINE and how == "prompt" else secret
        for _ in range({"root": root_keys, "targets": targets_keys}.get(role, 1)):
            made.make(role, encrypt)
    repository = Repository(made)
    repository.create({"root": root_threshold, "targets": targets_threshold}, signer)
    replace_file(folder / "root.json", repository.root_bytes())
    result = {
        "fleet": fleet,
        "keys": str(folder),
        "root": str(folder / "root.json"),
        "encrypted": how,
        "keyids": {role: [key.keyid for key in made.keys_of(role)] for role in _ROLES},
    }

    def human(out: Any) -> None:
        out.print(f"keys of fleet {fleet}: {folder} (keep the folder secret)", markup=False)
        out.print(f"devices get: --trust {folder / 'root.json'}", markup=False)
        if how == "none":
            out.print("the keys are not encrypted; --passphrase prompt, keyring or env encrypts them")
        out.print("publish with: neo fleet renew")

    emit(result, as_json, human)


@click.command("rotate", epilog="Example: neo keys rotate timestamp")
@_role
@click.option("--old", metavar="KEYID", help="Which key is replaced, where the role has several.")
@click.option("--uri", help="A key that exists: hsm:..., awskms:..., gcpkms:..., file:PATH. Needs --public.")
@click.option("--public", type=PathArgument(dir_okay=False), help="Its public half, as `neo keys generate` writes it.")
@_offline
@keys_option
@fleet_option
@json_option
def rotate(
    *,
    role: str,
    old: str | None,
    uri: str | None,
    public: Path | None,
    offline: Path | None,
    keys: Path | None,
    fleet: str,
    as_json: bool,
) -> None:
    """Replace a key of ROLE by a new one. Then publish it: neo fleet renew."""
    repository = open_repository(keys, fleet, offline)
    folder = repository.keys
    old = None if old is None else _keyid(folder, old)
    key = _new_key(folder, role, uri, public)
    repository.replace_key(role, old, key)
    _told({"role": role, "new": key.keyid, "old": old}, f"{role} has the new key {key.keyid[:12]}", as_json)


@click.command("revoke", epilog="Example: neo keys revoke 1a2b3c4d5e6f")
@click.argument("keyid", metavar="KEYID")
@_offline
@keys_option
@fleet_option
@json_option
def revoke(*, keyid: str, offline: Path | None, keys: Path | None, fleet: str, as_json: bool) -> None:
    """Take a stolen or lost key out of its role and put a new one in its place. Then publish it: neo fleet renew."""
    repository = open_repository(keys, fleet, offline)
    folder = repository.keys
    old = _keyid(folder, keyid)
    role = folder.records[old].role
    key = _new_key(folder, role, None, None)
    repository.replace_key(role, old, key)
    _told({"role": role, "new": key.keyid, "old": old}, f"{role} key {old[:12]} counts no more", as_json)


@click.command("threshold", epilog="Example: neo keys threshold root 2 --count 3")
@_role
@click.argument("threshold", type=click.IntRange(1, 16))
@click.option("--count", type=click.IntRange(1, 16), help="How many keys the role shall have; missing ones are made.")
@_offline
@keys_option
@fleet_option
@json_option
def threshold(
    *,
    role: str,
    threshold: int,
    count: int | None,
    offline: Path | None,
    keys: Path | None,
    fleet: str,
    as_json: bool,
) -> None:
    """How many keys of ROLE have to sign. Then publish it: neo fleet renew."""
    repository = open_repository(keys, fleet, offline)
    folder = repository.keys
    have = next(len(state.keyids) for state in repository.roles() if state.role == role)
    new = [_new_key(folder, role, None, None) for _ in range(max(0, (count or 0) - have))]
    repository.set_threshold(role, threshold, new)
    _told(
        {"role": role, "threshold": threshold, "keys": have + len(new)},
        f"{role}: {threshold} of {have + len(new)} keys have to sign",
        as_json,
    )


@click.command("export", epilog="Example: neo keys export root.json")
@click.argument("path", type=PathArgument())
@click.option("--online", is_flag=True, help="PATH is a new folder with the online keys, for the host of `neo broker`.")
@keys_option
@fleet_option
@json_option
def export(*, path: Path, online: bool, keys: Path | None, fleet: str, as_json: bool) -> None:
    """Write the root that new devices are given to PATH."""
    repository = open_repository(keys, fleet)
    from neo.durable import replace_file

    if online:
        from neo.trust.tuf.keyfolder import export_online

        export_online(repository.keys, path)
    else:
        replace_file(path, repository.root_bytes())
    _told({"path": str(path), "online": online}, f"written to {path}", as_json, publish=False)


@click.command("roles", epilog="Example: neo keys roles")
@keys_option
@fleet_option
@json_option
def roles(*, keys: Path | None, fleet: str, as_json: bool) -> None:
    """Show the roles of a fleet: thresholds, keys and where they are, versions, expiry."""
    repository = open_repository(keys, fleet)
    records = repository.keys.records
    found: list[dict[str, Any]] = [
        {
            "role": state.role,
            "threshold": state.threshold,
            "version": state.version,
            "expires": None if state.expires is None else state.expires.isoformat(),
            "keys": [
                {"keyid": keyid, "uri": records[keyid].uri if keyid in records else None} for keyid in state.keyids
            ],
        }
        for state in repository.roles()
    ]
    released = repository.releases()
    result = {"fleet": fleet, "roles": found, "releases": {path: one.digest for path, one in released.items()}}

    def human(out: Any) -> None:
        for state in found:
            expires = "" if state["expires"] is None else f", until {state['expires'][:10]}"
            out.print(f"{state['role']}: {state['threshold']} of {len(state['keys'])} sign{expires}", markup=False)
            for key in state["keys"]:
                out.print(f"  {key['keyid'][:12]}  {key['uri'] or 'not in this folder'}", markup=False)
        out.print(f"releases: {', '.join(sorted(released)) or 'none'}", markup=False)

    emit(result, as_json, human)


COMMANDS = (init, rotate, revoke, threshold, export, roles)


def _new_secret(how: str, fleet: str) -> tuple[str | None, str]:
    """-> the secret, and where it comes from."""
    import os

    from neo.errors import UsageError
    from neo.trust.tuf.signers import PASSPHRASE_VARIABLE, to_keyring

    from_environment = os.environ.get(PASSPHRASE_VARIABLE)
    if how == "env" and not from_environment:
        raise UsageError(f"{PASSPHRASE_VARIABLE} is not set", hint="set it, or choose another --passphrase")
    if how in ("env", "none") and from_environment:
        return from_environment, "env"
    if how == "keyring":
        secret = secrets.token_urlsafe(32)
        to_keyring(fleet, secret)
        return secret, how
    if how == "prompt":
        return click.prompt("passphrase", hide_input=True, confirmation_prompt=True, err=True), how
    return None, how


def _new_key(folder: KeyFolder, role: str, uri: str | None, public: Path | None) -> Key:
    """Encrypted if the role's other keys are."""
    from neo.errors import UsageError
    from neo.trust.tuf.keyfolder import parse_public_key

    if (uri is None) != (public is None):
        raise UsageError("a key that exists needs --uri and --public", hint="give both or none")
    if uri is not None and public is not None:
        key = parse_public_key(public.read_bytes(), str(public))
        folder.bring(role, key, uri)
        return key
    return folder.make(role, folder.secret_for(role))


def _keyid(folder: KeyFolder, start: str) -> str:
    from neo.errors import UsageError

    found = [keyid for keyid, record in folder.records.items() if keyid.startswith(start) and not record.retired]
    if len(found) != 1:
        raise UsageError(
            f"{len(found)} keys in use begin with {start[:80]!r}", hint="neo keys roles lists them; give more digits"
        )
    return found[0]


def _told(result: dict[str, Any], text: str, as_json: bool, *, publish: bool = True) -> None:
    def human(out: Any) -> None:
        out.print(text + ("; publish it with: neo fleet renew" if publish else ""), markup=False)

    emit(result, as_json, human)
