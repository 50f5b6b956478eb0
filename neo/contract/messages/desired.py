"""What one device shall run: the payload of the signed document that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from neo.contract.fields import (
    ContractError,
    as_document,
    as_object,
    as_string,
    dump_object,
    get_list,
    get_number,
    get_size,
    parse_object,
)
from neo.contract.names import parse_name
from neo.contract.oci import Descriptor

DESIRED_TYPE = "application/vnd.neo-edge.desired.v1+json"
#: of the envelope, as it is published
MAX_DESIRED_BYTES = 64 << 10
MAX_MODELS = 64
MAX_SOURCES = 8
MAX_REFERENCE = 200  # characters
MAX_OPERATOR = 100
LIVE = "live"
_WHAT = "desired state"


@dataclass(frozen=True, slots=True)
class DesiredModel:
    """One model's release, and what it is for."""

    #: the name it was released under
    reference: str
    #: the OCI manifest of the bundle that this device shall run
    manifest: Descriptor
    #: the signed statement about the bundle; None where the release is known otherwise
    signature: Descriptor | None
    #: the OCI image index that the bundle is one variant of; None if it is of none
    index: Descriptor | None = None
    #: LIVE: it answers predictions. Others are for agents that know them
    role: str = LIVE
    #: for the agent; a name that it does not know makes it refuse the document
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Any, what: str) -> DesiredModel:
        obj = as_object(value, what)
        return cls(
            parse_text(obj.get("reference"), f"{what}.reference", MAX_REFERENCE),
            Descriptor.from_json(obj.get("manifest")),
            None if obj.get("signature") is None else Descriptor.from_json(obj["signature"]),
            None if obj.get("index") is None else Descriptor.from_json(obj["index"]),
            parse_name(obj.get("role"), f"{what}.role"),
            as_document(obj.get("settings"), f"{what}.settings"),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "reference": self.reference,
            "manifest": self.manifest.to_json(),
            "signature": None if self.signature is None else self.signature.to_json(),
            "index": None if self.index is None else self.index.to_json(),
            "role": self.role,
            "settings": dict(self.settings),
        }


@dataclass(frozen=True, slots=True)
class DesiredState:
    """Everything that a device shall run. Times: Unix, in seconds, by the clock of who wrote it."""

    fleet: str
    device: str
    #: of all documents for this device the highest counts; from 1 on
    counter: int
    written_at: float
    #: a device does not take it up afterwards; one that has it keeps it
    expires_at: float
    #: name -> release; none: the device shall run nothing
    models: Mapping[str, DesiredModel]
    #: ids of the stores that serve the blobs
    sources: tuple[str, ...]
    #: who wrote it, for people
    operator: str

    @classmethod
    def from_bytes(cls, data: bytes) -> DesiredState:
        obj = parse_object(data, what=_WHAT, max_bytes=MAX_DESIRED_BYTES)
        counter = get_size(obj, "counter", _WHAT)
        if counter == 0:
            raise ContractError(f"{_WHAT}.counter is 0; the first document has 1")
        models = as_object(obj.get("models"), f"{_WHAT}.models")
        if len(models) > MAX_MODELS:
            raise ContractError(f"{_WHAT}.models has {len(models)} models; at most {MAX_MODELS} are read")
        return cls(
            parse_name(obj.get("fleet"), f"{_WHAT}.fleet"),
            parse_name(obj.get("device"), f"{_WHAT}.device"),
            counter,
            get_number(obj, "written_at", _WHAT),
            get_number(obj, "expires_at", _WHAT),
            {
                parse_name(name, f"{_WHAT}.models"): DesiredModel.from_json(model, f"{_WHAT}.models.{name}")
                for name, model in models.items()
            },
            get_list(obj, "sources", lambda item: parse_name(item, f"{_WHAT}.sources[]"), _WHAT, most=MAX_SOURCES),
            parse_text(obj.get("operator"), f"{_WHAT}.operator", MAX_OPERATOR),
        )

    def to_bytes(self) -> bytes:
        return dump_object(
            {
                "fleet": self.fleet,
                "device": self.device,
                "counter": self.counter,
                "written_at": self.written_at,
                "expires_at": self.expires_at,
                "models": {name: model.to_json() for name, model in self.models.items()},
                "sources": list(self.sources),
                "operator": self.operator,
            }
        )


def parse_text(value: Any, what: str, most: int) -> str:
    """A line for people: printable, and at most so many characters."""
    text = as_string(value, what)
    if len(text) > most or not text.isprintable():
        raise ContractError(f"{what} is {text[:40]!r}...; a line of at most {most} printable characters is expected")
    return text


def shorten_text(text: str, most: int) -> str:
    """What ``parse_text`` takes, as near to text as that is."""
    return "".join(char if char.isprintable() else "?" for char in text[:most])
