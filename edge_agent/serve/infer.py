"""What the device answers with, whatever protocol asks: arrays by name in, arrays by name out.

Nothing here knows HTTP. A protocol finds the model, takes a turn, reads what its client sent, and asks.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edge_agent.worker.client import WorkerUnavailable
from edge_agent.worker.models import Model, Serving
from neo.contract.fields import ContractError
from neo.contract.inference import check_inputs
from neo.contract.manifest import Manifest
from neo.errors import EngineError, InputSpecError, NeoError

Arrays = dict[str, NDArray[Any]]

NOT_LIVE = "no model is live on this device yet; push one with: neo push REF --to DEVICE"


class ModelNotLive(NeoError):
    """No model answers now; one may in a moment."""


class ModelNotFound(NeoError):
    """Another model, or another version of it, is live."""


class TooManyRequests(NeoError):
    """More predictions are under way than the device takes."""


@dataclass(frozen=True, slots=True)
class InferLimits:
    #: predictions whose inputs are in memory at a time; the worker computes one of them
    at_once: int = 4
    #: predictions that may wait for one of these to end; more are refused at once
    waiting: int = 60
    #: seconds that one of them waits before it is refused
    wait_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """outputs: by name, those that were asked for."""

    manifest: Manifest
    outputs: Arrays


class Turns:
    """A context manager for many threads: its block holds the inputs of one prediction in memory. To enter it may
    wait, and raises TooManyRequests.
    """

    def __init__(self, limits: InferLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._inside = 0  # in the block or waiting for it
        self._busy = 0  # in the block

    def __enter__(self) -> None:
        limits = self._limits
        with self._lock:
            if self._inside >= limits.at_once + limits.waiting:
                raise TooManyRequests(f"{self._inside} predictions are under way", hint="send fewer requests at a time")
            self._inside += 1
            is_free = self._busy < limits.at_once
            if not is_free and not self._changed.wait_for(lambda: self._busy < limits.at_once, limits.wait_s):
                self._inside -= 1
                raise TooManyRequests(
                    f"the request waited {limits.wait_s:g} s for others", hint="send fewer requests at a time"
                )
            self._busy += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            self._busy -= 1
            if self._inside > self._busy:
                self._changed.notify()


class Inference:
    """Called by many threads at a time. What becomes of every prediction is counted in the model's tally.

    turn: taken by every protocol before it reads what a client sent.
    """

    def __init__(self, serving: Serving, limits: InferLimits | None = None) -> None:
        self.turn = Turns(limits or InferLimits())
        self._serving = serving

    @property
    def ready(self) -> bool:
        return self._serving.model is not None

    def find(self, name: str, version: str | None = None) -> Manifest:
        """Of the live model, if it is the one asked for. Raises ModelNotLive, ModelNotFound."""
        return _named(self._serving.model, name, version).slot.manifest

    def infer(
        self, name: str, version: str | None, inputs: Mapping[str, NDArray[Any]], wanted: Sequence[str] = ()
    ) -> Answer:
        """wanted: names of outputs, () for all.

        Raises ModelNotLive and ModelNotFound as ``find``; ContractError for inputs or output names that are not the
        model's; WorkerUnavailable if the worker ended, hangs or is overrun, so that a later request may be answered;
        EngineError if the model fails for these inputs, as it will again.
        """
        with self._serving.lease() as leased:
            model = _named(leased, name, version)
            manifest = model.slot.manifest
            check_inputs(manifest.inputs, inputs)
            _check_outputs(wanted, [spec.name for spec in manifest.outputs])
            try:
                outputs = model.worker.predict(inputs)
            except (WorkerUnavailable, InputSpecError):
                raise
            except EngineError as error:
                model.tally.failed(error)
                raise
            except NeoError as error:
                # whatever the worker calls it, the inputs were right: not the client's mistake
                failure = EngineError(error.message, hint=error.hint)
                model.tally.failed(failure)
                raise failure from error
            model.tally.answered()
        return Answer(manifest, {key: outputs[key] for key in wanted or outputs})


def _named(model: Model | None, name: str, version: str | None) -> Model:
    if model is None:
        raise ModelNotLive(NOT_LIVE)
    manifest = model.slot.manifest
    if name != manifest.name or version not in (None, manifest.version):
        asked = name if version is None else f"{name} version {version}"
        raise ModelNotFound(f"model {asked[:200]} is not here; live is {manifest.name} version {manifest.version}")
    return model


def _check_outputs(wanted: Sequence[str], names: Sequence[str]) -> None:
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ContractError(f"the model has no output {unknown[0][:200]!r}; it has {', '.join(map(repr, names))}")
