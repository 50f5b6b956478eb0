"""Assign a bundle to devices, serve them what they miss, and follow them until it is live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from neo.contract.messages import Assignment
from neo.contract.topics import Topics
from neo.errors import WaitTimeout
from neo.fleet.assign import Assigner, make_assignments, signatures_by_variant
from neo.fleet.brokers import identify
from neo.fleet.choose import choose_variants
from neo.fleet.clock import SYSTEM_CLOCK, Clock, NewId, random_id
from neo.fleet.confirm import not_kept, unconfirmed
from neo.fleet.follow import Follower
from neo.fleet.inventory import take_inventory
from neo.fleet.keyring import KeyRing
from neo.fleet.observe import Observer, device_topics
from neo.fleet.reading import Reading
from neo.fleet.records import Leaf
from neo.fleet.request import ALL_DEVICES, DeviceProgress, Outcome, PushRequest, PushResult, Stage, Watcher
from neo.fleet.roster import Book, Roster
from neo.fleet.serve import StandbySource
from neo.fleet.source import source_id_of
from neo.fleet.transport import Connection, MqttTransport, Transport
from neo.link import SYSTEM_TLS, BrokerUrl, Connected, Message, Tls
from neo.store import Store
from neo.store.bundles import Bundle
from neo.store.releases import Release, find_release

__all__ = ["DeviceProgress", "Outcome", "PushRequest", "PushResult", "Watcher", "push", "push_over"]

POLL_S = 0.2
BUSY_POLL_S = 0.002  # while something waits for the broker to take it


def push(
    bundle: Bundle | str,
    request: PushRequest,
    *,
    store: Store,
    url: BrokerUrl,
    tls: Tls = SYSTEM_TLS,
    watch: Watcher = lambda _: None,
    book: Book | None = None,
) -> PushResult:
    """bundle: itself, or a reference to find it by, or a release, of which each device gets the best variant that fits.

    watch: called whenever a device says something. book: where the roster of the fleet is; None: nothing is remembered.

    Raises StoreError (no such bundle), TrustError (not signed), BrokerError, DeviceError (unknown, or no
    variant fits it), IncompleteInventory (all devices are wanted and some may be missing) before anything is assigned.
    What happens on a device afterwards is in the outcomes.
    """
    transport = MqttTransport(url, tls, random_id)
    roster = None if book is None else Roster(book, request.fleet, f"{url.host}:{url.port}", SYSTEM_CLOCK)
    return push_over(
        transport, bundle, request, store=store, watch=watch, clock=SYSTEM_CLOCK, new_id=random_id, roster=roster
    )


def push_over(
    transport: Transport,
    bundle: Bundle | str,
    request: PushRequest,
    *,
    store: Store,
    watch: Watcher,
    clock: Clock,
    new_id: NewId,
    roster: Roster | None = None,
) -> PushResult:
    """As ``push``, over any transport, with any clock."""
    release = find_release(store, bundle) if isinstance(bundle, str) else Release.of(bundle)
    signatures = signatures_by_variant(release, store)
    topics = Topics(request.fleet)
    source_id = source_id_of(store)
    source = StandbySource(store, topics, source_id, max_bytes_per_s=request.max_bytes_per_s)
    broker = identify(transport, topics, clock=clock, new_id=new_id)
    reading = Reading(broker, topics, clock=clock, new_id=new_id)
    named = [device for device in request.devices if device != ALL_DEVICES]
    # QoS 0: of what is retained mosquitto sends at most 1000 queued and 20 in flight at QoS 1. Later nothing is lost by
    # it: all of these messages are retained, and come again after a broken connection
    watched = [*device_topics(topics, *named), *reading.topics]
    connection = transport.connect("push", watched=watched, subscriptions=source.topics)
    try:
        keys = KeyRing() if roster is None else roster.keys()
        observer = Observer(topics, keys)
        inventory = take_inventory(connection, reading, observer, source.take)
        if roster is not None:
            inventory = roster.check(inventory)
            roster.remember(keys)
        choices = choose_variants(release, request, inventory)
        assignments = make_assignments(choices, signatures, source_id, clock=clock, new_id=new_id)
        run = _Run(connection, topics, assignments, observer, source, clock)
        outcomes = run.follow(request.timeout_s, watch) if request.wait else run.assign(request.timeout_s)
    finally:
        connection.close()
    if roster is not None:
        roster.remember(keys)
    if not request.wait:
        outcomes = _read_back(transport, topics, assignments, outcomes, clock=clock, timeout_s=request.timeout_s)
    absent = tuple(member.device for member in inventory.absent) if ALL_DEVICES in request.devices else ()
    return PushResult(release, choices, outcomes, inventory.doubt, absent)


def _read_back(
    transport: Transport,
    topics: Topics,
    assignments: Mapping[str, Assignment],
    outcomes: Sequence[Outcome],
    *,
    clock: Clock,
    timeout_s: float,
) -> tuple[Outcome, ...]:
    """The outcomes of assigning, with an error for what the broker acknowledged and does not hold."""
    leaf = Leaf.ASSIGNMENT.value
    taken = {topics.device(one.device, leaf): one.device for one in outcomes if one.error is None}
    expected = {topic: assignments[device].to_bytes() for topic, device in taken.items()}
    lost = unconfirmed(transport, expected, wildcards=[topics.devices(leaf)], clock=clock, timeout_s=timeout_s)
    errors = {taken[topic]: not_kept([topic]) for topic in lost}
    return tuple(replace(one, error=errors[one.device]) if one.device in errors else one for one in outcomes)


class _Run:
    """One push under way: moves events between the connection and those who know what they mean."""

    def __init__(  # noqa: PLR0917 - private, called once
        self,
        connection: Connection,
        topics: Topics,
        assignments: Mapping[str, Assignment],
        observer: Observer,
        source: StandbySource,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._assignments = assignments
        self._assigner = Assigner(topics, assignments)
        self._observer = observer
        self._source = source
        self._clock = clock

    def assign(self, timeout_s: float) -> tuple[Outcome, ...]:
        """Until the broker has every assignment."""
        deadline = self._clock.monotonic() + timeout_s
        while (self._assigner.send(self._connection) or self._connection.backlog) and (
            self._clock.monotonic() < deadline
        ):
            if isinstance(self._connection.next_event(BUSY_POLL_S), Connected):
                self._assigner.send_again(self._assignments)
        unconfirmed = self._assigner.unconfirmed(self._connection)
        error = WaitTimeout(f"the broker has not acknowledged the assignment in {timeout_s:g} s", hint="push again")
        return tuple(
            Outcome(device, Stage.ASSIGNED, 0.0, 0, error if device in unconfirmed else None)
            for device in self._assignments
        )

    def follow(self, timeout_s: float, watch: Watcher) -> tuple[Outcome, ...]:
        """Until the bundle is live on every device or has failed there."""
        follower = Follower(self._assignments, self._observer.records, clock=self._clock, watch=watch)
        deadline = self._clock.monotonic() + timeout_s
        stall_check_at = self._clock.monotonic()
        busy = self._assigner.send(self._connection)
        while not follower.is_finished and (now := self._clock.monotonic()) < deadline:
            event = self._connection.next_event(BUSY_POLL_S if busy else POLL_S)
            if isinstance(event, Connected):
                self._assigner.send_again(follower.unfinished)
            elif isinstance(event, Message):
                observation = self._observer.observe(event)
                if observation is None:
                    self._source.take(event)
                else:
                    follower.take(observation)
            if not self._source.is_serving and now >= stall_check_at:
                stall_check_at = now + POLL_S  # it looks at every device
                if follower.is_stalled:
                    self._source.take_over()
            assigning = self._assigner.send(self._connection)
            busy = self._source.send(self._connection) or assigning
        follower.give_up(timeout_s)
        return follower.outcomes
