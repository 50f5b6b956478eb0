"""libtvm_runtime.so for a target: it travels in the bundle, so that code and runtime always fit each other.

It is 3 MB, content-addressed, and reaches a device once. For this machine's architecture it comes from the installed
apache-tvm; for another one, from the same version's wheel for that architecture.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import platformdirs

from neo.engines.base import BuildRequest
from neo.errors import EngineError
from neo.runtime.engine_folder import RUNTIME_FILE
from neo.settings import APP

MEMBER = f"tvm/lib/{RUNTIME_FILE}"
# the tags under which manylinux wheels of the supported glibc versions are published
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014")
TIMEOUT_S = 900


def add_runtime_library(request: BuildRequest) -> None:
    """Into the engine folder that the build has filled."""
    shutil.copyfile(runtime_library(request.target.cpu.arch), request.folder / RUNTIME_FILE)


def runtime_library(arch: str) -> Path:
    """Raises EngineError if the wheel for another architecture cannot be had."""
    if arch == platform.machine():
        spec = importlib.util.find_spec("tvm")
        if spec is None or spec.origin is None:
            raise EngineError("apache-tvm is not installed", hint="pip install 'neo-edge[compile]'")
        return Path(spec.origin).parent / "lib" / RUNTIME_FILE
    version = importlib.metadata.version("apache-tvm")
    cached = Path(platformdirs.user_cache_dir(APP)) / "tvm-runtime" / version / arch / RUNTIME_FILE
    if not cached.is_file():
        _extract_from_wheel(version, arch, cached)
    return cached


def _extract_from_wheel(version: str, arch: str, destination: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent) as folder:
        platforms = [word for name in PLATFORMS for word in ("--platform", f"{name}_{arch}")]
        download = ["download", "--quiet", "--no-deps", "--only-binary=:all:", *platforms, "--dest", folder]
        command = [sys.executable, "-m", "pip", *download, f"apache-tvm=={version}"]
        done = subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT_S)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise EngineError(
                f"the TVM runtime for {arch} could not be downloaded: {done.stderr.decode(errors='replace')[-400:]}",
                hint=f"put {RUNTIME_FILE} of apache-tvm {version} for {arch} at {destination}",
            )
        part = Path(folder) / RUNTIME_FILE
        with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(MEMBER) as source, part.open("wb") as file:
            shutil.copyfileobj(source, file)
        part.replace(destination)
