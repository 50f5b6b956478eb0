"""PyTorch to ONNX: exported programs (.pt2) here, TorchScript (.pt) in ``torchscript``."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.onnx.errors import OnnxExporterError

from neo.contract.tensors import TensorSpec
from neo.errors import ModelError, UnsupportedModel, UntrustedModel
from neo.frontends import torchscript
from neo.frontends.base import ConversionRequest, SourceModel
from neo.frontends.failures import first_line
from neo.frontends.onnx_file import fix_shapes, interface
from neo.frontends.pickled import SAVE_A_PROGRAM
from neo.frontends.pt2_archive import operators, read_documents, refuse_code, refuse_damage
from neo.frontends.recognise import require_format
from neo.frontends.shapes import fix_inputs
from neo.frontends.torch_module import build_module, export_for, unpickle_module
from neo.frontends.torch_program import ProgramInterface, check_ranges, flatten, read_interface, run_module, run_program


def convert(request: ConversionRequest) -> SourceModel:
    """request.source: a .pt2 file of torch.export.save; or a TorchScript file, a pickled module or request.factory's
    weights, which need request.inputs.

    Raises ModelError for a damaged file, UnsupportedModel naming an operator that ONNX lacks, UntrustedModel for
    pickled objects in the archive, InputSpecError for sizes that the program was not exported for.
    """
    if request.factory is not None:
        module, notes = build_module(request.factory, trust_pickle=request.trust_pickle)
        return convert_module(module, request, notes)
    file_format = require_format(
        request.source, "pt2", "torchscript", "torch-object", trust_pickle=request.trust_pickle
    )
    if file_format == "torch-object":
        return convert_module(unpickle_module(request.source), request)
    refuse_damage(request.source)
    if file_format == "torchscript":
        return torchscript.convert(request)
    return convert_program(_load(request.source, trust_pickle=request.trust_pickle), request)


def convert_module(module: torch.nn.Module, request: ConversionRequest, notes: tuple[str, ...] = ()) -> SourceModel:
    """Errors as in ``convert`` and ``export_for``."""
    # a module declares nothing to contradict, but names and sizes are checked as for all others
    described = replace(request, inputs=fix_inputs(request.inputs, request.inputs, request.dims), dims={})
    program = export_for(module, described)
    source = convert_program(program, described)
    return replace(source, run=run_module(module, read_interface(program)), notes=notes)


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
    except Exception as error:  # torch.export.load has no common class for what it cannot read
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


def convert_program(program: ExportedProgram, request: ConversionRequest) -> SourceModel:
    """The rest of the way, for a program that any frontend has; errors as in ``convert``."""
    declared = read_interface(program)
    fixed = fix_inputs(declared.inputs, request.inputs, request.dims)
    check_ranges(declared, fixed)
    path = request.scratch / "model.onnx"
    # a program that is already flat and of fixed sizes is taken as it is: exporting again costs seconds
    again = declared.has_constants or not all(map(_same_sizes, fixed, declared.inputs))
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


def _same_sizes(fixed: TensorSpec, declared: TensorSpec) -> bool:
    """Names of dynamic dimensions aside, which the ONNX file is given later."""
    pairs = zip(fixed.shape, declared.shape, strict=True)
    return all(size == own or (isinstance(size, str) and isinstance(own, str)) for size, own in pairs)


def _write_onnx(program: ExportedProgram, declared: ProgramInterface, path: Path) -> None:
    try:
        # where attention has a learnt bias, torch computes it otherwise for gradients, and lays it out otherwise in
        # memory: an exporter that sees both finds views that it cannot take
        with torch.no_grad():
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
