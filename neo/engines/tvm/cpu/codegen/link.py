"""Object files -> a shared library for the target, linked by zig, which comes as a Python wheel (ziglang).

No system compiler is needed, all targets are linked in the same way, and symbols of the C library are bound to versions
that the target's glibc has.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import tvm

from neo.contract.device import Target
from neo.errors import EngineError

TIMEOUT_S = 300


def link(code: tvm.runtime.Module, target: Target, library: Path, scratch: Path) -> None:
    """Write the library. Raises EngineError with the linker's message."""
    triple = f"{target.cpu.arch}-linux-gnu.{target.glibc}"

    def run_linker(output: str, objects: list[str], _options: object = None, **_: object) -> None:
        options = ["-shared", "-s", "-Wl,-Bsymbolic"]  # symbols of other libraries never replace ours
        command = [sys.executable, "-m", "ziglang", "cc", "-target", triple, *options, "-o", output, *objects]
        # zig caches compiled C start-up files; this keeps them apart from those of the user's own zig
        environment = {**os.environ, "ZIG_LOCAL_CACHE_DIR": str(scratch / "zig")}
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT_S, env=environment)
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"the linker took more than {TIMEOUT_S} s") from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()[-800:]
            raise EngineError(
                f"linking for {triple} failed: {said}",
                hint="is ziglang installed? pip install 'neo-edge[compile]'; `neo doctor` checks it",
            )

    code.export_library(str(library), fcompile=run_linker, workspace_dir=str(scratch))
