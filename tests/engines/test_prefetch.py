"""Weights are asked for before they are needed, where there is time to."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tvm
from tvm import te

from neo.engines.tvm.cpu.codegen.host_passes import pipeline_of
from neo.engines.tvm.cpu.lowering.matmul import matmul
from neo.engines.tvm.cpu.lowering.rows import Rows
from neo.engines.tvm.cpu.schedules.packing import pack
from neo.engines.tvm.cpu.schedules.reduction import schedule_reduction
from neo.engines.tvm.cpu.units.llvm import llvm_target
from neo.targets import load_target

TARGETS = ("host", "x86-64-v3", "aarch64")
DEPTH, WIDTH = 64, 512


def compiled(rows: int, target_name: str, matrices: int = 1) -> tuple[tvm.runtime.Executable, int]:
    """A product with constant weights; -> (the code, the width of the packed columns)."""
    target = load_target(target_name)
    lead = (matrices,) if matrices > 1 else ()
    a = te.placeholder((*lead, rows, DEPTH), "float32", "a")
    b = te.placeholder((*lead, DEPTH, WIDTH), "float32", "b")
    schedule = tvm.s_tir.Schedule(te.create_prim_func([a, b, matmul(a, b, WIDTH, Rows(target))]))
    packing = schedule_reduction(schedule, target, frozenset([1]))
    assert packing is not None
    return tvm.compile(schedule.mod, target=llvm_target(target), tir_pipeline=pipeline_of(None, 2)), packing[1]


def prefetches(code: tvm.runtime.Executable) -> int:
    """Inside the kernel; the helper's own is its definition."""
    source = code.mod.inspect_source("ll")
    kernels = re.sub(r"define linkonce_odr i32 @neo_prefetch.*?\n}", "", source, flags=re.DOTALL)
    return len(re.findall(r"call void @llvm\.prefetch", kernels))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("matrices", [1, 3])
def test_a_product_of_many_rows_asks_for_the_next_weights(target: str, matrices: int) -> None:
    assert prefetches(compiled(48, target, matrices)[0]) > 0


@pytest.mark.parametrize("target", TARGETS)
def test_a_product_of_few_rows_reads_its_weights_only_once_and_is_left_alone(target: str) -> None:
    assert prefetches(compiled(1, target)[0]) == 0


@pytest.mark.parametrize("matrices", [1, 3])
@pytest.mark.parametrize("rows", [12, 13, 48])
def test_what_is_fetched_ahead_of_the_last_weights_does_no_harm(rows: int, matrices: int) -> None:
    """There are none behind them: the addresses are nobody's."""
    code, width = compiled(rows, "host", matrices)
    rng = np.random.default_rng(rows)
    lead = (matrices,) if matrices > 1 else ()
    a = rng.standard_normal((*lead, rows, DEPTH), np.float32)
    b = rng.standard_normal((*lead, DEPTH, WIDTH), np.float32)
    shape = (*lead, Rows(load_target("host")).round_up(rows, WIDTH), WIDTH)
    product = tvm.runtime.empty(shape, "float32")
    code["main"](tvm.runtime.tensor(a), tvm.runtime.tensor(pack(b, width)), product)
    np.testing.assert_allclose(product.numpy()[..., :rows, :], a @ b, rtol=1e-4, atol=1e-4)
