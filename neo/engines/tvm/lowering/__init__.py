"""Relax operators -> loop nests: which ones we lower ourselves, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from neo.contract.device import Target
from neo.engines.tvm.constants import constant_of
from neo.engines.tvm.lowering import matmul, winograd
from neo.engines.tvm.lowering.convolution import Window, convolution, window_of
from neo.engines.tvm.lowering.functions import FUNCTIONS
from neo.engines.tvm.lowering.rows import Rows

# TVM's names for these numbers are not exported to Python: kOutEWiseFusable and kOpaque
TAKES_EPILOGUE, OPAQUE = 4, 8

Legalize = Callable[[Any, relax.Call], Any]


def legalizations(target: Target) -> dict[str, Legalize]:
    """Relax operator -> how it is lowered, for relax.transform.LegalizeOps."""
    rows = Rows(target)

    def conv2d(builder: Any, call: relax.Call) -> Any:
        window = window_of(call)
        if window is None:
            return _tvm_lowers(builder, call)
        faster = _winograd(builder, call, window, rows)
        if faster is not None:
            return faster
        x, weights = call.args
        filters = int(weights.ty.shape[-1])
        if window.groups == 1:
            weights = _widened(builder, weights, rows.columns(filters))
        return builder.call_te(
            lambda x, weights: convolution(x, weights, filters, window, rows), x, weights, primfunc_name_hint="conv2d"
        )

    def product(builder: Any, call: relax.Call) -> Any:
        if not matmul.takes(call):
            return _tvm_lowers(builder, call)
        a, b = call.args
        columns = int(b.ty.shape[-1])
        b = _widened(builder, b, rows.columns(columns))
        return builder.call_te(lambda a, b: matmul.matmul(a, b, columns, rows), a, b, primfunc_name_hint="matmul")

    return {**FUNCTIONS, "relax.nn.conv2d": conv2d, "relax.matmul": product}


def _widened(builder: Any, weights: Any, columns: int) -> Any:
    """Weights with columns of zeros behind their own."""
    own = int(weights.ty.shape[-1])
    if columns == own:
        return weights
    known = constant_of(weights, builder)
    if known is not None:
        return relax.const(np.pad(known, [*[(0, 0)] * (known.ndim - 1), (0, columns - own)]))
    return builder.emit(builder.call_te(lambda b: matmul.widened(b, columns), weights, primfunc_name_hint="widened"))


def _winograd(builder: Any, call: relax.Call, window: Window, rows: Rows) -> Any | None:
    """The convolution in three functions, or None where it would gain nothing or the weights are no constant."""
    x, weights = call.args[0], constant_of(call.args[1], builder)
    if weights is None or weights.shape[:2] != (winograd.KERNEL, winograd.KERNEL):
        return None
    shape = tuple(int(dim) for dim in x.ty.shape)
    m = winograd.choose(shape, weights.shape[3], window, rows)
    if m is None:
        return None
    transformed = relax.const(winograd.transform_weights(weights, m))
    inputs = builder.emit_te(
        lambda x: winograd.transform_input(x, m, window),
        x,
        primfunc_name_hint="winograd_input",
        primfunc_attrs={"op_pattern": OPAQUE},
    )
    products = builder.emit_te(
        lambda x, weights: winograd.products(x, weights, rows),
        inputs,
        transformed,
        primfunc_name_hint="winograd_products",
        primfunc_attrs={"op_pattern": OPAQUE},
    )
    out = tuple(int(dim) for dim in call.ty.shape)
    return builder.call_te(
        lambda product: winograd.transform_output(product, m, out),
        products,
        primfunc_name_hint="winograd_output",
        primfunc_attrs={"op_pattern": TAKES_EPILOGUE},
    )


def _tvm_lowers(builder: Any, call: relax.Call) -> Any:
    return call.op.get_attr("FLegalize")(builder, call)
