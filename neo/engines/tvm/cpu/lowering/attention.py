"""softmax(q kT) v in one function, tile of rows by tile of rows: the matrix between the two products, with a row for
every query and a column for every key, is never in memory as a whole.

The idea of computing it by tiles is that of Dao et al., "FlashAttention", 2022; here a tile has whole rows, so that the
softmax needs no corrections.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx, topi

from neo.engines.tvm.cpu.lowering import matmul
from neo.engines.tvm.cpu.lowering.arithmetic import FLOATS, PAIR_CHANNELS, Arithmetic, Pairs, encode, zero
from neo.engines.tvm.cpu.lowering.rows import Rows
from neo.engines.tvm.cpu.lowering.tiled import Mark, pays, whole_tiles
from neo.engines.tvm.cpu.lowering.transpose import Transpose, transpose_function
from neo.engines.tvm.cpu.units.amx import TILE_PAIRS, Product
from neo.engines.tvm.cpu.units.bfloat16 import FLOAT, STORAGE, pair, rounded, widened
from neo.engines.tvm.cpu.units.tiles import choose_tile, round_up_vectors
from neo.engines.tvm.ir.constants import constant_of, is_known
from neo.engines.tvm.ir.expressions import name_of, shape_of
from neo.engines.tvm.ir.indices import axes_of, before_transpose
from neo.engines.tvm.tvm_private import FUSION_PATTERN, TAKES_EPILOGUE

# names of the blocks that its schedule places; what else there is becomes a part of these
BLOCKS = SCORES, BIASED, LARGEST, POWERS, TOTAL, VALUES = tuple(
    f"attention_{name}" for name in ("scores", "biased", "largest", "powers", "total", "values")
)
# exp of less is no normal float32, and slow to multiply with
_LEAST_EXPONENT = -87.0

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "relax.add": lambda a, b: a + b,
    "relax.subtract": lambda a, b: a - b,
    "relax.multiply": lambda a, b: a * b,
    "relax.divide": lambda a, b: a / b,
}
_COMMUTES = ("relax.add", "relax.multiply")

Lookup = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Operand:
    """factor * base with its dimensions in another order. axes: which dimension of the base each of the view's is."""

    base: relax.Expr
    axes: tuple[int, ...]
    factor: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        sizes = shape_of(self.base)
        return tuple(sizes[axis] for axis in self.axes)

    def at(self, base: te.Tensor, index: Sequence[Any]) -> Any:
        """base: the tensor that ``base`` stands for."""
        return base(*before_transpose(index, self.axes))


@dataclass(frozen=True, slots=True)
class ScoreUpdate:
    """Between the first product and the softmax: scores <- scores operator operand; of shapes that broadcast."""

    operator: str
    operand: relax.Expr


@dataclass(frozen=True, slots=True)
class Extents:
    """Sizes with what is computed too much. queries, keys: rows and columns of the scores. width: columns of v. steps:
    of the second product's reduction.
    """

    queries: int
    keys: int
    width: int
    steps: int


@dataclass(frozen=True, slots=True)
class Attention:
    """q: [..., S, D]; k: [..., D, T]; v: [..., T, E]. order: which dimension of [..., S, E] each of the output's is."""

    q: Operand
    k: Operand
    v: Operand
    steps: tuple[ScoreUpdate, ...]
    order: tuple[int, ...]

    @classmethod
    def of(cls, product: relax.Call, lookup: Lookup) -> Attention | None:
        """None if the product is not the second of an attention in float32, of fixed shapes.

        lookup: what a variable is bound to.
        """
        softmax = lookup(product.args[0])
        if name_of(softmax) != "nn.softmax" or not _is_fixed(product, softmax):
            return None
        rank = len(shape_of(product))
        if int(softmax.attrs.axis) % rank != rank - 1:
            return None
        found = _first_product(softmax.args[0], lookup)
        if found is None:
            return None
        first, steps = found
        q, k, v = (_view(operand, lookup) for operand in (*first.args, product.args[1]))
        attention = cls(q, k, v, steps, tuple(range(rank)))
        return attention if attention._is_sound else None

    @property
    def _is_sound(self) -> bool:
        shapes = [view.shape for view in (self.q, self.k, self.v)]
        lead = shapes[0][:-2]
        return bool(lead) and all(shape[:-2] == lead and min(shape) > 0 for shape in shapes)

    def fits(self, rows: Rows) -> bool:
        """Are the vectors of a row of v full, or nearly? Otherwise two products and a softmax are better."""
        return 2 * self.v.shape[-1] > _columns(self.v, rows) and self.q.shape[-2] > 1

    def reads_values(self, width: int, arithmetic: Arithmetic) -> bool:
        """As they are in memory."""
        return arithmetic == FLOATS and width == self.v.shape[-1]

    def permuted(self, axes: Sequence[int]) -> Attention:
        return replace(self, order=tuple(self.order[axis] for axis in axes))

    def emit(self, builder: Any, rows: Rows) -> relax.Call:
        """-> a call for ``builder`` to emit; what it needs is emitted."""
        if self.q.shape[-1] % rows.arithmetic.depth:
            return self.emit(builder, replace(rows, arithmetic=FLOATS))
        if self._pays_in_tiles(rows):
            rows = replace(rows, arithmetic=replace(rows.arithmetic, tiles=True))
        keys, extents = self.v.shape[-2], self._extents(rows)
        q, k, v = self.q, self.k, self.v
        if rows.arithmetic != FLOATS:
            q, k, v = (_stored(builder, view) for view in (q, k, v))
        steps = [replace(step, operand=self._operand(builder, step, keys, extents.keys)) for step in self.steps]
        variable = [step.operand for step in steps if _scalar(step.operand) is None]
        form = replace(self, q=q, k=k, v=v, steps=tuple(steps))
        return builder.call_te(
            lambda *tensors: form.compute(*tensors, extents=extents, arithmetic=rows.arithmetic),
            q.base,
            _keys(builder, k, rows, extents.keys),
            v.base
            if form.reads_values(extents.width, rows.arithmetic)
            else _values(builder, v, rows.arithmetic, extents),
            *variable,
            primfunc_name_hint="attention",
            primfunc_attrs={FUSION_PATTERN: TAKES_EPILOGUE},
        )

    def _extents(self, rows: Rows) -> Extents:
        queries, keys, width, depth = self.q.shape[-2], self.v.shape[-2], _columns(self.v, rows), rows.arithmetic.depth
        tall = rows.round_up(queries, width)
        if rows.arithmetic.tiles:  # scores are columns of one product, and channels of the other
            step = depth * TILE_PAIRS
            wide = -(-keys // step) * step
            return Extents(tall, wide, width, wide // depth)
        tile = choose_tile(tall, width, rows.lanes, rows.target.operand_registers)
        vectors = round_up_vectors(keys, tile.rows, rows.lanes, rows.target.operand_registers)
        return Extents(tall, vectors * rows.lanes, width, -(-keys // depth))

    def _pays_in_tiles(self, rows: Rows) -> bool:
        """Has the processor tiles, and are they faster?"""
        *lead, queries, depth = self.q.shape
        if not isinstance(rows.arithmetic, Pairs) or not rows.arithmetic.unit.tiles:
            return False
        if self.q.axes[-1] != len(self.q.axes) - 1:  # channels are no neighbours in memory
            return False
        keys = self.v.shape[-2]
        scores = Product(math.prod(lead), queries, whole_tiles(keys), 1, depth // PAIR_CHANNELS)
        return scores.pairs % TILE_PAIRS == 0 and pays(scores, keys, rows.target)

    def _operand(self, builder: Any, step: ScoreUpdate, keys: int, wide: int) -> relax.Expr:
        """A row as wide as that of the scores."""
        shape = shape_of(step.operand)
        if wide == keys or not shape or shape[-1] == 1:
            return step.operand
        return builder.emit_te(lambda x: matmul.widened(x, wide), step.operand, primfunc_name_hint="widened")

    def compute(
        self,
        q: te.Tensor,
        k: te.Tensor,
        v: te.Tensor,
        *operands: te.Tensor,
        extents: Extents,
        arithmetic: Arithmetic,
    ) -> te.Tensor:
        """q: the base of its view, as the arithmetic wants it. k: [..., D, wide], as it wants weights. v: likewise,
        [..., T, width], but in float32 the base of its view if there is nothing to add to its columns. operands: of the
        steps that are not by a number.
        """
        *lead, queries, depth = self.q.shape
        keys = self.v.shape[-2]
        tall, wide, width = extents.queries, extents.keys, extents.width
        factor, rank = self.q.factor * self.k.factor, len(lead)
        d = te.reduce_axis((0, depth // arithmetic.depth), name="d")
        j = te.reduce_axis((0, extents.steps), name="j")
        largest_of, total_of = te.reduce_axis((0, wide), name="k"), te.reduce_axis((0, wide), name="t")
        given = iter(operands)
        numbers = [_scalar(step.operand) for step in self.steps]
        chain = [next(given) if number is None else number for number in numbers]

        def row(i: Any) -> Any:
            return i if tall == queries else tirx.min(i, queries - 1)

        def score(*at: tirx.Var) -> Any:
            place = (*at[:rank], row(at[rank]))
            term = arithmetic.product(lambda c: self.q.at(q, (*place, c)), d, k(*at[:rank], d, at[-1]))
            return te.sum(term, axis=d)

        row_bytes = math.prod(int(size) for size in q.shape[self.q.axes[-2] + 1 :]) * np.dtype(str(q.dtype)).itemsize
        attrs = Mark(row_bytes).attrs if arithmetic.tiles else {}
        scores = te.compute((*lead, tall, wide), score, name=SCORES, attrs=attrs)

        def bias(*at: tirx.Var) -> Any:
            value = scores(*at)
            if factor != 1.0:
                value = value * tirx.const(factor, FLOAT)
            for step, operand in zip(self.steps, chain, strict=True):
                value = _BINARY[step.operator](value, _broadcast(operand, (*at[:rank], row(at[rank]), at[-1])))
            return value if wide == keys else tirx.Select(at[-1] < keys, value, tirx.const(-math.inf, FLOAT))

        biased = te.compute((*lead, tall, wide), bias, name=BIASED)
        rows = (*lead, tall)
        largest = te.compute(rows, lambda *at: te.max(biased(*at, largest_of), axis=largest_of), name=LARGEST)
        shifted = te.compute(biased.shape, lambda *at: biased(*at) - largest(*at[:-1]), name="attention_shifted")
        power = topi.fast_exp(shifted)

        is_rounded = arithmetic.input == STORAGE

        def normal(*at: tirx.Var) -> Any:
            value = tirx.Select(shifted(*at) < _LEAST_EXPONENT, tirx.const(0, FLOAT), power(*at))
            return rounded(value) if is_rounded else value

        def counted(value: Any) -> Any:
            return widened(value) if is_rounded else value

        powers = te.compute(biased.shape, normal, name=POWERS)
        total = te.compute(rows, lambda *at: te.sum(counted(powers(*at, total_of)), axis=total_of), name=TOTAL)

        def value(*at: tirx.Var) -> Any:
            place = (*at[:rank], j, at[-1])
            weight = self.v.at(v, place) if self.reads_values(width, arithmetic) else v(*place)
            return te.sum(arithmetic.product(lambda c: powers(*at[:-1], c), j, weight), axis=j)

        values = te.compute((*lead, tall, width), value, name=VALUES)
        sizes = (*lead, queries, self.v.shape[-1])

        def output(*own: tirx.Var) -> Any:
            at = before_transpose(own, self.order)
            scale = tirx.const(self.v.factor, FLOAT)
            return values(*at) * (scale / total(*at[:-1]))

        return te.compute(tuple(sizes[axis] for axis in self.order), output, name="attention")


def fuse_attention(module: tvm.IRModule, rows: Rows) -> tvm.IRModule:
    """Every attention in ``main`` -> one call, and those that lay its operands out."""
    main = module.get_global_var("main")
    fuser = _Fuser(module, rows)
    fuser.builder_.update_func(main, fuser.visit_expr(module[main]))
    return relax.transform.DeadCodeElimination()(fuser.builder_.get())


@relax.expr_functor.mutator
class _Fuser(relax.PyExprMutator):  # type: ignore[misc]  # tvm has no types
    def __init__(self, module: tvm.IRModule, rows: Rows) -> None:
        super().__init__(module)
        self._rows = rows
        self._fused: dict[relax.Call, Attention] = {}

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        attention = None
        if name_of(call) == "matmul":
            attention = Attention.of(call, self._bound)
            if attention is not None and any(is_known(v.base, self) for v in (attention.q, attention.k, attention.v)):
                return call
        elif name_of(call) == "permute_dims":
            before = self._fused.get(self._bound(call.args[0]))
            attention = None if before is None else before.permuted(axes_of(call))
        if attention is None or not attention.fits(self._rows):
            return call
        fused = attention.emit(self.builder_, self._rows)
        self._fused[fused] = attention
        return fused

    def _bound(self, value: Any) -> Any:
        return self.lookup_binding(value) if isinstance(value, relax.Var) else value


def _first_product(scores: Any, lookup: Lookup) -> tuple[relax.Call, tuple[ScoreUpdate, ...]] | None:
    """-> (the product, what is done to it before the softmax)."""
    shape, steps = shape_of(scores), []
    call = lookup(scores)
    while name_of(call) != "matmul":
        if f"relax.{name_of(call)}" not in _BINARY:
            return None
        inner, operand = call.args
        if call.op.name in _COMMUTES and not _has_shape(inner, shape):
            inner, operand = operand, inner
        if not _has_shape(inner, shape) or constant_of(inner) is not None or not _is_fixed(operand):
            return None
        steps.append(ScoreUpdate(call.op.name, operand))
        call = lookup(inner)
    return (call, tuple(reversed(steps))) if _is_fixed(call, *call.args) else None


def _view(value: Any, lookup: Lookup) -> Operand:
    view = Operand(value, tuple(range(len(shape_of(value)))))
    while True:
        call = lookup(view.base)
        factor = _factor(call)
        if name_of(call) == "permute_dims":
            axes = axes_of(call)
            view = Operand(call.args[0], tuple(axes[axis] for axis in view.axes), view.factor)
        elif factor is not None:
            view = Operand(call.args[0], view.axes, view.factor * factor)
        else:
            return view


def _factor(call: Any) -> float | None:
    """By which the call multiplies its first argument."""
    if name_of(call) != "multiply" or not _has_shape(call.args[0], shape_of(call)):
        return None
    return _scalar(call.args[1])


def _stored(builder: Any, view: Operand) -> Operand:
    """The view of what is stored as bfloat16: rounded where it is computed, in front of what gives it another shape."""
    bound: Any = builder.lookup_binding(view.base) if isinstance(view.base, relax.Var) else None
    origin = bound.args[0] if name_of(bound) == "reshape" else view.base
    half = builder.emit_te(encode, origin, primfunc_name_hint="encode")
    if origin is not view.base:
        half = builder.emit(relax.op.reshape(half, shape_of(view.base)))
    return replace(view, base=half)


def _keys(builder: Any, k: Operand, rows: Rows, wide: int) -> relax.Var:
    """[..., D, wide] as the arithmetic wants weights; what is behind the keys' own columns counts for nothing."""
    *shape, last = shape_of(k.base)
    depth = rows.arithmetic.depth
    spec = Transpose((*shape, last // depth), k.axes, wide, pairs=depth > 1)
    # pairs are neighbours only in the dimension that is turned
    if not spec.fits(rows.lanes) or (depth > 1 and k.axes[-2] != len(shape)):
        return builder.emit_te(
            lambda base: matmul.widened(_laid_out(k, base, depth), wide), k.base, primfunc_name_hint="keys"
        )
    function = builder.add_func(transpose_function(spec, rows.lanes), "keys")
    return builder.emit(
        relax.call_tir(function, relax.Tuple([k.base]), relax.TensorType(spec.output_shape, spec.dtype))
    )


def _columns(v: Operand, rows: Rows) -> int:
    """So many that vectors are whole."""
    return -(-v.shape[-1] // rows.lanes) * rows.lanes


def _values(builder: Any, v: Operand, arithmetic: Arithmetic, extents: Extents) -> relax.Var:
    """[..., T, width] as the arithmetic wants weights, zeros behind the values and below them."""

    def values(base: te.Tensor) -> te.Tensor:
        laid_out = matmul.widened(_laid_out(v, base, arithmetic.depth), extents.width)
        *lead, own, width = (int(dim) for dim in laid_out.shape)
        if own == extents.steps:
            return laid_out

        def value(*at: tirx.Var) -> Any:
            return tirx.if_then_else(at[-2] < own, laid_out(*at), zero(laid_out))

        return te.compute((*lead, extents.steps, width), value, name="heightened")

    return builder.emit_te(values, v.base, primfunc_name_hint="values")


def _laid_out(view: Operand, base: te.Tensor, depth: int) -> te.Tensor:
    """The view, without its factor. depth: so many of its rows are one number; what they lack is zero."""
    *lead, rows, columns = view.shape

    def element(*at: tirx.Var) -> Any:
        *outer, row, column = at
        if depth == 1:
            return view.at(base, at)
        low, high = (view.at(base, (*outer, tirx.min(2 * row + part, rows - 1), column)) for part in (0, 1))
        return pair(low, high if rows % depth == 0 else tirx.Select(2 * row + 1 < rows, high, zero(base)))

    return te.compute((*lead, -(-rows // depth), columns), element, name="laid_out")


def _broadcast(operand: Any, index: Sequence[Any]) -> Any:
    """operand: a tensor, or a number."""
    if isinstance(operand, float):
        return tirx.const(operand, FLOAT)
    sizes = [int(dim) for dim in operand.shape]
    own = index[len(index) - len(sizes) :]
    return operand(*(0 if size == 1 else place for place, size in zip(own, sizes, strict=True)))


def _scalar(value: Any) -> float | None:
    array = constant_of(value)
    return float(array.reshape(())) if array is not None and array.size == 1 else None


def _is_fixed(*values: Any) -> bool:
    """Float32 of fixed shapes?"""
    return all(
        str(value.ty.dtype) == FLOAT and all(isinstance(dim, tirx.IntImm) for dim in value.ty.shape) for value in values
    )


def _has_shape(value: Any, shape: tuple[int, ...]) -> bool:
    return _is_fixed(value) and shape_of(value) == shape
