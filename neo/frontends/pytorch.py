"""PyTorch to ONNX: exported programs (.pt2) here, TorchScript (.pt) in ``torchscript``."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.onnx.errors import OnnxExporterError

from neo.errors import ModelError, UnsupportedModel, UntrustedModel, UsageError
from neo.frontends import torchscript
from neo.frontends.base import ConversionRequest, SourceModel
from neo.frontends.failures import first_line
from neo.frontends.onnx_file import fix_shapes, interface
from neo.frontends.pt2_archive import operators, read_documents, refuse_code, refuse_damage
from neo.frontends.recognise import SAVE_A_PROGRAM, require_format
from neo.frontends.shapes import fix_inputs
from neo.frontends.torch_program import ProgramInterface, check_ranges, flatten, read_interface, run_program


def convert(request: ConversionRequest) -> SourceModel:
    """request.source: a .pt2 file of torch.export.save, or a TorchScript file (which needs request.inputs).

    Raises ModelError for a damaged file, UnsupportedModel naming an operator that ONNX lacks, UntrustedModel for
    pickled objects in the archive, InputSpecError for sizes that the program was not exported for.
    """
    file_format = require_format(request.source, "pt2", "torchscript")
    refuse_damage(request.source)
    if file_format == "torchscript":
        return torchscript.convert(request)
    program = _load(request.source, trust_pickle=request.trust_pickle)
    return _convert_program(program, request)


def _load(path: Path, *, trust_pickle: bool) -> ExportedProgram:
    documents = read_documents(path)
    if not trust_pickle:
        refuse_code(path, documents)
    try:
        with _only_weights_from_pickles(enabled=not trust_pickle):
            return torch.export.load(path)
    except pickle.UnpicklingError as error:
        raise UntrustedModel(
            f"{path} holds pickled Python objects: reading them would run code from the file", hint=SAVE_A_PROGRAM
        ) from error
    except Exception as error:
        missing = [name for name in operators(documents) if not _is_operator(name)]
        if missing:
            raise UnsupportedModel(
                f"{path} uses operators that PyTorch itself does not have: {', '.join(missing)}",
                hint="write them with PyTorch's own operators before torch.export.export",
                details={"operators": missing},
            ) from error
        raise ModelError(
            f"{path} is an exported program that PyTorch {torch.__version__} cannot load: {first_line(error)}",
            hint="it may be damaged, or written by a newer PyTorch: export it again with this version",
        ) from error


@contextlib.contextmanager
def _only_weights_from_pickles(*, enabled: bool) -> Iterator[None]:
    """torch.export.load asks for full unpickling of example inputs; this variable overrules it."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    if enabled:
        os.environ[name] = "1"
    try:
        yield
    finally:
        if enabled:
            del os.environ[name]


def _is_operator(name: str) -> bool:
    found: Any = torch.ops
    for part in name.split("."):
        found = getattr(found, part, None)
        if found is None:
            return False
    return True


def _convert_program(program: ExportedProgram, request: ConversionRequest) -> SourceModel:
    declared = read_interface(program)
    fixed = fix_inputs(declared.inputs, request.inputs, request.dims)
    check_ranges(declared, fixed)
    path = request.scratch / "model.onnx"
    # a program that is already flat and of fixed sizes is taken as it is: exporting again costs seconds
    again = declared.has_constants or fixed != declared.inputs
    _write_onnx(flatten(program, declared, fixed) if again else program, declared, path)
    fix_shapes(path, fixed)
    _inputs, outputs = interface(path)
    return SourceModel(
        onnx=path,
        framework=f"pytorch {torch.__version__.partition('+')[0]}",
        inputs=fixed,
        outputs=outputs,
        run=run_program(program, declared),
    )


def _write_onnx(program: ExportedProgram, declared: ProgramInterface, path: Path) -> None:
    try:
        exported = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=[spec.name for spec in declared.inputs],
            output_names=list(declared.outputs),
        )
    except OnnxExporterError as error:
        raise _unsupported(error) from error
    if exported is None:
        raise ModelError("PyTorch's exporter gave no ONNX model")
    exported.save(path)


def _unsupported(error: BaseException) -> ModelError:
    """The exporter names the node in one exception and the operator in its cause."""
    chain = [str(error)]
    while error.__cause__ is not None:
        error = error.__cause__
        chain.append(str(error))
    text = "\n".join(chain)
    node = re.search(r"translating node %(\S+)", text)
    operator = re.search(r"op='([\w.:]+)', overload='(\w+)'", text)
    where = f" (node {node[1]!r})" if node else ""
    if operator:
        return UnsupportedModel(
            f"the operator {operator[1]} has no ONNX equivalent{where}",
            hint="write it with other PyTorch operators before torch.export.export",
            details={"operator": operator[1], "node": node[1] if node else None},
        )
    return UnsupportedModel(f"PyTorch cannot write this program as ONNX{where}: {chain[-1].splitlines()[0]}")


def export_program(module: torch.nn.Module, example_inputs: Any, path: Path) -> None:
    """Writes module in evaluation mode as an exported program (.pt2), for these inputs' dtypes and sizes.

    example_inputs: a tensor, a tuple of positional arguments, or a dict of keyword arguments. The module is left in
    the mode it was in. Raises UnsupportedModel naming the line that torch.export cannot follow, UsageError for
    example inputs of another kind.
    """
    args, kwargs = _as_arguments(example_inputs)
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            program = torch.export.export(module, args, kwargs)
    except Exception as error:  # torch.export has no common class for what it cannot follow
        raise UnsupportedModel(
            f"torch.export cannot follow {type(module).__name__}.forward{_user_line(error)}: {first_line(error)[:300]}",
            hint="choose by shapes, not by values, or by torch.cond; or save torch.jit.script(module), compile that",
        ) from error
    finally:
        module.train(training)
    torch.export.save(program, path)


def _as_arguments(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example_inputs, torch.Tensor):
        return (example_inputs,), {}
    if isinstance(example_inputs, list | tuple):
        return tuple(example_inputs), {}
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    raise UsageError(
        f"example_inputs is a {type(example_inputs).__name__}",
        hint="give a tensor, a tuple of tensors in forward's order, or a dict by argument name",
    )


def _user_line(error: Exception) -> str:
    """Where in the user's own files it went wrong, as far as the traceback tells."""
    library = str(Path(torch.__file__).parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((library, "<")) and frame.filename != __file__
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
