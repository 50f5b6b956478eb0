"""ONNX -> Relax, with what it cannot take said operator by operator."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from typing import Any

import onnx
import tvm
from tvm.relax.frontend.onnx import onnx_frontend

from neo.contract.device import Target
from neo.contract.tensors import TensorSpec
from neo.engines.tvm.importing.converters import CONVERTERS
from neo.engines.tvm.importing.refusal import Refused

OPERATORS = frozenset((*onnx_frontend._get_convert_map(), *CONVERTERS, "Constant"))  # noqa: SLF001  # no public list


def import_model(model: onnx.ModelProto, inputs: tuple[TensorSpec, ...], target: Target) -> tvm.IRModule:
    """A module whose ``main`` takes the inputs in order; weights are constants in it.

    Raises Refused with the name of the node that cannot be taken, "" if the importer does not say.
    """
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    shapes = {spec.name: list(spec.shape) for spec in inputs}
    # tvm's importer prints the whole expression when a converter fails
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            importer = _Importer(shapes, "float32", sanitize=False)
            importer.target = target
            return importer.from_onnx(model.graph, opset)
        except Refused:
            raise
        except Exception as error:  # outside of converters too, the importer raises whatever it trips over
            raise Refused(_last_line(error)) from error


class _Importer(onnx_frontend.ONNXGraphImporter):  # type: ignore[misc]  # tvm has no types
    """TVM's importer with our converters, which are told the target too; a node that fails is named."""

    target: Target

    def _check_for_unsupported_ops(self, graph: onnx.GraphProto) -> None:
        """Every node is looked at before, in ``refusal``."""

    def _convert_operator(self, op_name: str, inputs: Sequence[Any], attrs: dict[str, Any], opset: int) -> Any:
        try:
            if op_name not in CONVERTERS:
                return super()._convert_operator(op_name, inputs, attrs, opset)
            convert = CONVERTERS[op_name].get_converter(opset)
            return self.bb.normalize(convert(self.bb, inputs, attrs, [self._nodes, self._params, self.target]))
        except Refused as refused:
            raise Refused(refused.reason, attrs["tvm_custom"]["name"]) from refused
        except Exception as error:  # converters raise whatever they trip over
            raise Refused(_last_line(error), attrs["tvm_custom"]["name"]) from error


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
