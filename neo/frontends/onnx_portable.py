"""Replaces operators that ONNX Runtime lacks by others that it has.

In two ways, which are both part of ONNX: many newer operators are defined as functions of older ones, which can be
inlined; and a model can be converted to another version of the operator set, in which the operator has an
implementation. Source: https://onnx.ai/onnx/intro/concepts.html (functions),
https://onnx.ai/onnx/api/version_converter.html
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx
from onnx.inliner import inline_selected_functions
from onnx.reference import ReferenceEvaluator

from neo.contract.strings import STRING, as_dtype, dtype_name
from neo.contract.tensors import TensorSpec
from neo.errors import UnsupportedModel
from neo.frontends.base import Arrays
from neo.frontends.onnx_file import open_in_onnxruntime
from neo.frontends.onnx_names import drop_repeated_names
from neo.frontends.samples import random_inputs
from neo.onnx_tools.files import load, save
from neo.onnx_tools.walk import nodes

# ONNX Runtime promises nothing for models of older operator sets
OLDEST_OPSET = 7
_MAX_STEPS = 16
# ONNX Runtime's messages about missing kernels, the only way to find out what it lacks
_LACKING = re.compile(r"(?:implementation for|kernel for|Fatal error:) (?:([\w.]+):)?(\w+) ?\((-?\d+)\)")


def make_portable(path: Path) -> None:
    """Rewrites the file until ONNX Runtime opens it. Raises UnsupportedModel, in its words, if nothing helps."""
    model = load(path, weights=False)
    drop_repeated_names(model.graph)
    save(model, path)
    if _opset(model) < OLDEST_OPSET:
        _convert(path, OLDEST_OPSET)
    for _ in range(_MAX_STEPS):
        try:
            open_in_onnxruntime(path, optimised=False)
        except UnsupportedModel as error:
            lacking = _LACKING.search(error.message)
            if lacking is None or not _replace(path, _canonical(lacking[1] or ""), lacking[2]):
                raise
        else:
            return


def _replace(path: Path, domain: str, operator: str) -> bool:
    """False if neither way is open."""
    model = load(path)
    calls = {(_canonical(node.domain), node.op_type) for node in nodes(model.graph.node)}
    if (domain, operator) not in calls:  # it is inside another operator, which is a function itself
        functions = sorted(call for call in calls if _is_function(model, *call))
    else:
        functions = [(domain, operator)] if _is_function(model, domain, operator) else []
    if functions:
        save(inline_selected_functions(model, functions, inline_schema_functions=True), path)
        return True
    since = _since(model, domain, operator)
    return not domain and since is not None and since > OLDEST_OPSET and _convert(path, since - 1)


def _is_function(model: onnx.ModelProto, domain: str, operator: str) -> bool:
    schema = _schema(model, domain, operator)
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


def _since(model: onnx.ModelProto, domain: str, operator: str) -> int | None:
    schema = _schema(model, domain, operator)
    return None if schema is None else int(schema.since_version)


def _schema(model: onnx.ModelProto, domain: str, operator: str) -> Any:  # its stub lacks half of what it has
    version = next((entry.version for entry in model.opset_import if _canonical(entry.domain) == domain), None)
    if version is None or not onnx.defs.has(operator, version, domain):
        return None
    return onnx.defs.get_schema(operator, version, domain)


def _canonical(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _opset(model: onnx.ModelProto) -> int:
    return max((entry.version for entry in model.opset_import if not _canonical(entry.domain)), default=OLDEST_OPSET)


def _convert(path: Path, opset: int) -> bool:
    try:
        converted = onnx.version_converter.convert_version(load(path), opset)
    except (RuntimeError, ValueError):  # it has no adapter for every operator; ONNX Runtime says what is lacking
        return False
    save(converted, path)
    return True


def reference_evaluator(path: Path, inputs: tuple[TensorSpec, ...]) -> ReferenceEvaluator | None:
    """ONNX's own, slow implementation; None if it cannot run this model either."""
    try:
        evaluator = ReferenceEvaluator(str(path))
        evaluator.run(None, random_inputs(inputs, 1, 0)[0])
    except Exception:  # noqa: BLE001  # it is plain Python that raises whatever it trips over
        return None
    return evaluator


def answer(evaluator: ReferenceEvaluator, inputs: Arrays) -> Arrays:
    found = dict(zip(evaluator.output_names, evaluator.run(None, inputs), strict=True))
    return {name: as_dtype(a, STRING) if dtype_name(a) == STRING else a for name, a in found.items()}
