"""The two documents, --preprocess and --postprocess: files <-> dataclasses. docs/pipelines.md describes them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neo.contract.labels import MAX_LABEL_BYTES
from neo.errors import UsageError
from neo.processing import answer, image
from neo.processing.answer.state import AnswerStep
from neo.processing.image.state import COLOURS, MAX_SIDE, ImageStep
from neo.processing.tables import Table, load_toml, read_step
from neo.processing.text import TextPreprocess

# a vocabulary of 250,000 pieces, as multilingual models have, takes 3 MB
MAX_VOCABULARY_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Pre-processing of an image, which is the new input: uint8 (N, height, width, channels)."""

    #: the model's input that it feeds; None: the only one
    input: str | None
    #: of the new input
    name: str
    height: int
    width: int
    #: one of COLOURS
    colours: str
    steps: tuple[ImageStep, ...]
    #: what this was read from
    document: dict[str, Any] = field(repr=False)

    @classmethod
    def from_document(cls, document: dict[str, Any], where: str) -> Preprocess:
        """Raises UsageError naming the table and the key."""
        table = Table(document, where)
        entry = table.text("input") if table.has("input") else table.any("input")
        picture = Table(table.any("image"), f"{where}, image")
        name, size = picture.text("name", "image"), picture.size("size", MAX_SIDE)
        colours = picture.choice("channels", COLOURS, "RGB")
        picture.finish()
        steps = table.tables("step", lambda item: read_step(item, image.READERS), "do")
        table.finish()
        return cls(entry, name, *size, colours, steps, document)


@dataclass(frozen=True, slots=True)
class Postprocess:
    """Post-processing of a model's outputs."""

    #: the outputs that it reads; (): the only one
    outputs: tuple[str, ...]
    #: of the classes, in the order of scores; () if there are none
    labels: tuple[str, ...]
    steps: tuple[AnswerStep, ...]
    #: what this was read from
    document: dict[str, Any] = field(repr=False)

    @classmethod
    def from_document(cls, document: dict[str, Any], where: str) -> Postprocess:
        """Raises UsageError naming the table and the key."""
        table = Table(document, where)
        outputs = table.any("output", [])
        outputs = [outputs] if isinstance(outputs, str) else outputs
        if not isinstance(outputs, list) or not all(isinstance(name, str) for name in outputs) or len(outputs) > 2:
            raise table.wrong("output", outputs, "the name of an output, or a list of two")
        labels = table.any("labels", [])
        if not isinstance(labels, list) or not all(isinstance(text, str) for text in labels):
            raise table.wrong("labels", labels, "a list of texts, or the name of a text file with one on each line")
        steps = table.tables("step", lambda item: read_step(item, answer.READERS), "do")
        table.finish()
        if not steps and not labels:
            raise UsageError(f"{where} has neither steps nor labels", hint="leave --postprocess out, or add a [[step]]")
        return cls(tuple(outputs), tuple(labels), steps, document)


@dataclass(frozen=True, slots=True)
class Processing:
    """Pre- and post-processing of one model; None: there is none."""

    preprocess: Preprocess | TextPreprocess | None
    postprocess: Postprocess | None

    def summary(self) -> dict[str, Any]:
        """For a report: like ``to_json``, but with the size of a vocabulary instead of its contents."""
        obj = self.to_json()
        if isinstance(self.preprocess, TextPreprocess):
            text = self.preprocess.document["text"]
            shown = {key: f"{len(value)} lines" if isinstance(value, list) else value for key, value in text.items()}
            obj["preprocess"] = {"text": shown}
        return obj

    def to_json(self) -> dict[str, Any]:
        return {
            "preprocess": None if self.preprocess is None else self.preprocess.document,
            "postprocess": None if self.postprocess is None else self.postprocess.document,
        }

    @classmethod
    def from_json(cls, obj: dict[str, Any]) -> Processing:
        before, after = obj["preprocess"], obj["postprocess"]
        return cls(
            None if before is None else _preprocess(before, "the pre-processing"),
            None if after is None else Postprocess.from_document(after, "the post-processing"),
        )


def read_processing(preprocess: Path | None, postprocess: Path | None) -> Processing | None:
    """None if there are no files. Raises UsageError for a file or a document that cannot be used."""
    if preprocess is None and postprocess is None:
        return None
    return Processing(
        None if preprocess is None else _read_preprocess(preprocess),
        None if postprocess is None else _read_postprocess(postprocess),
    )


def _preprocess(document: dict[str, Any], where: str) -> Preprocess | TextPreprocess:
    return (TextPreprocess if "text" in document else Preprocess).from_document(document, where)


def _read_preprocess(path: Path) -> Preprocess | TextPreprocess:
    document = load_toml(path)
    text = document.get("text")
    for key in ("vocabulary", "merges"):
        if isinstance(text, dict) and isinstance(text.get(key), str):
            content = _read_text(path.parent / text[key], key, MAX_VOCABULARY_BYTES)
            lines = content.rstrip("\r\n").split("\n")  # not splitlines(): a piece may be a character that it splits at
            text[key] = _numbered(path, content) if text[key].endswith(".json") else [x.rstrip("\r") for x in lines]
    return _preprocess(document, path.name)


def _read_postprocess(path: Path) -> Postprocess:
    document = load_toml(path)
    if isinstance(document.get("labels"), str):
        content = _read_text(path.parent / document["labels"], "labels", MAX_LABEL_BYTES)
        document["labels"] = [line.strip() for line in content.rstrip().splitlines()]
    return Postprocess.from_document(document, path.name)


def _numbered(path: Path, content: str) -> list[str]:
    """content: a JSON object, piece -> its number; numbers are 0, 1, 2 and so on. -> the pieces in order."""
    try:
        pieces = json.loads(content)
        ordered = sorted(pieces, key=pieces.get)
        whole = [pieces[piece] for piece in ordered] == list(range(len(ordered)))
    except (ValueError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise UsageError(f"{path.name}: vocabulary should name a JSON object of pieces and their numbers from 0 on")
    return ordered


def _read_text(path: Path, what: str, most_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the {what} in {path}: {error}", hint=f"{what} names a UTF-8 text file beside the document"
        ) from error
    if len(content) > most_bytes:
        raise UsageError(f"the {what} in {path} take more than {most_bytes} bytes", hint="shorten them")
    return text
