"""What a broker shows of a fleet, held against what the operator remembers of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from neo.fleet.clock import Clock
from neo.fleet.inventory import Inventory
from neo.fleet.keyring import Heard, KeyRing
from neo.fleet.listing import listed
from neo.fleet.members import Member, Standing
from neo.fleet.records import DeviceRecord


class Book(Protocol):
    """Where members are kept; ``neo.fleet.db.FleetDb`` is one."""

    def roster(self, fleet: str) -> Mapping[str, Member]: ...

    def saw(self, fleet: str, names: Iterable[str], at: float, broker: str = "") -> None: ...

    def note_reports(self, fleet: str, heard: Mapping[str, Heard], at: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Roster:
    """The members of one fleet, as they are known at one broker."""

    book: Book
    fleet: str
    #: "host:port": a device that was only ever seen elsewhere is not missed here
    broker: str
    clock: Clock

    def keys(self) -> KeyRing:
        """With which what devices say is looked at. Raises DatabaseError."""
        return KeyRing(self.book.roster(self.fleet))

    def remember(self, keys: KeyRing) -> None:
        """Whose reports were believed. Raises DatabaseError, DiskFull."""
        self.book.note_reports(self.fleet, keys.heard, self.clock.unix())

    def check(self, inventory: Inventory) -> Inventory:
        """Remember whom the broker shows, and say who is missing. Raises DatabaseError, DiskFull."""
        members = self.book.roster(self.fleet)
        said = [record.device for record in inventory.records.values() if has_spoken(record)]
        self.book.saw(self.fleet, said, self.clock.unix(), self.broker)
        return hold_against(inventory, members.values(), self.broker)


def has_spoken(record: DeviceRecord) -> bool:
    """Something is retained that the device itself has published, and that can be read: more than an operator's
    assignment to a name that nobody has.
    """
    return any(said is not None for said in (record.presence, record.capabilities, record.state, record.report))


def hold_against(inventory: Inventory, members: Iterable[Member], broker: str) -> Inventory:
    """The inventory with its ``absent``, and with what the roster says about ``doubt``.

    A fleet whose devices were enrolled is whole when all of them are here, whatever the broker's order; and it is not
    while one is missing. What was merely seen once proves neither: anybody can make it up.
    """
    expected = [member for member in members if _is_expected(member, broker)]
    records = inventory.records
    absent = tuple(m for m in expected if m.device not in records or not has_spoken(records[m.device]))
    enrolled = [member for member in expected if member.standing is Standing.ENROLLED]
    lost = [member.device for member in absent if member.standing is Standing.ENROLLED]
    doubt = inventory.doubt
    if lost:
        doubt = doubt or f"the broker holds nothing of {listed(lost)}, enrolled in this fleet"
    elif enrolled and not absent:
        doubt = ""
    return replace(inventory, doubt=doubt, absent=absent)


def _is_expected(member: Member, broker: str) -> bool:
    if member.revoked_at is not None:
        return False
    return member.standing is Standing.ENROLLED or member.broker == broker
