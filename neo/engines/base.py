"""What every engine's build takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What a user may ask of a build: these fields go from the compiler's request to the build's as they are."""

    #: Seconds for measuring configurations of kernels, by an engine that has a choice, on targets that this machine can
    #: run; what is known already is used in any case.
    tune_s: float = 0.0

    def build_options(self) -> dict[str, Any]:
        """These fields by name, of whatever request they are part of."""
        return {field.name: getattr(self, field.name) for field in fields(BuildOptions)}


@dataclass(frozen=True, slots=True)
class BuildRequest(BuildOptions):
    """onnx: the simplified model, external data beside it. inputs, outputs: as the bundle's interface has them.
    folder: empty; the build fills it with engine.json and what belongs to it. precision: one of the engine's Recipe.
    tuning: the folder where measured configurations of kernels are kept; None: none is used, nor kept.
    """

    onnx: Path
    target: Target
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    folder: Path
    precision: Precision = FP32
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
