"""What is asked of the compiler, as one value.

A new option is spelled in three places: a field here (or in ``neo.engines.base.BuildOptions``, if an engine's build
takes it), an option of ``neo compile`` and a parameter of ``neo.compile``. ``neo.compiler.arguments`` reads it by the
type of the field; a test holds the three against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from neo.contract.parity import Tolerance
from neo.contract.precision import FP32
from neo.contract.tensors import TensorSpec
from neo.engines.base import BuildOptions
from neo.store import Store

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class CompileRequest(BuildOptions):
    """One model for some targets. The fields of BuildOptions, which go on to the engines' builds, belong to it too."""

    #: A model file or folder; None if module and weights say how the model is built.
    model: Path | None
    #: Where the bundles go.
    store: Store
    #: Signs the bundles; None leaves them unsigned, and agents refuse them.
    signer: Signer | None
    #: Names of targets, or .toml files; one bundle for each.
    targets: tuple[str, ...] = ("host",)
    #: "auto", which measures all and keeps the fastest, or one of ENGINES.
    engine: str = AUTO
    #: Name of the bundle; by default after the file.
    name: str | None = None
    #: Version of the bundle; by default the next whole number.
    version: str | None = None
    #: A bundle that has this name, version and target already gives way; otherwise it is an error.
    replace: bool = False
    #: A key of ``neo.frontends.FRONTENDS``; None: recognised from the file.
    framework: str | None = None
    #: Names, dtypes and shapes, where the file does not tell them; of the model as its file has it.
    inputs: tuple[TensorSpec, ...] = ()
    #: Sizes of named dynamic dimensions.
    dims: Mapping[str, int] = field(default_factory=dict)
    #: Which function of a SavedModel.
    signature: str | None = None
    #: Names of the outputs, where the file does not tell them.
    outputs: tuple[str, ...] = ()
    #: "NCHW" or "NHWC" by input or output, under "" for every image that goes in.
    layouts: Mapping[str, str] = field(default_factory=dict)
    #: An .npz with a sample of the user's own: one array per input and output name, of the model as its file has it.
    golden: Path | None = None
    #: A TOML document with steps from a raw input to the model's, see docs/pipelines.md.
    preprocess: Path | None = None
    #: A TOML document with steps from the model's outputs to answers.
    postprocess: Path | None = None
    #: Read formats that can run code from the file.
    trust_pickle: bool = False
    #: Threads for measuring; by default as many as the target has cores.
    threads: int | None = None
    #: How far answers may be from the source framework's, by default what suits the precision; a quantised model sets
    #: its own where that is wider.
    tolerance: Tolerance | None = None
    #: "package.module:name" of code that builds the model.
    module: str | None = None
    #: The file with the weights of what module builds.
    weights: Path | None = None
    #: A name in ``contract.precision.PRECISIONS``, or "auto", which takes the fastest that is within the tolerance.
    precision: str = FP32.name
    #: Take the bundle of an earlier compile of the same, if it is in the store.
    cache: bool = True
    #: A folder, made if need be, that gets the graph after every step: 00-converted.onnx, 01-fold.onnx. What is in the
    #: store is then compiled again.
    debug_folder: Path | None = None
