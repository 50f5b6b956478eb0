"""Whose reports are believed: the key of a device is remembered when it is seen first, or known from its enrolment."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from securesystemslib.signer import SSlibKey

from neo.contract.fields import dump_object
from neo.fleet.members import Member, Standing
from neo.trust.documents import SignedReport
from neo.trust.keys import public_key_to_json


class Trust(str, enum.Enum):
    """How far what a device says can be believed."""

    #: no key of it is known: anybody who may publish can have said it
    UNSIGNED = "unsigned"
    #: signed with the key that was seen first
    PINNED = "pinned"
    #: signed with the key of its enrolment
    ENROLLED = "enrolled"
    #: a key of it is known, and there is no report that was signed with it
    WITHHELD = "withheld"
    #: the last report was not signed with its key, and is not believed
    FORGED = "forged"
    #: the last report is older than one that was seen before, and is not believed
    REPLAYED = "replayed"
    #: the operator has revoked it: nothing of it is believed
    REVOKED = "revoked"


BELIEVED = (Trust.PINNED, Trust.ENROLLED)
UNBELIEVED = (Trust.WITHHELD, Trust.FORGED, Trust.REPLAYED, Trust.REVOKED)


@dataclass(frozen=True, slots=True)
class Heard:
    """The newest report of a device that was believed."""

    #: its public key, as ``Member.key``
    key: bytes
    sequence: int


class KeyRing:
    """members: as they are remembered; a device that is not there, or has no key, is believed with the first key that
    comes with its report. Not thread-safe.
    """

    def __init__(self, members: Mapping[str, Member] = MappingProxyType({})) -> None:
        self._members = members
        self._heard: dict[str, Heard] = {}

    @property
    def heard(self) -> Mapping[str, Heard]:
        """Device id -> what is to be remembered of it."""
        return MappingProxyType(self._heard)

    def without_report(self, device: str) -> Trust:
        """As long as there is no report of the device."""
        member = self._members.get(device)
        if member is not None and member.revoked_at is not None:
            return Trust.REVOKED
        known = device in self._heard or (member is not None and member.key is not None)
        return Trust.WITHHELD if known else Trust.UNSIGNED

    def judge(self, device: str, signed: SignedReport) -> Trust:
        """A report of the device has come; if it is believed its key and number are from now on."""
        member, heard = self._members.get(device), self._heard.get(device)
        if member is not None and member.revoked_at is not None:
            return Trust.REVOKED
        if heard is None and member is not None and member.key is not None:
            heard = Heard(member.key, member.sequence)
        key, sequence = dump_key(signed.key), signed.report.sequence
        if heard is not None and heard.key != key:
            return Trust.FORGED
        if heard is not None and sequence < heard.sequence:
            return Trust.REPLAYED
        self._heard[device] = Heard(key, sequence)
        enrolled = member is not None and member.standing is Standing.ENROLLED
        return Trust.ENROLLED if enrolled else Trust.PINNED


def dump_key(key: SSlibKey) -> bytes:
    """As ``Member.key`` holds it."""
    return dump_object(public_key_to_json(key))
