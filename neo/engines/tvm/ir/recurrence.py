"""What a recurrent node (LSTM, GRU, RNN) computes, and what the importer needs of the kernel that computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from neo.engines.tvm.ir.activations import Activation

# units that are computed together: one, two or four vectors on AVX-512, AVX2 and NEON
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
    #: in the order of ONNX, the same for both directions
    activations: tuple[Activation, ...]
    #: bound of what goes into an activation; None: no bound
    clip: float | None = None
    #: the reset gate of a GRU acts on the state, not on its product
    reset_first: bool = False

    @property
    def directions(self) -> int:
        return len(self.reverse)

    @property
    def blocks(self) -> int:
        return -(-self.units // LANES)

    @property
    def width(self) -> int:
        """Units, filled up to whole blocks."""
        return self.blocks * LANES

    @property
    def groups(self) -> tuple[int, ...]:
        """How many gates are summed before the next ones can be, in ONNX's order of gates: all of a group read the
        same state.
        """
        return (2, 1) if self.reset_first else (GATES[self.cell],)

    @property
    def state_shape(self) -> tuple[int, int, int]:
        return (self.directions, self.batch, self.width)

    @property
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the outputs: (steps, directions, batch, width), and each state behind the last step."""
        states = 2 if self.cell == "LSTM" else 1
        return ((self.steps, *self.state_shape), *([self.state_shape] * states))

    @property
    def step_work(self) -> int:
        """Multiply-adds of one step in one direction."""
        return self.batch * GATES[self.cell] * self.units * self.units

    @property
    def flops(self) -> int:
        """Floating-point operations of all products, as they run: with what fills up the last block."""
        return 2 * self.directions * self.steps * self.batch * GATES[self.cell] * self.units * self.width


@dataclass(frozen=True, slots=True)
class RecurrenceKernel:
    """A recurrence as a backend computes it."""

    #: all time steps in one function, with the parameters that ``WriteRecurrence`` lists
    function: tirx.PrimFunc
    #: for each of ``Recurrence.groups``: how many gates lie side by side in the recurrent weights
    gates: tuple[int, ...]


# A backend's kernel for a recurrence. Its parameters, all float32: gates (steps * batch, directions * GATES * width),
# what inputs and biases contribute; for each group the recurrent weights (directions, blocks, passes, units, gates,
# LANES); for a GRU that is not reset first, the bias of its product (directions, width); the states before the first
# step; then the outputs, of ``Recurrence.output_shapes``
WriteRecurrence = Callable[[Recurrence], RecurrenceKernel]
