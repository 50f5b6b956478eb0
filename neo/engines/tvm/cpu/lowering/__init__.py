"""Lowering rules of ours, Relax operators -> loop nests in TensorIR, for ``relax.transform.LegalizeOps``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax, tirx, topi

from neo.contract.device import Target
from neo.engines.tvm.cpu.lowering import matmul, winograd
from neo.engines.tvm.cpu.lowering.arithmetic import (
    FLOATS,
    MOST_CHANNELS,
    PAIR_CHANNELS,
    Arithmetic,
    Halves,
    Pairs,
    Pixels,
)
from neo.engines.tvm.cpu.lowering.convolution import Geometry, by_group, convolution, is_pointwise, pad
from neo.engines.tvm.cpu.lowering.extremes import EXTREMES
from neo.engines.tvm.cpu.lowering.functions import FUNCTIONS
from neo.engines.tvm.cpu.lowering.halves import as_stored
from neo.engines.tvm.cpu.lowering.pooling import POOLINGS
from neo.engines.tvm.cpu.lowering.resize import RESIZES
from neo.engines.tvm.cpu.lowering.rows import Rows
from neo.engines.tvm.cpu.lowering.tiled import Sliding, pays, whole_tiles
from neo.engines.tvm.cpu.lowering.transpose import Transpose, transpose_function
from neo.engines.tvm.cpu.lowering.window import CONVOLUTIONS, Convolution, Window, convolution_of
from neo.engines.tvm.cpu.units.amx import Product
from neo.engines.tvm.cpu.units.bfloat16 import FLOAT, STORAGE, Unit
from neo.engines.tvm.ir.constants import constant_of, is_known
from neo.engines.tvm.ir.indices import axes_of
from neo.engines.tvm.ir.patterns import FRAME
from neo.engines.tvm.tvm_private import FUSION_PATTERN, OPAQUE, TAKES_EPILOGUE, tvm_lowers

PRODUCT, PERMUTATION = "relax.matmul", "relax.permute_dims"
# elements: a smaller transpose costs nothing, because it is fused to the function before or after it
LARGE = 1 << 12

Legalize = Callable[[Any, relax.Call], Any]


class Lowering:
    """The rules for one target. unit: multiplies bfloat16; None: everything is computed in float32."""

    def __init__(self, target: Target, unit: Unit | None) -> None:
        self._rows = Rows(target)
        self._unit = unit

    def legalizations(self) -> dict[str, Legalize]:
        """Relax operator -> its lowering rule."""
        return {
            **EXTREMES,
            **FUNCTIONS,
            **POOLINGS,
            **RESIZES,
            **dict.fromkeys(CONVOLUTIONS, self._convolution),
            PRODUCT: self._matmul,
            PERMUTATION: self._permute_dims,
        }

    def reads_halves(self, call: relax.Call, bindings: Any) -> bool:
        """Does the call read its first argument as bfloat16? bindings: as for ``constant_of``."""
        name = getattr(call.op, "name", "")
        if name in CONVOLUTIONS:
            found = convolution_of(call, bindings)
            reads = found is not None and found.depth is None
            arithmetic = self._arithmetic_of(call, found, bindings) if reads and found is not None else FLOATS
        elif name == PRODUCT and matmul.takes(call):
            arithmetic = self._arithmetic_of_product(call, bindings)
        else:
            return False
        return arithmetic.input == STORAGE and int(call.args[0].ty.shape[-1]) % arithmetic.depth == 0

    def _arithmetic_of(self, call: relax.Call, found: Convolution, bindings: Any) -> Arithmetic:
        window, weights = found.window, found.weights
        if self._unit is None or weights is None or window.channels_first or is_known(call.args[0], bindings):
            return FLOATS
        channels = found.image[3]
        if window.groups == channels:
            return Halves()
        if window.groups > 1:
            several = math.prod(found.kernel[:3]) > PAIR_CHANNELS  # with a single pair there is nothing to add up
            return Pairs(unit=self._unit) if several and found.kernel[2] % PAIR_CHANNELS == 0 else FLOATS
        if channels == 1:
            return FLOATS
        pairs = (Pixels if 2 < channels <= MOST_CHANNELS else Pairs)(unit=self._unit)
        if self._unit.tiles and self._pays(self._product_of(found), weights):
            return replace(pairs, tiles=True)
        return FLOATS if self._winograd_of(found, pairs) else pairs

    def _arithmetic_of_product(self, call: relax.Call, bindings: Any) -> Arithmetic:
        weights = constant_of(call.args[1], bindings)
        if self._unit is None or weights is None or weights.shape[-2] == 1 or is_known(call.args[0], bindings):
            return FLOATS
        if math.prod(weights.shape[:-2]) > 1:
            return FLOATS
        *lead, channels, columns = (int(dim) for dim in (*call.args[0].ty.shape, weights.shape[-1]))
        product = Product(1, math.prod(lead), whole_tiles(columns), 1, -(-channels // PAIR_CHANNELS))
        return Pairs(unit=self._unit, tiles=self._unit.tiles and self._pays(product, weights))

    def _product_of(self, found: Convolution) -> Product:
        """The convolution as AMX would compute it."""
        (_, _, width, channels), (images, height, along, filters) = found.image, found.out
        window, kernel = found.window, found.kernel
        pairs = -(-channels // PAIR_CHANNELS)
        if is_pointwise(kernel, window):
            return Product(1, images * height * along, whole_tiles(filters), 1, pairs)
        pitch = window.padding[1] + width + window.padding[3]
        return Sliding(images, (height, along), (kernel[0], kernel[1]), window, pitch, pairs, filters).product

    def _pays(self, product: Product, weights: NDArray[Any]) -> bool:
        return pays(product, weights.shape[-1], self._rows.target)

    def _rows_of(self, arithmetic: Arithmetic) -> Rows:
        return replace(self._rows, arithmetic=arithmetic)

    def _winograd_of(self, found: Convolution, arithmetic: Arithmetic) -> winograd.Tiling | None:
        """None if a direct convolution with this arithmetic is faster."""
        if found.weights is None or found.kernel[:2] != (winograd.KERNEL, winograd.KERNEL):
            return None
        return winograd.choose(found.image, found.kernel[3], found.window, self._rows, arithmetic.depth)

    def _convolution(self, builder: Any, call: relax.Call) -> Any:
        found = convolution_of(call, builder)
        if found is None:
            return tvm_lowers(builder, call)
        arithmetic = self._arithmetic_of(call, found, builder)
        x, weights = _images(builder, call.args[0], found, arithmetic), call.args[1]
        if found.repeats > 1:
            x, found = builder.emit_te(found.repeated, x, primfunc_name_hint="repeated"), found.of_repeated()
        window, is_image = found.window, found.result == found.out
        tiling = self._winograd_of(found, arithmetic) if arithmetic == FLOATS else None
        if tiling is not None and found.weights is not None:
            transformed = relax.const(winograd.transform_weights(found.weights, tiling.m))
            return _winograd(builder, x, transformed, found, tiling)
        if found.weights is not None:
            weights = relax.const(found.weights)
        elif not is_image:
            weights = builder.emit_te(lambda w: topi.reshape(w, found.kernel), weights, primfunc_name_hint="kernel")
        if window.groups == 1:
            weights = self._widened(builder, weights, arithmetic)
        elif found.weights is not None and found.kernel[2] > 1:
            weights = relax.const(arithmetic.weights(by_group(found.weights, window.groups)))
        rows = self._rows_of(arithmetic)
        geometry = self._geometry_of(x, weights, window, rows)
        if geometry is not None and geometry.has_zeros and not geometry.depthwise:
            says = {} if window.channels_first else {FRAME: [*geometry.begin, geometry.phases]}
            x = builder.emit_te(lambda x: pad(x, geometry), x, primfunc_name_hint="pad", primfunc_attrs=says)
        return builder.call_te(
            lambda x, weights: found.shaped(convolution(x, weights, window, rows, geometry, filters=found.kernel[3])),
            x,
            weights,
            primfunc_name_hint="conv2d",
        )

    def _geometry_of(self, x: Any, weights: Any, window: Window, rows: Rows) -> Geometry | None:
        shape, kernel = ([int(dim) for dim in value.ty.shape] for value in (x, weights))
        kernel = kernel[-4:]  # of one group, if weights are stored by group
        if is_pointwise(kernel, window):
            return None
        geometry = Geometry.of(shape, kernel, window, rows)
        along_width = window.channels_first or isinstance(rows.arithmetic, Pixels)
        return geometry.aligned(rows.lanes) if along_width and any(window.padding) else geometry

    def _matmul(self, builder: Any, call: relax.Call) -> Any:
        if not matmul.takes(call):
            return tvm_lowers(builder, call)
        a, b = call.args
        arithmetic = self._arithmetic_of_product(call, builder)
        columns = int(b.ty.shape[-1])
        return builder.call_te(
            lambda a, b: matmul.matmul(a, b, columns, self._rows_of(arithmetic)),
            as_stored(builder, a, arithmetic),
            self._widened(builder, b, arithmetic),
            primfunc_name_hint="matmul",
        )

    def _permute_dims(self, builder: Any, call: relax.Call) -> Any:
        x = call.args[0]
        shape = [int(dim) if isinstance(dim, tirx.IntImm) else 0 for dim in x.ty.shape]
        if math.prod(shape) < LARGE or str(x.ty.dtype) != FLOAT or is_known(x, builder):
            return tvm_lowers(builder, call)
        order = axes_of(call)
        spec = Transpose(tuple(shape), tuple(order), shape[order[-1]])
        if not spec.fits(self._rows.lanes):
            return tvm_lowers(builder, call)
        function = builder.add_func(transpose_function(spec, self._rows.lanes), "transpose")
        return relax.call_tir(function, relax.Tuple([x]), call.ty)

    def _widened(self, builder: Any, weights: Any, arithmetic: Arithmetic) -> Any:
        """Weights as the arithmetic reads them, padded with columns of zeros if that gives better tiles."""
        own = int(weights.ty.shape[-1])
        columns = self._rows_of(arithmetic).columns(own)
        known = constant_of(weights, builder)
        if known is not None:
            wide = np.pad(known, [*[(0, 0)] * (known.ndim - 1), (0, columns - own)])
            return relax.const(arithmetic.weights(wide))
        if columns == own:
            return weights
        return builder.emit(
            builder.call_te(lambda b: matmul.widened(b, columns), weights, primfunc_name_hint="widened")
        )


def _images(builder: Any, x: Any, found: Convolution, arithmetic: Arithmetic) -> Any:
    """The input of a convolution as images, as the arithmetic reads them."""
    if found.depth is not None:
        x = builder.emit_te(found.images, x, primfunc_name_hint="volumes")
    x = as_stored(builder, x, arithmetic)
    if found.depth is None and found.result != found.out:
        x = builder.emit_te(found.images, x, primfunc_name_hint="lines")
    return x


def _winograd(builder: Any, x: Any, weights: Any, found: Convolution, tiling: winograd.Tiling) -> Any:
    """The convolution as one function, or as one for each of the three steps."""
    window, out = found.window, found.out
    if tiling.block is not None:
        return builder.call_te(
            lambda x, weights: found.shaped(winograd.convolution(x, weights, tiling, window, out)),
            x,
            weights,
            primfunc_name_hint="winograd",
            primfunc_attrs={FUSION_PATTERN: TAKES_EPILOGUE},
        )
    inputs = builder.emit_te(
        lambda x: winograd.transform_input(x, tiling, window),
        x,
        primfunc_name_hint="winograd_input",
        primfunc_attrs={FUSION_PATTERN: OPAQUE},
    )
    products = builder.emit_te(
        lambda x, weights: winograd.products(x, weights, tiling),
        inputs,
        weights,
        primfunc_name_hint="winograd_products",
        primfunc_attrs={FUSION_PATTERN: OPAQUE},
    )
    return builder.call_te(
        lambda product: found.shaped(winograd.transform_output(product, tiling, out)),
        products,
        primfunc_name_hint="winograd_output",
        primfunc_attrs={FUSION_PATTERN: TAKES_EPILOGUE},
    )
