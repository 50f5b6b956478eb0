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

    #: Seconds for measuring configurations of kernels, if the engine has a choice and this machine can run the target's
    #: code. Earlier measurements are used in any case.
    tune_s: float = 0.0

    def build_options(self) -> dict[str, Any]:
        """These fields by name, of whatever request they are part of."""
        return {field.name: getattr(self, field.name) for field in fields(BuildOptions)}


@dataclass(frozen=True, slots=True)
class BuildRequest(BuildOptions):
    """What an engine's build takes."""

    #: the simplified model, with external data beside it
    onnx: Path
    target: Target
    #: as in the bundle's interface
    inputs: tuple[TensorSpec, ...]
    #: likewise
    outputs: tuple[TensorSpec, ...]
    #: empty; the build fills it with engine.json and all that belongs to it
    folder: Path
    #: one of those in the engine's Recipe
    precision: Precision = FP32
    #: folder with measured configurations of kernels; None: none are read or written
    tuning: Path | None = None


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """What an engine's build returns."""

    #: version of the engine that the device needs, in the form that ``contract.device.mismatches`` reads
    version: str
    #: what a person should know about this build, for the report
    notes: tuple[str, ...] = ()
    #: other engines that the device needs too -> their versions, likewise
    needs: Mapping[str, str] = field(default_factory=dict)


Build = Callable[[BuildRequest], BuiltEngine]
