"""How long the list of a fleet takes: to fold its retained messages, and to read them from a broker.

    python -m benchmarks.inventory --devices 20000
    python -m benchmarks.inventory --devices 2500 --broker mqtt://127.0.0.1:1883

With --broker the devices are retained there first, in a fleet of their own, and taken away at the end.
"""

from __future__ import annotations

import argparse
import queue
import time
from collections.abc import Iterator

from neo.address import BrokerUrl
from neo.contract.device import Capabilities
from neo.contract.messages import Assignment, DeviceState, Live, Presence
from neo.contract.oci import MANIFEST_TYPE, Descriptor, digest_of
from neo.contract.topics import Topics
from neo.fleet.inventory import read_inventory
from neo.fleet.observe import Observer
from neo.link import Event, Link, Message

TOPICS = Topics("benchmark-inventory")
MAX_BACKLOG = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=20_000)
    parser.add_argument("--broker", type=BrokerUrl.parse)
    options = parser.parse_args()
    messages = [message for number in range(options.devices) for message in retained_by(f"device-{number:06}")]
    begun = time.perf_counter()
    observer = Observer(TOPICS)
    for message in messages:
        observer.observe(message)
    seconds = time.perf_counter() - begun
    print(f"{len(messages)} messages of {len(observer.records)} devices folded in {seconds:.2f} s")
    if options.broker is not None:
        _retain(options.broker, messages)
        try:
            begun = time.perf_counter()
            inventory = read_inventory(options.broker, TOPICS)
            seconds = time.perf_counter() - begun
            records = inventory.records.values()
            whole = sum(None not in (r.presence, r.capabilities, r.state, r.assignment) for r in records)
            print(f"{whole} whole records of {len(records)} read in {seconds:.2f} s; {inventory.doubt or 'complete'}")
        finally:
            _retain(options.broker, [Message(message.topic, b"", retained=True) for message in messages])


def retained_by(device: str) -> Iterator[Message]:
    """What a device with a live bundle leaves at the broker."""
    digest = digest_of(device.encode())
    blob = Descriptor(MANIFEST_TYPE, digest, 1000)
    capabilities = Capabilities(
        device, "0.1", "aarch64", "linux", "2.36", ("asimd", "fphp", "asimddp"), 4, 1 << 32, 1 << 34, {"tvm": "0.27.0"}
    )
    live = Live(digest, "digits:1-host", "tvm", 1.0)
    documents = {
        "presence": Presence(True, "session", 1.0).to_bytes(),
        "capabilities": capabilities.to_bytes(),
        "state": DeviceState("session", "active", "id", live, 10, 10, None, "http://127.0.0.1:1", 1.0).to_bytes(),
        "assignment": Assignment("id", "digits:1-host", blob, blob, "source", 1.0).to_bytes(),
    }
    for leaf, payload in documents.items():
        yield Message(TOPICS.device(device, leaf), payload, retained=True)


def _retain(url: BrokerUrl, messages: list[Message]) -> None:
    inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
    link = Link(url, client_id="neo-benchmark", subscriptions=(), inbox=inbox)
    link.connect(10)
    for message in messages:
        while link.backlog >= MAX_BACKLOG:
            time.sleep(0.001)
        link.publish(message.topic, message.payload, retain=True)
    while link.backlog:
        time.sleep(0.01)
    link.stop()


if __name__ == "__main__":
    main()
