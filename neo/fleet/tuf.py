"""The fleet's trust at the broker: what of it is published, publishing it, and renewing it while nobody is there."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from neo.contract.fields import ContractError
from neo.contract.topics import Topics
from neo.contract.tuf import TufSet
from neo.errors import NeoError, TrustError, WaitTimeout
from neo.fleet.clock import Clock
from neo.fleet.confirm import not_kept, unconfirmed
from neo.fleet.transport import Connection, Transport
from neo.link import Message
from neo.store.bundles import Bundle
from neo.supervision import SupervisedThread
from neo.trust.tuf.repository import Repository
from neo.trust.tuf.signers import KeyNotAtHand
from neo.trust.tuf.trusted import Release, target_path

log = logging.getLogger(__name__)

#: without any message; then what has not come is not there
SILENCE_S = 2.0
TIMEOUT_S = 30.0
POLL_S = 0.05
#: half of what is left of a timestamp when it is renewed, many times over
RENEW_EVERY_S = 6 * 3600.0
RETRY_S = 60.0


def synchronise(transport: Transport, topics: Topics, repository: Repository, *, clock: Clock) -> bool:
    """Take over what was published from another place with keys of this fleet; -> was there anything newer?"""
    return repository.adopt(*_read(transport, topics, clock))


def publish(transport: Transport, topics: Topics, repository: Repository, *, clock: Clock) -> int:
    """Publish what the repository has and read it back; -> bytes of the set.

    The set goes first: a device that sees the new timestamp finds what it names. Raises BrokerError, WaitTimeout,
    TrustError; ContractError for a set that does not fit.
    """
    timestamp, files = repository.published()
    expected = {topics.tuf("set"): files.to_bytes(), topics.tuf("timestamp"): timestamp}
    connection = transport.connect("trust", watched=[])
    try:
        for topic, payload in expected.items():
            connection.publish(topic, payload, retain=True)
        _flush(connection, clock)
    finally:
        connection.close()
    lost = unconfirmed(transport, expected, wildcards=[topics.tuf("+")], clock=clock, timeout_s=TIMEOUT_S)
    if lost:
        raise not_kept(lost)
    return len(expected[topics.tuf("set")])


def ensure_released(
    transport: Transport, topics: Topics, repository: Repository, bundle: Bundle, *, clock: Clock
) -> bool:
    """Release and publish the bundle if it is not released yet; -> was it new?

    Raises TrustError if the release key is not at hand, or the reference is released with another digest.
    """
    synchronise(transport, topics, repository, clock=clock)
    reference, release = bundle.manifest.reference, Release(bundle.descriptor.digest, bundle.descriptor.size)
    if repository.releases().get(target_path(reference)) == release:
        return False
    try:
        repository.release(reference, release)
    except KeyNotAtHand as error:
        raise TrustError(
            f"{reference} is not released to fleet {topics.fleet}, and its release key is not here",
            hint=f"where that key is: neo release {reference}",
        ) from error
    publish(transport, topics, repository, clock=clock)
    return True


@contextlib.contextmanager
def renewing(transport: Transport, topics: Topics, repository: Repository, *, clock: Clock) -> Iterator[None]:
    """Renew and publish from time to time, in a thread, as long as the ``with`` block lasts."""
    stopping = threading.Event()

    def run() -> None:
        while not stopping.is_set():
            try:
                synchronise(transport, topics, repository, clock=clock)
                repository.renew()
                publish(transport, topics, repository, clock=clock)
            except NeoError as error:
                log.warning("the fleet's TUF timestamp is not renewed: %s", error)
                stopping.wait(RETRY_S)
            else:
                stopping.wait(RENEW_EVERY_S)

    thread = SupervisedThread("renewing TUF", run, stopping=stopping, on_failure=lambda _: None)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _read(transport: Transport, topics: Topics, clock: Clock) -> tuple[bytes, TufSet]:
    """What is retained: (b"", an empty set) where there is nothing, or nothing that can be read."""
    found: dict[str, bytes] = {}
    connection = transport.connect("trust", watched=[topics.tuf("timestamp"), topics.tuf("set")])
    try:
        quiet_until = clock.monotonic() + SILENCE_S
        while len(found) < 2 and (left := quiet_until - clock.monotonic()) > 0:
            event = connection.next_event(left)
            if isinstance(event, Message):
                found[event.topic] = event.payload
    finally:
        connection.close()
    try:
        files = TufSet.from_bytes(found.get(topics.tuf("set"), b""))
    except ContractError as error:
        if topics.tuf("set") in found:
            log.warning("the TUF set at the broker cannot be read, and is written anew: %s", error)
        files = TufSet({})
    return found.get(topics.tuf("timestamp"), b""), files


def _flush(connection: Connection, clock: Clock) -> None:
    deadline = clock.monotonic() + TIMEOUT_S
    while connection.backlog:
        if clock.monotonic() >= deadline:
            raise WaitTimeout(f"the broker has not taken the TUF set in {TIMEOUT_S:g} s", hint="try again")
        connection.next_event(POLL_S)
