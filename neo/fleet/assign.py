"""Assignments, and handing them to the broker no faster than it takes them."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping

from neo.contract.messages import Assignment
from neo.contract.oci import Descriptor
from neo.contract.topics import Topics
from neo.errors import TrustError
from neo.fleet.clock import Clock, NewId
from neo.fleet.records import Leaf
from neo.fleet.transport import Publisher
from neo.fleet.variants import Choice
from neo.store import Store
from neo.store.bundles import signatures_of
from neo.store.releases import Release
from neo.trust.statement import SIGNATURE_TYPE

MAX_BACKLOG = 128  # assignments that the broker has not acknowledged; a link drops what is beyond 512


def signatures_by_variant(release: Release, store: Store) -> dict[str, Descriptor]:
    """Digest of a variant -> the newest signed statement about it. Raises TrustError if there is none for any."""
    found = {v.digest: signatures_of(store, v.digest, SIGNATURE_TYPE) for v in release.variants}
    unsigned = [variant.reference for variant in release.variants if not found[variant.digest]]
    if unsigned:
        raise TrustError(
            f"{', '.join(unsigned)} {'is' if len(unsigned) == 1 else 'are'} not signed, and devices take signed "
            "bundles only",
            hint="; ".join(f"neo keys sign {reference}" for reference in unsigned),
        )
    return {digest: envelopes[-1] for digest, envelopes in found.items()}


def make_assignments(
    choices: Mapping[str, Choice],
    signatures: Mapping[str, Descriptor],
    source_id: str,
    *,
    clock: Clock,
    new_id: NewId,
) -> dict[str, Assignment]:
    """One for each device, of the variant that was chosen for it. signatures: by the variants' digests."""
    at = clock.unix()
    return {
        device: Assignment(
            new_id(),
            choice.variant.reference,
            _plain(choice.variant.bundle.descriptor),
            signatures[choice.variant.digest],
            source_id,
            at,
        )
        for device, choice in choices.items()
    }


def _plain(descriptor: Descriptor) -> Descriptor:
    """Its annotations are this store's business."""
    return Descriptor(descriptor.media_type, descriptor.digest, descriptor.size)


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
