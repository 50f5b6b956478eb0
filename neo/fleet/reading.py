"""Reading what a broker retains, and knowing when the last of it has been read."""

from __future__ import annotations

import enum

from neo.contract.topics import Topics
from neo.fleet.brokers import DROPPED_TOPIC, UPTIME_TOPIC, BrokerIdentity
from neo.fleet.clock import Clock, NewId
from neo.fleet.transport import Publisher
from neo.link import Connected, Disconnected, Event

SILENCE_S = 10.0  # without any message: the marker is not waited for any longer
REPEAT_S = 1.0  # without any message: the marker may have been dropped with the end of a burst, and is sent again
LIMIT_S = 120.0  # a broker can send messages without an end
COUNTER_S = 30.0  # three of mosquitto's own intervals
# on a broker whose order is not known: when to stop reading. This ends the reading and proves nothing
UNKNOWN_SILENCE_S = 1.0
UNKNOWN_LIMIT_S = 30.0


class _Awaited(enum.Enum):
    #: our marker, published after the subscription was acknowledged
    MARKER = enum.auto()
    #: the broker's next report of its counters
    REPORT = enum.auto()
    #: a second marker: the rest of the report comes before it
    REPORT_END = enum.auto()
    NOTHING = enum.auto()


_MARKERS = (_Awaited.MARKER, _Awaited.REPORT_END)


class Reading:
    """Gives out markers and knows what their return means. A silence only ends the reading, with a doubt.

    Where messages can have been dropped from a long burst, the broker's own count of dropped messages has to be what it
    was before. A roster of enrolled devices, where there is one, will be asked first in ``doubt``: a list with
    everybody on it needs no marker.
    """

    def __init__(self, broker: BrokerIdentity, topics: Topics, *, clock: Clock, new_id: NewId) -> None:
        self._broker = broker
        self._clock = clock
        self._new_id = new_id
        self._marker_topic = topics.operator(new_id(), "marker")
        #: b"" while there is no connection
        self._marker = b""
        self._was_repeated = False
        self._awaited = _Awaited.MARKER
        self._burst = 0
        self._dropped = broker.dropped
        self._begun = self._heard_at = self._step_at = clock.monotonic()

    @property
    def topics(self) -> tuple[str, ...]:
        """To be watched by the same connection, at the same QoS as the devices: another one has queues of its own."""
        kind = self._broker.kind
        counters = kind is not None and kind.longest_whole_burst is not None
        return (self._marker_topic, DROPPED_TOPIC, UPTIME_TOPIC) if counters else (self._marker_topic,)

    @property
    def is_over(self) -> bool:
        now = self._clock.monotonic()
        silence_s, total_s = now - self._heard_at, now - self._begun
        if self._broker.kind is None:
            # here the marker can be back before the first retained message
            return silence_s >= UNKNOWN_SILENCE_S or total_s >= UNKNOWN_LIMIT_S
        if self._awaited is _Awaited.MARKER:
            return silence_s >= SILENCE_S or total_s >= LIMIT_S
        return self._awaited is _Awaited.NOTHING or now - self._step_at >= COUNTER_S

    @property
    def timeout_s(self) -> float:
        """How long to wait for the next event at most; then comes ``take_silence``."""
        return UNKNOWN_SILENCE_S if self._broker.kind is None else REPEAT_S

    def take_silence(self, publisher: Publisher) -> None:
        """Nothing came for ``timeout_s``: a marker that was dropped is sent again, so that what the broker counted
        tells what else was.
        """
        if self._marker and self._broker.kind is not None and self._awaited in _MARKERS:
            publisher.publish(self._marker_topic, self._marker, qos=0)
            self._was_repeated = True

    def take(self, event: Event, publisher: Publisher) -> None:
        self._heard_at = self._clock.monotonic()
        if isinstance(event, Disconnected):
            self._burst = 0  # all of it comes again with the next connection
            self._marker, self._was_repeated = b"", False
            self._awaited = _Awaited.MARKER
        elif isinstance(event, Connected):
            self._publish_marker(publisher)
        elif event.topic == self._marker_topic:
            if event.payload == self._marker:
                self._take_marker()
        elif event.topic == DROPPED_TOPIC:
            self._dropped = event.payload
        elif event.topic == UPTIME_TOPIC:
            if self._awaited is _Awaited.REPORT and not event.retained:
                self._publish_marker(publisher)
                self._awaited = _Awaited.REPORT_END
        elif event.retained:
            self._burst += 1

    @property
    def doubt(self) -> str:
        """Once the reading is over: why something may be missing; "" if nothing is."""
        version = self._broker.version[:60]
        if self._broker.kind is None:
            who = f"the broker {version!r}" if version else "this broker, which does not say which one it is,"
            return f"it is not known when {who} has sent everything that it retains"
        if self._awaited is _Awaited.MARKER:
            return "the broker has not returned the message that marks the end"
        if self._awaited is not _Awaited.NOTHING:
            return f"{version} sent {self._burst} messages and has not reported whether it dropped others"
        if self._dropped != self._broker.dropped:
            return f"{version} dropped messages while it sent these; raise max_queued_messages in its configuration"
        return ""

    def _publish_marker(self, publisher: Publisher) -> None:
        self._marker = self._new_id().encode()
        publisher.publish(self._marker_topic, self._marker, qos=0)

    def _take_marker(self) -> None:
        longest = None if self._broker.kind is None else self._broker.kind.longest_whole_burst
        # what is left of a burst says nothing about its length if the marker was lost with the rest
        long = longest is not None and (self._burst > longest or self._was_repeated)
        if self._awaited is _Awaited.MARKER and long:
            self._awaited = _Awaited.REPORT
            self._step_at = self._clock.monotonic()
        elif self._awaited is not _Awaited.REPORT:
            self._awaited = _Awaited.NOTHING
            if not long:
                self._dropped = self._broker.dropped  # whatever others have lost
