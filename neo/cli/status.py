"""`neo status`: what every device says."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from neo.cli.options import db_option, json_option, open_fleet_db
from neo.cli.output import emit, one_line, print_table, warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.text import Text

    from neo.errors import NeoError
    from neo.fleet.inventory import Inventory
    from neo.fleet.keyring import KeyRing
    from neo.fleet.members import Member
    from neo.fleet.records import DeviceRecord
    from neo.fleet.roster import Roster
    from neo.link import BrokerUrl

T = TypeVar("T")

_TRUST_STYLE = {"enrolled": "green", "pinned": "", "unsigned": "yellow"}

_EXAMPLE = """\b
Examples:
  neo status
  neo status kitchen --json
  neo status --broker mqtts://me:secret@broker.example
"""


@click.command(name="status", epilog=_EXAMPLE)
@click.argument("device", required=False)
@click.option(
    "--broker", envvar="NEO_BROKER", help="mqtt://host:port or mqtts://... [default: NEO_BROKER, or this host]"
)
@click.option("--tls-ca", type=click.Path(dir_okay=False, path_type=Path), help="PEM certificate of the authority.")
@click.option("--fleet", default="default", show_default=True)
@db_option
@json_option
def status_command(
    *, device: str | None, broker: str | None, tls_ca: Path | None, fleet: str, db: str | None, as_json: bool
) -> int:
    """Show the devices of a fleet, what is live on them, and what is wrong.

    Whoever was seen at this broker before, or enrolled, and is not there now, is named too. Exits with 55 if devices
    may be missing from the list, and says why.
    """
    from neo.contract.topics import Topics
    from neo.errors import IncompleteInventory
    from neo.fleet.inventory import read_inventory
    from neo.link import BrokerUrl, Tls
    from neo.settings import broker_url

    url = BrokerUrl.parse(broker or broker_url())
    topics = Topics(fleet)  # the name is checked before anything else is done with it
    keys = _with_roster(fleet, url, db, lambda roster: roster.keys())
    inventory = read_inventory(url, topics, device=device, tls=Tls(ca=tls_ca), keys=keys)
    if keys is not None:
        inventory = _with_roster(fleet, url, db, partial(_check, inventory, keys)) or inventory
    records = [inventory.records[name] for name in sorted(inventory.records)]
    chosen = [record for record in records if device in (None, record.device)]
    absent = [member for member in inventory.absent if device in (None, member.device)]
    if device is not None and not chosen and not absent:
        raise _unknown(f"no device {device!r} is known at {url}", inventory)
    value = {
        "broker": str(url),
        "devices": [_to_json(record) for record in chosen],
        "absent": [_absent_to_json(member) for member in absent],
        "complete": inventory.is_complete,
        "doubt": inventory.doubt,
    }
    emit(value, as_json, lambda out: _print(chosen, absent, inventory.is_complete, out))
    if device is not None or inventory.is_complete:
        return 0
    warn(f"devices may be missing, because {inventory.doubt}")
    return IncompleteInventory.exit_code


def _check(inventory: Inventory, keys: KeyRing, roster: Roster) -> Inventory:
    checked = roster.check(inventory)
    roster.remember(keys)
    return checked


def _with_roster(fleet: str, url: BrokerUrl, db: str | None, use: Callable[[Roster], T]) -> T | None:
    """Looking must not need a database that can be written: None, and the list is what the broker shows."""
    from neo.contract.versions import NewerFormat
    from neo.errors import DatabaseError, DiskFull, MissingDependency
    from neo.fleet.clock import SYSTEM_CLOCK
    from neo.fleet.roster import Roster

    try:
        with open_fleet_db(db) as book:
            return use(Roster(book, fleet, f"{url.host}:{url.port}", SYSTEM_CLOCK))
    except (DatabaseError, DiskFull, MissingDependency, NewerFormat) as error:
        warn(f"not held against the roster: {error.message}")
        return None


def _unknown(message: str, inventory: Inventory) -> NeoError:
    from neo.errors import DeviceError
    from neo.fleet.listing import MOST_IN_A_HINT, listed

    known = listed(sorted(inventory.records), MOST_IN_A_HINT)
    hint = f"known are: {known}" if known else "none has connected yet"
    return DeviceError(message, hint=hint) if inventory.is_complete else inventory.incomplete(message, hint=hint)


def _to_json(record: DeviceRecord) -> dict[str, Any]:
    from neo.fleet.roster import has_spoken

    state, capabilities = record.told, record.capabilities
    return {
        "device": record.device,
        "online": record.online,
        "last_seen": record.last_seen,
        "trust": record.trust.value,
        "live": state.live.to_json() if state is not None and state.live is not None else None,
        "phase": state.phase if state is not None else None,
        "done_bytes": state.done_bytes if state is not None else 0,
        "total_bytes": state.total_bytes if state is not None else 0,
        "error": state.error if state is not None else None,
        "url": state.url if state is not None else "",
        "arch": capabilities.arch if capabilities is not None else None,
        "engines": capabilities.engines if capabilities is not None else {},
        "agent_version": capabilities.agent_version if capabilities is not None else None,
        "heard": has_spoken(record),
        "problems": list(record.problems),
    }


def _absent_to_json(member: Member) -> dict[str, Any]:
    return {"device": member.device, "standing": member.standing.value, "last_seen": member.last_seen}


def _print(records: list[DeviceRecord], absent: list[Member], is_complete: bool, out: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    if not records and not absent and not is_complete:
        out.print("the broker has sent nothing about devices")
        return
    if not records and not absent:
        out.print("no device has connected yet; start one with: neo-agent --broker URL --device-id ID --state-dir DIR")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("device", "", "live", "engine", "phase", "trust", "what is wrong"):
        table.add_column(column, no_wrap=column in {"device", "live"}, overflow="fold")
    for record in records:
        told = record.told
        live = told.live if told is not None else None
        table.add_row(
            record.device,
            _presence(record),
            _plain(f"{live.reference} {live.digest[7:19]}") if live is not None else "-",
            _plain(live.engine) if live is not None else "-",
            _phase(record),
            Text(record.trust.value, _TRUST_STYLE.get(record.trust.value, "red")),
            _plain("; ".join(record.problems), "red"),
        )
    for member in absent:
        missed = "the broker holds nothing of it; `neo fleet forget` takes it off this list"
        table.add_row(
            member.device, Text(f"{_seen(member.last_seen)}, not heard", "red"), "-", "-", "-", "-", Text(missed, "red")
        )
    print_table(out, table)


def _plain(text: str, style: str = "") -> Text:
    """What a device wrote, without the power to steer the terminal."""
    from rich.text import Text

    return Text(one_line(text), style)


def _presence(record: DeviceRecord) -> Text:
    from rich.text import Text

    from neo.fleet.roster import has_spoken

    if record.online:
        return Text("online", "green")
    # others wrote there, or what it said cannot be read: perhaps a name that no device has
    return Text(_seen(record.last_seen), "yellow") if has_spoken(record) else Text("never heard", "red")


def _seen(at: float | None) -> str:
    if at is None:
        return "never seen"
    ago = max(time.time() - at, 0)
    for seconds, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if ago >= seconds:
            return f"seen {ago // seconds:.0f} {unit} ago"
    return f"seen {ago:.0f} s ago"


def _phase(record: DeviceRecord) -> str:
    state = record.told
    if state is None:
        return "-"
    if state.phase == "fetching" and state.total_bytes:
        return f"fetching {100 * state.done_bytes // state.total_bytes} %"
    return state.phase
