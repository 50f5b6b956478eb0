"""Dtypes and sizes of the example inputs that torch.jit.trace leaves in its file."""

from __future__ import annotations

import io
import pickle  # with a find_class that builds nothing but descriptions
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neo.contract.fields import ContractError
from neo.contract.tensors import TensorSpec

MAX_RECORD_BYTES = 1 << 20

_DTYPES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


def recorded_inputs(path: Path, arguments: Sequence[str]) -> tuple[TensorSpec, ...]:
    """One description for each argument of forward; () if the file has none, as after torch.jit.script."""
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith("/traced_inputs.pkl")]
        if not members or members[0].file_size > MAX_RECORD_BYTES:
            return ()
        content = archive.read(members[0])
    try:
        record = _Descriptions(io.BytesIO(content)).load()
        tensors = record["forward"]
        if len(tensors) != len(arguments):
            return ()
        return tuple(
            TensorSpec(name, tensor.dtype, tensor.shape) for name, tensor in zip(arguments, tensors, strict=True)
        )
    except (pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, AttributeError, ContractError):
        # the record is a convenience: without it the user says what the inputs are
        return ()


@dataclass(frozen=True, slots=True)
class _Description:
    dtype: str
    shape: tuple[int, ...]


class _Descriptions(pickle.Unpickler):
    """Turns tensors into their descriptions; any other class than those of tensors is refused."""

    def find_class(self, module: str, name: str) -> Any:
        known: dict[str, Callable[..., Any]] = {
            "torch.jit._pickle.restore_type_tag": lambda value, _type: value,
            "torch._utils._rebuild_tensor_v2": _describe,
            "collections.OrderedDict": dict,
        }
        full_name = f"{module}.{name}"
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if full_name not in known:
            raise pickle.UnpicklingError(f"{full_name} is no part of a tensor")
        return known[full_name]

    def persistent_load(self, pid: Any) -> str:
        """The storage's dtype: ("storage", class, key, device, elements)."""
        return str(pid[1])


def _describe(dtype: str, _offset: int, shape: tuple[int, ...], *_strides_and_flags: object) -> _Description:
    return _Description(dtype, tuple(shape))
