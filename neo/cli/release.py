"""`neo release`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from neo.cli.options import json_option, open_store, store_option
from neo.cli.output import emit
from neo.cli.trust import broker_option, connect, fleet_option, keys_option, open_repository, tls_ca_option

if TYPE_CHECKING:
    from rich.console import Console

_EXAMPLE = """\b
Examples:
  neo release digits:1
  neo release digits:1-host
  neo release digits:1-host --withdraw
  neo release digits:1-host --no-publish
"""


@click.command(name="release", epilog=_EXAMPLE)
@click.argument("reference", metavar="REF")
@click.option("--withdraw", is_flag=True, help="Take the release back: no device installs it any more.")
@click.option("--no-publish", is_flag=True, help="Sign only; `neo fleet renew` publishes it later.")
@keys_option
@fleet_option
@broker_option
@tls_ca_option
@store_option
@json_option
def release_command(
    *,
    reference: str,
    withdraw: bool,
    no_publish: bool,
    keys: Path | None,
    fleet: str,
    broker: str | None,
    tls_ca: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Add a model to the releases that the devices of a fleet with TUF keys accept.

    Needs the release key and the online keys. REF is a release (digits:1), of which every variant is added, or one
    variant (digits:1-host); for --withdraw a variant that is released.
    """
    from neo.fleet.clock import SYSTEM_CLOCK
    from neo.fleet.tuf import publish, synchronise

    repository = open_repository(keys, fleet)
    from neo.store.releases import find_release
    from neo.trust.tuf.trusted import Release

    variants = () if withdraw else find_release(open_store(store), reference).variants
    if not no_publish:
        transport, topics = connect(broker, tls_ca, fleet)
        synchronise(transport, topics, repository, clock=SYSTEM_CLOCK)
    if withdraw:
        repository.withdraw(reference)
        rows = [{"reference": reference, "digest": "", "new": True}]
    else:
        rows = [
            {
                "reference": variant.reference,
                "digest": variant.digest,
                "new": repository.release(variant.reference, Release(variant.digest, variant.bundle.descriptor.size)),
            }
            for variant in variants
        ]
    if not no_publish:
        publish(transport, topics, repository, clock=SYSTEM_CLOCK)
    result = {"fleet": fleet, "withdrawn": withdraw, "published": not no_publish, "variants": rows}

    def show(out: Console) -> None:
        for row in rows:
            verb = "is withdrawn in" if withdraw else "is released to" if row["new"] else "was released before to"
            out.print(f"{row['reference']} {verb} fleet {fleet}", markup=False)

    emit(result, as_json, show)
