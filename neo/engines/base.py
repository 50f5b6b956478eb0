"""What every engine's build takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from neo.contract.device import Target
from neo.contract.precision import FP32, Precision
from neo.contract.tensors import TensorSpec
from neo.errors import EngineError


def check_computes(target: Target, precision: Precision) -> None:
    """Raises EngineError if the target's processor has no instructions for the precision."""
    if not precision.runs_on(target.cpu):
        needed = [features[0] for features in precision.features.values()]
        raise EngineError(
            f"target {target.name} does not compute in {precision.name}",
            hint=f"use --precision {FP32.name} or auto, or a target whose features have {' or '.join(needed)}",
        )


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """onnx: the simplified model, external data beside it. inputs, outputs: as the bundle's interface has them.
    folder: empty; the build fills it with engine.json and what belongs to it. precision: one of the engine's
    Recipe. tune_s: seconds for measuring configurations of kernels, by an engine that has a choice; the target has to
    be this machine then. tuning: the folder where such measurements are kept; None: none is used, nor kept.
    """

    onnx: Path
    target: Target
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    folder: Path
    precision: Precision = FP32
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
