"""How many bytes a source publishes to bring one bundle to many devices, and how long that takes.

``python -m benchmarks.transfer`` counts without a broker, in counted time; with ``--broker mqtt://HOST:PORT`` the same
devices and the same source meet over that broker, on the wall's clock. Source, fetch and store format are the
program's own; only the devices' disks are left out.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path

from benchmarks.transfer.brokers import over_broker
from benchmarks.transfer.light import make_load
from benchmarks.transfer.memory import Losses, simulate
from neo.address import BrokerUrl


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--megabytes", type=float, default=10.0, help="of the bundle's large file")
    parser.add_argument("--lost-to-broker", type=float, default=0.0, metavar="SHARE")
    parser.add_argument("--lost-to-device", type=float, default=0.0, metavar="SHARE")
    parser.add_argument("--broker", type=BrokerUrl.parse, metavar="URL")
    parser.add_argument("--join-s", type=float, default=1.0, help="within which the devices come, without a broker")
    options = parser.parse_args()
    _allow_connections(max(options.devices))
    losses = Losses(options.lost_to_broker, options.lost_to_device)
    with tempfile.TemporaryDirectory() as folder:
        load = make_load(Path(folder), int(options.megabytes * 1e6))
        for count in options.devices:
            if options.broker is None:
                tallied = simulate(load, count, losses, join_s=options.join_s)
            else:
                tallied = over_broker(load, options.broker, count, losses)
            times = tallied.bytes_published / load.bundle_bytes
            sys.stdout.write(
                f"{count:6} devices: {tallied.done} done, published {times:.3f} x the bundle"
                f" in {tallied.messages} messages, {tallied.seconds:.1f} s{'' if options.broker else ' counted'}\n"
            )
            sys.stdout.flush()


def _allow_connections(count: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + 500, most), most))


if __name__ == "__main__":
    main()
