"""What travels over MQTT. JSON except Chunk. A message of a broker is untrusted: parsing validates or raises.

Every message says the version of its format; the first program that wrote them did not, and that was version 1. A
message of a later version is refused as NewerFormat.
"""

from neo.contract.messages.desired import LIVE, DesiredModel, DesiredState
from neo.contract.messages.report import DocumentId, LiveModel, Refusal, Report
from neo.contract.messages.state import PHASES, Assignment, DeviceState, Live, Phase, Presence, RollCall
from neo.contract.messages.transfer import MAX_WANT_BYTES, Chunk, Missing, MissingChunks, NumberedChunk, Want
from neo.contract.messages.wire import MAX_PAYLOAD_BYTES, MESSAGE_VERSION

__all__ = [
    "LIVE",
    "MAX_PAYLOAD_BYTES",
    "MAX_WANT_BYTES",
    "MESSAGE_VERSION",
    "PHASES",
    "Assignment",
    "Chunk",
    "DesiredModel",
    "DesiredState",
    "DeviceState",
    "DocumentId",
    "Live",
    "LiveModel",
    "Missing",
    "MissingChunks",
    "NumberedChunk",
    "Phase",
    "Presence",
    "Refusal",
    "Report",
    "RollCall",
    "Want",
]
