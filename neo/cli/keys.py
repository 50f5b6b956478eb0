"""`neo keys`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from neo.cli.fleet_keys import COMMANDS
from neo.cli.options import PathArgument, json_option, key_option, open_store, store_option
from neo.cli.output import emit


@click.group("keys", epilog="Example: neo keys generate operator.key")
def keys_command() -> None:
    """Make and show signing keys; sign bundles. A device trusts the .pub files it was given, or a fleet's root.json.

    One key (generate, show, sign) does for a few devices; a fleet has one for each role (init and the rest).
    """


@keys_command.command("generate", epilog="Example: neo keys generate operator.key")
@click.argument("path", type=PathArgument(dir_okay=False), required=False)
@json_option
def generate(path: Path | None, as_json: bool) -> None:
    """Make an Ed25519 key pair at PATH (private, mode 0600) and PATH.pub. An existing key is never overwritten."""
    from neo.settings import key_path
    from neo.trust.keys import generate_key

    path = path or key_path()
    _print(path, generate_key(path).keyid, as_json)


@keys_command.command("show", epilog="Example: neo keys show")
@key_option
@json_option
def show(key: Path | None, as_json: bool) -> None:
    """Show where the operator's key is and its id; the .pub file is what a device is given."""
    from neo.settings import key_path
    from neo.trust.keys import load_signer

    path = key or key_path()
    _print(path, load_signer(path).public_key.keyid, as_json)


@keys_command.command("sign", epilog="Examples: neo keys sign digits, neo keys sign digits:1-host")
@click.argument("reference", metavar="REF")
@key_option
@store_option
@json_option
def sign(reference: str, key: Path | None, store: Path | None, as_json: bool) -> None:
    """Sign the bundle REF, or all variants of the version REF, in addition to signatures they may have."""
    from neo.compiler.bundle import sign_bundle
    from neo.settings import key_path
    from neo.store.releases import find_release
    from neo.trust.keys import load_signer

    opened = open_store(store)
    release = find_release(opened, reference)
    signer = load_signer(key or key_path())
    for variant in release.variants:
        sign_bundle(opened, variant.bundle, signer)
    keyid = signer.public_key.keyid
    signed = [{"reference": variant.reference, "digest": variant.digest} for variant in release.variants]
    names = ", ".join(variant.reference for variant in release.variants)
    emit(
        {**signed[0], "keyid": keyid, "signed": signed},
        as_json,
        lambda console: console.print(f"signed {names} with key {keyid[:12]}", markup=False),
    )


for command in COMMANDS:
    keys_command.add_command(command)


def _print(path: Path, keyid: str, as_json: bool) -> None:
    from neo.trust.keys import public_path

    public = public_path(path)
    result = {"private": str(path), "public": str(public), "keyid": keyid}

    def human(console: Any) -> None:
        console.print(f"private key: {path} (keep it secret)", markup=False)
        console.print(f"public key:  {public} (give it to devices: --trust)\nkey id:      {keyid}", markup=False)

    emit(result, as_json, human)
