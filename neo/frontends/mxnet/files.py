"""Which two files make an MXNet model: the symbol and the parameters beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from neo.errors import ModelError

SYMBOL_SUFFIX = "-symbol.json"
_EPOCH_PARAMETERS = re.compile(r"(?P<prefix>.+)-(?P<epoch>[0-9]{4,9})\.(?:params|npz)")
_EXPORT_HINT = "net.export('x') in MXNet writes both x-symbol.json and x-0000.params"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    symbol: Path
    parameters: Path


def locate(source: Path) -> ModelFiles:
    """The symbol and parameters that ``source`` means: x-symbol.json, x-0003.params, x.params, x.npz or the prefix x.

    Of several epochs the highest is taken, unless ``source`` names one. Raises ModelError if either file is missing.
    """
    if source.is_dir():
        return locate(_only_symbol(source))
    if source.suffix in {".params", ".npz"}:
        return ModelFiles(_symbol_beside(source), _existing(source))
    if source.name.endswith(SYMBOL_SUFFIX) or source.suffix == ".json":
        prefix = source.name.removesuffix(SYMBOL_SUFFIX).removesuffix(".json")
        return ModelFiles(_existing(source), _parameters_beside(source, prefix))
    symbol = source.with_name(source.name + SYMBOL_SUFFIX)
    if not symbol.is_file():
        raise ModelError(
            f"{source.name} is no MXNet model: there is no {symbol.name} beside it",
            hint=f"give the -symbol.json file; {_EXPORT_HINT}",
        )
    return ModelFiles(symbol, _parameters_beside(source, source.name))


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ModelError(f"there is no file {path}", hint=_EXPORT_HINT)
    return path


def _only_symbol(folder: Path) -> Path:
    symbols = sorted(folder.glob(f"*{SYMBOL_SUFFIX}"))
    if len(symbols) != 1:
        raise ModelError(
            f"the folder {folder.name} holds {len(symbols)} files *{SYMBOL_SUFFIX}; one is wanted",
            hint=f"give the -symbol.json file itself; {_EXPORT_HINT}",
        )
    return symbols[0]


def _symbol_beside(parameters: Path) -> Path:
    match = _EPOCH_PARAMETERS.fullmatch(parameters.name)
    prefix = match["prefix"] if match else parameters.stem
    names = (f"{prefix}{SYMBOL_SUFFIX}", f"{prefix}.json")
    for name in names:
        if parameters.with_name(name).is_file():
            return parameters.with_name(name)
    raise ModelError(f"beside {parameters.name} there is no {names[0]}", hint=_EXPORT_HINT)


def _parameters_beside(model: Path, prefix: str) -> Path:
    epochs: list[tuple[int, Path]] = []
    for path in sorted(model.parent.iterdir()):
        match = _EPOCH_PARAMETERS.fullmatch(path.name)
        if match and match["prefix"] == prefix:
            epochs.append((int(match["epoch"]), path))
    if epochs:
        return max(epochs)[1]
    for suffix in (".params", ".npz"):
        candidate = model.with_name(prefix + suffix)
        if candidate.is_file():
            return candidate
    raise ModelError(f"beside {model.name} there is no {prefix}-0000.params or {prefix}.params", hint=_EXPORT_HINT)
