"""What this machine's processor can do at most in float32, measured: the yardstick of ``benchmarks.operators``."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from neo.contract.device import Target
from neo.errors import EngineError

SOURCE = Path(__file__).with_name("fma.c")
# registers for the factor, the addend and what the compiler needs
SPARE_REGISTERS = 4
TIMEOUT_S = 300
FIRST_ROUNDS = 1 << 16
FLOAT_BYTES = 4


def peak_gflops(target: Target, threads: int, seconds: float = 0.3, tries: int = 5) -> float:
    """GFLOP/s of multiply-adds in registers, two operations each; the best of the tries, each of about so long.

    Every thread has a core of its own. Raises EngineError if the loop cannot be compiled.
    """
    with tempfile.TemporaryDirectory(prefix="neo-peak-") as scratch:
        function = _compile(target, Path(scratch))
        per_round = 2 * (target.cpu.vector_registers - SPARE_REGISTERS) * target.cpu.vector_bits // (8 * FLOAT_BYTES)
        rounds = FIRST_ROUNDS
        while (elapsed := _run(function, rounds, threads)) < seconds:
            rounds = max(2 * rounds, int(rounds * seconds / max(elapsed, 1e-6)))
        best = min(_run(function, rounds, threads) for _ in range(tries))
        return per_round * rounds * threads / best / 1e9


def _compile(target: Target, scratch: Path) -> ctypes._NamedFuncPointer:
    library = scratch / "fma.so"
    sizes = [
        f"-DVECTOR_BYTES={target.cpu.vector_bits // 8}",
        f"-DACCUMULATORS={target.cpu.vector_registers - SPARE_REGISTERS}",
    ]
    command = [sys.executable, "-m", "ziglang", "cc", "-O3", "-march=native", "-ffp-contract=fast", *sizes]
    environment = {**os.environ, "ZIG_LOCAL_CACHE_DIR": str(scratch / "zig")}
    done = subprocess.run(
        [*command, "-shared", "-fPIC", "-o", str(library), str(SOURCE)],
        capture_output=True,
        check=False,
        timeout=TIMEOUT_S,
        env=environment,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-500:]
        raise EngineError(f"the peak probe cannot be compiled: {said}", hint="pip install 'neo-edge[bench]'")
    function = ctypes.CDLL(str(library)).multiply_add
    function.argtypes, function.restype = [ctypes.c_long, ctypes.c_float], ctypes.c_float
    return function


def _run(function: ctypes._NamedFuncPointer, rounds: int, threads: int) -> float:
    """Seconds from the start of all threads to the end of the last; ctypes lets go of Python's lock."""
    cores = sorted(os.sched_getaffinity(0))
    ready = threading.Barrier(threads + 1)

    def work(core: int) -> None:
        os.sched_setaffinity(0, {core})  # on Linux, of this thread alone
        ready.wait()
        function(rounds, 0.0)

    workers = [threading.Thread(target=work, args=(cores[index],)) for index in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    return time.perf_counter() - start
