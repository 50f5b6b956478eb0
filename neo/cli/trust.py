"""What `neo keys`, `neo release`, `neo fleet` and `neo broker` share about a fleet's TUF keys."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from neo.cli.options import PathArgument

if TYPE_CHECKING:
    from neo.contract.topics import Topics
    from neo.fleet.transport import Transport
    from neo.trust.tuf.keyfolder import KeyFolder
    from neo.trust.tuf.repository import Repository

fleet_option = click.option("--fleet", default="default", show_default=True)
keys_option = click.option(
    "--keys",
    "keys",
    type=PathArgument(file_okay=False),
    help="The folder of the fleet's TUF keys. [default: NEO_FLEET_KEYS, or fleets/FLEET in the configuration folder]",
)
broker_option = click.option(
    "--broker", envvar="NEO_BROKER", help="mqtt://host:port or mqtts://... [default: NEO_BROKER, or this host]"
)
tls_ca_option = click.option(
    "--tls-ca", type=click.Path(dir_okay=False, path_type=Path), help="PEM certificate of the authority."
)


def require_tuf() -> None:
    """Raises MissingDependency where python-tuf is not installed."""
    from neo.errors import MissingDependency

    try:
        import tuf  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependency("a fleet's TUF keys need python-tuf", hint="pip install 'neo-edge[fleet]'") from error


def keys_folder(keys: Path | None, fleet: str) -> Path:
    from neo.contract.topics import Topics
    from neo.settings import fleet_keys

    return keys or fleet_keys(Topics(fleet).fleet)


def has_keys(keys: Path | None, fleet: str) -> bool:
    return (keys_folder(keys, fleet) / "keys.json").exists()


def asker() -> Callable[[str], str] | None:
    """Asks the person at the terminal; None where there is none."""

    def ask(question: str) -> str:
        answer: str = click.prompt(question, hide_input=True, err=True)
        return answer

    return ask if sys.stdin.isatty() else None


def open_keys(keys: Path | None, fleet: str, offline: Path | None = None) -> KeyFolder:
    """Raises TrustError for a folder that is another fleet's, or has no keys."""
    require_tuf()
    from neo.errors import TrustError
    from neo.trust.tuf.keyfolder import KeyFolder
    from neo.trust.tuf.signers import Passphrase

    folder = keys_folder(keys, fleet)
    opened = KeyFolder(folder, Passphrase(fleet, asker()), offline)
    if opened.fleet != fleet:
        raise TrustError(
            f"{folder} has the keys of fleet {opened.fleet}, not of {fleet}", hint=f"--fleet {opened.fleet}"
        )
    return opened


def open_repository(keys: Path | None, fleet: str, offline: Path | None = None) -> Repository:
    opened = open_keys(keys, fleet, offline)
    from neo.trust.tuf.repository import Repository

    return Repository(opened)


def connect(broker: str | None, tls_ca: Path | None, fleet: str) -> tuple[Transport, Topics]:
    from neo.contract.topics import Topics
    from neo.fleet.clock import random_id
    from neo.fleet.transport import MqttTransport
    from neo.link import BrokerUrl, Tls
    from neo.settings import broker_url

    return MqttTransport(BrokerUrl.parse(broker or broker_url()), Tls(ca=tls_ca), random_id), Topics(fleet)
