from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from neo.contract.device import Capabilities, Requirements, mismatches, parse_name, parse_version
from neo.contract.fields import ContractError
from neo.contract.manifest import Manifest
from neo.contract.parity import Tolerance
from tests.contract import strategies

REQUIRES = Requirements("x86_64", "linux", ("avx", "avx2"), "2.28")
DEVICE = Capabilities(
    "d", "0", "x86_64", "linux", "2.36", ("avx", "avx2", "fma"), 4, 1 << 30, 1 << 30, {"onnxruntime": "1.10.2"}
)


@pytest.mark.parametrize("wanted", ["", "1.10.2", ">=1.10.2", ">=1.9", ">=1.9.9", ">=1", ">=1.10.2.0"])
def test_a_device_that_has_everything_fits(wanted: str) -> None:
    assert mismatches(REQUIRES, "onnxruntime", wanted, DEVICE) == ()


@pytest.mark.parametrize("wanted", ["1.9", "1.10", "1.10.20", ">=1.10.3", ">=1.11", ">=2", ">=1.10.2.1"])
def test_versions_are_compared_as_numbers_not_as_text(wanted: str) -> None:
    (reason,) = mismatches(REQUIRES, "onnxruntime", wanted, DEVICE)
    assert reason == f"needs the onnxruntime runtime {wanted}, the device has 1.10.2"


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (replace(DEVICE, arch="aarch64"), "built for x86_64 linux, the device is aarch64 linux"),
        (replace(DEVICE, os="darwin"), "built for x86_64 linux, the device is x86_64 darwin"),
        (replace(DEVICE, features=("avx",)), "the device's processor lacks avx2"),
        (replace(DEVICE, features=()), "the device's processor lacks avx, avx2"),
        (replace(DEVICE, glibc="2.9"), "needs glibc 2.28, the device has 2.9"),
        (replace(DEVICE, glibc=""), "needs glibc 2.28, the device has another C library"),  # musl
        (replace(DEVICE, glibc="musl"), "needs glibc 2.28, the device has musl"),
        (replace(DEVICE, engines={}), "the device has no onnxruntime engine (it has: none)"),
        (replace(DEVICE, engines={"tvm": "1"}), "the device has no onnxruntime engine (it has: tvm)"),
        (replace(DEVICE, engines={"onnxruntime": "dev"}), "needs the onnxruntime runtime >=1.9, the device has dev"),
        (replace(DEVICE, engines={"onnxruntime": "1.8.9rc1"}), "needs the onnxruntime runtime >=1.9, the device has"),
    ],
)
def test_one_thing_amiss_is_one_reason(device: Capabilities, said: str) -> None:
    (reason,) = mismatches(REQUIRES, "onnxruntime", ">=1.9", device)
    assert reason.startswith(said)


def test_every_reason_is_given_but_features_of_another_processor_are_none() -> None:
    device = replace(DEVICE, arch="aarch64", features=("asimd",), glibc="", engines={})
    reasons = mismatches(REQUIRES, "onnxruntime", "", device)
    assert len(reasons) == 3
    assert not any("lacks" in reason for reason in reasons)


@pytest.mark.parametrize("glibc", ["2.28", "2.28.0", "2.28-11", "2.36", "3"])
def test_the_same_or_a_newer_glibc_will_do(glibc: str) -> None:
    assert mismatches(REQUIRES, "onnxruntime", "", replace(DEVICE, glibc=glibc)) == ()


def test_a_trailing_zero_is_no_newer_version() -> None:
    assert mismatches(replace(REQUIRES, glibc="2.36.0"), "onnxruntime", "", DEVICE) == ()


@given(strategies.requirements, strategies.capabilities)
def test_any_device_can_be_held_against_any_bundle(requires: Requirements, device: Capabilities) -> None:
    mismatches(requires, "tvm", ">=1", device)


def test_a_version_of_thousands_of_digits_does_no_harm() -> None:
    """Python refuses to turn such a number into an int, and a device may claim anything."""
    device = replace(DEVICE, glibc="9" * 5000, engines={"onnxruntime": "1." + "9" * 5000})
    assert mismatches(REQUIRES, "onnxruntime", ">=1.9", Capabilities.from_bytes(device.to_bytes())) == ()
    with pytest.raises(ContractError):
        parse_version("9" * 5000, "glibc")


@pytest.mark.parametrize("version", ["", ".", "1.", ".1", "1..2", "v1", "1.2rc1", "1\n", " 1", "١", None, 2.28])  # noqa: RUF001
def test_a_version_is_numbers_and_dots(version: object) -> None:
    with pytest.raises(ContractError):
        parse_version(version, "glibc")


@pytest.mark.parametrize("wanted", [">=", ">=dev", ">= 1.2", ">=1.2rc1", None, 1])
def test_a_floor_that_nothing_could_be_held_against_is_refused(wanted: object) -> None:
    manifest = Manifest("m", "1", "t", REQUIRES, "tvm", "x", "fp32", "onnx", (), (), Tolerance()).to_bytes()
    assert Manifest.from_bytes(manifest).engine_version == "x"
    spoiled = manifest.replace(b'"x"', b"null" if wanted is None else f'"{wanted}"'.encode() if wanted != 1 else b"1")
    with pytest.raises(ContractError):
        Manifest.from_bytes(spoiled)


@pytest.mark.parametrize(
    "name", ["", "-a", ".a", "_a", "a b", "a/b", "a+b", "a#", "..", "a\0", "a\n", "ä", "a" * 65, None, 7, True]
)
def test_a_name_can_stand_in_a_topic_a_tag_and_a_path(name: object) -> None:
    with pytest.raises(ContractError):
        parse_name(name, "name")


@given(strategies.names)
def test_a_good_name_is_kept(name: str) -> None:
    assert parse_name(name, "name") == name
