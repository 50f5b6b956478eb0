"""`neo release`."""

from __future__ import annotations

from pathlib import Path

import click

from neo.cli.options import json_option, open_store, store_option
from neo.cli.output import emit
from neo.cli.trust import broker_option, connect, fleet_option, keys_option, open_repository, tls_ca_option

_EXAMPLE = """\b
Examples:
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
    """Add a bundle to the releases that the devices of a fleet with TUF keys accept.

    Needs the release key and the online keys. REF is a bundle's name, or for --withdraw a released one.
    """
    from neo.fleet.clock import SYSTEM_CLOCK
    from neo.fleet.tuf import publish, synchronise

    repository = open_repository(keys, fleet)
    from neo.store.bundles import find_bundle
    from neo.trust.tuf.trusted import Release

    bundle = None if withdraw else find_bundle(open_store(store), reference)
    if not no_publish:
        transport, topics = connect(broker, tls_ca, fleet)
        synchronise(transport, topics, repository, clock=SYSTEM_CLOCK)
    if bundle is None:
        repository.withdraw(reference)
        digest, is_new = "", True
    else:
        reference, digest = bundle.manifest.reference, bundle.descriptor.digest
        is_new = repository.release(reference, Release(digest, bundle.descriptor.size))
    if not no_publish:
        publish(transport, topics, repository, clock=SYSTEM_CLOCK)
    result = {
        "reference": reference,
        "digest": digest,
        "fleet": fleet,
        "withdrawn": withdraw,
        "new": is_new,
        "published": not no_publish,
    }
    verb = "is withdrawn in" if withdraw else "is released to" if is_new else "was released before to"
    emit(result, as_json, lambda out: out.print(f"{reference} {verb} fleet {fleet}", markup=False))
