"""What every frontend takes and returns.

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
    """Code that builds the model."""

    #: "package.module:name" of a function or class that is called without arguments
    reference: str
    #: where it is imported from, before PYTHONPATH, and where it runs
    folder: Path
    #: None: the model that it builds has weights already
    weights: Path | None = None

    @property
    def name(self) -> str:
        """What follows the colon."""
        return self.reference.partition(":")[2]


@dataclass(frozen=True, slots=True)
class ConversionRequest:
    """What ``convert`` takes."""

    #: the model file or folder; with a factory its weights, or its folder if it has no weights file
    source: Path
    #: a key of ``neo.frontends.FRONTENDS``
    framework: str
    #: an empty folder that the frontend may fill
    scratch: Path
    #: from --input; () if there is none
    inputs: tuple[TensorSpec, ...] = ()
    #: named dynamic dimension -> its size
    dims: Mapping[str, int] = field(default_factory=dict)
    #: from --signature, for files with several functions
    signature: str | None = None
    #: from --outputs, for files that do not name their outputs
    outputs: tuple[str, ...] = ()
    #: how many random inputs are run through the source framework
    samples: int = 4
    seed: int = 0
    #: an .npz of the user with one array for each input and output, instead of random inputs and the framework's answer
    golden: Path | None = None
    #: may pickles be read, which runs code of their author?
    trust_pickle: bool = False
    #: is put around the converted model; golden, and the Conversion that is returned, then include it
    processing: Processing | None = None
    factory: Factory | None = None


@dataclass(frozen=True, slots=True)
class SourceModel:
    """What ``convert`` returns, inside the subprocess."""

    #: the ONNX file, with external data beside it
    onnx: Path
    #: name and version, as in "pytorch 2.13.0"
    framework: str
    #: in the model's order; names are those in the ONNX file
    inputs: tuple[TensorSpec, ...]
    #: likewise
    outputs: tuple[TensorSpec, ...]
    #: the model in the source framework: arrays by input -> arrays by output; None: the framework is not installed here
    run: Callable[[Arrays], Arrays] | None
    #: who answers in run; "": the framework
    reference: str = ""
    #: False if run only wraps the converted model, so that agreement with it proves nothing
    proves_conversion: bool = True
    #: is onnx the original itself, with at most sizes added that follow from others, and run the way to run it?
    is_original: bool = False
    #: (count, seed, largest integer) -> inputs; None: any random inputs will do
    draw: Callable[[int, int, int], tuple[Arrays, ...]] | None = None
    #: seed -> (kind, inputs) pairs; None: those of ``neo.frontends.special`` will do
    special: Callable[[int], tuple[tuple[str, Arrays], ...]] | None = None
    #: does run take more rows than the inputs declare, as classical models do?
    any_rows: bool = False
    #: of the outputs
    labels: tuple[OutputLabels, ...] = ()
    #: output -> tolerance, if the source computes less precisely than floats, as a quantised model does
    tolerance: Mapping[str, Tolerance] = field(default_factory=dict)
    #: reason for the tolerance, for the report
    why: str = ""
    #: decisions that the user should know about
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One set of inputs, and the source framework's answer."""

    inputs: Arrays
    outputs: Arrays


@dataclass(frozen=True, slots=True)
class SpecialSample:
    """A sample with values that random ones do not have.

    The source framework and ONNX Runtime agree on the answer, so an engine that gives another one is wrong.
    """

    #: of values, as in "NaN"
    kind: str
    inputs: Arrays
    outputs: Arrays


@dataclass(frozen=True, slots=True)
class Conversion:
    """What the parent process gets from the sandbox."""

    onnx: Path
    framework: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    samples: tuple[Sample, ...]
    #: who answered the samples: "pytorch 2.13.0", "golden file x.npz", or, if the source framework is not installed,
    #: "onnxruntime 1.32.0 on the converted model"
    reference: str
    #: of the ONNX file in onnxruntime and the worst sample; None if it would prove nothing about the conversion
    parity: Parity | None
    labels: tuple[OutputLabels, ...] = ()
    #: for the answers of any engine, if the usual one is too strict for this model
    tolerance: Tolerance | None = None
    #: reason for the tolerance
    why: str = ""
    notes: tuple[str, ...] = ()
    #: for choosing between engines; they are not part of the bundle
    special: tuple[SpecialSample, ...] = ()
