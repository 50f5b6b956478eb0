from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.arm64.emulation import PYTHON_VARIABLE, Device


@pytest.fixture(scope="session")
def device_python() -> str:
    """The emulated interpreter. Without one the tests are left out, which ``tests.skips`` does not allow everywhere."""
    python = os.environ.get(PYTHON_VARIABLE)
    if python is None:
        pytest.skip(f'no aarch64 Python to run bundles with: export {PYTHON_VARIABLE}="$(scripts/arm64-device)"')
    return python


@pytest.fixture(scope="session")
def device_of(device_python: str) -> Iterator[Callable[[str], Device]]:
    """Target -> a device of that kind; one for each target, for all tests."""
    devices: dict[str, Device] = {}

    def device(target: str) -> Device:
        return devices.setdefault(target, Device(device_python, target))

    yield device
    for started in devices.values():
        started.stop()
