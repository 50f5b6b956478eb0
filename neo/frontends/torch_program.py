"""The interface of an exported program, and the same program with flat arguments and fixed sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import Dim as ExportDim
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument
from torch.utils import _pytree as pytree

from neo.contract.tensors import Dim, TensorSpec
from neo.errors import InputSpecError, UnsupportedModel
from neo.frontends.base import Arrays
from neo.frontends.shapes import dim_name
from neo.frontends.torch_tensors import output_names, tensor_spec, to_array, to_tensor


@dataclass(frozen=True, slots=True)
class Argument:
    """One leaf of forward's nested arguments."""

    #: of the input; None for a constant
    name: str | None
    #: of a constant
    value: Any


@dataclass(frozen=True, slots=True)
class ProgramInterface:
    """Arguments and results of an exported program."""

    arguments: tuple[Argument, ...]
    inputs: tuple[TensorSpec, ...]
    #: dynamic dimension -> (smallest size, largest size)
    ranges: Mapping[str, tuple[Any, Any]]
    #: names of the tensors that forward returns
    outputs: tuple[str, ...]
    #: their positions among all leaves of the result, which may also be None or numbers
    positions: tuple[int, ...]
    #: are any arguments constants?
    has_constants: bool


def read_interface(program: ExportedProgram) -> ProgramInterface:
    """Raises UnsupportedModel for arguments that are neither tensors nor constants, and if no tensor is returned."""
    placeholders = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    arguments = tuple(
        _argument(entry.arg) for entry in program.graph_signature.input_specs if entry.kind is InputKind.USER_INPUT
    )
    tensors = {argument.name: placeholders[argument.name] for argument in arguments if argument.name is not None}
    names = _dim_names(tensors)
    inputs = tuple(
        tensor_spec(name, value.dtype, [_dim(dim, names) for dim in value.shape]) for name, value in tensors.items()
    )
    returned = [entry.arg for entry in program.graph_signature.output_specs if entry.kind is OutputKind.USER_OUTPUT]
    positions = tuple(i for i, value in enumerate(returned) if isinstance(value, TensorArgument))
    if not positions:
        raise UnsupportedModel("the program returns no tensor", hint="return the result of forward as a tensor")
    nested = pytree.tree_unflatten(list(range(len(returned))), _out_spec(program))
    all_outputs = output_names(nested, tensors)
    return ProgramInterface(
        arguments=arguments,
        inputs=inputs,
        ranges={
            names[str(symbol)]: (allowed.lower, allowed.upper)
            for symbol, allowed in program.range_constraints.items()
            if str(symbol) in names
        },
        outputs=tuple(all_outputs[i] for i in positions),
        positions=positions,
        has_constants=len(positions) < len(returned) or len(tensors) < len(arguments),
    )


def _argument(argument: Any) -> Argument:
    if isinstance(argument, TensorArgument):
        return Argument(argument.name, None)
    if isinstance(argument, ConstantArgument):
        return Argument(None, argument.value)
    raise UnsupportedModel(
        f"the argument {getattr(argument, 'name', '')!r} of the program is a {type(argument).__name__}, no tensor",
        hint="give torch.export.export a tensor or a constant for it",
    )


def _out_spec(program: ExportedProgram) -> pytree.TreeSpec:
    spec = program.call_spec.out_spec
    if spec is None:
        raise UnsupportedModel("the program does not say what it returns", hint="export it with torch.export.export")
    return spec


def _dim_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Torch's symbol of a dynamic dimension, such as s77 -> N for a first dimension, else a name such as x_2."""
    names: dict[str, str] = {}
    for name, value in tensors.items():
        for axis, dim in enumerate(value.shape):
            if not isinstance(dim, int) and str(dim) not in names:
                label = dim_name(name, axis)
                names[str(dim)] = label if label not in names.values() else f"{name}_{axis}"
    return names


def _dim(dim: int | torch.SymInt, names: Mapping[str, str]) -> Dim:
    return dim if isinstance(dim, int) else names[str(dim)]


def check_ranges(interface: ProgramInterface, fixed: tuple[TensorSpec, ...]) -> None:
    """Raises InputSpecError for a size that the program was not exported for."""
    for declared, spec in zip(interface.inputs, fixed, strict=True):
        for name, size in zip(declared.shape, spec.shape, strict=True):
            if not isinstance(name, str) or not isinstance(size, int) or name not in interface.ranges:
                continue
            least, largest = interface.ranges[name]
            if not (least <= size <= largest):
                raise InputSpecError(
                    f"dimension {name!r} of input {spec.name!r} is {size}; the program was exported for {least} to"
                    f" {largest}",
                    hint=f"give it with --dim {name}={least}, or export the program for this size",
                )


def run_program(program: ExportedProgram, interface: ProgramInterface) -> Any:
    """The program as a function of arrays by input name."""
    flat = _Flat(program, interface)
    names = [argument.name for argument in interface.arguments if argument.name is not None]

    def run(arrays: Arrays) -> Arrays:
        with torch.no_grad():
            results = flat(*(to_tensor(arrays[name]) for name in names))
        return {name: to_array(result) for name, result in zip(interface.outputs, results, strict=True)}

    return run


def run_module(module: torch.nn.Module, interface: ProgramInterface) -> Any:
    """The module itself, from whose arguments by keyword the program was exported, as a function of arrays by name."""

    def run(arrays: Arrays) -> Arrays:
        with torch.no_grad():
            leaves = pytree.tree_leaves(module(**{name: to_tensor(array) for name, array in arrays.items()}))
        results = (leaves[position] for position in interface.positions)
        return {name: to_array(result) for name, result in zip(interface.outputs, results, strict=True)}

    return run


def flatten(program: ExportedProgram, interface: ProgramInterface, fixed: tuple[TensorSpec, ...]) -> ExportedProgram:
    """The program for the sizes in ``fixed``, from tensors to a tuple of tensors, without constants.

    Raises InputSpecError if the program does not work for these sizes.
    """
    # 2 for dimensions that stay dynamic: torch.export treats sizes 0 and 1 as constants
    examples = tuple(
        torch.zeros([dim if isinstance(dim, int) else 2 for dim in spec.shape], dtype=getattr(torch, spec.dtype))
        for spec in fixed
    )
    dynamic = tuple(
        {axis: ExportDim.AUTO for axis, dim in enumerate(spec.shape) if isinstance(dim, str)} for spec in fixed
    )
    try:
        return torch.export.export(_Flat(program, interface), examples, dynamic_shapes=(dynamic,))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputSpecError(
            f"the program does not work for the input {'  '.join(map(str, fixed))}: {error}",
            hint="its own inputs are " + "  ".join(map(str, interface.inputs)),
        ) from error


class _Flat(torch.nn.Module):  # type: ignore[misc,unused-ignore]  # Any where torch is not installed
    def __init__(self, program: ExportedProgram, interface: ProgramInterface) -> None:
        super().__init__()
        self._program = program.module()
        self._interface = interface
        self._in_spec = program.call_spec.in_spec

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        waiting = iter(tensors)
        leaves = [a.value if a.name is None else next(waiting) for a in self._interface.arguments]
        args, kwargs = pytree.tree_unflatten(leaves, self._in_spec)
        returned = pytree.tree_leaves(self._program(*args, **kwargs))
        return tuple(returned[i] for i in self._interface.positions)
