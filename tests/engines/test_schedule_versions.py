"""What was measured for a kernel holds as long as its family makes the same of it."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace

from neo.engines.tvm.cpu.schedules import TUNABLE
from neo.engines.tvm.cpu.units.configuration import VERSIONS
from tests.engines.schedule_versions import Kernel, current, recorded, to_be_raised

COMMAND = "python -m tests.engines.schedule_versions"


def test_a_family_that_schedules_a_kernel_otherwise_has_another_version() -> None:
    version, before = recorded()
    now = current()
    assert version == importlib.metadata.version("apache-tvm"), f"another TVM: {COMMAND}"
    raised = to_be_raised(before, now)
    assert not raised, f"raise these in VERSIONS (cpu/units/configuration.py), then {COMMAND}: {raised}"
    assert before == now, f"lowering makes other kernels, or a version was raised: {COMMAND}"


def test_only_the_same_kernel_for_the_same_version_tells_of_a_change() -> None:
    kernel = Kernel("reduction", 7, "a", ("1", "2"))
    changed = replace(kernel, after=("1", "3"))
    assert to_be_raised({"k": kernel}, {"k": changed}) == {"reduction": ["k"]}
    assert to_be_raised({"k": kernel}, {"k": kernel}) == {}
    assert to_be_raised({"k": kernel}, {"k": replace(changed, version=8)}) == {}
    assert to_be_raised({"k": kernel}, {"k": replace(changed, before="b")}) == {}
    assert to_be_raised({"k": kernel}, {"other": changed}) == {}


def test_every_tunable_family_has_a_version_and_kernels_on_record() -> None:
    assert {family.__name__.removeprefix("schedule_") for family in TUNABLE} == set(VERSIONS)
    assert {kernel.family for kernel in recorded()[1].values()} == set(VERSIONS)
