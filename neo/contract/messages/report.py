"""What a device says of itself: the payload of the report that it signs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neo.contract.fields import (
    ContractError,
    as_document,
    as_object,
    dump_object,
    get,
    get_list,
    get_number,
    get_size,
    parse_object,
)
from neo.contract.messages.desired import MAX_MODELS, MAX_REFERENCE, parse_text
from neo.contract.messages.state import PHASES
from neo.contract.names import parse_name
from neo.contract.oci import parse_digest

REPORT_TYPE = "application/vnd.neo-edge.report.v1+json"
#: of the envelope with the key, as it is published
MAX_REPORT_BYTES = 64 << 10
MAX_NOTES = 8
MAX_NOTE = 300  # characters
MAX_URL = 300
_WHAT = "report"


@dataclass(frozen=True, slots=True)
class DocumentId:
    """Which document. digest: of the exact bytes that were signed."""

    counter: int
    digest: str

    @classmethod
    def from_json(cls, value: Any, what: str) -> DocumentId:
        obj = as_object(value, what)
        return cls(get_size(obj, "counter", what), parse_digest(obj.get("digest"), f"{what}.digest"))

    def to_json(self) -> dict[str, Any]:
        return {"counter": self.counter, "digest": self.digest}


@dataclass(frozen=True, slots=True)
class Refusal:
    """The last document that the device did not take up. Anybody can publish one, so only its digest says which."""

    digest: str
    #: NeoError.to_json()
    error: Mapping[str, Any]

    @classmethod
    def from_json(cls, value: Any, what: str) -> Refusal:
        obj = as_object(value, what)
        return cls(parse_digest(obj.get("digest"), f"{what}.digest"), as_document(obj.get("error"), f"{what}.error"))

    def to_json(self) -> dict[str, Any]:
        return {"digest": self.digest, "error": dict(self.error)}


@dataclass(frozen=True, slots=True)
class LiveModel:
    """A model that answers predictions, and has answered its golden samples in the process that does."""

    #: of its OCI manifest
    digest: str
    reference: str
    engine: str
    #: Unix time in seconds
    since: float

    @classmethod
    def from_json(cls, value: Any, what: str) -> LiveModel:
        obj = as_object(value, what)
        return cls(
            parse_digest(obj.get("digest"), f"{what}.digest"),
            parse_text(obj.get("reference"), f"{what}.reference", MAX_REFERENCE),
            parse_text(obj.get("engine"), f"{what}.engine", MAX_REFERENCE),
            get_number(obj, "since", what),
        )

    def to_json(self) -> dict[str, Any]:
        return {"digest": self.digest, "reference": self.reference, "engine": self.engine, "since": self.since}


@dataclass(frozen=True, slots=True)
class Report:
    """Times: Unix, in seconds, by the device's clock."""

    fleet: str
    device: str
    #: new for every start of the agent
    session: str
    #: grows with every report for as long as the device keeps its state folder
    sequence: int
    #: of ``Phase``
    phase: str
    #: the document that counts on the device; None before the first
    document: DocumentId | None
    #: name -> what answers predictions
    live: Mapping[str, LiveModel]
    #: of the transfer
    done_bytes: int
    total_bytes: int
    #: nothing has come from the source for a while
    stalled: bool
    #: why the document is not carried out, or what the live model fails at: NeoError.to_json(); None if all is well
    error: Mapping[str, Any] | None
    #: when it is tried again by itself; None: not before another document
    retry_at: float | None
    refusal: Refusal | None
    #: how many documents were refused since the start
    refused: int
    #: what the operator should know beside all that
    notes: tuple[str, ...]
    #: where the device itself serves predictions, for a person who is on it
    url: str
    at: float
    #: the id of the unsigned assignment that it is about; "" if there is none
    assignment: str = ""

    @classmethod
    def from_bytes(cls, data: bytes) -> Report:
        obj = parse_object(data, what=_WHAT, max_bytes=MAX_REPORT_BYTES)
        phase = get(obj, "phase", str, _WHAT)
        if phase not in PHASES:
            raise ContractError(f"{_WHAT}.phase is {phase[:40]!r}, not one of {', '.join(PHASES)}")
        live = as_object(obj.get("live"), f"{_WHAT}.live")
        if len(live) > MAX_MODELS:
            raise ContractError(f"{_WHAT}.live has {len(live)} models; at most {MAX_MODELS} are read")
        document, refusal, error = obj.get("document"), obj.get("refusal"), obj.get("error")
        return cls(
            fleet=parse_name(obj.get("fleet"), f"{_WHAT}.fleet"),
            device=parse_name(obj.get("device"), f"{_WHAT}.device"),
            session=parse_name(obj.get("session"), f"{_WHAT}.session"),
            sequence=get_size(obj, "sequence", _WHAT),
            phase=phase,
            document=None if document is None else DocumentId.from_json(document, f"{_WHAT}.document"),
            live={
                parse_name(name, f"{_WHAT}.live"): LiveModel.from_json(model, f"{_WHAT}.live.{name}")
                for name, model in live.items()
            },
            done_bytes=get_size(obj, "done_bytes", _WHAT),
            total_bytes=get_size(obj, "total_bytes", _WHAT),
            stalled=get(obj, "stalled", bool, _WHAT),
            error=None if error is None else as_document(error, f"{_WHAT}.error"),
            retry_at=None if obj.get("retry_at") is None else get_number(obj, "retry_at", _WHAT),
            refusal=None if refusal is None else Refusal.from_json(refusal, f"{_WHAT}.refusal"),
            refused=get_size(obj, "refused", _WHAT),
            notes=get_list(
                obj, "notes", lambda item: parse_text(item, f"{_WHAT}.notes[]", MAX_NOTE), _WHAT, most=MAX_NOTES
            ),
            url=parse_text(obj.get("url"), f"{_WHAT}.url", MAX_URL),
            at=get_number(obj, "at", _WHAT),
            assignment=parse_text(obj.get("assignment", ""), f"{_WHAT}.assignment", MAX_REFERENCE),
        )

    def to_bytes(self) -> bytes:
        return dump_object(
            {
                "fleet": self.fleet,
                "device": self.device,
                "session": self.session,
                "sequence": self.sequence,
                "phase": self.phase,
                "document": None if self.document is None else self.document.to_json(),
                "live": {name: model.to_json() for name, model in self.live.items()},
                "done_bytes": self.done_bytes,
                "total_bytes": self.total_bytes,
                "stalled": self.stalled,
                "error": None if self.error is None else dict(self.error),
                "retry_at": self.retry_at,
                "refusal": None if self.refusal is None else self.refusal.to_json(),
                "refused": self.refused,
                "notes": list(self.notes),
                "url": self.url,
                "at": self.at,
                "assignment": self.assignment,
            }
        )
