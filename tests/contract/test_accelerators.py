"""Does a device's GPU have what a bundle needs, and in which words is it told if not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from neo.contract.device import Accelerator, AcceleratorNeed, Capabilities, Gpu, Requirements, mismatches
from neo.contract.fields import ContractError

ORIN = Gpu("cuda", "Orin (nvgpu)", "8.7", "12.2", 8 << 30)
ADA = Gpu("cuda", "NVIDIA RTX 4090", "8.9", "12.4", 24 << 30)
NEED = AcceleratorNeed("cuda", ("8.0", "9.0"), driver="12.2", memory_bytes=1 << 30)
REQUIRES = Requirements("x86_64", "linux", (), "2.28", accelerators=(NEED,))
DEVICE = Capabilities("d", "1", "x86_64", "linux", "2.36", (), 4, 1 << 30, 1 << 30, {"tvm": "1"})


def reasons(need: AcceleratorNeed, *gpus: Gpu) -> tuple[str, ...]:
    return mismatches(replace(REQUIRES, accelerators=(need,)), "tvm", "", replace(DEVICE, accelerators=gpus))


def test_a_device_without_a_gpu_is_told_so() -> None:
    assert reasons(NEED) == ("needs a CUDA accelerator, the device has none",)
    assert reasons(NEED, replace(ADA, kind="rocm")) == ("needs a CUDA accelerator, the device has none",)


def test_a_model_without_accelerators_runs_on_any() -> None:
    assert mismatches(replace(REQUIRES, accelerators=()), "tvm", "", DEVICE) == ()


def test_an_older_driver_is_told_with_both_versions() -> None:
    assert reasons(NEED, replace(ADA, driver="11.4")) == ("needs CUDA driver 12.2, the device has 11.4",)
    assert reasons(NEED, replace(ADA, driver="12.10")) == ()  # not as text


def test_too_little_memory_is_told_in_mib() -> None:
    assert reasons(NEED, replace(ADA, memory_bytes=(1 << 30) - 1)) == (
        "needs 1024 MiB of CUDA memory, the device has 1023 MiB",
    )


@pytest.mark.parametrize(
    ("archs", "ptx", "device", "runs"),
    [
        (("8.0",), "", "8.0", True),
        (("8.0",), "", "8.9", True),  # a later minor version
        (("8.9",), "", "8.0", False),
        (("8.0",), "", "9.0", False),  # another major version
        (("8.0", "9.0"), "", "9.0", True),
        (("8.6",), "", "8.7", False),  # Tegra runs its own code only
        (("8.7",), "", "8.7", True),
        (("8.7",), "", "8.9", False),
        (("8.0",), "8.0", "10.0", True),  # compiled by the driver
        ((), "9.0", "8.9", False),
    ],
)
def test_code_runs_where_nvidia_says_it_does(archs: tuple[str, ...], ptx: str, device: str, runs: bool) -> None:
    need = AcceleratorNeed("cuda", archs, ptx)
    assert (reasons(need, replace(ADA, compute_capability=device)) == ()) is runs


def test_what_there_is_code_for_is_named() -> None:
    need = AcceleratorNeed("cuda", ("7.5", "8.6"), "9.0")
    assert reasons(need, ORIN) == ("has code for compute capability 7.5, 8.6, 9.0 and later, the device has 8.7",)


def test_of_several_gpus_the_nearest_counts() -> None:
    old = Gpu("cuda", "K80", "3.7", "10.0", 1 << 20)
    assert reasons(NEED, old, ADA) == ()
    assert reasons(NEED, old, replace(ADA, driver="12.0")) == ("needs CUDA driver 12.2, the device has 12.0",)


def test_a_target_says_what_its_code_needs() -> None:
    accelerator = Accelerator("cuda", ("8.7",), "8.7", "12.2", 8192)
    assert accelerator.need == AcceleratorNeed("cuda", ("8.7",), "8.7", "12.2", 0)


@pytest.mark.parametrize(
    "changed",
    [
        {"archs": ["new"]},
        {"archs": "8.7"},
        {"archs": ["8.7"] * 33},
        {"driver": "r535"},
        {"driver": 12.2},
        {"ptx": "sm_87"},
        {"kind": ""},
        {"memory_bytes": -1},
    ],
)
def test_what_is_no_need_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ContractError):
        AcceleratorNeed.from_json(NEED.to_json() | changed)


def test_a_gpu_has_a_name_of_bounded_length() -> None:
    with pytest.raises(ContractError, match="201 characters"):
        Gpu.from_json(ORIN.to_json() | {"name": "x" * 201})
