"""What the device says of itself, signed."""

from __future__ import annotations

from edge_agent.core.device_key import DeviceKey
from neo.contract.messages import DeviceState, Live, LiveModel, Report
from neo.contract.messages.desired import MAX_REFERENCE, shorten_text
from neo.contract.messages.report import MAX_NOTE, MAX_NOTES, MAX_URL
from neo.contract.names import is_name
from neo.trust.documents import sign_report


class Reporter:
    """Signs reports, each with a higher sequence number than every one before."""

    def __init__(self, fleet: str, device: str, key: DeviceKey) -> None:
        self._fleet = fleet
        self._device = device
        self._signer = key.signer
        self._sequence = key.first_sequence
        self._notes = key.notes

    def sign(self, state: DeviceState, retry_at: float | None) -> bytes | None:
        """None if this device has no key. retry_at: Unix time in seconds; None: what failed is not tried again."""
        if self._signer is None:
            return None
        notes = (*self._notes, f"its trust: {state.trust}") if state.trust else self._notes
        report = Report(
            fleet=self._fleet,
            device=self._device,
            session=state.session,
            sequence=self._sequence,
            phase=state.phase,
            document=None,
            live={} if state.live is None else {_name_of(state.live): _live_model(state.live)},
            done_bytes=state.done_bytes,
            total_bytes=state.total_bytes,
            stalled=False,
            error=state.error,
            retry_at=retry_at,
            refusal=None,
            refused=0,
            notes=tuple(shorten_text(note, MAX_NOTE) for note in notes[:MAX_NOTES]),
            url=shorten_text(state.url, MAX_URL),
            at=state.at,
            assignment=shorten_text(state.assignment, MAX_REFERENCE),
        )
        self._sequence += 1
        return sign_report(report, self._signer)


def _name_of(live: Live) -> str:
    name = live.reference.partition(":")[0]
    return name if is_name(name) else "model"


def _live_model(live: Live) -> LiveModel:
    return LiveModel(
        live.digest, shorten_text(live.reference, MAX_REFERENCE), shorten_text(live.engine, MAX_REFERENCE), live.since
    )
