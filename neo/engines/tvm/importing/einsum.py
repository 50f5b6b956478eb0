"""Einsum of two operands as a matrix product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import relax

from neo.engines.tvm.ir.expressions import permuted, shape_of


@dataclass(frozen=True, slots=True)
class Summation:
    """The terms of an einsum with two operands. Every letter is in the result or in both operands."""

    left: str
    right: str
    out: str

    @classmethod
    def of(cls, equation: str, ranks: Sequence[int]) -> Summation | None:
        """None if it is no matrix product: an ellipsis, a repeated letter, a sum over one operand, a scalar result."""
        operands, arrow, out = equation.replace(" ", "").partition("->")
        terms = operands.split(",")
        if not arrow or not out or len(terms) != 2 or "." in equation or [len(term) for term in terms] != list(ranks):
            return None
        if any(len(set(term)) < len(term) for term in (*terms, out)) or not set(out) <= set("".join(terms)):
            return None
        alone = set(terms[0]) ^ set(terms[1])
        left, right = terms
        return cls(left, right, out) if alone <= set(out) else None

    def build(self, builder: Any, left: Any, right: Any) -> Any:
        """The Relax expression."""
        batch = [letter for letter in self.out if letter in self.left and letter in self.right]
        summed = [letter for letter in self.left if letter in self.right and letter not in self.out]
        rows, columns = ([c for c in self.out if c in one and c not in batch] for one in (self.left, self.right))
        sizes = {
            letter: int(size)
            for term, operand in ((self.left, left), (self.right, right))
            for letter, size in zip(term, operand.ty.shape, strict=True)
        }
        a = _laid_out(builder, left, self.left, [batch, rows, summed], sizes)
        b = _laid_out(builder, right, self.right, [batch, summed, columns], sizes)
        product = builder.normalize(relax.op.matmul(a, b))
        order = [*batch, *rows, *columns]
        result = _reshaped(builder, product, [sizes[letter] for letter in order])
        return permuted(result, [order.index(letter) for letter in self.out])


def _laid_out(builder: Any, operand: Any, term: str, groups: list[list[str]], sizes: dict[str, int]) -> Any:
    """The operand as [*batch, rows, columns]: groups of letters in this order, all but the batch collapsed."""
    order = [term.index(letter) for group in groups for letter in group]
    turned = builder.normalize(permuted(operand, order))
    batch, *matrix = ([sizes[letter] for letter in group] for group in groups)
    return _reshaped(builder, turned, [*batch, *(math.prod(group) for group in matrix)])


def _reshaped(builder: Any, value: Any, shape: list[int]) -> Any:
    return value if tuple(shape) == shape_of(value) else builder.normalize(relax.op.reshape(value, shape))
