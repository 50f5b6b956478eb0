"""Any exception of a conversion as a NeoError that says what to do."""

from __future__ import annotations

import traceback

from neo.errors import MissingDependency, ModelError, NeoError
from neo.frontends import COMPILE_EXTRA, FRONTENDS
from neo.frontends.base import ConversionRequest
from neo.isolation.exhaustion import exhaustion

MAX_TRACEBACK = 32_000

_COMPILE_MODULES = frozenset(["onnx", "onnxruntime"])


def translated(error: Exception, request: ConversionRequest) -> NeoError:
    """The error itself if it is ours, else what it means to the user; with details["traceback"]."""
    ours = error if isinstance(error, NeoError) else _as_neo_error(error, request)
    ours.details.setdefault("traceback", "".join(traceback.format_exception(error))[-MAX_TRACEBACK:])
    return ours


def _as_neo_error(error: Exception, request: ConversionRequest) -> NeoError:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _missing(error.name, request.framework)
    for cause in _chain(error):
        number = cause.errno if isinstance(cause, OSError) else None
        exhausted = exhaustion(f"{type(cause).__name__}: {cause}", number)
        if exhausted:
            return exhausted
    return ModelError(
        f"{request.source.name} cannot be converted: {type(error).__name__}: {first_line(error)[:500]}",
        hint="--debug shows where; if the file is whole, it may hold an operator or a layout we do not know",
    )


def _missing(module: str, framework: str) -> MissingDependency:
    root = module.partition(".")[0]
    extra = COMPILE_EXTRA if root in _COMPILE_MODULES else FRONTENDS[framework].extra
    return MissingDependency(
        f"converting a {framework} model needs {root}, which is not installed",
        hint=f"pip install 'neo-edge[{extra}]'",
        details={"module": root},
    )


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain


def first_line(error: BaseException) -> str:
    """Many libraries write a page; the first line that is not empty says what happened."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
