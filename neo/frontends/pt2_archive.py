"""What an exported program's file says about itself, read as zip and JSON before torch opens it.

torch.export.load unpickles constants of unknown classes and evaluates the formulas of dynamic shapes as Python
expressions. Files that use the first, or hold more than arithmetic in the second, are refused.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neo.errors import ModelError, UntrustedModel
from neo.frontends.contents import ZIP_DAMAGE
from neo.frontends.json_tree import objects
from neo.frontends.pickled import SAVE_A_PROGRAM

MAX_JSON_BYTES = 1 << 30
_COPY_AGAIN = "copy the file again, or save the model again"
# torch's own prefix for constants that it writes with pickle.dumps
_PICKLED_CONSTANT = "opaque_obj_"
_TOKEN = re.compile(r"\d+\.\d+|'\w+'|\w+\s*\(|\w+|\)\s*\(|\S")
_CALL = re.compile(r"([A-Z]\w*|floor|ceiling|sqrt|exp|log)\s*\(")
_HARMLESS = re.compile(r"\d+\.\d+|'\w+'|\w+|[-+*/%<>=!&|~(),]")


def refuse_damage(path: Path) -> None:
    """Raises ModelError if a member does not match its checksum: PyTorch does not look at these, and would go on with
    wrong weights.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except ZIP_DAMAGE as error:
        raise ModelError(f"{path} is damaged: {error}", hint=_COPY_AGAIN) from error
    if damaged is not None:
        raise ModelError(f"{path} is damaged: {damaged} does not match its checksum", hint=_COPY_AGAIN)


def read_documents(path: Path) -> list[Any]:
    """The JSON documents in the archive: graphs, and lists of weights and constants."""
    documents: list[Any] = []
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.filename.endswith(".json"):
                continue
            if member.file_size > MAX_JSON_BYTES:
                raise ModelError(f"{path}: {member.filename} has {member.file_size} bytes, more than any real graph")
            try:
                documents.append(json.loads(archive.read(member)))
            except (ValueError, *ZIP_DAMAGE) as error:  # nesting without end is a RuntimeError
                raise ModelError(f"{path} is damaged: {member.filename} cannot be read", hint=_COPY_AGAIN) from error
    return documents


def refuse_code(path: Path, documents: list[Any]) -> None:
    """Raises UntrustedModel if loading the program would run code that the file brings along."""
    for key, value in _strings(documents):
        if key == "path_name" and value.startswith(_PICKLED_CONSTANT):
            raise UntrustedModel(
                f"{path} holds a pickled constant: reading it would run code from the file",
                hint="pass tensors instead of Python objects to the model and export it again",
            )
        if key == "expr_str" and not _is_arithmetic(value):
            raise UntrustedModel(
                f"{path} gives a size as {value[:80]!r}, which is more than arithmetic", hint=SAVE_A_PROGRAM
            )


def _is_arithmetic(text: str) -> bool:
    """Names, numbers, operators, quoted names and calls of sympy's classes; no attributes, no calls of a result."""
    return "__" not in text and all(
        _CALL.fullmatch(token) or _HARMLESS.fullmatch(token) for token in _TOKEN.findall(text)
    )


def operators(documents: list[Any]) -> tuple[str, ...]:
    """The torch operators that the graphs call, as "namespace.name.overload"."""
    called = (value for key, value in _strings(documents) if key == "target")
    prefix = "torch.ops."
    return tuple(dict.fromkeys(name.removeprefix(prefix) for name in called if name.startswith(prefix)))


def _strings(document: Any) -> Iterator[tuple[str, str]]:
    """Every (key, text) anywhere below."""
    return ((str(key), item) for value in objects(document) for key, item in value.items() if isinstance(item, str))
