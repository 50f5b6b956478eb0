"""Reading back what was published: an acknowledgement says that a broker took a message, not that it kept it.

A broker acknowledges a message that its access rules then drop; MQTT 3.1.1 has no other answer for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from neo.errors import BrokerError
from neo.fleet.clock import Clock
from neo.fleet.listing import listed
from neo.fleet.transport import Transport
from neo.link import Connected, Message

#: without any message; then what is missing counts as not kept
SILENCE_S = 5.0
MAX_FILTERS = 200  # in one subscription; beyond, the caller's wildcards do


def unconfirmed(
    transport: Transport, expected: Mapping[str, bytes], *, wildcards: Sequence[str], clock: Clock, timeout_s: float
) -> tuple[str, ...]:
    """The topics under which the broker does not retain what was published there, in the order of ``expected``.

    expected: topic -> payload, all of it retained and acknowledged before. wildcards: filters that match all of the
    topics, for when there are many. Ends with the last of them, or SILENCE_S without a message, or timeout_s.

    Raises BrokerError.
    """
    missing = dict(expected)
    few = len(expected) <= MAX_FILTERS
    connection = transport.connect("confirm", watched=[*expected] if few else [*wildcards])
    try:
        now = clock.monotonic()
        deadline = now + timeout_s
        quiet_until = now + SILENCE_S
        while missing and (left := min(deadline, quiet_until) - clock.monotonic()) > 0:
            event = connection.next_event(left)
            if isinstance(event, Message | Connected):
                quiet_until = clock.monotonic() + SILENCE_S
            if isinstance(event, Message) and missing.get(event.topic) == event.payload:
                del missing[event.topic]
    finally:
        connection.close()
    return tuple(missing)


def not_kept(topics: Iterable[str]) -> BrokerError:
    """The error about topics whose messages did not come back."""
    names = list(topics)
    return BrokerError(
        f"the broker acknowledged the messages for {listed(names)}, but does not hold them",
        hint="its access rules or limits dropped them, or somebody else wrote there at the same time; see "
        "docs/brokers.md, and `neo status` for what it holds",
        details={"topics": names},
    )
