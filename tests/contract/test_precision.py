from __future__ import annotations

from dataclasses import replace

import pytest

from neo.contract.device import Processor
from neo.contract.precision import BF16, FP32, PRECISIONS

CPU = Processor("x86_64", "generic", (), (), 128, 16, 1, 32, 256, 0)


def test_float32_is_for_every_processor() -> None:
    for arch in ("x86_64", "aarch64", "riscv64"):
        assert FP32.runs_on(replace(CPU, arch=arch))
    assert FP32.feature(CPU) is None


@pytest.mark.parametrize(
    ("arch", "features", "best"),
    [
        ("x86_64", ("avx512_bf16",), "avx512_bf16"),
        ("x86_64", ("amx_bf16", "avx512_bf16"), "amx_bf16"),
        ("x86_64", ("amx_bf16",), None),  # tiles alone: what is no whole tile could not be multiplied
        ("x86_64", ("bf16",), None),
        ("aarch64", ("asimd", "bf16"), "bf16"),
        ("aarch64", ("avx512_bf16",), None),
        ("riscv64", ("avx512_bf16", "bf16"), None),
    ],
)
def test_bfloat16_is_for_processors_that_multiply_it(arch: str, features: tuple[str, ...], best: str | None) -> None:
    cpu = replace(CPU, arch=arch, features=features)
    assert BF16.feature(cpu) == best
    assert BF16.runs_on(cpu) is (best is not None)


def test_the_table_is_by_name_and_the_exact_one_comes_first() -> None:
    assert {name: precision.name for name, precision in PRECISIONS.items()} == {"fp32": "fp32", "bf16": "bf16"}
    assert next(iter(PRECISIONS.values())) is FP32
    assert FP32.tolerance.max_rel < BF16.tolerance.max_rel
