"""What every frontend takes and gives.

A frontend is one file with ``convert(request) -> SourceModel``. It runs in a subprocess of its own with limits on
memory, time and file size (``neo.frontends.sandbox``), so it may import its framework at module level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from neo.contract.labels import OutputLabels
from neo.contract.parity import Parity, Tolerance
from neo.contract.tensors import TensorSpec
from neo.processing.documents import Processing

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Factory:
    """Code that builds the model. reference: "package.module:name" of a function or class that is called without
    arguments. folder: where it is imported from, before PYTHONPATH, and where it runs. weights: None if what it
    builds has its own.
    """

    reference: str
    folder: Path
    weights: Path | None = None

    @property
    def name(self) -> str:
        """What follows the colon."""
        return self.reference.partition(":")[2]


@dataclass(frozen=True, slots=True)
class ConversionRequest:
    """source: the model file or folder; with a factory its weights, or its folder if it has no weights file.
    framework: a key of ``neo.frontends.FRONTENDS``.

    inputs: what the user said with --input, () if nothing. dims: sizes for named dynamic dimensions.
    signature, outputs: --signature and --outputs, for files that hold several functions, or do not name their outputs.
    samples: how many random inputs are run through the source framework. golden: an .npz of the user's own with
    one array per input and output name, used instead of random inputs (and instead of the framework's answer).
    scratch: an empty folder that the frontend may fill. processing: what is put around the converted model; golden,
    and the Conversion that comes back, are then about the whole.
    """

    source: Path
    framework: str
    scratch: Path
    inputs: tuple[TensorSpec, ...] = ()
    dims: Mapping[str, int] = field(default_factory=dict)
    signature: str | None = None
    outputs: tuple[str, ...] = ()
    samples: int = 4
    seed: int = 0
    golden: Path | None = None
    trust_pickle: bool = False
    processing: Processing | None = None
    factory: Factory | None = None


@dataclass(frozen=True, slots=True)
class SourceModel:
    """What ``convert`` returns, inside the subprocess.

    onnx: the ONNX file (external data beside it). framework: name and version, as in "pytorch 2.13.0".
    inputs, outputs: in the model's own order; names equal the ONNX file's. run: the model in the source framework
    itself, arrays by input name to arrays by output name; None where the framework is not installed here.
    reference: who answers in run, if framework does not say it. proves_conversion: False if run is the converted
    model itself in other clothes. draw: (count, seed, largest integer) to inputs, where any random ones will not do.
    special: a seed to (kind, inputs), where those of ``neo.frontends.special`` will not do. any_rows: run also takes
    more rows than the inputs say, as classical models do.
    labels: of the outputs. tolerance: by output, where the source's own arithmetic is coarser than floats, as a
    quantised model's is; why says so in a few words for the report.
    notes: what was decided on the way that the user should know.
    """

    onnx: Path
    framework: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    run: Callable[[Arrays], Arrays] | None
    reference: str = ""
    proves_conversion: bool = True
    draw: Callable[[int, int, int], tuple[Arrays, ...]] | None = None
    special: Callable[[int], tuple[tuple[str, Arrays], ...]] | None = None
    any_rows: bool = False
    labels: tuple[OutputLabels, ...] = ()
    tolerance: Mapping[str, Tolerance] = field(default_factory=dict)
    why: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One input of the model and what the source framework answers to it."""

    inputs: Arrays
    outputs: Arrays


@dataclass(frozen=True, slots=True)
class SpecialSample:
    """A sample of numbers that ordinary ones do not hold.

    The source framework and ONNX Runtime agree on the answer, so an engine with another one is wrong.
    """

    #: in words, as in "NaN"
    kind: str
    inputs: Arrays
    outputs: Arrays


@dataclass(frozen=True, slots=True)
class Conversion:
    """What the parent process gets back from the sandbox.

    reference: who answered the samples: "pytorch 2.13.0", "golden file x.npz", or, where no source framework is
    at hand, "onnxruntime 1.32.0 on the converted model" (then parity says nothing about the conversion and is None).
    parity: the ONNX file in onnxruntime against the samples' outputs, the worst of all samples. tolerance: how far any
    engine's answers may be from the samples', where the usual is too strict for this model; why: the reason. special:
    for choosing between engines only; they do not travel with the bundle.
    """

    onnx: Path
    framework: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    samples: tuple[Sample, ...]
    reference: str
    parity: Parity | None
    labels: tuple[OutputLabels, ...] = ()
    tolerance: Tolerance | None = None
    why: str = ""
    notes: tuple[str, ...] = ()
    special: tuple[SpecialSample, ...] = ()
