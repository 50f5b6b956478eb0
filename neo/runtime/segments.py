"""An engine whose graph is cut: segments of TVM and of ONNX Runtime that run one after the other.

Tensors cross a border without a copy: ONNX Runtime reads TVM's results where they are, and writes its own into memory
of the alignment that TVM's code needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from neo.contract.strings import STRING
from neo.contract.tensors import TensorSpec
from neo.errors import BundleError, EngineError
from neo.runtime.engine_folder import RUNTIME_FILE, EngineFolder
from neo.runtime.onnxruntime import open_session
from neo.runtime.tvm import aligned_empty
from neo.runtime.tvm import open_engine as open_tvm

Run = Callable[[list[NDArray[Any]]], list[NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class OpenSegment:
    """A segment that is loaded and ready to run."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    #: arrays in the order of inputs -> arrays in the order of outputs, which are valid until the next call
    run: Run


class SegmentedEngine:
    def __init__(self, description: EngineFolder, segments: tuple[OpenSegment, ...]) -> None:
        self.inputs: tuple[TensorSpec, ...] = description.inputs
        self.outputs: tuple[TensorSpec, ...] = description.outputs
        self._segments = segments

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        if not self._segments:
            raise EngineError("the engine was closed")
        tensors = {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}
        for segment in self._segments:
            made = segment.run([tensors[name] for name in segment.inputs])
            tensors.update(zip(segment.outputs, made, strict=True))
        # copied: the next call writes to the same memory
        return [np.array(tensors[spec.name]) for spec in self.outputs]

    def close(self) -> None:
        self._segments = ()


class _Session:
    """A segment of ONNX Runtime. Outputs of fixed shape get memory of their own, once."""

    def __init__(self, session: onnxruntime.InferenceSession, description: EngineFolder) -> None:
        self._session = session
        self._names = [spec.name for spec in description.inputs]
        self._binding = session.io_binding()
        self._fixed = {
            spec.name: aligned_empty(spec)
            for spec in description.outputs
            if not spec.dynamic_dims and 0 not in spec.shape
        }
        self._order = [spec.name for spec in description.outputs]
        for name, buffer in self._fixed.items():
            self._binding.bind_output(name, "cpu", 0, buffer.dtype.type, buffer.shape, buffer.ctypes.data)

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        for name, array in zip(self._names, arrays, strict=True):
            self._binding.bind_cpu_input(name, np.ascontiguousarray(array))
        for name in self._order:
            if name not in self._fixed:  # anew: the last run's size is not this one's
                self._binding.bind_output(name)
        try:
            self._session.run_with_iobinding(self._binding)
            values = self._binding.get_outputs()
            return [
                self._fixed[name] if name in self._fixed else value.numpy()
                for name, value in zip(self._order, values, strict=True)
            ]
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise EngineError(f"onnxruntime failed: {error}") from error


def _with_strings(session: onnxruntime.InferenceSession, description: EngineFolder) -> Run:
    """ONNX Runtime binds no strings to memory: such a segment gets its results anew with every call."""
    read, made = ([spec.name for spec in specs] for specs in (description.inputs, description.outputs))

    def run(arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            results: list[NDArray[Any]] = session.run(made, dict(zip(read, arrays, strict=True)))
        except Exception as error:  # as above
            raise EngineError(f"onnxruntime failed: {error}") from error
        return results

    return run


def open_engine(folder: Path, description: EngineFolder, threads: int) -> SegmentedEngine:
    """Raises BundleError if the segments do not fit together, EngineError if one cannot be loaded."""
    known = {spec.name for spec in description.inputs}
    segments = []
    for name in description.segments:
        part = EngineFolder.read(folder / name)
        missing = {spec.name for spec in part.inputs} - known
        if part.segments or missing:
            raise BundleError(
                f"{folder / name}: no segment before it makes {', '.join(sorted(missing)) or 'its parts'}"
            )
        known |= {spec.name for spec in part.outputs}
        inputs, outputs = (tuple(spec.name for spec in specs) for specs in (part.inputs, part.outputs))
        segments.append(OpenSegment(inputs, outputs, _open_part(folder, name, part, threads)))
    if not {spec.name for spec in description.outputs} <= known:
        raise BundleError(f"{folder}: no segment makes all of the model's outputs")
    return SegmentedEngine(description, tuple(segments))


def _open_part(folder: Path, name: str, part: EngineFolder, threads: int) -> Run:
    if part.engine == "tvm":
        return open_tvm(folder / name, part, threads, folder / RUNTIME_FILE).run_in_place
    if part.engine == "onnxruntime":
        # its threads must not keep the cores from TVM's, which come next
        session = open_session(folder / name, threads, spin=False, extensions=part.extensions)
        strings = any(spec.dtype == STRING for spec in (*part.inputs, *part.outputs))
        return _with_strings(session, part) if strings else _Session(session, part).run
    raise BundleError(f"{folder / name}: no segment is run by the engine {part.engine!r}")
