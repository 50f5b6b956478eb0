"""TorchScript programs (torch.jit.save) to ONNX."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.onnx.errors import OnnxExporterError
from torch.utils import _pytree as pytree

from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError, ModelError, UnsupportedModel
from neo.frontends.base import Arrays, ConversionRequest, SourceModel
from neo.frontends.failures import first_line
from neo.frontends.onnx_file import fix_shapes, interface
from neo.frontends.shapes import fix_inputs
from neo.frontends.torch_tensors import output_names, to_array, to_tensor
from neo.frontends.torchscript_inputs import recorded_inputs

# the newest that PyTorch's TorchScript exporter writes
OPSET = 20
# for examples in messages: TorchScript records no sizes, so the most common input is shown
_EXAMPLE_SHAPE = (1, 3, 224, 224)


def convert(request: ConversionRequest) -> SourceModel:
    """request.source: a file of torch.jit.save; request.inputs: dtype and shape of every argument of forward,
    needed unless torch.jit.trace recorded them.

    Raises InputSpecError if an argument is not described, UnsupportedModel naming an operator that ONNX lacks.
    """
    module = _load(request.source)
    arguments = _tensor_arguments(module)
    inputs = _ordered_inputs(arguments, request)
    examples = tuple(_example(spec) for spec in inputs)
    returned = _try_run(module, examples, inputs)
    names = output_names(returned, arguments)
    path = request.scratch / "model.onnx"
    _write_onnx(module, examples, inputs, names, path)
    fix_shapes(path, inputs)
    _inputs, outputs = interface(path)

    def run(arrays: Arrays) -> Arrays:
        with torch.no_grad():
            results = pytree.tree_leaves(module(*(to_tensor(arrays[name]) for name in arguments)))
        return {name: to_array(result) for name, result in zip(names, results, strict=True)}

    return SourceModel(path, f"pytorch {torch.__version__.partition('+')[0]}", inputs, outputs, run)


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            return torch.jit.load(path, map_location="cpu").eval()
    except RuntimeError as error:
        raise ModelError(
            f"{path} is a TorchScript program that PyTorch {torch.__version__} cannot load: {first_line(error)}",
            hint="it may be damaged, or use operators of a library that is not loaded: save it again",
        ) from error


def _tensor_arguments(module: Any) -> list[str]:
    """Names of forward's leading tensor arguments. What comes after them must have defaults, and keeps these."""
    names: list[str] = []
    leading = True
    for argument in module.forward.schema.arguments[1:]:
        leading = leading and isinstance(argument.type, torch.TensorType)
        if leading:
            names.append(argument.name)
        elif not argument.has_default_value():
            raise UnsupportedModel(
                f"forward's argument {argument.name!r} ({argument.type}) is no tensor, or follows one that is none",
                hint="trace the model with torch.jit.trace, or wrap it so that it takes tensors only",
            )
    return names


def _ordered_inputs(arguments: list[str], request: ConversionRequest) -> tuple[TensorSpec, ...]:
    # torch.jit.trace recorded an example, not a constraint: the user's description comes first
    recorded = {spec.name: spec for spec in recorded_inputs(request.source, arguments)}
    given = recorded | {spec.name: spec for spec in request.inputs}
    missing = [name for name in arguments if name not in given]
    if missing:
        flags = " ".join(f"--input {TensorSpec(name, 'float32', _EXAMPLE_SHAPE)}" for name in missing)
        raise InputSpecError(
            f"{request.source} does not say the shape of its inputs (TorchScript); missing: {', '.join(missing)}",
            hint=f"add {flags} with the model's own dtype and size",
            details={"missing": missing},
        )
    # the file declares nothing to contradict, but names and sizes are checked as for all others
    return fix_inputs(tuple(given[name] for name in arguments), request.inputs, request.dims)


def _example(spec: TensorSpec) -> torch.Tensor:
    # 2 for dimensions that stay dynamic: with 1 it would not be seen whether the model broadcasts
    return torch.zeros([dim if isinstance(dim, int) else 2 for dim in spec.shape], dtype=getattr(torch, spec.dtype))


def _try_run(module: Any, examples: Sequence[torch.Tensor], inputs: tuple[TensorSpec, ...]) -> Any:
    try:
        with torch.no_grad():
            return module(*examples)
    except (RuntimeError, IndexError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise InputSpecError(
            f"the model does not work for the input {'  '.join(map(str, inputs))}: {lines[-1].strip()}",
            hint="check dtype and shape of --input against what the model was trained with",
        ) from error


def _write_onnx(
    module: Any, examples: tuple[torch.Tensor, ...], inputs: tuple[TensorSpec, ...], names: list[str], path: Path
) -> None:
    dynamic = {spec.name: {axis: dim for axis, dim in enumerate(spec.shape) if isinstance(dim, str)} for spec in inputs}
    try:
        with warnings.catch_warnings():
            # the newer exporter does not take TorchScript: this one is deprecated, and the only one that does
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                examples,
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=[spec.name for spec in inputs],
                output_names=names,
                dynamic_axes={name: axes for name, axes in dynamic.items() if axes},
            )
    except OnnxExporterError as error:
        raise UnsupportedModel(
            f"PyTorch cannot write this TorchScript program as ONNX: {first_line(error)}",
            hint="if the model's class is at hand, save it with torch.export.save and compile the .pt2 file",
        ) from error
