"""Pre-processing of text: one string is the input, and becomes the numbers of a vocabulary's pieces.

The compiled model splits text with an operator of ONNX Runtime's extensions, which a device needs then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.strings import STRING
from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError
from neo.processing.tables import Table
from neo.processing.tokenizers import READERS
from neo.processing.tokenizers.state import IDS, MASK, TYPES, Tokenizer

if TYPE_CHECKING:
    from neo.processing.graph import Graph

# names of inputs in models of Transformers
_USUAL_NAMES = {IDS: "input_ids", MASK: "attention_mask", TYPES: "token_type_ids"}
_SHORTEST = 3
_KNOWN_SHARE = 0.8
# between the vocabulary's own words: capitals, accents, punctuation within words, what no vocabulary has
_ANY_WORDS = ("Über", "CAFÉ", "don't", "3.14", "(x)", "qzxv", "#", "end.")


@dataclass(frozen=True, slots=True)
class TextPreprocess:
    """Pre-processing of one string."""

    #: of the input that takes the string
    name: str
    #: role -> the model's input, if the document names it; other roles have their usual names
    inputs: Mapping[str, str]
    tokenizer: Tokenizer
    #: what this was read from
    document: dict[str, Any] = field(repr=False)

    @classmethod
    def from_document(cls, document: dict[str, Any], where: str) -> TextPreprocess:
        """Raises UsageError naming the table and the key."""
        table = Table(document, where)
        text = Table(table.any("text"), f"{where}, text")
        read = READERS[text.choice("tokenizer", tuple(READERS))]
        name = text.text("name", "text")
        tokenizer = read(text)
        inputs = {role: text.text(role) for role in _USUAL_NAMES if text.has(role)}
        text.finish()
        table.finish()
        return cls(name, inputs, tokenizer, document)

    def fed(self, inputs: tuple[TensorSpec, ...]) -> dict[str, TensorSpec]:
        """Role -> the model's input that is fed. Raises InputSpecError."""
        found = {}
        for role, usual in _USUAL_NAMES.items():
            name = self.inputs.get(role, usual)
            spec = next((spec for spec in inputs if spec.name == name), None)
            if spec is not None:
                found[role] = spec
            elif role == IDS or role in self.inputs:
                raise InputSpecError(
                    f"--preprocess: the model has no input {name!r}; it has {'  '.join(map(str, inputs))}",
                    hint=f"write {role} = NAME in the table [text], with the input that takes these numbers",
                )
        length = found[IDS].shape[-1] if found[IDS].shape else 0
        for spec in found.values():
            right = spec.shape == (1, length) and isinstance(length, int) and length >= _SHORTEST
            if not right or spec.dtype not in {"int32", "int64"}:
                raise InputSpecError(
                    f"--preprocess: {spec} takes no pieces of one text: that would be int64[1,LENGTH]",
                    hint="fix the sizes with --dim, as in --dim N=1 --dim sequence=128",
                )
        return found

    def raw(self) -> TensorSpec:
        return TensorSpec(self.name, STRING, (1,))

    def emit(self, graph: Graph, value: str, fed: Mapping[str, TensorSpec]) -> dict[str, str]:
        """Adds the nodes; -> the model's input -> the value that feeds it."""
        length = self._length(fed)
        made = self.tokenizer.emit(graph, value, length)
        fed_by = {}
        for role, spec in fed.items():
            filling = graph.whole(*[self._filling(role)] * length)
            cut = graph.slice(graph.add("Concat", made[role], filling, axis=0), 0, 0, length)
            shaped = graph.add("Reshape", cut, graph.whole(1, length))
            fed_by[spec.name] = graph.cast(shaped, spec.dtype) if spec.dtype != "int64" else shaped
        return fed_by

    def reference(self, texts: NDArray[Any], fed: Mapping[str, TensorSpec]) -> dict[str, NDArray[Any]]:
        """texts: object (1,). -> the model's input -> its array."""
        length = self._length(fed)
        numbers = self.tokenizer.numbers(str(texts[0]), length)
        rows = {IDS: numbers, TYPES: [0] * len(numbers), MASK: [1] * len(numbers)}
        return {
            spec.name: np.array([rows[role] + [self._filling(role)] * (length - len(numbers))], spec.dtype)
            for role, spec in fed.items()
        }

    def draw(self, fed: Mapping[str, TensorSpec], rng: np.random.Generator) -> NDArray[np.object_]:
        """A random text of the vocabulary's words in Latin letters, some of them joined; it may be too long."""
        words, ends = self.tokenizer.words()
        count = int(rng.integers(1, self._length(fed) + _SHORTEST))
        made = [f"{rng.choice(words)}{rng.choice(ends)}" for _ in range(count)] if words else []
        others = rng.choice(_ANY_WORDS, count).tolist()
        known = rng.random(count) < _KNOWN_SHARE
        text = [made[i] if made and known[i] else others[i] for i in range(count)]
        return np.array([" ".join(text)], object)

    def _filling(self, role: str) -> int:
        return self.tokenizer.filling if role == IDS else 0

    @staticmethod
    def _length(fed: Mapping[str, TensorSpec]) -> int:
        return int(fed[IDS].shape[1])
