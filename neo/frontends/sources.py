"""What a user names as the model: a file or folder, or code that builds it and the file of its weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from neo.errors import ModelError, UsageError
from neo.frontends.base import Factory
from neo.frontends.recognise import recognise

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True, slots=True)
class Source:
    """A model as ``neo.frontends.base.ConversionRequest`` names it."""

    #: its ``source``
    path: Path
    framework: str
    factory: Factory | None = None


def find_source(
    model: Path | None, module: str | None, weights: Path | None, framework: str | None, *, trust_pickle: bool
) -> Source:
    """Raises UsageError unless either a model or a module is named, and what ``recognise`` raises."""
    if module is None:
        if model is None or weights is not None:
            raise UsageError(
                "--weights without --module" if weights else "no model is named",
                hint="give a model file or folder; or code and its weights: --module package.module:function --weights"
                f" {weights or 'FILE'}",
            )
        path = _located(model)
        return Source(path, framework or recognise(model, trust_pickle=trust_pickle))
    if model is not None:
        raise UsageError(
            f"--module {module} builds the model; what is {model}?", hint=f"give its weights with --weights {model}"
        )
    if not _REFERENCE.fullmatch(module):
        raise UsageError(
            f"--module {module!r} names no function in a module",
            hint="write package.module:name, as in nets.unet:make",
        )
    return _built(module, weights, framework)


def _built(module: str, weights: Path | None, framework: str | None) -> Source:
    folder = Path.cwd()
    if weights is None:
        return Source(folder, framework or "pytorch", Factory(module, folder))
    path = _located(weights)
    if not path.is_file():
        raise ModelError(f"there is no file {weights}", hint="--weights takes .safetensors, .pth or .npz (Chainer)")
    by_content = "chainer" if weights.suffix == ".npz" else "pytorch"
    return Source(path, framework or by_content, Factory(module, folder, path))


def _located(path: Path) -> Path:
    """Its absolute name; there may be no such file. Raises ModelError for what can be none."""
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # a name too long, a link to itself, a zero byte
        said = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"cannot read {path}: {said}", hint="give the path of a model file or folder") from error
    return path.resolve()
