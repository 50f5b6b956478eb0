from __future__ import annotations

import os

import pytest

from tests.arm64.emulation import PYTHON_VARIABLE


@pytest.fixture(scope="session")
def device_python() -> str:
    """The emulated interpreter. Without one the tests are left out, but not by continuous integration."""
    python = os.environ.get(PYTHON_VARIABLE)
    if python is None:
        end = pytest.fail if os.environ.get("CI") else pytest.skip
        end(f'no aarch64 Python to run bundles with: export {PYTHON_VARIABLE}="$(scripts/arm64-device)"')
    return python
