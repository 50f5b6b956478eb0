"""MXNet's special codes in the shape of a Reshape, resolved against a known shape.

0 keeps the dimension, -1 is what is left over, -2 keeps all remaining dimensions, -3 merges two, -4 splits one into
the two numbers that follow it. SKIP leaves a dimension of 1 out; only the numpy spelling has it, which numbers the
codes otherwise. Source of the rules: MXNet 1.9.1, src/operator/tensor/matrix_op-inl.h, InferReshapeShape, and
src/operator/numpy/np_matrix_op.cc, NumpyXReshapeInferShape.
"""

from __future__ import annotations

from collections.abc import Sequence

from neo.contract.tensors import Dim
from neo.errors import InputSpecError, ModelError

INFERRED = -1
SKIP = -7
# the codes of _npx_reshape in the older ones
NUMPY_CODES = {-1: INFERRED, -2: 0, -3: SKIP, -4: -2, -5: -3, -6: -4}


def reshaped(shape: Sequence[Dim], codes: Sequence[int], *, reverse: bool, where: str) -> tuple[int, ...]:
    """A shape in ONNX's terms: whole numbers, at most one -1, and 0 for a dynamic dimension that stays in its place.

    reverse: the codes are matched with the dimensions from the back. Raises InputSpecError if they do not match.
    """
    resolver = _Resolver(list(reversed(shape)) if reverse else list(shape), where)
    resolved = resolver.resolve(list(reversed(codes)) if reverse else list(codes))
    if reverse:
        resolved.reverse()
    return _in_onnx_terms(resolved, shape, where)


def _in_onnx_terms(resolved: list[Dim], shape: Sequence[Dim], where: str) -> tuple[int, ...]:
    result = []
    for axis, dim in enumerate(resolved):
        if isinstance(dim, int):
            result.append(dim)
        elif axis < len(shape) and shape[axis] == dim:
            result.append(0)
        elif INFERRED not in resolved and sum(isinstance(other, str) for other in resolved) == 1:
            result.append(INFERRED)
        else:
            raise InputSpecError(
                f"{where} moves the dynamic dimension {dim!r}", hint=f"fix its size with --dim {dim}=1"
            )
    return tuple(result)


class _Resolver:
    """Walks the codes along the source's dimensions."""

    def __init__(self, source: list[Dim], where: str) -> None:
        self._source = source
        self._where = where
        self._next = 0

    def resolve(self, codes: list[int]) -> list[Dim]:
        result: list[Dim] = []
        pending = iter(codes)
        for code in pending:
            if code == 0:
                result.append(self._take())
            elif code == -2:
                result.extend(self._source[self._next :])
                self._next = len(self._source)
            elif code == -3:
                result.append(self._known(self._take()) * self._known(self._take()))
            elif code == -4:
                result.extend(self._split(next(pending, None), next(pending, None)))
            elif code == SKIP:
                self._skip()
            elif code == INFERRED or code > 0:
                result.append(code)
                self._next += 1
            else:
                raise ModelError(f"{self._where}: {code} is no code of a reshape")
        if result.count(INFERRED) > 1:
            raise ModelError(f"{self._where} leaves more than one dimension to be inferred")
        return result

    def _take(self) -> Dim:
        if self._next >= len(self._source):
            raise InputSpecError(f"{self._where} wants more dimensions than its input {self._source} has")
        self._next += 1
        return self._source[self._next - 1]

    def _skip(self) -> None:
        dim = self._take()
        if dim != 1:
            raise InputSpecError(f"{self._where} leaves out a dimension of {dim}; it should be 1")

    def _known(self, dim: Dim) -> int:
        if isinstance(dim, str):
            raise InputSpecError(
                f"{self._where} merges or splits the dynamic dimension {dim!r}",
                hint=f"fix its size with --dim {dim}=1",
            )
        return dim

    def _split(self, left: int | None, right: int | None) -> tuple[int, int]:
        whole = self._known(self._take())
        if (
            left is None
            or right is None
            or max(left, right) < 1
            or min(left, right, 0) < INFERRED
            or 0 in {left, right}
        ):
            raise ModelError(f"{self._where} splits a dimension into {left} and {right}")
        if left == INFERRED:
            left = whole // right
        if right == INFERRED:
            right = whole // left if left else 0
        if left * right != whole:
            raise InputSpecError(f"{self._where} cannot split {whole} into {left} and {right}")
        return left, right
