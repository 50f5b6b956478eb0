"""Rounding the rows of a result up, so that tiles divide them."""

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
    """The rows of a product on a target, in an arithmetic."""

    target: Target
    arithmetic: Arithmetic = FLOATS

    @property
    def lanes(self) -> int:
        return max(1, self.target.cpu.vector_bits // FLOAT_BITS)

    def round_up(self, rows: int, columns: int) -> int:
        if self.arithmetic.tiles:  # of any height
            return rows
        return round_up_rows(rows, columns, self.lanes, self.target.cpu.operand_registers)

    def round_up_strips(self, rows: int, columns: int, stride: int) -> int:
        return round_up_strips(rows, columns, self.lanes, self.target.cpu.operand_registers, stride)

    def clamp(self, row: Any, rows: int, columns: int) -> Any:
        """The row to read for a row that may be one of those too many."""
        return row if self.round_up(rows, columns) == rows else tirx.min(row, rows - 1)

    def columns(self, columns: int) -> int:
        """How many columns to compute: 24 are two vectors of 16, or three of 8. Of other than powers of two the
        compiler makes no vectors worth the name.
        """
        if self.arithmetic.tiles:
            return whole_tiles(columns)
        whole = -(-columns // self.lanes)
        power = columns & -columns
        return columns if columns <= whole * power else whole * self.lanes

    def attrs(self, x: te.Tensor, *, step: int = 1, merged: int = 1, pitch: int = 0) -> dict[str, list[int]]:
        """For te.compute: of a product that is meant for tiles, how its rows lie in memory.

        x: the inputs. step: from one row to the next, in last dimensions of x. merged, pitch: as ``Mark`` has them.
        """
        if not self.arithmetic.tiles:
            return {}
        row_bytes = int(x.shape[-1]) * np.dtype(str(x.dtype)).itemsize
        return Mark(step * row_bytes, merged, pitch).attrs


def cropped(result: te.Tensor, shape: tuple[int, ...]) -> te.Tensor:
    """The part of a result that was asked for; fuses with what comes after."""
    return te.compute(shape, lambda *at: result[at], name="cropped")
