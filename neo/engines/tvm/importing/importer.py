"""ONNX -> Relax. If the importer fails, the error names the node."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import tvm

from neo.contract.tensors import TensorSpec
from neo.engines.tvm.importing.converters import CONVERTERS
from neo.engines.tvm.importing.refusal import Refused
from neo.engines.tvm.ir.recurrence import WriteRecurrence
from neo.engines.tvm.tvm_private import OnnxImporter, importable_operators, name_of_node


def known_operators() -> frozenset[str]:
    """ONNX operators that have a converter, TVM's or ours."""
    return importable_operators() | CONVERTERS.keys()


def import_model(
    model: onnx.ModelProto, inputs: tuple[TensorSpec, ...], write_recurrence: WriteRecurrence
) -> tvm.IRModule:
    """A module whose ``main`` takes the inputs in order; weights are constants in it.

    write_recurrence: makes the backend's kernel for a recurrent node.

    Raises Refused with the name of the node that cannot be imported; "" if the importer does not say.
    """
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    shapes = {spec.name: list(spec.shape) for spec in inputs}
    # TVM's importer prints the whole expression when a converter fails
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            return _Importer(shapes, write_recurrence).from_onnx(model.graph, opset)
        except Refused:
            raise
        except Exception as error:  # outside of converters too, the importer raises whatever it trips over
            raise Refused(_last_line(error)) from error


class _Importer(OnnxImporter):
    """TVM's importer with our converters, which also get write_recurrence. Names the node that fails."""

    def __init__(self, shapes: Mapping[str, Sequence[Any]], write_recurrence: WriteRecurrence) -> None:
        super().__init__(shapes)
        self._write_recurrence = write_recurrence

    def convert(self, operator: str, inputs: Sequence[Any], attributes: dict[str, Any], opset: int) -> Any:
        try:
            if operator not in CONVERTERS:
                return super().convert(operator, inputs, attributes, opset)
            return self.convert_by(CONVERTERS[operator], inputs, attributes, opset, self._write_recurrence)
        except Refused as refused:
            raise Refused(refused.reason, name_of_node(attributes)) from refused
        except Exception as error:  # converters raise whatever they trip over
            raise Refused(_last_line(error), name_of_node(attributes)) from error


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
