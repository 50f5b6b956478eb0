"""GPT-2's and RoBERTa's tokenizers: byte pair encoding. Bytes are merged pair by pair, in the order of training.

Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", 2016, on bytes as in
https://github.com/openai/gpt-2, src/encoder.py.
"""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from neo.errors import UsageError
from neo.processing.tables import Table
from neo.processing.tokenizers.state import DOMAIN, IDS, MASK, TYPES

if TYPE_CHECKING:
    from neo.processing.graph import Graph

_CONTRACTION = re.compile(r"'(?:s|t|re|ve|m|ll|d)")
# a pattern over classes of characters: L letter, N number, S white space, O anything else, and the space itself
_WORD = re.compile(r" ?L+| ?N+| ?O+|[ S]+(?![^ S])|[ S]+")
_PRINTABLE = (*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100))


def byte_signs() -> dict[int, str]:
    """Byte -> printable character: itself, or one from 256 on."""
    others = [byte for byte in range(256) if byte not in _PRINTABLE]
    return {**{byte: chr(byte) for byte in _PRINTABLE}, **{byte: chr(256 + i) for i, byte in enumerate(others)}}


@dataclass(frozen=True, slots=True)
class BytePairs:
    """A vocabulary of byte pair encoding and its settings."""

    #: pieces, written with ``byte_signs``, in the order of their numbers
    vocabulary: tuple[str, ...]
    #: pairs in the order in which they are merged
    merges: tuple[tuple[str, str], ...]
    #: piece before a text; "": none
    start: str
    #: piece after a text; "": none
    end: str
    #: piece that fills up a shorter text
    padding: str
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False)
    _ranks: dict[tuple[str, str], int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_numbers", {piece: number for number, piece in enumerate(self.vocabulary)})
        object.__setattr__(self, "_ranks", {pair: rank for rank, pair in enumerate(self.merges)})

    @property
    def filling(self) -> int:
        return self._numbers[self.padding]

    def numbers(self, text: str, most: int) -> list[int]:
        signs = byte_signs()
        words = ("".join(signs[byte] for byte in word.encode()) for word in _split(text))
        pieces = [self._numbers[piece] for word in words for piece in self._merged(word)]
        return [*self._before, *pieces[: self._room(most)], *self._behind]

    def emit(self, graph: Graph, text: str, most: int) -> dict[str, str]:
        ids, mask = graph.add_many(
            "GPT2Tokenizer",
            [text],
            2,
            domain=DOMAIN,
            vocab=json.dumps(self._numbers, ensure_ascii=False),
            merges="\n".join(["#version: 0.2", *(" ".join(pair) for pair in self.merges), ""]),
            padding_length=-1,
        )
        made = {}
        for role, value, around in ((IDS, ids, None), (MASK, mask, 1)):
            flat = graph.add("Reshape", value, graph.whole(-1))
            before, behind = ([around or number for number in numbers] for numbers in (self._before, self._behind))
            parts = [graph.whole(*before)] if before else []
            parts.append(graph.slice(flat, 0, 0, self._room(most)))
            parts += [graph.whole(*behind)] if behind else []
            made[role] = graph.add("Concat", *parts, axis=0)
        return {**made, TYPES: graph.add("Sub", made[MASK], made[MASK])}

    def words(self) -> tuple[list[str], list[str]]:
        # the sign for a space is no letter of ASCII
        found = [piece.replace(byte_signs()[ord(" ")], "") for piece in self.vocabulary]
        words = [word for word in found if word.isascii() and word.isalpha()]
        return words, ["", *words]

    @property
    def _before(self) -> list[int]:
        return [self._numbers[self.start]] if self.start else []

    @property
    def _behind(self) -> list[int]:
        return [self._numbers[self.end]] if self.end else []

    def _room(self, most: int) -> int:
        return most - len(self._before) - len(self._behind)

    def _merged(self, word: str) -> list[str]:
        pieces = list(word)
        while len(pieces) > 1:
            best = min(itertools.pairwise(pieces), key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            joined: list[str] = []
            for piece in pieces:
                # of three equal pieces, the first two are merged
                if joined and (joined[-1], piece) == best:
                    joined[-1] += piece
                else:
                    joined.append(piece)
            pieces = joined
        return pieces


def _split(text: str) -> Iterator[str]:
    kinds = "".join(map(_kind, text))
    at = 0
    while at < len(text):
        match = _CONTRACTION.match(text, at) or _WORD.match(kinds, at)
        end = match.end() if match is not None else at + 1
        yield text[at:end]
        at = end


def _kind(char: str) -> str:
    if char == " ":
        return char
    if char.isspace():
        return "S"
    category = unicodedata.category(char)[0]
    return category if category in "LN" else "O"


def read_gpt2(table: Table) -> BytePairs:
    """Raises UsageError for a vocabulary that is not GPT-2's."""
    return _read(table, "", "", "<|endoftext|>")


def read_roberta(table: Table) -> BytePairs:
    """Raises UsageError for a vocabulary that is not RoBERTa's."""
    return _read(table, "<s>", "</s>", "<pad>")


def _read(table: Table, start: str, end: str, padding: str) -> BytePairs:
    vocabulary = table.texts("vocabulary", "the name of a JSON file, vocab.json")
    lines = table.texts("merges", "the name of a text file, merges.txt")
    missing = [p for p in (start, end, padding, *byte_signs().values()) if p and p not in set(vocabulary)]
    if missing:
        raise UsageError(
            f"{table.where}: the vocabulary lacks {missing[0]!r}", hint="give the vocab.json of such a tokenizer"
        )
    pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    known = set(vocabulary)
    for pair in pairs:
        if len(pair) != 2 or "".join(pair) not in known:
            raise UsageError(
                f"{table.where}: {' '.join(pair)!r:.60} in merges makes no piece of the vocabulary",
                hint="give the merges.txt that lies beside the vocab.json",
            )
    return BytePairs(vocabulary, tuple((pair[0], pair[1]) for pair in pairs), start, end, padding)
