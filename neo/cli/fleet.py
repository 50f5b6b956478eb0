"""`neo fleet`: who belongs to a fleet, and how fresh its trust is."""

from __future__ import annotations

from pathlib import Path

import click

from neo.cli.options import db_option, json_option, open_fleet_db
from neo.cli.output import emit
from neo.cli.trust import broker_option, connect, fleet_option, keys_option, open_repository, tls_ca_option

_TIMEOUT_S = 10.0


@click.group("fleet", epilog="Example: neo fleet forget kitchen")
def fleet_command() -> None:
    """Keep the roster of a fleet, and its TUF metadata fresh."""


@fleet_command.command("forget", epilog="Example: neo fleet forget kitchen --broker mqtts://me:secret@broker.example")
@click.argument("device")
@click.option(
    "--broker", envvar="NEO_BROKER", help="mqtt://host:port or mqtts://... [default: NEO_BROKER, or this host]"
)
@click.option("--tls-ca", type=click.Path(dir_okay=False, path_type=Path), help="PEM certificate of the authority.")
@click.option("--fleet", default="default", show_default=True)
@click.option("--force", is_flag=True, help="Also a device that is online.")
@db_option
@json_option
def forget(
    *, device: str, broker: str | None, tls_ca: Path | None, fleet: str, force: bool, db: str | None, as_json: bool
) -> None:
    """Forget DEVICE: clear what the broker retains of it, and take it off the roster with its key.

    A device that is given this name later is a new one.
    """
    from neo.contract.topics import Topics
    from neo.errors import DeviceError
    from neo.fleet.clock import SYSTEM_CLOCK, random_id
    from neo.fleet.forget import forget_device
    from neo.fleet.transport import MqttTransport
    from neo.link import BrokerUrl, Tls
    from neo.settings import broker_url

    url = BrokerUrl.parse(broker or broker_url())
    transport = MqttTransport(url, Tls(ca=tls_ca), random_id)
    with open_fleet_db(db) as book:
        known = forget_device(
            transport,
            Topics(fleet),
            device,
            book,
            force=force,
            clock=SYSTEM_CLOCK,
            new_id=random_id,
            timeout_s=_TIMEOUT_S,
        )
    if not known:
        raise DeviceError(f"no device {device!r} is known at {url} or in the roster", hint="neo status lists them")
    emit({"device": device, "fleet": fleet}, as_json, lambda out: out.print(f"{device} is forgotten", markup=False))


@fleet_command.command("revoke", epilog="Example: neo fleet revoke kitchen")
@click.argument("device")
@click.option("--fleet", default="default", show_default=True)
@db_option
@json_option
def revoke(*, device: str, fleet: str, db: str | None, as_json: bool) -> None:
    """Believe nothing of DEVICE any more, and push nothing to it: its key or its disk is in other hands.

    What it runs it goes on running. `neo fleet forget` ends this, and the key that is seen next is believed.
    """
    from neo.contract.topics import Topics
    from neo.errors import DeviceError
    from neo.fleet.clock import SYSTEM_CLOCK

    Topics(fleet).device(device, "report")  # checks the names
    with open_fleet_db(db) as book:
        if not book.revoke(fleet, device, SYSTEM_CLOCK.unix()):
            raise DeviceError(
                f"no device {device!r} is in the roster of fleet {fleet!r}",
                hint="neo status puts there whom it sees; --db names another database",
            )
    emit({"device": device, "fleet": fleet}, as_json, lambda out: out.print(f"{device} is revoked", markup=False))


@fleet_command.command("renew", epilog="Example: neo fleet renew --broker mqtts://me:secret@broker.example")
@keys_option
@fleet_option
@broker_option
@tls_ca_option
@json_option
def renew(*, keys: Path | None, fleet: str, broker: str | None, tls_ca: Path | None, as_json: bool) -> None:
    """Sign a new TUF timestamp with the online keys and publish it with all that was changed, for a timer.

    Devices call a fleet's trust stale if that was not done for 14 days. `neo broker` does it by itself.
    """
    repository = open_repository(keys, fleet)
    from neo.fleet.clock import SYSTEM_CLOCK
    from neo.fleet.tuf import publish, synchronise

    transport, topics = connect(broker, tls_ca, fleet)
    synchronise(transport, topics, repository, clock=SYSTEM_CLOCK)
    repository.renew()
    size = publish(transport, topics, repository, clock=SYSTEM_CLOCK)
    expires = min(state.expires for state in repository.roles() if state.expires is not None)
    result = {"fleet": fleet, "set_bytes": size, "expires": expires.isoformat()}
    emit(
        result,
        as_json,
        lambda out: out.print(f"the trust of fleet {fleet} is fresh until {expires:%Y-%m-%d %H:%M} UTC"),
    )
