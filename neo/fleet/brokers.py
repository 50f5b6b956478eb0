"""Which broker is this, and does a marker of one's own come after the retained messages of an earlier subscription?

MQTT says nothing about that order, so only brokers that were tested are believed; docs/brokers.md has the evidence,
and tests/fleet/test_retained_order.py is the test.
"""

from __future__ import annotations

from dataclasses import dataclass

from neo.contract.topics import Topics
from neo.fleet.clock import Clock, NewId
from neo.fleet.transport import Transport
from neo.link import Connected, Message, SubscriptionRefused

VERSION_TOPIC = "$SYS/broker/version"
# mosquitto reports its counters every sys_interval, 10 s by default: the uptime first, then whatever has changed
UPTIME_TOPIC = "$SYS/broker/uptime"
DROPPED_TOPIC = "$SYS/broker/publish/messages/dropped"
NONE_DROPPED = b"0"
ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class BrokerKind:
    """A broker on which everything that was retained at subscription comes before a marker published after it."""

    #: what its version begins with
    version: str
    #: a longer burst may have lost messages without a word, and the broker counts those that it dropped; None: none are
    #: lost at QoS 0
    longest_whole_burst: int | None = None


KNOWN_KINDS = (
    BrokerKind("neo-edge broker "),
    # since 2.0.16, and with Debian's and others' security updates of older versions, packets for a client are dropped
    # when max_queued_messages of them, 1000 by default, wait for its socket
    BrokerKind("mosquitto version 2.0.", longest_whole_burst=1000),
)


@dataclass(frozen=True, slots=True)
class BrokerIdentity:
    """What a broker says of itself, and what is known of such brokers."""

    #: "" if it says nothing
    version: str
    #: None if its order is not known
    kind: BrokerKind | None
    #: how many messages it has dropped so far, as it wrote it
    dropped: bytes = NONE_DROPPED

    @classmethod
    def of(cls, version: str, dropped: bytes = NONE_DROPPED) -> BrokerIdentity:
        kind = next((kind for kind in KNOWN_KINDS if version.startswith(kind.version)), None)
        return cls(version, kind, dropped)


UNKNOWN_BROKER = BrokerIdentity("", None)


def identify(transport: Transport, topics: Topics, *, clock: Clock, new_id: NewId) -> BrokerIdentity:
    """Ask the broker which one it is. Raises BrokerError if it cannot be reached.

    In a connection of its own: some brokers cut off who asks for a topic that their rules forbid.
    """
    marker = topics.operator(new_id(), "marker")
    try:
        connection = transport.connect("identify", watched=[VERSION_TOPIC, DROPPED_TOPIC, marker])
    except SubscriptionRefused:
        return UNKNOWN_BROKER
    version, dropped = "", NONE_DROPPED
    try:
        deadline = clock.monotonic() + ANSWER_S
        while (left := deadline - clock.monotonic()) > 0:
            event = connection.next_event(left)
            if isinstance(event, Connected):
                connection.publish(marker, b"", qos=0)
            elif isinstance(event, Message) and event.topic == VERSION_TOPIC:
                version = event.payload[:200].decode(errors="replace")
            elif isinstance(event, Message) and event.topic == DROPPED_TOPIC:
                dropped = event.payload
            elif isinstance(event, Message) and event.topic == marker:
                return BrokerIdentity.of(version, dropped)  # the brokers that matter have sent both before
    finally:
        connection.close()
    return UNKNOWN_BROKER
