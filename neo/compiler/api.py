"""``neo.compile``: what `neo compile` does, for a program or a notebook."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neo.compiler.arguments import names_its_arguments, read_fields, read_path, read_specs
from neo.compiler.pipeline import run
from neo.compiler.request import CompileRequest
from neo.compiler.result import CompiledBundles
from neo.contract.parity import Tolerance
from neo.contract.tensors import TensorSpec
from neo.errors import UsageError
from neo.isolation.scratch import scratch_folder
from neo.settings import key_path, store_path
from neo.store import Store
from neo.trust.keys import operator_signer

if TYPE_CHECKING:
    from securesystemslib.signer import Signer


@names_its_arguments
def compile(  # noqa: A001  the name users know from the command line
    model: Any = None,
    example_inputs: Any = None,
    *,
    target: str | os.PathLike[str] | Sequence[str] = "host",
    store: str | os.PathLike[str] | Store | None = None,
    key: str | os.PathLike[str] | Signer | None = None,
    sign: bool = True,
    engine: str = "auto",
    name: str | None = None,
    version: str | None = None,
    replace: bool = False,
    framework: str | None = None,
    inputs: str | TensorSpec | Sequence[str | TensorSpec] | Mapping[str, Any] | None = None,
    dims: str | Sequence[str] | Mapping[str, int] | None = None,
    signature: str | None = None,
    outputs: str | Sequence[str] | None = None,
    layouts: str | Sequence[str] | Mapping[str, str] | None = None,
    golden: str | os.PathLike[str] | None = None,
    preprocess: str | os.PathLike[str] | None = None,
    postprocess: str | os.PathLike[str] | None = None,
    trust_pickle: bool = False,
    threads: int | None = None,
    tolerance: float | Tolerance | None = None,
    module: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    precision: str = "fp32",
    tune_s: float = 0.0,
    cache: bool = True,
    debug_folder: str | os.PathLike[str] | None = None,
) -> CompiledBundles:
    """Compile a trained model into one signed bundle per target, as `neo compile` does.

    Example::

        (bundle,) = neo.compile("resnet.pt2", target="raspberry-pi-4")
        (bundle,) = neo.compile(module, torch.zeros(1, 4), name="mlp")      # a torch.nn.Module
        neo.compile("net-symbol.json", inputs="data=float32[1,3,224,224]", dims="N=8")

    model: a model's file or folder, or a torch.nn.Module; None if module says how it is built.
    example_inputs: of a torch.nn.Module: an array or tensor, a tuple of them in forward's order, or a dict by argument.
    target: a name of `neo targets`, a .toml file, or a list of such. Default: this machine.
    store: the folder for the bundles. Default: NEO_STORE, or the user's data folder.
    key: the operator's private key, which has to exist. Default: NEO_KEY, or the user's own, made on first use.
    sign: False leaves the bundles unsigned; agents refuse them.
    engine: "auto" measures all and keeps the fastest; or "onnxruntime", "tvm".
    name, version: of the bundle. Default: from the file's name; the next whole number.
    replace: a bundle that has this name, version and target already gives way; otherwise it is an error.
    framework: of the file, as in "pytorch". Default: recognised from its content.
    inputs: "x=float32[1,3,224,224]", a TensorSpec, a list of such, or a dict of example arrays by input name, where the
        file does not tell the inputs, or leaves sizes open.
    dims: sizes of named dynamic dimensions: "N=8", a list of such, or {"N": 8}.
    signature: which function of a SavedModel. Default: serving_default, or the only one.
    outputs: names of a frozen TensorFlow graph's outputs: "scores,boxes", or a list.
    layouts: "NCHW" or "NHWC" for every image that goes in, "mask=NHWC" for one input or output; or a list, or a dict.
    golden: an .npz with a sample of your own: one array per input and output name.
    preprocess, postprocess: .toml files with steps that become part of the model, see docs/pipelines.md.
    trust_pickle: read formats that can run code from the file. Only your own files.
    threads: for measuring. Default: as many as the target has cores.
    tolerance: the largest relative error allowed, 0 to 1. Default: 0.001, in bf16 0.05.
    module: "package.module:name" of code that builds the model, instead of model; weights: the file with its weights.
    precision: "fp32"; "bf16"; "auto" takes bf16 where it is faster and within the tolerance.
    tune_s: seconds for measuring configurations of kernels; what was found is kept. Default: 0, none.
    cache: if all is as it was in an earlier compile, take its bundle from the store. What runs your code (module,
        trust_pickle) or measures kernels (tune_s) is compiled each time. Default: True.
    debug_folder: gets the graph after every step, as 00-converted.onnx, 01-fold.onnx; then cache counts as False.

    -> a tuple with one CompiledBundle per target, in their order, with .reference, .notes and .to_json(); it shows as
    tables in a notebook.

    Raises NeoError, the base of all errors, with .message and .hint: UsageError for a wrong argument, InputSpecError
    for inputs, ModelError for the file, TargetError, EngineError, ParityError if the compiled model answers
    differently, TrustError for the key, StoreError, DiskFull. Then the store has no bundle of this call.
    """
    return _compile(**locals())  # each parameter goes on under its own name


def _compile(
    model: Any, example_inputs: Any, *, target: Any, store: Any, key: Any, sign: bool, **options: Any
) -> CompiledBundles:
    typed = {**options, "targets": target}
    request_of: dict[str, Any] = {
        "store": store if isinstance(store, Store) else Store(read_path(store, "store") or store_path()),
        "signer": _signer(key) if sign else None,
    }
    with _file_of(model, example_inputs, typed) as path:
        given = read_fields({**typed, "model": path}, written=lambda field: {"targets": "target"}.get(field, field))
        return run(CompileRequest(**request_of, **given))


def _signer(key: Any) -> Signer:
    if key is None or isinstance(key, str | os.PathLike):
        return operator_signer(read_path(key, "key"), key_path())
    if not hasattr(key, "sign"):
        raise UsageError(f"key is a {type(key).__name__}", hint="give the path of a private key, or a Signer")
    signer: Signer = key
    return signer


@contextmanager
def _file_of(model: Any, example_inputs: Any, typed: dict[str, Any]) -> Iterator[Any]:
    """-> the model's path; an object is written to a file that is gone afterwards. typed["inputs"] becomes what the
    file needs beside it.
    """
    if model is None or isinstance(model, str | os.PathLike):
        if example_inputs is not None:
            if not isinstance(example_inputs, Mapping) or typed["inputs"] is not None:
                raise UsageError(
                    "example_inputs are for a torch.nn.Module; this model is a file",
                    hint="describe its inputs: inputs='x=float32[1,3]', or inputs={'x': array}",
                )
            typed["inputs"] = example_inputs
        yield model
        return
    # whoever has a module has imported torch
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        raise UsageError(
            f"neo.compile takes a file, a folder or a torch.nn.Module, not a {type(model).__name__}",
            hint="save the model with its framework, and give the file",
        )
    from neo.frontends.torch_module import export_program

    specs = read_specs(typed["inputs"], "inputs")
    typed["inputs"] = None
    with scratch_folder("neo-export-") as folder:
        program = Path(folder) / f"{type(model).__name__.lower()}.pt2"
        export_program(model, example_inputs, program, specs)
        yield program
