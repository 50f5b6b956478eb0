"""Rounding up the rows and columns of a matrix product, so that register tiles divide them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te, tirx

from neo.contract.device import Target
from neo.engines.tvm.cpu.lowering.arithmetic import FLOATS, Arithmetic
from neo.engines.tvm.cpu.lowering.tiled import Mark, whole_tiles
from neo.engines.tvm.cpu.units.tiles import FLOAT_BITS, round_up_rows, round_up_strips


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows and columns of products on one target in one arithmetic. Those of a convolution are pixels and filters."""

    target: Target
    arithmetic: Arithmetic = FLOATS

    @property
    def lanes(self) -> int:
        return max(1, self.target.cpu.vector_bits // FLOAT_BITS)

    def round_up(self, rows: int, columns: int) -> int:
        if self.arithmetic.tiles:  # AMX tiles may have any number of rows
            return rows
        return round_up_rows(rows, columns, self.lanes, self.target.cpu.operand_registers)

    def round_up_strips(self, rows: int, columns: int, stride: int) -> int:
        return round_up_strips(rows, columns, self.lanes, self.target.cpu.operand_registers, stride)

    def clamp(self, row: Any, rows: int, columns: int) -> Any:
        """The row to read: rows beyond the last one, added by rounding up, read the last one again."""
        return row if self.round_up(rows, columns) == rows else tirx.min(row, rows - 1)

    def columns(self, columns: int) -> int:
        """How many columns to compute. LLVM vectorises well only by powers of two, so columns are rounded up to full
        vectors, unless vectors of the largest power of two that divides them are no more than that: 24 columns become
        32 with vectors of 16, and stay 24 with vectors of 8.
        """
        if self.arithmetic.tiles:
            return whole_tiles(columns)
        whole = -(-columns // self.lanes)
        power = columns & -columns
        return columns if columns <= whole * power else whole * self.lanes

    def attrs(self, x: te.Tensor, *, step: int = 1, merged: int = 1, pitch: int = 0) -> dict[str, list[int]]:
        """Attributes for te.compute: how the rows of a product in AMX tiles lie in memory.

        x: the inputs. step: stride of rows, in units of x's last dimension. merged, pitch: as in ``Mark``.
        """
        if not self.arithmetic.tiles:
            return {}
        row_bytes = int(x.shape[-1]) * np.dtype(str(x.dtype)).itemsize
        return Mark(step * row_bytes, merged, pitch).attrs


def cropped(result: te.Tensor, shape: tuple[int, ...]) -> te.Tensor:
    """The result without the rows and columns that were added; fuses with the epilogue."""
    return te.compute(shape, lambda *at: result[at], name="cropped")
