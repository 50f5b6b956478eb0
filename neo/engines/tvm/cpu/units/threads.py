"""When work is shared between threads, and in how many pieces.

Waking another thread takes a few microseconds. Each threshold is roughly the work that one core does in that time, in
the unit that its users count in.
"""

from __future__ import annotations

# chunks in one thread's part: small enough for work stealing, large enough that the atomic counter costs little
CHUNKS = 8
# elements written by a pass over memory
PARALLEL_ELEMENTS = 1 << 14
# vectorised multiply-adds
PARALLEL_WORK = 1 << 17
# cycles of AMX instructions
PARALLEL_CYCLES = 1 << 13
# multiply-adds of one time step that ends in a barrier; with half as many, threads gained nothing
PARALLEL_STEP_WORK = 1 << 18
