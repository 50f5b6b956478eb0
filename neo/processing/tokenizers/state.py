"""What a tokenizer is: how text becomes numbers, as nodes and in plain Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from neo.processing.graph import Graph

# of the operators of ONNX Runtime's extensions
DOMAIN = "ai.onnx.contrib"
IDS, MASK, TYPES = "ids", "mask", "types"


class Tokenizer(Protocol):
    """Turns a text into numbers.

    filling: number that pads a text that is shorter than the model's input. numbers: of a text, at most ``most``,
    including start and end. emit: adds nodes that do the same to a string [1]; -> role -> int64 [at most ``most``].
    words: (words of the vocabulary in Latin letters, endings that such words can have).
    """

    @property
    def filling(self) -> int: ...

    def numbers(self, text: str, most: int) -> list[int]: ...

    def emit(self, graph: Graph, text: str, most: int) -> dict[str, str]: ...

    def words(self) -> tuple[list[str], list[str]]: ...
