"""Messages that mean harm, sent to a real agent by somebody whom the broker lets in."""

from __future__ import annotations

import json
import secrets
import time

import pytest

from neo.contract.messages import Chunk, RollCall
from tests.edge_agent.devices import TOPICS
from tests.edge_agent.site import Site

pytestmark = pytest.mark.slow


def test_a_retained_answer_to_the_roll_call_does_not_keep_a_device_out_for_ever(site: Site) -> None:
    site.operator.link.publish(
        TOPICS.device("dev-1", "roll-call"), RollCall("evil", asks=False).to_bytes(), retain=True
    )
    site.start()
    assert site.operator.wait_for_presence(lambda presence: presence.online)
    site.push("1")
    assert site.answers("1")


def test_a_flood_of_assignments_leaves_nothing_on_the_disk_and_the_next_true_one_is_carried_out(site: Site) -> None:
    site.start()
    site.push("1")
    state_dir = site.folder / "device"
    for _ in range(300):
        fake = {
            "id": secrets.token_hex(8),
            "reference": "tiny:2-host" * 100,
            "manifest": {"mediaType": "m", "digest": f"sha256:{secrets.token_hex(32)}", "size": 1000},
            "signature": {"mediaType": "m", "digest": f"sha256:{secrets.token_hex(32)}", "size": 60_000},
            "source": "evil",
            "at": 1.0,
        }
        site.operator.link.publish(TOPICS.device("dev-1", "assignment"), json.dumps(fake).encode(), qos=0)
        part = Chunk(str(fake["signature"]["digest"]), 0, b"x" * 50_000)  # type: ignore[index]
        site.operator.link.publish(TOPICS.device("dev-1", "chunk"), part.to_bytes(), qos=0)
        time.sleep(0.01)
    site.push("2")
    assert site.answers("2")
    assert list((state_dir / "store" / "ingest").iterdir()) == []
    assert sum("assigned" in line for line in site.agent.log) < 40
