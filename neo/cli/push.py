"""`neo push`: a bundle to devices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from neo.cli.options import db_option, json_option, open_fleet_db, open_store, rate_limit_option, store_option
from neo.cli.output import emit, progress_console, warn
from neo.cli.trust import connect, has_keys, open_repository

if TYPE_CHECKING:
    from rich.console import Console

    from neo.fleet.push import DeviceProgress, PushResult, Watcher
    from neo.store import Store

_EXAMPLE = """\b
Examples:
  neo push digits --to kitchen
  neo push digits:1-host --to kitchen
  neo push digits --to kitchen --to cellar --broker mqtts://me:secret@broker.example
  neo push digits:2 --to all
  neo push digits --to all --no-wait
"""


@click.command(name="push", epilog=_EXAMPLE)
@click.argument("reference", metavar="REF")
@click.option("--to", "devices", metavar="DEVICE", multiple=True, required=True, help="Device id, or all; repeatable.")
@click.option(
    "--broker", envvar="NEO_BROKER", help="mqtt://host:port or mqtts://... [default: NEO_BROKER, or this host]"
)
@click.option("--tls-ca", type=click.Path(dir_okay=False, path_type=Path), help="PEM certificate of the authority.")
@click.option("--fleet", default="default", show_default=True)
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), default=600.0, show_default=True, help="Seconds.")
@click.option(
    "--no-wait", is_flag=True, help="Assign and leave; something else must serve the bundle (neo broker does)."
)
@click.option("--force", is_flag=True, help="Assign also to a device that was never seen.")
@click.option("--partial", is_flag=True, help="With --to all: go on although the list of devices may be incomplete.")
@rate_limit_option
@store_option
@db_option
@json_option
def push_command(
    *,
    reference: str,
    devices: tuple[str, ...],
    broker: str | None,
    tls_ca: Path | None,
    fleet: str,
    timeout_s: float,
    no_wait: bool,
    force: bool,
    partial: bool,
    max_bytes_per_s: float | None,
    store: Path | None,
    db: str | None,
    as_json: bool,
) -> None:
    """Send a signed model to devices and wait until it is live.

    REF is a release (digits: the newest version; digits:2), of which every device gets the best variant that fits it;
    or one variant for all of them (digits:2-host, or a digest). In a fleet whose TUF keys are here (see neo keys init)
    it is released first, if it is not yet.
    """
    from neo.fleet.listing import listed
    from neo.fleet.push import PushRequest, push
    from neo.fleet.request import ALL_DEVICES
    from neo.link import BrokerUrl, Tls
    from neo.settings import broker_url

    request = PushRequest(devices, fleet, timeout_s, not no_wait, force, partial, max_bytes_per_s)
    url = BrokerUrl.parse(broker or broker_url())
    opened = open_store(store)
    if has_keys(None, fleet):
        _release(opened, reference, fleet, broker, tls_ca)
    with open_fleet_db(db) as book, _progress_bars() as watch:
        result = push(reference, request, store=opened, url=url, tls=Tls(ca=tls_ca), watch=watch, book=book)
    if ALL_DEVICES in devices and result.doubt:
        warn(f"devices may be missing, because {result.doubt}")
    if result.absent:
        shown = listed(result.absent)
        warn(f"{len(result.absent)} devices of the roster are not heard at this broker and were left out: {shown}")
    result.raise_failures()
    emit(result.to_json(), as_json, lambda out: _print(result, out))


def _release(store: Store, reference: str, fleet: str, broker: str | None, tls_ca: Path | None) -> None:
    """Every variant, so that a device may be given any of them."""
    from neo.fleet.clock import SYSTEM_CLOCK
    from neo.fleet.tuf import ensure_released
    from neo.store.releases import find_release

    repository = open_repository(None, fleet)
    transport, topics = connect(broker, tls_ca, fleet)
    for variant in find_release(store, reference).variants:
        if ensure_released(transport, topics, repository, variant.bundle, clock=SYSTEM_CLOCK):
            progress_console().print(f"{variant.reference} is released to fleet {fleet}", markup=False)


@contextlib.contextmanager
def _progress_bars() -> Iterator[Watcher]:
    """One bar for each device; nothing where stderr is no terminal."""
    from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn
    from rich.progress import Progress as Bars

    console = progress_console()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TextColumn("{task.fields[phase]}"))
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:

        def watch(progress: DeviceProgress) -> None:
            if progress.device not in tasks:
                tasks[progress.device] = bars.add_task(progress.device, total=None, phase="")
                if not progress.record.online:
                    console.print(f"{progress.device} is offline; waiting for it to come back")
            stage = progress.stage.value
            phase = stage if progress.record.online else f"{stage} (offline)"
            total = progress.total_bytes or None
            bars.update(tasks[progress.device], completed=progress.done_bytes, total=total, phase=phase)

        yield watch


def _print(result: PushResult, out: Console) -> None:
    from neo.fleet.request import Stage

    if len(result.release.variants) > 1:
        _print_choices(result, out)
    for outcome in result.outcomes:
        variant = result.choices[outcome.device].variant
        if outcome.stage is Stage.ASSIGNED:
            out.print(f"[bold]{variant.reference}[/bold] is assigned to {outcome.device}")
        else:
            megabytes = outcome.transferred_bytes / 1e6
            out.print(
                f"[bold]{variant.reference}[/bold] is live on {outcome.device} after {outcome.seconds:.1f} s"
                f" ({megabytes:.2f} MB, {variant.digest[:19]})"
            )


def _print_choices(result: PushResult, out: Console) -> None:
    """A row for each variant of the release and reason, with the devices that get it."""
    from rich.table import Table
    from rich.text import Text

    from neo.fleet.listing import listed

    groups: dict[tuple[str, str], list[str]] = {(v.reference, ""): [] for v in result.release.variants}
    for device, choice in result.choices.items():
        groups.pop((choice.variant.reference, ""), None)
        groups.setdefault((choice.variant.reference, choice.why), []).append(device)
    table = Table(box=None, pad_edge=False)
    table.add_column("variant", no_wrap=True)
    table.add_column("devices")
    table.add_column("why")
    for (reference, why), devices in sorted(groups.items()):
        table.add_row(Text(reference), Text(listed(devices) or "none"), Text(why))
    out.print(table)
