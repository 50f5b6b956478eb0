"""Transposition in registers, for permutations that cannot both read and write contiguous memory.

Element by element, either every read or every write would touch another cache line. Instead, a square block with as
many rows as a vector has lanes is read row by row, transposed by exchanging halves, quarters, ... between vectors
(Eklundh, "A fast computer method for matrix transposing", 1972), and written row by row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import tvm
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T  # noqa: N812  # its name everywhere in TVM

from neo.engines.tvm.cpu.units.bfloat16 import FLOAT, PAIR, STORAGE
from neo.engines.tvm.cpu.units.threads import PARALLEL_ELEMENTS
from neo.engines.tvm.ir.indices import unflatten
from neo.engines.tvm.tvm_private import FLOPS, FUSION_PATTERN, IS_SCHEDULED, NO_ALIAS, OPAQUE

LANES = (4, 8, 16)
_TURN = "neo_transpose"


@dataclass(frozen=True, slots=True)
class Dimension:
    """A dimension of the output."""

    size: int
    #: stride in the input, in elements
    reads: int
    #: stride in the output, in elements
    writes: int


@dataclass(frozen=True, slots=True)
class Transpose:
    """A permutation of dimensions."""

    #: of the input
    shape: tuple[int, ...]
    #: as numpy's transpose takes them
    axes: tuple[int, ...]
    #: size of the output's last dimension; may be more than the input has, and the rest is not written
    width: int
    #: the input is uint16 with a last dimension of twice that size, and two neighbours become one int32 of the output
    pairs: bool = False

    @property
    def dtype(self) -> str:
        """The output's dtype."""
        return PAIR if self.pairs else FLOAT

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (*(self.shape[axis] for axis in self.axes[:-1]), self.width)

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """Dimensions of the output without those of size 1; neighbours that stay together are merged."""
        output = self.output_shape
        found: list[Dimension] = []
        for position, axis in enumerate(self.axes):
            here = Dimension(self.shape[axis], math.prod(self.shape[axis + 1 :]), math.prod(output[position + 1 :]))
            before = found[-1] if found else Dimension(1, 0, 0)
            together = (before.reads, before.writes) == (here.size * here.reads, here.size * here.writes)
            if together:
                found[-1] = Dimension(before.size * here.size, here.reads, here.writes)
            elif here.size > 1:
                found.append(here)
        return tuple(found)

    def fits(self, lanes: int) -> bool:
        """Are the dimensions that are contiguous in the input and in the output different, and at least a block
        large?
        """
        read, written = self.turned
        return lanes in LANES and read != written and min(read.size, written.size) >= lanes

    @property
    def turned(self) -> tuple[Dimension, Dimension]:
        """(Dimension that is contiguous in the input, the one in the output); of size 0 if there is none."""
        nothing = Dimension(0, 1, 1)
        read = next((dim for dim in self.dimensions if dim.reads == 1), nothing)
        return read, next((dim for dim in self.dimensions if dim.writes == 1), nothing)


def transpose_function(spec: Transpose, lanes: int) -> tvm.tirx.PrimFunc:
    """Parameters: (input, output), both float32 unless pairs are packed. If lanes does not divide a dimension, its last
    block overlaps the one before.
    """
    read, written = spec.turned
    dimensions = spec.dimensions
    counts = [-(-dim.size // lanes) if dim in (read, written) else dim.size for dim in dimensions]
    elements = math.prod(dim.size for dim in dimensions)
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_attr(
            {
                NO_ALIAS: True,
                IS_SCHEDULED: True,
                FUSION_PATTERN: OPAQUE,
                FLOPS: 0,
            }
        )
        parts = 2 if spec.pairs else 1
        shape = (*spec.shape[:-1], parts * spec.shape[-1])
        x = T.match_buffer(T.arg("x", T.handle()), shape, STORAGE if spec.pairs else FLOAT)
        y = T.match_buffer(T.arg("y", T.handle()), spec.output_shape, spec.dtype)
        loop = T.parallel if elements >= PARALLEL_ELEMENTS else T.serial
        with T.sblock("root"), loop(0, math.prod(counts)) as block:
            source, destination = tirx.const(0, "int32"), tirx.const(0, "int32")
            for dim, index in zip(dimensions, unflatten(block, counts), strict=True):
                first = tirx.min(index * lanes, dim.size - lanes) if dim in (read, written) else index
                source, destination = source + first * dim.reads, destination + first * dim.writes
            ends = (
                (x, shape, source * parts, written.reads),
                (y, spec.output_shape, destination, read.writes),
            )
            arguments = [
                part
                for buffer, sizes, offset, step in ends
                for part in (T.address_of(buffer[tuple(unflatten(offset, sizes))]), tirx.const(step, "int64"))
            ]
            T.evaluate(tirx.call_extern("int32", f"{_TURN}_{lanes}", *arguments))
    return builder.get()


def _helper(lanes: int) -> str:
    """LLVM IR that transposes one block from x to y. x_step, y_step: strides of rows."""
    vector = f"<{lanes} x i32>"
    lines = [f"define linkonce_odr i32 @{_TURN}_{lanes}(ptr %x, i64 %x_step, ptr %y, i64 %y_step) alwaysinline {{"]
    for row in range(lanes):
        lines += [
            f"  %xo{row} = mul i64 %x_step, {row}",
            f"  %xp{row} = getelementptr i32, ptr %x, i64 %xo{row}",
            f"  %v{lanes}_{row} = load {vector}, ptr %xp{row}, align 4",
        ]
    half = lanes // 2
    while half:
        for row in (row for row in range(lanes) if not row & half):
            low, high = (f"{vector} %v{2 * half}_{r}" for r in (row, row + half))
            positions = range(lanes)
            first = [position if not position & half else lanes + position - half for position in positions]
            second = [position + half if not position & half else lanes + position for position in positions]
            for number, mask in ((row, first), (row + half, second)):
                chosen = ", ".join(f"i32 {position}" for position in mask)
                lines.append(f"  %v{half}_{number} = shufflevector {low}, {high}, <{lanes} x i32> <{chosen}>")
        half //= 2
    for row in range(lanes):
        lines += [
            f"  %yo{row} = mul i64 %y_step, {row}",
            f"  %yp{row} = getelementptr i32, ptr %y, i64 %yo{row}",
            f"  store {vector} %v1_{row}, ptr %yp{row}, align 4",
        ]
    return "\n".join([*lines, "  ret i32 0", "}"])


# LLVM IR functions that the loops call
HELPERS = "\n".join(map(_helper, LANES))
