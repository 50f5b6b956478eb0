"""Assignments, and handing them to the broker no faster than it takes them."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence

from neo.contract.messages import Assignment
from neo.contract.oci import Descriptor
from neo.contract.topics import Topics
from neo.errors import TrustError
from neo.fleet.clock import Clock, NewId
from neo.fleet.records import Leaf
from neo.fleet.transport import Publisher
from neo.store import Store
from neo.store.bundles import Bundle, signatures_of
from neo.trust.statement import SIGNATURE_TYPE

MAX_BACKLOG = 128  # assignments that the broker has not acknowledged; a link drops what is beyond 512


def signature_of(bundle: Bundle, store: Store) -> Descriptor:
    """The newest signed statement about the bundle. Raises TrustError if there is none."""
    envelopes = signatures_of(store, bundle.descriptor.digest, SIGNATURE_TYPE)
    if not envelopes:
        reference = bundle.manifest.reference
        raise TrustError(
            f"{reference} is not signed, and devices take signed bundles only", hint=f"neo keys sign {reference}"
        )
    return envelopes[-1]


def make_assignments(
    bundle: Bundle, signature: Descriptor, devices: Sequence[str], source_id: str, *, clock: Clock, new_id: NewId
) -> dict[str, Assignment]:
    """One for each device."""
    reference, plain = bundle.manifest.reference, bundle.descriptor
    plain = Descriptor(plain.media_type, plain.digest, plain.size)  # its annotations are this store's business
    return {device: Assignment(new_id(), reference, plain, signature, source_id, clock.unix()) for device in devices}


class Assigner:
    """Publishes assignments, retained. ``send`` until nothing is left."""

    def __init__(self, topics: Topics, assignments: Mapping[str, Assignment]) -> None:
        self._topics = topics
        self._assignments = assignments
        self._unsent = collections.deque(assignments)
        self._sent: list[str] = []

    def send(self, publisher: Publisher) -> bool:
        """Publish as many as it takes now; -> is there more?"""
        while self._unsent and publisher.backlog < MAX_BACKLOG:
            device = self._unsent.popleft()
            payload = self._assignments[device].to_bytes()
            publisher.publish(self._topics.device(device, Leaf.ASSIGNMENT.value), payload, retain=True)
            self._sent.append(device)
        return bool(self._unsent)

    def send_again(self, devices: Iterable[str]) -> None:
        """After a reconnection: a broker without a disk has forgotten them. The id makes each the same as before."""
        self._unsent = collections.deque(devices)

    def unconfirmed(self, publisher: Publisher) -> frozenset[str]:
        """The devices whose assignment the broker may not have."""
        backlog = publisher.backlog
        return frozenset([*self._unsent, *(self._sent[-backlog:] if backlog else ())])
