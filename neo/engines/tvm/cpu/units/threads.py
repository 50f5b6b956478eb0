"""When work is shared between threads, and in how many pieces.

Waking another thread takes a few microseconds. Each threshold is about the work that one core does in that time, in
the unit that its caller counts in.
"""

from __future__ import annotations

# chunks that one thread's part is cut into: small enough to be taken over, large enough to make the counter cheap
CHUNKS = 8
# elements that a pass over memory writes
PARALLEL_ELEMENTS = 1 << 14
# multiply-adds in vectors
PARALLEL_WORK = 1 << 17
# cycles of AMX instructions
PARALLEL_CYCLES = 1 << 13
# multiply-adds of one time step at whose end the threads meet at a barrier; with half as many nothing was gained
PARALLEL_STEP_WORK = 1 << 18
