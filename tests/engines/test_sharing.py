"""Threads share the steps of a loop: every step is done once, whoever does it."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import te

from neo.engines.tvm.cpu.codegen.host_passes import pipeline_of
from neo.engines.tvm.cpu.units.llvm import llvm_target
from neo.targets import load_target


def counter(steps: int, threads: int) -> tvm.runtime.Module:
    """A function that adds one to each of so many numbers, in parallel."""
    x = te.placeholder((steps,), "int32", name="x")
    y = te.compute((steps,), lambda i: x[i] + 1, name="y")
    schedule = tvm.s_tir.Schedule(te.create_prim_func([x, y]))
    schedule.parallel(schedule.get_loops(schedule.get_sblock("y"))[0])
    return tvm.compile(schedule.mod, target=llvm_target(load_target("host")), tir_pipeline=pipeline_of(None, threads))


@pytest.mark.parametrize("steps", [1, 3, 4, 15, 16, 17, 1000])
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_every_step_is_done_in_every_call(steps: int, threads: int) -> None:
    add = counter(steps, threads)["main"]
    numbers = np.arange(steps, dtype=np.int32)
    x, y = tvm.runtime.tensor(numbers), tvm.runtime.empty((steps,), "int32")
    for _ in range(3):
        y.copyfrom(np.zeros(steps, np.int32))
        add(x, y)
        assert np.array_equal(y.numpy(), numbers + 1)


@pytest.mark.parametrize(("steps", "is_shared"), [(1000, True), (3, False)])
def test_a_loop_with_enough_steps_is_shared_and_a_short_one_is_not(steps: int, is_shared: bool) -> None:
    assert ("atomicrmw add" in counter(steps, 2).mod.inspect_source("ll")) == is_shared
