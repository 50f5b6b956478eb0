"""Arithmetic on bfloat16: TensorIR operators of ours, and how they are lowered to machine instructions.

Two bfloat16 next to each other in memory, a *pair*, are read as one int32, the first in the lower half. Processors that
compute in bfloat16 multiply pairs and add both products to a float32: ``vdpbf16ps`` of AVX512-BF16, ``bfdot`` of Arm.
Because operands have 32 bits, the operation vectorises like any other.

bfloat16 is stored as uint16: TVM 0.27 legalises its own bfloat16 type to float32, and its code generator does not
support it. The instructions are called in small LLVM IR functions (``Unit.helpers``), which are linked to the kernels
and inlined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from neo.contract.device import Target
from neo.contract.precision import BF16
from neo.engines.tvm.tvm_private import register_operator

STORAGE = "uint16"
PAIR = "int32"
FLOAT = "float32"
HALF_BITS = 16
_UPPER_HALF = -(1 << HALF_BITS)

_ROUND = "tirx.neo_round_bfloat16"
_ROUND_LANES = (1, 2, 4, 8, 16, 32)

# a TensorIR expression; tvm has no types
Scalar = Any


@dataclass(frozen=True, slots=True)
class Unit:
    """The instructions with which a processor multiplies pairs."""

    name: str
    #: lanes -> LLVM intrinsic (accumulators, pairs, pairs) -> accumulators
    intrinsic: Callable[[int], str]
    #: vector lengths that the instruction supports
    lanes: tuple[int, ...]
    #: the processor has AMX too, for products that are faster in it
    tiles: bool = False

    @property
    def dot(self) -> str:
        """The operator (pair, pair) -> float32."""
        return f"tirx.neo_dot_{self.name}"

    @property
    def dot_add(self) -> str:
        """The operator (float32, pair, pair) -> float32."""
        return f"tirx.neo_dot_add_{self.name}"

    @property
    def helpers(self) -> str:
        """LLVM IR functions that ``dot_add`` and ``rounded`` call."""
        return "\n".join([*(self._dot_add(n) for n in self.lanes), *_rounding()])

    def _dot_add(self, lanes: int) -> str:
        floats, pairs, halves = f"<{lanes} x float>", f"<{lanes} x i32>", f"<{2 * lanes} x bfloat>"
        intrinsic = self.intrinsic(lanes)
        return f"""
declare {floats} @{intrinsic}({floats}, {halves}, {halves})
define linkonce_odr {floats} @{_helper(self.dot_add, lanes)}({floats} %total, {pairs} %x, {pairs} %w) alwaysinline {{
  %a = bitcast {pairs} %x to {halves}
  %b = bitcast {pairs} %w to {halves}
  %sum = call {floats} @{intrinsic}({floats} %total, {halves} %a, {halves} %b)
  ret {floats} %sum
}}"""


def _rounding() -> Iterator[str]:
    for lanes in _ROUND_LANES:
        floats, halves, bits = (kind if lanes == 1 else f"<{lanes} x {kind}>" for kind in ("float", "bfloat", "i16"))
        yield f"""
define linkonce_odr {bits} @{_helper(_ROUND, lanes)}({floats} %x) alwaysinline {{
  %half = fptrunc {floats} %x to {halves}
  %bits = bitcast {halves} %half to {bits}
  ret {bits} %bits
}}"""


def _helper(operator: str, lanes: int) -> str:
    return f"{operator.removeprefix('tirx.')}_{lanes}"


_AVX512 = Unit("avx512bf16", lambda n: f"llvm.x86.avx512bf16.dpbf16ps.{32 * n}", (4, 8, 16))
# feature of ``BF16`` that a processor has -> its unit
UNITS = {
    "amx_bf16": replace(_AVX512, name="amx", tiles=True),
    "avx512_bf16": _AVX512,
    "bf16": Unit("bfdot", lambda n: f"llvm.aarch64.neon.bfdot.v{n}f32.v{2 * n}bf16", (2, 4)),
}


def multiplies_pairs(block: tirx.SBlock) -> bool:
    """Does a TensorIR block add up products of pairs?"""
    is_reduction = any(v.iter_type == tirx.IterVar.CommReduce for v in block.iter_vars)
    return is_reduction and any(read.source.dtype == PAIR for read in block.reads)


def unit_of(target: Target) -> Unit | None:
    """None if the target's processor does not compute with bfloat16."""
    feature = BF16.feature(target.cpu)
    return None if feature is None else UNITS[feature]


def dot(unit: Unit, x: Scalar, weights: Scalar) -> Scalar:
    """x, weights: pairs as int32 -> the sum of both products as float32."""
    return tirx.call_intrin(FLOAT, unit.dot, x, weights)


def rounded(x: Scalar) -> Scalar:
    """float32 -> the nearest bfloat16, as uint16; ties to even."""
    return tirx.call_intrin(STORAGE, _ROUND, x)


def widened(x: Scalar) -> Scalar:
    """Bfloat16 as uint16 -> float32."""
    bits = tirx.Cast("uint32", x) << tirx.const(HALF_BITS, "uint32")
    return tirx.reinterpret(FLOAT, bits)


def pair(low: Scalar, high: Scalar) -> Scalar:
    """Two bfloat16 as uint16 -> int32. LLVM combines the loads of neighbours in memory."""
    return tirx.Cast(PAIR, low) | (tirx.Cast(PAIR, high) << tirx.const(HALF_BITS, PAIR))


def encode(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    """float32 -> the nearest bfloat16, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    nearest = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(HALF_BITS)) & np.uint32(1))) >> np.uint32(HALF_BITS)
    quiet = (bits >> np.uint32(HALF_BITS)) | np.uint32(0x40)
    encoded: NDArray[np.uint16] = np.where(np.isnan(array), quiet, nearest).astype(np.uint16)
    return encoded


def encode_pairs(array: NDArray[np.float32]) -> NDArray[np.int32]:
    """[..., rows, columns] float32 -> [..., rows / 2, columns] pairs of neighbouring rows."""
    bits = encode(array).astype(np.uint32)
    pairs = bits[..., ::2, :] | (bits[..., 1::2, :] << np.uint32(HALF_BITS))
    return np.ascontiguousarray(pairs).view(np.int32)


def _lower_dot_add(unit: Unit) -> Callable[[tirx.Call], Scalar]:
    def lower(call: tirx.Call) -> Scalar:
        total, x, weights = call.args
        lanes = _lanes(call)
        if lanes not in unit.lanes:
            return total + _emulated(x, weights)
        return tirx.call_pure_extern(_vector(FLOAT, lanes), _helper(unit.dot_add, lanes), total, x, weights)

    return lower


def _lower_dot(call: tirx.Call) -> Scalar:
    return _emulated(*call.args)


def _emulated(x: Scalar, weights: Scalar) -> Scalar:
    """For vector lengths that the processor's instruction does not support."""
    lanes = _lanes(x)
    shift, mask = (_spread(tirx.const(value, PAIR), lanes) for value in (HALF_BITS, _UPPER_HALF))
    floats = _vector(FLOAT, lanes)
    low = [tirx.reinterpret(floats, operand << shift) for operand in (x, weights)]
    high = [tirx.reinterpret(floats, operand & mask) for operand in (x, weights)]
    return low[0] * low[1] + high[0] * high[1]


def _lower_round(call: tirx.Call) -> Scalar:
    (x,) = call.args
    lanes = _lanes(x)
    if lanes in _ROUND_LANES:
        return tirx.call_pure_extern(_vector(STORAGE, lanes), _helper(_ROUND, lanes), x)
    bits = tirx.reinterpret(_vector("uint32", lanes), x)
    half, last, quiet, shift = (_spread(tirx.const(value, "uint32"), lanes) for value in (0x7FFF, 1, 0x40, HALF_BITS))
    nearest = (bits + half + ((bits >> shift) & last)) >> shift
    return tirx.Cast(_vector(STORAGE, lanes), tirx.Select(tirx.isnan(x), (bits >> shift) | quiet, nearest))


def _lanes(expression: Scalar) -> int:
    _, _, lanes = str(expression.ty.dtype).partition("x")
    return int(lanes or 1)


def _spread(scalar: Scalar, lanes: int) -> Scalar:
    return scalar if lanes == 1 else tirx.Broadcast(scalar, lanes)


def _vector(dtype: str, lanes: int) -> str:
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


for _unit in UNITS.values():
    register_operator(_unit.dot, 2, _lower_dot)
    register_operator(_unit.dot_add, 3, _lower_dot_add(_unit))
register_operator(_ROUND, 1, _lower_round)
