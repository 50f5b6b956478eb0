"""Any exception of a conversion as a NeoError that says what to do."""

from __future__ import annotations

import errno
import re
import traceback

from neo.errors import DiskFull, MissingDependency, ModelError, NeoError, ResourceLimitExceeded
from neo.frontends.base import ConversionRequest

MAX_TRACEBACK = 32_000

_EXTRAS = {"pytorch": "pytorch", "keras": "tensorflow", "tensorflow": "tensorflow"}
_COMPILE_MODULES = frozenset(["onnx", "onnxruntime"])
# what the libraries of four makers say when an allocation fails: they share no exception class
_NO_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|bad_alloc|bad allocation|Unable to allocate|ResourceExhausted"
    r"|OOM when allocating|out of memory|Failed to allocate memory|MemoryError",
    re.IGNORECASE,
)


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
    extra = "compile" if root in _COMPILE_MODULES else _EXTRAS.get(framework, "compile")
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


def exhaustion(text: str, number: int | None = None) -> NeoError | None:
    """The limit of memory, file size or disk that an exception or a log reports, if it reports one.

    number: the errno, where there is one.
    """
    if number in {errno.ENOSPC, errno.EDQUOT} or "No space left on device" in text:
        return disk_full()
    if number == errno.EFBIG or "File too large" in text:
        return ResourceLimitExceeded("the conversion wants to write a larger file than it may")
    if number == errno.ENOMEM or _NO_MEMORY.search(text):
        return memory_exceeded()
    return None


def disk_full() -> DiskFull:
    return DiskFull("the disk is full: the converted model does not fit", hint="make room, or set TMPDIR elsewhere")


def memory_exceeded() -> ResourceLimitExceeded:
    return ResourceLimitExceeded(
        "the conversion ran out of memory", hint="use a machine with more memory, or fix smaller sizes with --input"
    )


def first_line(error: BaseException) -> str:
    """Many libraries write a page; the first line that is not empty says what happened."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
