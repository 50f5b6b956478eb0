"""What every engine's build takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from neo.contract.device import Target
from neo.contract.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """onnx: the simplified model, external data beside it. inputs, outputs: as the bundle's interface has them.
    folder: empty; the build fills it with engine.json and what belongs to it. tune_s: seconds for measuring
    configurations of kernels, by an engine that has a choice; the target has to be this machine then. tuning: the
    folder where such measurements are kept; None: none is used, nor kept.
    """

    onnx: Path
    target: Target
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    folder: Path
    tune_s: float = 0.0
    tuning: Path | None = None


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """version: what the device's engine must be, as ``contract.device.mismatches`` reads it.
    notes: what a person should know about this build, for the report. needs: the other engines that the device has
    to have too, with their versions, likewise.
    """

    version: str
    notes: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)


Build = Callable[[BuildRequest], BuiltEngine]
