"""What is asked of the compiler, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from neo.contract.parity import Tolerance
from neo.contract.precision import FP32
from neo.contract.tensors import TensorSpec
from neo.store import Store

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class CompileRequest:
    """model: a model file or folder; None if module, "package.module:name" of code that builds it, and weights, the
    file with its weights, name it. targets: names of targets, or .toml files. engine: "auto" or one of ENGINES.

    name, version: of the bundle; by default the file's name and the next whole number. replace: a bundle that has this
    name, version and target already gives way; otherwise it is an error. inputs, dims, signature,
    outputs, framework, golden, trust_pickle: see ``neo.frontends.base.ConversionRequest``; framework None: recognised
    from the file. preprocess, postprocess: TOML documents with steps that become part of the model, see
    docs/pipelines.md. layouts: "NCHW" or "NHWC" by input or output, under "" for every image that goes in; inputs and
    golden speak of the model as its file has it. threads: for measuring, by default as many as the target has cores.
    tolerance: how far answers may be from the source framework's, by default what the precision allows; a quantised
    model sets its own where that is wider. precision: a name in ``contract.precision.PRECISIONS``, or "auto", which
    takes the fastest that is within the tolerance of fp32.
    signer: None leaves the bundles unsigned, and agents refuse them. tune_s: seconds for measuring configurations of
    kernels, of each target that this machine can run; what is known already is used in any case.
    """

    model: Path | None
    store: Store
    signer: Signer | None
    targets: tuple[str, ...] = ("host",)
    engine: str = AUTO
    name: str | None = None
    version: str | None = None
    replace: bool = False
    framework: str | None = None
    inputs: tuple[TensorSpec, ...] = ()
    dims: Mapping[str, int] = field(default_factory=dict)
    signature: str | None = None
    outputs: tuple[str, ...] = ()
    layouts: Mapping[str, str] = field(default_factory=dict)
    golden: Path | None = None
    preprocess: Path | None = None
    postprocess: Path | None = None
    trust_pickle: bool = False
    threads: int | None = None
    tolerance: Tolerance | None = None
    module: str | None = None
    weights: Path | None = None
    precision: str = FP32.name
    tune_s: float = 0.0
