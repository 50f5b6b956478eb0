"""The Open Inference Protocol (V2) over REST, with its binary tensor extension: bytes <-> arrays.

The same frames travel between the agent and its worker process. A frame is a JSON header followed by the raw
little-endian bytes of every tensor that has ``binary_data_size``; over HTTP the length of the header stands in
``Inference-Header-Content-Length`` (absent: the whole body is JSON). A string is its length in 4 bytes and its UTF-8;
the datatype is called BYTES.

Source: https://github.com/kserve/open-inference-protocol, inference_rest.md, and Triton's extension_binary_data.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.fields import ContractError, as_object, as_string, dump_object, get, get_size, parse_object
from neo.contract.labels import OutputLabels
from neo.contract.strings import STRING, StringBudget, as_dtype, dtype_name, list_strings, pack_strings, unpack_strings
from neo.contract.tensors import NUMBERS, TensorSpec

Array = NDArray[Any]

HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_BODY_BYTES = 256 << 20
MAX_ELEMENTS = 1 << 59

# V2 says FP32 and INT64 where numpy says float32 and int64
_TO_V2 = {name: name.upper().replace("FLOAT", "FP") for name in NUMBERS} | {STRING: "BYTES"}
_FROM_V2 = {v2: name for name, v2 in _TO_V2.items()}


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a client asks for."""

    id: str
    #: Arrays by name.
    inputs: dict[str, Array]
    #: The names asked for, () for all.
    outputs: tuple[str, ...]
    #: Answer with raw bytes?
    binary: bool


def v2_dtype(dtype: str) -> str:
    """The contract's name of a dtype -> V2's: float32 -> FP32, string -> BYTES."""
    return _TO_V2[dtype]


def spec_to_v2(spec: TensorSpec, labels: Sequence[OutputLabels] = ()) -> dict[str, Any]:
    """As model metadata shows it; a dynamic dimension is -1. The labels of an output stand in ``parameters``."""
    shape = [dim if isinstance(dim, int) else -1 for dim in spec.shape]
    entry: dict[str, Any] = {"name": spec.name, "datatype": v2_dtype(spec.dtype), "shape": shape}
    for found in labels:
        if found.output == spec.name:
            entry["parameters"] = {"labels": list(found.texts), "labels_by": found.by}
    return entry


def encode_tensors(
    kind: str,
    tensors: Mapping[str, Array],
    extra: Mapping[str, Any],
    *,
    binary: bool,
    labels: Mapping[str, OutputLabels] | None = None,
) -> tuple[bytes, int]:
    """A frame with tensors under kind ("inputs" or "outputs"). -> (frame, length of its JSON header).

    labels: by tensor name; such a tensor gets ``parameters.labels``, flat as its data, null where there is none.
    Raises ContractError for a dtype that the protocol lacks, and for more strings than ``decode_tensors`` reads.
    """
    entries, blobs = [], []
    budget = StringBudget()
    for name, tensor in tensors.items():
        array = np.asarray(tensor)
        dtype = dtype_name(array)
        if dtype not in _TO_V2:
            raise ContractError(f"tensor {name!r} has dtype {dtype}, which the protocol does not carry")
        entry: dict[str, Any] = {"name": name, "datatype": _TO_V2[dtype], "shape": list(array.shape)}
        if dtype == STRING:
            packed = pack_strings(as_dtype(array, STRING), f"tensor {name!r}", budget)
        if binary:
            little = array.dtype.newbyteorder("<")
            blob = packed if dtype == STRING else np.ascontiguousarray(array, dtype=little).tobytes()
            entry["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            # JSON has no NaN or infinity; null is what JavaScript makes of them
            flat = array.ravel().tolist()
            finite = array.dtype.kind != "f" or bool(np.isfinite(array).all())
            entry["data"] = flat if finite else [v if np.isfinite(v) else None for v in flat]
        if labels and name in labels:
            entry.setdefault("parameters", {})["labels"] = labels[name].of(array)
        entries.append(entry)
    header = dump_object({**extra, kind: entries})
    return b"".join([header, *blobs]), len(header)


def decode_tensors(kind: str, body: bytes, header_length: int | None) -> tuple[dict[str, Array], dict[str, Any]]:
    """-> (arrays by name, the JSON header). Arrays of a binary frame are read-only views of body.

    JSON's null is read as NaN where the datatype has one. Raises ContractError for anything malformed: sizes that
    do not fit, unknown datatypes, values that the datatype cannot hold, data left over; and for too many or too long
    strings, see ``StringBudget``.
    """
    length = len(body) if header_length is None else header_length
    if not 0 <= length <= len(body):
        raise ContractError(f"{HEADER_LENGTH} is {length}, the body has {len(body)} bytes")
    header = parse_object(body[:length], what="inference header", max_bytes=MAX_BODY_BYTES)
    arrays: dict[str, Array] = {}
    budget = StringBudget()
    offset = length
    for item in get(header, kind, list, "inference header"):
        entry = as_object(item, "tensor")
        name = as_string(entry.get("name"), "tensor.name")
        if name in arrays:
            raise ContractError(f"tensor {name!r} comes twice")
        dtype, shape = _dtype(entry, name), _shape(entry, name)
        parameters = as_object(entry.get("parameters", {}), f"tensor {name!r}.parameters")
        if "binary_data_size" in parameters:
            size = get_size(parameters, "binary_data_size", f"tensor {name!r}.parameters")
            rest = memoryview(body)[offset:]
            if dtype == STRING:
                arrays[name] = _strings_from_bytes(name, shape, rest, size, budget)
            else:
                arrays[name] = _from_bytes(name, np.dtype(dtype), shape, rest, size)
            offset += size
        elif dtype == STRING:
            arrays[name] = list_strings(entry.get("data"), shape, f"tensor {name!r}", budget)
        else:
            arrays[name] = _from_list(name, np.dtype(dtype), shape, entry)
    if offset != len(body):
        raise ContractError(f"{len(body) - offset} bytes follow the last tensor")
    return arrays, header


def decode_request(body: bytes, header_length: int | None) -> InferRequest:
    arrays, header = decode_tensors("inputs", body, header_length)
    parameters = as_object(header.get("parameters", {}), "parameters")
    wanted = header.get("outputs", [])
    if not isinstance(wanted, list):
        raise ContractError("outputs should be a list")
    outputs = [as_object(item, "outputs[]") for item in wanted]
    binary = bool(parameters.get("binary_data_output", False)) or any(
        bool(as_object(item.get("parameters", {}), "outputs[].parameters").get("binary_data")) for item in outputs
    )
    names = tuple(as_string(item.get("name"), "outputs[].name") for item in outputs)
    return InferRequest(as_string(header.get("id", ""), "id"), arrays, names, binary)


def check_inputs(specs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> dict[str, int]:
    """Hold arrays against the model's inputs; -> the sizes of the named dimensions.

    Raises ContractError naming the input, what it wants and what it got.
    """
    names = [spec.name for spec in specs]
    missing, unknown = [n for n in names if n not in arrays], [n for n in arrays if n not in names]
    if missing or unknown:
        found = ", ".join(map(repr, arrays)) or "none"
        raise ContractError(
            f"the model takes the inputs {', '.join(map(repr, names))}; got {found}",
            hint=f"add {', '.join(map(repr, missing))}" if missing else f"leave out {', '.join(map(repr, unknown))}",
        )
    sizes: dict[str, int] = {}
    for spec in specs:
        array = arrays[spec.name]
        if not isinstance(array, np.ndarray):
            raise ContractError(
                f"input {spec.name!r} is a {type(array).__name__}, not a numpy array",
                hint=f"give numpy.asarray(..., dtype={'str' if spec.dtype == STRING else repr(spec.dtype)})",
            )
        fits = len(spec.shape) == array.ndim and all(
            dim == size if isinstance(dim, int) else sizes.setdefault(dim, size) == size
            for dim, size in zip(spec.shape, array.shape, strict=True)
        )
        dtype = dtype_name(array)
        if not fits or dtype != spec.dtype:
            want = f"{spec.dtype} [{', '.join(map(str, spec.shape))}]"
            got = f"{dtype} [{', '.join(map(str, array.shape))}]"
            raise ContractError(f"input {spec.name!r} wants {want}, got {got}", hint=_shape_hint(spec, array))
    return sizes


def _shape_hint(spec: TensorSpec, array: Array) -> str:
    if array.ndim == len(spec.shape) == 4 and array.shape != spec.shape:
        n, c, h, w = spec.shape
        if array.shape == (n, h, w, c):
            return "is it NHWC? transpose it with x.transpose(0, 3, 1, 2)"
        if array.shape == (n, w, c, h):
            return "is it NCHW? transpose it with x.transpose(0, 2, 3, 1)"
    if spec.dtype == STRING and array.dtype.kind == "O":
        return "it has objects that are no str"
    if array.shape == spec.shape:
        return f"convert it with x.astype({'str' if spec.dtype == STRING else repr(spec.dtype)})"
    return ""


def _dtype(entry: dict[str, Any], name: str) -> str:
    datatype = as_string(entry.get("datatype"), f"tensor {name!r}.datatype")
    if datatype not in _FROM_V2:
        raise ContractError(f"tensor {name!r} has datatype {datatype[:20]!r}; known are {', '.join(sorted(_FROM_V2))}")
    return _FROM_V2[datatype]


def _shape(entry: dict[str, Any], name: str) -> tuple[int, ...]:
    shape = get(entry, "shape", list, f"tensor {name!r}")
    good = len(shape) <= 32 and all(type(dim) is int and 0 <= dim < 1 << 40 for dim in shape)
    # numpy refuses shapes whose other dimensions overflow, even where one is 0 and nothing is stored
    if not good or math.prod(max(dim, 1) for dim in shape) > MAX_ELEMENTS:
        raise ContractError(f"tensor {name!r} has shape {shape!r:.80}")
    return tuple(shape)


def _from_bytes(name: str, dtype: np.dtype[Any], shape: tuple[int, ...], rest: memoryview, size: int) -> Array:
    if size > len(rest) or size != math.prod(shape) * dtype.itemsize:
        raise ContractError(f"tensor {name!r} with shape {list(shape)} does not have {size} bytes of data")
    if size == 0:
        return np.zeros(shape, dtype)
    array: Array = np.frombuffer(rest[:size], dtype=dtype.newbyteorder("<")).reshape(shape)
    if dtype.kind == "b" and array.view(np.uint8).max() > 1:
        raise ContractError(f"tensor {name!r} has bytes other than 0 and 1, which are no bool")
    return array.astype(dtype, copy=False)


def _strings_from_bytes(name: str, shape: tuple[int, ...], rest: memoryview, size: int, budget: StringBudget) -> Array:
    if size > len(rest):
        raise ContractError(f"tensor {name!r} does not have {size} bytes of data")
    return unpack_strings(rest[:size], math.prod(shape), f"tensor {name!r}", budget).reshape(shape)


def _from_list(name: str, dtype: np.dtype[Any], shape: tuple[int, ...], entry: dict[str, Any]) -> Array:
    raw = _numbers(name, dtype, entry.get("data"))
    count = math.prod(shape)
    if raw.size != count or (raw.ndim > 1 and raw.shape != shape):
        found = f"{raw.size} numbers" if raw.ndim <= 1 else f"numbers nested as {list(raw.shape)}"
        raise ContractError(f"tensor {name!r} with shape {list(shape)} needs {count} numbers, got {found}")
    if count == 0:
        return np.zeros(shape, dtype)
    with np.errstate(invalid="ignore", over="ignore"):  # what does not fit is found below
        array = raw.astype(dtype)
        fits = (
            np.array_equal(np.isfinite(array), np.isfinite(raw))
            if dtype.kind == "f"
            else np.array_equal(array.astype(np.float64), raw.astype(np.float64))
        )
    if not fits:
        raise ContractError(f"tensor {name!r} has values that {dtype} cannot hold")
    return array.reshape(shape)


def _numbers(name: str, dtype: np.dtype[Any], data: Any) -> Array:
    """Nested or flat, both are allowed; null stands for NaN where there is one, as ``encode_tensors`` writes it.

    -> dtype, or what numpy makes of the numbers.
    """
    if data is None:
        raise ContractError(f"tensor {name!r} has no data")
    try:
        raw: Array = np.asarray(data)
        if raw.size and dtype.kind == "f" and raw.dtype.kind == "O":
            return _each(data, _float, dtype)  # with null in it, or whole numbers past 64 bits
        if raw.size and dtype.kind in "iu" and raw.dtype.kind in "fO":
            # numpy makes inexact floats of whole numbers of which some need the 64th bit and others a sign
            return _each(data, _whole, dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise ContractError(f"tensor {name!r}: the data is ragged, or not all numbers that {dtype} can hold") from error
    if raw.size and raw.dtype.kind not in "biuf":
        raise ContractError(f"tensor {name!r}: the data should be a list of numbers that {dtype} can hold")
    return raw


def _each(data: Any, read: Callable[[Any], float], dtype: np.dtype[Any]) -> Array:
    items = np.asarray(data, dtype=object)
    numbers = [read(item) for item in items.ravel()]
    if dtype.kind != "f":
        limits = np.iinfo(dtype)
        if not all(limits.min <= number <= limits.max for number in numbers):
            raise OverflowError("out of range")
    return np.array(numbers, dtype=dtype if dtype.kind != "f" else np.float64).reshape(items.shape)


def _float(item: Any) -> float:
    if item is None:
        return np.nan
    if not isinstance(item, int | float):
        raise TypeError(f"{type(item).__name__} is no number")
    return float(item)


def _whole(item: Any) -> int:
    if not isinstance(item, int | float) or item != int(item):
        raise TypeError(f"{item!r:.20} is no whole number")
    return int(item)
