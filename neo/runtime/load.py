"""From a folder to something that predicts."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neo.contract.device import processor_mismatches
from neo.contract.fields import ContractError
from neo.contract.inference import check_inputs
from neo.contract.manifest import CONFIG_PATH, ENGINE_DIR, Manifest
from neo.contract.strings import STRING, as_dtype
from neo.contract.tensors import TensorSpec
from neo.contract.versions import NewerFormat
from neo.errors import BundleError, EngineError, InputSpecError, TargetError, UsageError
from neo.runtime.engine_folder import EngineFolder
from neo.runtime.extensions import DISTRIBUTION
from neo.runtime.host import read_host


@dataclass(frozen=True, slots=True)
class Opener:
    """How an engine's folder is opened."""

    #: "module:function": (folder, its EngineFolder, number of threads) -> Engine
    open: str
    #: the engine has the version of this distribution
    distribution: str
    #: does the folder contain machine code?
    compiled: bool = False


ENGINES = {
    "onnxruntime": Opener("neo.runtime.onnxruntime:open_engine", "onnxruntime"),
    "tvm": Opener("neo.runtime.tvm:open_engine", "apache-tvm-ffi", compiled=True),
}
# what opens the folder of an engine whose graph is cut into segments
SEGMENTED = "neo.runtime.segments:open_engine"


class Engine(Protocol):
    """A loaded model. Not thread-safe; call it from the thread that loaded it.

    run: arrays in the order of ``inputs``, of exactly their dtype and shape, to arrays in the order of ``outputs``.
    Strings are object arrays of ``str``.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]: ...

    def close(self) -> None: ...


class Predictor:
    """A loaded bundle: arrays by input name in, arrays by output name out."""

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        self.manifest = manifest
        self._engine = engine

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._engine.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._engine.outputs

    def __repr__(self) -> str:
        takes, gives = (", ".join(map(str, specs)) for specs in (self.inputs, self.outputs))
        return f"<{self.manifest.reference} on {self.manifest.engine}: {takes} -> {gives}>"

    def predict(self, inputs: Mapping[str, ArrayLike] | ArrayLike) -> dict[str, NDArray[Any]]:
        """inputs: an array for each input by name; for a model with one input its array alone does. Arrays are numpy's,
        or what numpy reads without loss: tensors of a framework, lists.

        -> an array for each output by name. Raises InputSpecError if names, dtypes or shapes are not the model's;
        EngineError if the engine fails.

        Example: ``predictor.predict({"x": numpy.zeros((1, 3, 224, 224), "float32")})["y"]``
        """
        return run_by_name(self._engine, self._by_name(inputs))

    def close(self) -> None:
        """Give the engine's memory back; nothing can be predicted afterwards."""
        self._engine.close()

    def _by_name(self, inputs: Mapping[str, ArrayLike] | ArrayLike) -> dict[str, NDArray[Any]]:
        specs = {spec.name: spec for spec in self.inputs}
        if not isinstance(inputs, Mapping):
            if len(specs) != 1:
                raise InputSpecError(
                    f"the model takes the inputs {', '.join(map(repr, specs))}; got one {type(inputs).__name__}",
                    hint="give a dict with one array for each of them",
                )
            inputs = dict.fromkeys(specs, inputs)
        return {name: _as_array(value, specs.get(name)) for name, value in inputs.items()}


def run_by_name(engine: Engine, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays by input name -> arrays by output name. Raises InputSpecError if they are not the engine's inputs."""
    try:
        check_inputs(engine.inputs, arrays)
    except ContractError as error:
        raise InputSpecError(error.message, hint=error.hint) from error
    outputs = engine.run([as_dtype(arrays[spec.name], spec.dtype) for spec in engine.inputs])
    return {spec.name: array for spec, array in zip(engine.outputs, outputs, strict=True)}


def _as_array(value: Any, spec: TensorSpec | None) -> NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "detach"):  # a torch tensor that gradients flow through does not become an array by itself
        value = value.detach().cpu()
    # what has no dtype of its own takes the model's
    wanted = None if spec is None or spec.dtype == STRING or hasattr(value, "dtype") else spec.dtype
    try:
        return np.asarray(value, wanted)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        name = "an input" if spec is None else f"input {spec}"
        raise InputSpecError(f"{name}: this {type(value).__name__} is no array: {error}") from error


def load(folder: str | os.PathLike[str], threads: int | None = None) -> Predictor:
    """Open an unpacked bundle. threads: how many the engine may use; None for every core this process may run on.

    Example: ``neo.runtime.load("bundle").predict({"x": array})``

    Raises BundleError if the folder is no bundle, NewerFormat if it is one of a later version, TargetError if it holds
    code for another processor, EngineError if its engine is not installed or cannot load it.
    """
    if not isinstance(folder, str | os.PathLike):
        raise UsageError(f"load takes an unpacked bundle's folder, got {type(folder).__name__}", hint="give its path")
    folder = Path(folder)
    manifest = read_manifest(folder)
    check_processor(manifest)
    return Predictor(manifest, load_engine(folder / ENGINE_DIR, threads))


def read_manifest(folder: Path) -> Manifest:
    """Of an unpacked bundle. Raises BundleError."""
    try:
        return Manifest.from_bytes((folder / CONFIG_PATH).read_bytes())
    except OSError as error:
        raise BundleError(f"no bundle in {folder}: {error.strerror}") from error
    except NewerFormat:
        raise
    except ContractError as error:
        raise BundleError(f"{folder}: {error.message}", hint=error.hint) from error


def check_processor(manifest: Manifest) -> None:
    """Raises TargetError if the bundle's code is for another: an instruction that it lacks would end the process."""
    if manifest.engine not in ENGINES or not ENGINES[manifest.engine].compiled:
        return
    host = read_host()
    reasons = processor_mismatches(manifest.requires, host.arch, host.os, host.features)
    if reasons:
        raise TargetError(
            f"{manifest.reference} does not run here: {'; '.join(reasons)}",
            hint="compile it for this kind of device: neo compile MODEL --target TARGET (see neo targets)",
            details={"reasons": list(reasons)},
        )


def load_engine(folder: Path, threads: int | None = None) -> Engine:
    """The engine folder alone. Raises as ``load`` does."""
    description = EngineFolder.read(folder)
    if description.engine not in ENGINES:
        raise EngineError(f"engine {description.engine!r} is not one of {', '.join(ENGINES)}")
    entry = SEGMENTED if description.segments else ENGINES[description.engine].open
    module, function = entry.split(":")
    count = available_cores() if threads is None else threads
    if not isinstance(count, int) or count < 1:
        raise EngineError(f"{count!r} threads; a whole number of at least 1 is needed")
    try:
        open_engine = getattr(importlib.import_module(module), function)
    except ImportError as error:
        raise EngineError(
            f"the {description.engine} engine is not installed here: {error}",
            hint="install it with: pip install 'neo-edge[runtime]'",
        ) from error
    engine: Engine = open_engine(folder, description, count)
    return engine


def engine_versions() -> dict[str, str]:
    """The engines that are installed here, and what they can be extended by, with the version that counts for
    compatibility; nothing is imported.
    """
    versions = {}
    distributions = {name: opener.distribution for name, opener in ENGINES.items()}
    for name, distribution in {**distributions, DISTRIBUTION: DISTRIBUTION}.items():
        try:
            versions[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def available_cores() -> int:
    """Cores this process may run on, which a container or taskset may have made fewer than the machine has."""
    return len(os.sched_getaffinity(0))
