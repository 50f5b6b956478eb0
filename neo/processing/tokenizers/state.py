"""What a tokenizer is: how text becomes numbers, as nodes and in plain Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from neo.processing.graph import Graph

# of the operators of ONNX Runtime's extensions
DOMAIN = "ai.onnx.contrib"
IDS, MASK, TYPES = "ids", "mask", "types"


class Tokenizer(Protocol):
    """filling: the number behind a text that is shorter than the model's.

    numbers: of a text, at most ``most``, with whatever begins and ends it. emit: adds nodes that do the same to a
    string [1]; -> by role, int64 [at most ``most``]. words: what it knows in Latin letters, and endings that such words
    can have.
    """

    @property
    def filling(self) -> int: ...

    def numbers(self, text: str, most: int) -> list[int]: ...

    def emit(self, graph: Graph, text: str, most: int) -> dict[str, str]: ...

    def words(self) -> tuple[list[str], list[str]]: ...
