"""NaN, infinities and signed zeros on ARM: comparisons, minima and maxima have instructions of their own there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neo.contract.manifest import ENGINE_DIR
from tests.arm64.emulation import ARM_TARGETS, Device
from tests.engines.conftest import build_engine_here
from tests.engines.special_values import CASES, differences, model_of
from tests.thorough import THOROUGH

#: one without and one with instructions for bfloat16 and dot products; a build of all cases takes long
TARGETS = ARM_TARGETS if THOROUGH else ("aarch64", "graviton3")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("target", TARGETS)
def test_special_numbers_are_answered_as_they_should_be(
    target: str, device_of: Callable[[str], Device], tmp_path: Path
) -> None:
    model, right = model_of(CASES)
    assert build_engine_here("tvm", model, tmp_path, target=target).notes == ()
    engine = device_of(target).open_engine(tmp_path / ENGINE_DIR, 2)
    arrays = [case.x for case in CASES]
    engine.run(arrays)  # the second finds what the first left in its buffers
    given = engine.run(arrays)
    wrong = {
        case.name: (want[places], got[places])
        for case, want, got in zip(CASES, right, given, strict=True)
        if (places := differences(case, want, got)).any()
    }
    assert not wrong
