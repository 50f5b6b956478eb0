"""Attention, softmax(q k^T) v, as one function that computes a tile of rows at a time. The matrix of scores, with a row
for every query and a column for every key, is never in memory as a whole.

The tiling is that of Dao et al., "FlashAttention", 2022, but tiles have whole rows, so the softmax needs no rescaling.
``attention_fusion.py`` finds attention in a graph, ``attention_operands.py`` calls the function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tvm import relax, te, tirx, topi

from neo.engines.tvm.cpu.lowering.arithmetic import FLOATS, Arithmetic
from neo.engines.tvm.cpu.lowering.rows import Rows
from neo.engines.tvm.cpu.lowering.tiled import Mark
from neo.engines.tvm.cpu.units.bfloat16 import FLOAT, STORAGE, rounded, widened
from neo.engines.tvm.ir.constants import constant_of
from neo.engines.tvm.ir.expressions import shape_of
from neo.engines.tvm.ir.indices import before_transpose

# names of the blocks that the schedules look for; all others are inlined into these
BLOCKS = SCORES, BIASED, LARGEST, POWERS, TOTAL, VALUES = tuple(
    f"attention_{name}" for name in ("scores", "biased", "largest", "powers", "total", "values")
)
# exp of smaller numbers is subnormal in float32, and slow to multiply with: it is set to 0
_LEAST_EXPONENT = -87.0

# operators that may be applied to the scores before the softmax
UPDATES: dict[str, Callable[[Any, Any], Any]] = {
    "relax.add": lambda a, b: a + b,
    "relax.subtract": lambda a, b: a - b,
    "relax.multiply": lambda a, b: a * b,
    "relax.divide": lambda a, b: a / b,
}


@dataclass(frozen=True, slots=True)
class Operand:
    """factor * transpose(base, axes): scaling and transposition happen when elements are read."""

    base: relax.Expr
    #: as numpy's transpose takes them
    axes: tuple[int, ...]
    factor: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        sizes = shape_of(self.base)
        return tuple(sizes[axis] for axis in self.axes)

    def at(self, base: te.Tensor, index: Sequence[Any]) -> Any:
        """The element at this index, not scaled. base: the tensor of ``self.base``."""
        return base(*before_transpose(index, self.axes))


@dataclass(frozen=True, slots=True)
class ScoreUpdate:
    """scores <- scores operator operand, between the first product and the softmax."""

    #: a key of UPDATES
    operator: str
    #: its shape broadcasts to the shape of the scores
    operand: relax.Expr


@dataclass(frozen=True, slots=True)
class Extents:
    """Sizes as computed: rounded up to whole tiles and vectors."""

    #: rows of the scores
    queries: int
    #: columns of the scores
    keys: int
    #: columns of v
    width: int
    #: steps of the second product's reduction
    steps: int


@dataclass(frozen=True, slots=True)
class Attention:
    """S queries, T keys and values; D and E are the channels of keys and of values."""

    #: [..., S, D]
    q: Operand
    #: [..., D, T]
    k: Operand
    #: [..., T, E]
    v: Operand
    updates: tuple[ScoreUpdate, ...]
    #: transposition of [..., S, E] to the output, as numpy's transpose takes it
    order: tuple[int, ...]

    def fits(self, rows: Rows) -> bool:
        """Do the channels of v fill more than half of their vectors? Else two products and a softmax are faster."""
        return 2 * self.v.shape[-1] > whole_vectors(self.v, rows) and self.q.shape[-2] > 1

    def reads_values(self, width: int, arithmetic: Arithmetic) -> bool:
        """Is v read in place, without a copy?"""
        return arithmetic == FLOATS and width == self.v.shape[-1]

    def permuted(self, axes: Sequence[int]) -> Attention:
        return replace(self, order=tuple(self.order[axis] for axis in axes))

    def compute(
        self,
        q: te.Tensor,
        k: te.Tensor,
        v: te.Tensor,
        *operands: te.Tensor,
        extents: Extents,
        arithmetic: Arithmetic,
    ) -> te.Tensor:
        """q: base of the operand, as the arithmetic reads inputs. k: [..., D, extents.keys], as the arithmetic reads
        weights. v: likewise [..., T, extents.width], or the operand's base if ``reads_values``. operands: those of the
        updates that are not constant numbers.
        """
        *lead, queries, depth = self.q.shape
        keys = self.v.shape[-2]
        tall, wide, width = extents.queries, extents.keys, extents.width
        factor, rank = self.q.factor * self.k.factor, len(lead)
        d = te.reduce_axis((0, depth // arithmetic.depth), name="d")
        j = te.reduce_axis((0, extents.steps), name="j")
        largest_of, total_of = te.reduce_axis((0, wide), name="k"), te.reduce_axis((0, wide), name="t")
        given = iter(operands)
        numbers = [scalar_of(update.operand) for update in self.updates]
        chain = [next(given) if number is None else number for number in numbers]

        def row(i: Any) -> Any:
            return i if tall == queries else tirx.min(i, queries - 1)

        def score(*at: tirx.Var) -> Any:
            index = (*at[:rank], row(at[rank]))
            term = arithmetic.product(lambda c: self.q.at(q, (*index, c)), d, k(*at[:rank], d, at[-1]))
            return te.sum(term, axis=d)

        row_bytes = math.prod(int(size) for size in q.shape[self.q.axes[-2] + 1 :]) * np.dtype(str(q.dtype)).itemsize
        attrs = Mark(row_bytes).attrs if arithmetic.tiles else {}
        scores = te.compute((*lead, tall, wide), score, name=SCORES, attrs=attrs)

        def bias(*at: tirx.Var) -> Any:
            value = scores(*at)
            if factor != 1.0:
                value = value * tirx.const(factor, FLOAT)
            for update, operand in zip(self.updates, chain, strict=True):
                value = UPDATES[update.operator](value, _broadcast(operand, (*at[:rank], row(at[rank]), at[-1])))
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
            index = (*at[:rank], j, at[-1])
            weight = self.v.at(v, index) if self.reads_values(width, arithmetic) else v(*index)
            return te.sum(arithmetic.product(lambda c: powers(*at[:-1], c), j, weight), axis=j)

        values = te.compute((*lead, tall, width), value, name=VALUES)
        sizes = (*lead, queries, self.v.shape[-1])

        def output(*own: tirx.Var) -> Any:
            at = before_transpose(own, self.order)
            scale = tirx.const(self.v.factor, FLOAT)
            return values(*at) * (scale / total(*at[:-1]))

        return te.compute(tuple(sizes[axis] for axis in self.order), output, name="attention")


def whole_vectors(v: Operand, rows: Rows) -> int:
    """Channels of v, rounded up to whole vectors."""
    return -(-v.shape[-1] // rows.lanes) * rows.lanes


def _broadcast(operand: Any, index: Sequence[Any]) -> Any:
    """The element for this index into the scores. operand: a tensor that broadcasts to them, or a number."""
    if isinstance(operand, float):
        return tirx.const(operand, FLOAT)
    sizes = [int(dim) for dim in operand.shape]
    own = index[len(index) - len(sizes) :]
    return operand(*(0 if size == 1 else at for at, size in zip(own, sizes, strict=True)))


def scalar_of(value: Any) -> float | None:
    """The number if the value is a constant scalar."""
    array = constant_of(value)
    return float(array.reshape(())) if array is not None and array.size == 1 else None
