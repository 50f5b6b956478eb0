"""What a person types -> the fields of a CompileRequest: one reader for the command line and for Python.

How a value is read follows from the type of its field, so that a new option of a known type is not listed here. A wrong
one raises UsageError or InputSpecError that names the option as the person wrote it.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from neo.compiler.request import CompileRequest
from neo.contract.fields import ContractError
from neo.contract.parity import Tolerance
from neo.contract.precision import FP32
from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError, UsageError
from neo.graph.layout import EVERY_INPUT, LAYOUTS

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def read_fields(typed: Mapping[str, Any], written: Callable[[str], str]) -> dict[str, Any]:
    """typed: fields of CompileRequest by name, as a person gave them. written: field -> how the person calls it.

    -> the same with each value of its field's type. Raises UsageError, InputSpecError.
    """
    kinds = {field.name: str(field.type) for field in fields(CompileRequest)}
    return {name: _READERS[kinds[name]](value, written(name)) for name, value in typed.items()}


def read_path(value: Any, written: str) -> Path | None:
    if value is None:
        return None
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise UsageError(f"{written} is {_shown(value)}, no file or folder", hint=f"give {written} a path")
    return Path(text)


def read_names(value: Any, written: str) -> tuple[str, ...]:
    """A name, several in one text with commas between them, or a list of names; each once."""
    parts = value.split(",") if isinstance(value, str) else _listed(value)
    texts = [str(part) if isinstance(part, os.PathLike) else part for part in parts]
    if not all(map(_is_text, texts)):
        raise UsageError(f"{written} is {_shown(value)}, no names", hint=f"give {written} a name or a list of names")
    return tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))


def read_specs(value: Any, written: str) -> tuple[TensorSpec, ...]:
    """'x=float32[1,3]', a TensorSpec, a list of such, or example arrays by name."""
    if isinstance(value, Mapping):
        return tuple(_spec_of(name, array, written) for name, array in value.items())
    return tuple(_read_spec(part, written) for part in _listed(value))


def read_sizes(value: Any, written: str) -> dict[str, int]:
    """'N=8', a list of such, or sizes by name."""
    sizes = {}
    for name, size in _pairs(value):
        number = int(size) if isinstance(size, str) and size.isdecimal() and len(size) < 20 else size
        if not name or not _is_text(name) or not _is_whole(number) or number < 1:
            raise InputSpecError(
                f"{written} {_shown(f'{name}={size}' if name else size)} is no size of a dimension",
                hint="write NAME=SIZE, as in N=1",
            )
        sizes[name] = operator.index(number)
    return sizes


def read_layouts(value: Any, written: str) -> dict[str, str]:
    """'NHWC', 'mask=NHWC', a list of such, or layouts by name."""
    layouts = {}
    for name, layout in _pairs(value):
        if layout not in LAYOUTS or not _is_text(name):
            raise UsageError(
                f"{written} {_shown(layout)} is no layout",
                hint="write NCHW or NHWC, or NAME=NCHW for one input or output",
            )
        layouts[name or EVERY_INPUT] = layout
    return layouts


def read_tolerance(value: Any, written: str) -> Tolerance | None:
    """The largest relative error, 0 to 1."""
    if value is None or isinstance(value, Tolerance):
        return value
    number = _read_number(value, written)
    if number > 1:
        raise UsageError(f"{written} is {number:g}; a relative error is 0 to 1", hint=f"give {written} 0.001, say")
    return Tolerance(FP32.tolerance.max_abs, number)


def read_text(value: Any, written: str) -> str | None:
    if value is not None and not _is_text(value):
        raise UsageError(f"{written} is {_shown(value)}, no text", hint=f"give {written} a str of UTF-8")
    text: str | None = value
    return text


def _read_flag(value: Any, written: str) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise UsageError(f"{written} is {_shown(value)}", hint=f"give {written} True or False")
    return bool(value)


def _read_number(value: Any, written: str) -> float:
    """At least 0 and finite."""
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf:
        raise UsageError(f"{written} is {_shown(value)}, no number from 0 on", hint=f"give {written} a number")
    return float(value)


def _read_count(value: Any, written: str) -> int | None:
    if value is not None and (not _is_whole(value) or value < 1):
        raise UsageError(f"{written} is {_shown(value)}", hint=f"give {written} a whole number from 1 on")
    return None if value is None else operator.index(value)


# the type of a field of CompileRequest -> what reads it; the other fields are no one's to type
_READERS: dict[str, Callable[[Any, str], Any]] = {
    "Path | None": read_path,
    "str | None": read_text,
    "str": read_text,
    "bool": _read_flag,
    "float": _read_number,
    "int | None": _read_count,
    "tuple[str, ...]": read_names,
    "tuple[TensorSpec, ...]": read_specs,
    "Mapping[str, int]": read_sizes,
    "Mapping[str, str]": read_layouts,
    "Tolerance | None": read_tolerance,
}


def _listed(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple | set | frozenset) else (value,)


def _pairs(value: Any) -> Iterable[tuple[str, Any]]:
    """-> (name, what it is set to); the name is "" where none is given."""
    if isinstance(value, Mapping):
        yield from value.items()
        return
    for part in _listed(value):
        name, _, rest = part.rpartition("=") if isinstance(part, str) else ("", "", part)
        yield name, rest


def _read_spec(value: Any, written: str) -> TensorSpec:
    if isinstance(value, TensorSpec):
        return value
    if not _is_text(value):
        raise InputSpecError(
            f"{written} is {_shown(value)}, no description of an input",
            hint="write NAME=DTYPE[DIM,DIM,...], as in x=float32[1,3,224,224]; or give a dict of arrays by input name",
        )
    try:
        return TensorSpec.parse(value)
    except ContractError as error:
        raise InputSpecError(f"{written} {error.message}", hint=error.hint) from error


def _spec_of(name: Any, array: Any, written: str) -> TensorSpec:
    shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
    if not _is_text(name) or shape is None or dtype is None:
        raise InputSpecError(
            f"{written}[{_shown(name)}] is {_shown(array)}, no array",
            hint="give numpy arrays, or tensors, by input name",
        )
    # torch.float32, tf.float32 and numpy's float32 alike
    kind = getattr(dtype, "name", None) or str(dtype).rpartition(".")[2]
    is_text = isinstance(dtype, np.dtype) and dtype.kind in "UO"
    try:
        return TensorSpec(name, "string" if is_text else kind, tuple(int(size) for size in shape))
    except ContractError as error:
        raise InputSpecError(f"{written}: {error.message}", hint=error.hint) from error


def _is_text(value: Any) -> bool:
    """Whether it is one that can be written down: an argument's bytes that are no UTF-8 become surrogates."""
    return isinstance(value, str) and value.encode(errors="ignore").decode() == value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """Short enough for a message: an array or a module would fill the screen."""
    text = repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def names_its_arguments(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """The function, but a call with an unknown or missing argument raises UsageError with the nearest name."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def called(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        unknown = [name for name in kwargs if name not in signature.parameters]
        if unknown:
            near = difflib.get_close_matches(unknown[0], signature.parameters, 1)
            raise UsageError(
                f"neo.{function.__name__} has no argument {unknown[0]!r}",
                hint=(f"did you mean {near[0]!r}? " if near else "") + f"it takes: {', '.join(signature.parameters)}",
            )
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise UsageError(f"neo.{function.__name__}: {error}", hint=f"see help(neo.{function.__name__})") from error
        return function(*args, **kwargs)

    return called
