"""Modules to exported programs: objects at hand, and those that a factory builds or a pickle holds."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import Dim as ExportDim
from torch.export import ExportedProgram

from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError, ModelError, UnsupportedModel, UsageError
from neo.frontends.base import ConversionRequest, Factory
from neo.frontends.factories import call_factory, in_folder
from neo.frontends.failures import first_line
from neo.frontends.torch_weights import load_weights

# for examples in messages: forward's signature has no sizes, so the most common input is shown
_EXAMPLE_SHAPE = (1, 3, 224, 224)
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def build_module(factory: Factory, *, trust_pickle: bool) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """What the factory builds, with its weights, in evaluation mode; and notes for the user.

    Raises UsageError if it builds no module, and what ``call_factory`` and ``load_weights`` raise.
    """
    module = call_factory(factory)
    if not isinstance(module, torch.nn.Module):
        raise UsageError(
            f"{factory.reference} gives a {type(module).__name__}, no torch.nn.Module",
            hint="--module names a function without arguments that returns the module, or the module's class",
        )
    notes: tuple[str, ...] = ()
    if factory.weights is not None:
        notes = load_weights(module, factory.weights, trust_pickle=trust_pickle)
    return module.eval(), notes


def unpickle_module(path: Path) -> torch.nn.Module:
    """A module that torch.save wrote whole; this runs code of the file. Its class is looked for beside the file too."""
    with in_folder(path.parent):
        try:
            module = torch.load(path, map_location="cpu", weights_only=False)
        except (ImportError, AttributeError) as error:
            raise ModelError(
                f"{path} needs code that is not here: {first_line(error)}",
                hint="run neo where the code of the module's class can be imported, or set PYTHONPATH",
            ) from error
    if not isinstance(module, torch.nn.Module):
        raise ModelError(
            f"{path} holds a {type(module).__name__}, no module",
            hint=f"name the code that builds the module: --module package.module:function --weights {path}",
        )
    return module.eval()


def export_for(module: torch.nn.Module, request: ConversionRequest) -> ExportedProgram:
    """The module as a program for request.inputs, which are forward's arguments by name; dimensions with a name stay
    dynamic.

    Raises InputSpecError if an argument without a default is not described, or if one is that forward lacks.
    """
    specs = {spec.name: spec for spec in request.inputs}
    _check_arguments(module, specs)
    examples = {name: _example(spec) for name, spec in specs.items()}
    try:
        with torch.no_grad():
            module(**examples)
    except (RuntimeError, IndexError, TypeError, ValueError, AssertionError) as error:
        raise InputSpecError(
            f"{type(module).__name__} does not work for the input {'  '.join(map(str, specs.values()))}:"
            f" {first_line(error)}{_user_line(error)}",
            hint="check names, dtypes and shapes of --input against what the module was trained with",
        ) from error
    return export_module(module, (), examples, {name: _dynamic(spec) for name, spec in specs.items()})


def _check_arguments(module: torch.nn.Module, specs: Mapping[str, TensorSpec]) -> None:
    parameters = inspect.signature(module.forward).parameters
    named = [name for name, parameter in parameters.items() if parameter.kind not in _VARIABLE]
    missing = [name for name in named if parameters[name].default is inspect.Parameter.empty and name not in specs]
    if missing or not specs:
        missing = missing or named[:1] or ["x"]
        flags = " ".join(f"--input {TensorSpec(name, 'float32', _EXAMPLE_SHAPE)}" for name in missing)
        raise InputSpecError(
            f"{type(module).__name__}.forward does not say the shape of its inputs; missing: {', '.join(missing)}",
            hint=f"add {flags} with the module's own dtype and size",
            details={"missing": missing},
        )
    unknown = [name for name in specs if name not in named]
    if unknown and not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        raise InputSpecError(
            f"--input names {', '.join(map(repr, unknown))}; {type(module).__name__}.forward has no such argument",
            hint=f"its arguments are: {', '.join(named) or 'none with a name'}",
        )


def _example(spec: TensorSpec) -> torch.Tensor:
    # 2 for dimensions that stay dynamic: torch.export treats sizes 0 and 1 as constants
    return torch.zeros([dim if isinstance(dim, int) else 2 for dim in spec.shape], dtype=getattr(torch, spec.dtype))


def _dynamic(spec: TensorSpec) -> dict[int, Any]:
    return {axis: ExportDim.AUTO for axis, dim in enumerate(spec.shape) if isinstance(dim, str)}


def export_program(module: torch.nn.Module, example_inputs: Any, path: Path, specs: Sequence[TensorSpec] = ()) -> None:
    """Writes module in evaluation mode as an exported program (.pt2), for these inputs' dtypes and sizes.

    example_inputs: a tensor or array, a tuple of positional arguments, or a dict of keyword arguments; None if specs
    describe forward's arguments by name. The module is left in the mode it was in. Raises UnsupportedModel naming the
    line that torch.export cannot follow, UsageError for example inputs of another kind, InputSpecError for specs that
    forward does not take.
    """
    if example_inputs is None:
        described = {spec.name: spec for spec in specs}
        _check_arguments(module, described)
        example_inputs = {name: _example(spec) for name, spec in described.items()}
    args, kwargs = _as_arguments(example_inputs)
    training = module.training
    module.eval()
    try:
        program = export_module(module, args, kwargs)
    finally:
        module.train(training)
    torch.export.save(program, path)


def _as_arguments(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example_inputs, torch.Tensor | np.ndarray):
        return (_as_tensor(example_inputs),), {}
    if isinstance(example_inputs, list | tuple):
        return tuple(map(_as_tensor, example_inputs)), {}
    if isinstance(example_inputs, Mapping):
        return (), {name: _as_tensor(value) for name, value in example_inputs.items()}
    raise UsageError(
        f"example_inputs is a {type(example_inputs).__name__}",
        hint="give a tensor, a tuple of tensors in forward's order, or a dict by argument name",
    )


def _as_tensor(value: Any) -> Any:
    """Arrays as tensors; what else forward takes stays as it is."""
    return torch.from_numpy(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value


def export_module(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic_shapes: Any = None
) -> ExportedProgram:
    """torch.export.export; raises UnsupportedModel naming the line that it cannot follow."""
    try:
        with torch.no_grad():
            return torch.export.export(module, args, kwargs, dynamic_shapes=dynamic_shapes)
    except Exception as error:  # torch.export has no common class for what it cannot follow
        raise UnsupportedModel(
            f"torch.export cannot follow {type(module).__name__}.forward{_user_line(error)}: {first_line(error)[:300]}",
            hint="choose by shapes, not by values, or by torch.cond; or save torch.jit.script(module), compile that",
        ) from error


def _user_line(error: Exception) -> str:
    """Where in the user's own files it went wrong, as far as the traceback tells."""
    library = str(Path(torch.__file__).parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((library, "<")) and frame.filename != __file__
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
