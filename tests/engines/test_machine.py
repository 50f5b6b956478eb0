"""A small model's kernels are called by machine code, a large one's by the virtual machine; both can be watched."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from neo.engines.tvm.machine import MOST_CALLS
from neo.runtime import load_engine
from neo.runtime.tvm import TvmEngine
from tests.engines.conftest import build_engine_here
from tests.models import build

SHAPE = (3, 8)


@pytest.mark.parametrize("kernels", [1, MOST_CALLS, MOST_CALLS + 1])
def test_whoever_watches_sees_every_kernel_and_the_same_answer(tmp_path: Path, kernels: int) -> None:
    names = [*(f"t{index}" for index in range(kernels)), "y"]
    names[0] = "x"
    nodes = [helper.make_node("Softmax", [source], [result]) for source, result in pairwise(names)]
    build_engine_here("tvm", build(nodes, {"x": SHAPE}, {"y": SHAPE}), tmp_path)
    engine = load_engine(tmp_path / "engine", 1)
    assert isinstance(engine, TvmEngine)
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    (unwatched,) = engine.run([x])
    seen: list[str] = []

    def observe(_function: object, name: str, is_before: bool, *_: object) -> None:
        if is_before and not name.startswith("vm."):
            seen.append(name)

    engine.observe(observe)
    (watched,) = engine.run([x])
    assert len(seen) == kernels
    assert np.array_equal(watched, unwatched)
