"""BERT's tokenizer (WordPiece), in plain Python to compare a compiled model with.

Source: https://github.com/google-research/bert, tokenization.py, after Wu et al., "Google's Neural Machine Translation
System", 2016.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from neo.errors import UsageError
from neo.processing.tables import Table
from neo.processing.tokenizers.state import DOMAIN, IDS, MASK, TYPES

if TYPE_CHECKING:
    from neo.processing.graph import Graph

START, END, PADDING, UNKNOWN = "[CLS]", "[SEP]", "[PAD]", "[UNK]"
SPECIAL = (PADDING, UNKNOWN, START, END)
_LONGEST_WORD = 100
_MOST_SHOWN = 5
# ideographs, each a word of its own
_CHINESE = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))


@dataclass(frozen=True, slots=True)
class WordPieces:
    """A WordPiece vocabulary and its settings."""

    #: pieces in the order of their numbers; those within a word begin with ``##``
    vocabulary: tuple[str, ...]
    lower_case: bool
    strip_accents: bool
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_numbers", {piece: number for number, piece in enumerate(self.vocabulary)})

    @property
    def filling(self) -> int:
        return self._numbers[PADDING]

    def numbers(self, text: str, most: int) -> list[int]:
        """START, at most ``most - 2`` pieces, END."""
        pieces = [piece for word in self._words(text) for piece in self._pieces(word)]
        return [self._numbers[piece] for piece in (START, *pieces[: most - 2], END)]

    def emit(self, graph: Graph, text: str, most: int) -> dict[str, str]:
        ids, types, mask = graph.add_many(
            "BertTokenizer",
            [text],
            3,
            domain=DOMAIN,
            vocab_file="\n".join(self.vocabulary),
            do_lower_case=int(self.lower_case),
            strip_accents=int(self.strip_accents),
            cls_token=START,
            sep_token=END,
            pad_token=PADDING,
            unk_token=UNKNOWN,
            max_length=most,
            truncation_strategy_name="longest_first",
        )
        return {IDS: ids, TYPES: types, MASK: mask}

    def words(self) -> tuple[list[str], list[str]]:
        plain = [piece for piece in self.vocabulary if piece.isascii() and piece not in SPECIAL]
        words = [piece for piece in plain if not piece.startswith(("##", "["))]
        return words, ["", *(piece[2:] for piece in plain if piece.startswith("##") and piece[2:].isalpha())]

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


def read_bert(table: Table) -> WordPieces:
    """Raises UsageError for a vocabulary that is not BERT's, or that would be read otherwise than in training."""
    vocabulary = table.texts("vocabulary", "the name of a text file with one piece on each line")
    missing = [piece for piece in SPECIAL if piece not in vocabulary]
    if missing:
        raise UsageError(
            f"{table.where}: the vocabulary lacks {', '.join(missing)}", hint="give the vocab.txt of a BERT tokenizer"
        )
    lower_case = table.flag("lower_case", default=True)
    _refuse_gaps(table.where, frozenset(vocabulary), lower_case=lower_case)
    return WordPieces(vocabulary, lower_case, table.flag("strip_accents", default=lower_case))


def _refuse_gaps(where: str, vocabulary: frozenset[str], *, lower_case: bool) -> None:
    """For BERT, a word is unknown as a whole if any part of it is; the operator keeps the parts before that. If every
    letter and digit is a piece, no word has an unknown part.
    """
    letters = string.ascii_lowercase + string.digits + ("" if lower_case else string.ascii_uppercase)
    gaps = [piece for letter in letters for piece in (letter, f"##{letter}") if piece not in vocabulary]
    if gaps:
        raise UsageError(
            f"{where}: the vocabulary lacks {', '.join(gaps[:_MOST_SHOWN])}: unknown words would be split otherwise"
            " than in training",
            hint="a vocabulary that is taken has every letter and digit, alone and behind ##",
        )
