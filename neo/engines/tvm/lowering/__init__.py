"""Relax operators -> loop nests: which ones we lower ourselves, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax

from neo.contract.device import Target
from neo.engines.tvm.lowering import matmul
from neo.engines.tvm.lowering.convolution import convolution, window_of
from neo.engines.tvm.lowering.functions import FUNCTIONS
from neo.engines.tvm.lowering.rows import Rows

Legalize = Callable[[Any, relax.Call], Any]


def legalizations(target: Target) -> dict[str, Legalize]:
    """Relax operator -> how it is lowered, for relax.transform.LegalizeOps."""
    rows = Rows(target)

    def conv2d(builder: Any, call: relax.Call) -> Any:
        window = window_of(call)
        if window is None:
            return _tvm_lowers(builder, call)
        return builder.call_te(
            lambda x, weights: convolution(x, weights, window, rows), *call.args, primfunc_name_hint="conv2d"
        )

    def product(builder: Any, call: relax.Call) -> Any:
        if not matmul.takes(call):
            return _tvm_lowers(builder, call)
        a, b = call.args
        columns = int(b.ty.shape[-1])
        computed = rows.columns(columns)
        if computed != columns:
            b = builder.emit(builder.call_te(lambda b: matmul.widened(b, computed), b, primfunc_name_hint="widened"))
        return builder.call_te(lambda a, b: matmul.matmul(a, b, columns, rows), a, b, primfunc_name_hint="matmul")

    return {**FUNCTIONS, "relax.nn.conv2d": conv2d, "relax.matmul": product}


def _tvm_lowers(builder: Any, call: relax.Call) -> Any:
    return call.op.get_attr("FLegalize")(builder, call)
