"""engine.json: what an engine folder holds. Written by ``neo.engines``, read here.

::

    engine.json            this description
    model.onnx             onnxruntime: the optimised graph; its larger weights are external data in weights/
    model.so               tvm: the code, without weights
    weights/*.bin          the weights, little-endian, every tensor at a multiple of 64 bytes
    libtvm_runtime.so      tvm: the runtime library the code was built for
    segments/<n>/          tvm, where the graph is cut: an engine folder for each segment, of either engine; engine.json
                           lists them in the order they run, and their tensors are connected by name
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neo.contract.fields import (
    ContractError,
    as_object,
    as_string,
    dump_object,
    get,
    get_list,
    get_size,
    get_strings,
    parse_object,
)
from neo.contract.manifest import parse_path
from neo.contract.strings import STRING
from neo.contract.tensors import TensorSpec
from neo.contract.versions import VERSION_KEY, NewerFormat, read_versioned
from neo.errors import BundleError

ENGINE_VERSION = 2
ENGINE_FILE = "engine.json"
LIBRARY_FILE = "model.so"
RUNTIME_FILE = "libtvm_runtime.so"
ALIGNMENT_BYTES = 64


@dataclass(frozen=True, slots=True)
class WeightEntry:
    """Where one tensor is stored."""

    #: relative to the engine folder
    file: str
    #: in bytes
    offset: int
    #: as numpy names it
    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def from_json(cls, value: Any) -> WeightEntry:
        obj = as_object(value, "weight")
        # TensorSpec knows which dtypes and dimensions are allowed
        spec = TensorSpec.from_json({"name": "weight", "dtype": obj.get("dtype"), "shape": obj.get("shape")})
        if spec.dynamic_dims or spec.dtype == STRING:
            raise ContractError("a weight has numbers in it, and whole ones as its shape")
        file = as_string(obj.get("file"), "weight.file")
        parse_path(file)
        offset = get_size(obj, "offset", "weight")
        return cls(file, offset, spec.dtype, tuple(dim for dim in spec.shape if isinstance(dim, int)))

    def to_json(self) -> dict[str, Any]:
        return {"file": self.file, "offset": self.offset, "dtype": self.dtype, "shape": list(self.shape)}


@dataclass(frozen=True, slots=True)
class KernelCost:
    """Operations and memory traffic of one call of a kernel, known when it is built."""

    name: str
    #: floating-point operations; a multiply-add counts as two
    flops: int
    #: size of all inputs and outputs, each counted once
    moved_bytes: int
    #: shapes of the outputs
    outputs: tuple[tuple[int, ...], ...]

    @classmethod
    def from_json(cls, value: Any) -> KernelCost:
        obj = as_object(value, "kernel")
        shapes = get_list(obj, "outputs", lambda shape: get_list({"shape": shape}, "shape", _size, "kernel"), "kernel")
        flops, moved_bytes = (get_size(obj, key, "kernel") for key in ("flops", "moved_bytes"))
        return cls(as_string(obj.get("name"), "kernel.name"), flops, moved_bytes, shapes)

    def to_json(self) -> dict[str, Any]:
        outputs = [list(shape) for shape in self.outputs]
        return {"name": self.name, "flops": self.flops, "moved_bytes": self.moved_bytes, "outputs": outputs}


def _size(value: Any) -> int:
    return get_size({"size": value}, "size", "kernel")


@dataclass(frozen=True, slots=True)
class EngineFolder:
    """The description of an engine folder."""

    #: a key of ``neo.runtime.load.ENGINES``
    engine: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    #: in the order in which the code takes them (tvm only)
    weights: tuple[WeightEntry, ...] = ()
    #: folders of the segments, relative to this one, in execution order (tvm only, if the graph is cut)
    segments: tuple[str, ...] = ()
    #: those whose cost is known (tvm only); () in bundles from before it was recorded
    kernels: tuple[KernelCost, ...] = ()
    #: does the graph have operators of ONNX Runtime's extensions?
    extensions: bool = False
    #: does the code use the tiles of Intel AMX (tvm only)?
    tiles: bool = False
    #: names of the kernels in execution order, with repetitions (tvm only)
    steps: tuple[str, ...] = ()
    #: bytes of memory for all intermediate results (tvm only)
    workspace: int = 0

    def to_bytes(self) -> bytes:
        return dump_object(
            {
                VERSION_KEY: ENGINE_VERSION,
                "engine": self.engine,
                "inputs": [spec.to_json() for spec in self.inputs],
                "outputs": [spec.to_json() for spec in self.outputs],
                "weights": [weight.to_json() for weight in self.weights],
                "segments": list(self.segments),
                "kernels": [kernel.to_json() for kernel in self.kernels],
                "extensions": self.extensions,
                "tiles": self.tiles,
                "steps": list(self.steps),
                "workspace": self.workspace,
            }
        )

    @classmethod
    def read(cls, folder: Path) -> EngineFolder:
        """Raises BundleError if engine.json is missing or damaged, NewerFormat if a later version wrote it."""
        try:
            obj = parse_object((folder / ENGINE_FILE).read_bytes(), what=ENGINE_FILE, max_bytes=16 << 20)
            return read_versioned(obj, {1: _read_v1, 2: _read_v2}, ENGINE_FILE, unsaid=1)
        except OSError as error:
            raise BundleError(f"no engine in {folder}: {error.strerror}", hint="give an unpacked bundle") from error
        except NewerFormat:
            raise
        except ContractError as error:
            raise BundleError(f"{folder}: {error.message}") from error


def _read_v1(obj: dict[str, Any]) -> EngineFolder:
    """Version 1 had no version number, and in its early days not all of the fields."""
    absent = {"segments": [], "kernels": [], "extensions": False, "tiles": False, "steps": [], "workspace": 0}
    return _read_v2(absent | obj)


def _read_v2(obj: dict[str, Any]) -> EngineFolder:
    return EngineFolder(
        get(obj, "engine", str, ENGINE_FILE),
        get_list(obj, "inputs", TensorSpec.from_json, ENGINE_FILE),
        get_list(obj, "outputs", TensorSpec.from_json, ENGINE_FILE),
        get_list(obj, "weights", WeightEntry.from_json, ENGINE_FILE),
        tuple(parse_path(name).as_posix() for name in get_strings(obj, "segments", ENGINE_FILE)),
        get_list(obj, "kernels", KernelCost.from_json, ENGINE_FILE),
        get(obj, "extensions", bool, ENGINE_FILE),
        get(obj, "tiles", bool, ENGINE_FILE),
        get_strings(obj, "steps", ENGINE_FILE),
        get_size(obj, "workspace", ENGINE_FILE),
    )
