"""The onnxruntime engine: model.onnx on ONNX Runtime's CPU provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from neo.contract.tensors import TensorSpec
from neo.errors import EngineError
from neo.runtime.engine_folder import EngineFolder
from neo.runtime.extensions import register_extensions
from neo.runtime.integers import open_exact_session

MODEL_FILE = "model.onnx"
_ERRORS_ONLY = 3


class OnnxRuntimeEngine:
    def __init__(self, session: onnxruntime.InferenceSession, folder: EngineFolder) -> None:
        self.inputs: tuple[TensorSpec, ...] = folder.inputs
        self.outputs: tuple[TensorSpec, ...] = folder.outputs
        self._session: onnxruntime.InferenceSession | None = session
        self._names = [spec.name for spec in folder.outputs]

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        if self._session is None:
            raise EngineError("the engine was closed")
        feeds = {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}
        try:
            outputs: list[NDArray[Any]] = self._session.run(self._names, feeds)
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise EngineError(f"onnxruntime failed: {error}") from error
        return outputs

    def close(self) -> None:
        self._session = None


def open_engine(folder: Path, description: EngineFolder, threads: int) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(open_session(folder, threads, extensions=description.extensions), description)


def open_session(
    folder: Path, threads: int, *, spin: bool = True, profile: Path | None = None, extensions: bool = False
) -> onnxruntime.InferenceSession:
    """The graph is optimised for this processor here, at load: what that gives depends on the processor.

    spin: threads that have no work wait busily for a while. profile: ONNX Runtime's record of every node is kept, and
    written to a file whose path begins so when profiling is ended. extensions: the graph has operators of ONNX
    Runtime's extensions. Raises EngineError.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    if extensions:
        register_extensions(options)
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    try:
        session: onnxruntime.InferenceSession = open_exact_session(folder / MODEL_FILE, options)
    except Exception as error:  # as above
        raise EngineError(f"onnxruntime cannot load {folder / MODEL_FILE}: {error}") from error
    return session
