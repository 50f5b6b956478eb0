"""BERT's way to cut text into the pieces of a vocabulary, in plain Python: what a compiled model is compared with.

Source: https://github.com/google-research/bert, tokenization.py, after Wu et al., "Google's Neural Machine Translation
System", 2016.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

START, END, PADDING, UNKNOWN = "[CLS]", "[SEP]", "[PAD]", "[UNK]"
SPECIAL = (PADDING, UNKNOWN, START, END)
_LONGEST_WORD = 100
# ideographs, each a word of its own
_CHINESE = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))


@dataclass(frozen=True, slots=True)
class WordPieces:
    """vocabulary: pieces, ``##`` before those within a word; a piece's number is its place."""

    vocabulary: tuple[str, ...]
    lower_case: bool
    strip_accents: bool
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_numbers", {piece: number for number, piece in enumerate(self.vocabulary)})

    def number(self, piece: str) -> int:
        return self._numbers[piece]

    def numbers(self, text: str, most: int) -> list[int]:
        """The start, at most ``most - 2`` pieces, the end."""
        pieces = [piece for word in self._words(text) for piece in self._pieces(word)]
        return [self._numbers[piece] for piece in (START, *pieces[: most - 2], END)]

    def _words(self, text: str) -> Iterator[str]:
        word = ""
        for char in self._folded(text):
            if char.isspace():
                yield from [word] if word else []
                word = ""
            elif _stands_alone(char):
                yield from [word, char] if word else [char]
                word = ""
            elif unicodedata.category(char)[0] != "C":
                word += char
        yield from [word] if word else []

    def _folded(self, text: str) -> str:
        text = text.lower() if self.lower_case else text
        if not self.strip_accents:
            return text
        return "".join(char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn")

    def _pieces(self, word: str) -> list[str]:
        """The longest piece first; the whole word is unknown if any part of it is."""
        found: list[str] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            end = next((e for e in range(len(word), start, -1) if prefix + word[start:e] in self._numbers), start)
            if end == start or len(word) > _LONGEST_WORD:
                return [UNKNOWN]
            found.append(prefix + word[start:end])
            start = end
        return found


def _stands_alone(char: str) -> bool:
    code = ord(char)
    plain = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return plain or unicodedata.category(char)[0] == "P" or any(low <= code <= high for low, high in _CHINESE)
