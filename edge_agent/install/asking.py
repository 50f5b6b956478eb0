"""What is said to a source about blobs under way: in wire 2 all that is missing, in wire 1 byte ranges. No I/O."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edge_agent.install.incoming import Incoming
from neo.contract.chunks import chunk_span
from neo.contract.messages import Missing, MissingChunks, Want
from neo.contract.messages.transfer import MAX_MISSING_BLOBS, MAX_MISSING_RUNS
from neo.contract.oci import Descriptor

Ask = Want | Missing

REPORT_CHUNKS = 3  # half of what a source sends ahead to many, so that it need not wait
ANSWER_S = 0.1  # between two answers to a source's question, which anybody can send
SLOW_GAPS = 4  # a source that paused this many times as long as before has stopped


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """How much is under way, and how patient a transfer is. Times in s."""

    #: asked for and not yet written
    window_bytes: int = 1_500_000
    #: files open at a time
    open_blobs: int = 16
    #: doubles with every unanswered want
    ask_again_s: float = 2.0
    ask_again_cap_s: float = 15.0
    #: a connected link without one useful byte
    give_up_s: float = 60.0
    #: wants in a row for one blob that are answered with "absent" before it is believed
    believe_absent: int = 3
    #: times that a blob without a chunk table may turn out wrong at its end
    wrong_blobs: int = 3


@dataclass(slots=True)
class Wire:
    """What is known of the way the source speaks; outlives a transfer."""

    #: version that it last sent something useful in, 0 as long as nothing came
    heard: int = 0
    #: the highest number of what it sent, in wire 2
    seen: int = 0
    #: messages in a row that nothing useful came after
    unanswered: int = 0
    #: blobs that the source believes to be missing here, in wire 2
    told: frozenset[str] = frozenset()


@dataclass(slots=True)
class OpenBlob:
    """One blob under way. asked: chunks asked for in wire 1 and not here."""

    descriptor: Descriptor
    incoming: Incoming
    progress_at: float
    ask_again_s: float
    asked: set[int] = field(default_factory=set)
    asks: int = 0
    #: the asks in a row that were answered with "absent"
    absent: set[str] = field(default_factory=set)

    @property
    def outstanding(self) -> int:
        return sum(chunk_span(index, self.incoming.size)[1] for index in self.asked)


class MissingTeller:
    """Wire 2. Speaks up when there is something new to miss, after every few chunks (slow devices set the pace), when
    the source asks, and when nothing comes.
    """

    def __init__(
        self,
        device_id: str,
        wire: Wire,
        limits: TransferLimits,
        new_nonce: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._device_id = device_id
        self._wire = wire
        self._limits = limits
        self._new_nonce = new_nonce
        self.nonce = ""  #: of the last message
        self._told_at = 0.0
        self._heard_at = 0.0
        self._chunks = 0
        self._asked = False
        self._again_s = limits.ask_again_s

    def took(self, now: float) -> None:
        """A useful chunk came."""
        gap = now - max(self._heard_at, self._told_at)
        self._again_s = min(max(SLOW_GAPS * gap, self._limits.ask_again_s), self._limits.ask_again_cap_s)
        self._heard_at = now
        self._chunks += 1

    def asked(self) -> None:
        """The source wants to know."""
        self._asked = True

    def message(self, blobs: Mapping[str, OpenBlob], now: float, *, at_once: bool = False) -> Missing | None:
        """What to say now; None if there is no need."""
        quiet = now - max(self._heard_at, self._told_at) >= self._again_s
        asked = self._asked and now - self._told_at >= ANSWER_S
        if not (at_once or quiet or asked or self._chunks >= REPORT_CHUNKS or blobs.keys() - self._wire.told):
            return None
        if not self._chunks:
            self._wire.unanswered += 1
            if quiet and self._wire.told:
                self._again_s = min(2 * self._again_s, self._limits.ask_again_cap_s)
        self._wire.told, self._told_at, self._chunks, self._asked = frozenset(blobs), now, 0, False
        self.nonce = self._new_nonce()
        missing = [MissingChunks(digest, runs_of(blob.incoming.missing())) for digest, blob in blobs.items()]
        return Missing(self._device_id, self.nonce, self._wire.seen, tuple(missing[:MAX_MISSING_BLOBS]))


class RangeAsker:
    """Wire 1. Asks for as much as the window allows, and again for what did not come."""

    def __init__(self, device_id: str, wire: Wire, limits: TransferLimits) -> None:
        self._device_id = device_id
        self._wire = wire
        self._limits = limits

    def wants(self, blobs: Iterable[OpenBlob], now: float) -> list[Want]:
        blobs = list(blobs)
        again = [want for blob in blobs for want in self._again(blob, now)]
        return again + self._more(blobs, now)

    def _again(self, blob: OpenBlob, now: float) -> list[Want]:
        if not blob.asked or now - blob.progress_at < blob.ask_again_s:
            return []
        self._wire.unanswered += 1
        blob.progress_at = now
        blob.ask_again_s = min(2 * blob.ask_again_s, self._limits.ask_again_cap_s)
        return self._ask(blob, sorted(blob.asked))

    def _more(self, blobs: Sequence[OpenBlob], now: float) -> list[Want]:
        wants: list[Want] = []
        room = self._limits.window_bytes - sum(blob.outstanding for blob in blobs)
        if room < self._limits.window_bytes // 3:  # a few large wants, not one for every chunk that came
            return wants
        for blob in blobs:
            indices = []
            for index in blob.incoming.missing():
                if room <= 0:
                    break
                if index not in blob.asked:
                    indices.append(index)
                    room -= chunk_span(index, blob.incoming.size)[1]
            if indices:
                if not blob.asked:
                    blob.progress_at = now
                blob.asked.update(indices)
                wants += self._ask(blob, indices)
        return wants

    def _ask(self, blob: OpenBlob, indices: Sequence[int]) -> list[Want]:
        blob.asks += 1
        size = blob.incoming.size
        spans = [
            (chunk_span(first, size)[0], sum(chunk_span(first + count - 1, size))) for first, count in _runs(indices)
        ]
        return [Want(self._device_id, blob.incoming.digest, start, end - start) for start, end in spans]


def runs_of(indices: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """(first, how many) of neighbours among rising indices; at most as many as a message holds."""
    return tuple(_runs(indices)[:MAX_MISSING_RUNS])


def _runs(indices: Iterable[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for index in indices:
        if runs and sum(runs[-1]) == index:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((index, 1))
    return runs
