"""What a recurrent node (LSTM, GRU, RNN) computes, and what the importer needs of the kernel that computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from neo.engines.tvm.ir.activations import Activation

# units that are computed together: one vector of AVX-512, two of AVX2, four of NEON
LANES = 16
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FLOAT = "float32"


@dataclass(frozen=True, slots=True)
class Recurrence:
    """All time steps of an LSTM, GRU or RNN."""

    #: a key of GATES
    cell: str
    steps: int
    batch: int
    units: int
    #: for each direction: does it run from the last step to the first?
    reverse: tuple[bool, ...]
    #: in ONNX's order; both directions have the same
    activations: tuple[Activation, ...]
    #: inputs of activations are clipped to [-clip, clip]; None: they are not
    clip: float | None = None
    #: of a GRU: the reset gate multiplies the state before its matrix product, not after it (linear_before_reset=0)
    reset_first: bool = False

    @property
    def directions(self) -> int:
        return len(self.reverse)

    @property
    def blocks(self) -> int:
        return -(-self.units // LANES)

    @property
    def width(self) -> int:
        """Units, padded to whole blocks."""
        return self.blocks * LANES

    @property
    def groups(self) -> tuple[int, ...]:
        """Sizes of the groups that the gates are computed in, in ONNX's order of gates. All gates of a group multiply
        the same state; the next group needs the results of the one before.
        """
        return (2, 1) if self.reset_first else (GATES[self.cell],)

    @property
    def state_shape(self) -> tuple[int, int, int]:
        return (self.directions, self.batch, self.width)

    @property
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """All hidden states (steps, directions, batch, width), then each state after the last step."""
        states = 2 if self.cell == "LSTM" else 1
        return ((self.steps, *self.state_shape), *([self.state_shape] * states))

    @property
    def step_work(self) -> int:
        """Multiply-adds of one step in one direction."""
        return self.batch * GATES[self.cell] * self.units * self.units

    @property
    def flops(self) -> int:
        """Floating-point operations of all products as they run, padding included."""
        return 2 * self.directions * self.steps * self.batch * GATES[self.cell] * self.units * self.width


@dataclass(frozen=True, slots=True)
class RecurrenceKernel:
    """A recurrence as a backend computes it."""

    #: computes all time steps; its parameters are listed at ``WriteRecurrence``
    function: tirx.PrimFunc
    #: for each of ``Recurrence.groups``: how many gates are interleaved in the recurrent weights
    gates: tuple[int, ...]


# Makes a backend's kernel for a recurrence. The kernel's parameters, all float32, in this order:
# - gates (steps * batch, directions * GATES * width): the contributions of inputs and biases
# - for each group its recurrent weights (directions, blocks, passes, units, gates, LANES); group = gates * passes
# - for a GRU without reset_first: the bias of the product that the reset gate multiplies (directions, width)
# - the states before the first step
# - the outputs, of ``Recurrence.output_shapes``
WriteRecurrence = Callable[[Recurrence], RecurrenceKernel]
