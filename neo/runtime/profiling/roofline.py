"""The machine's two bounds, measured with numpy: its BLAS for arithmetic, large copies for memory.

The reference is the BLAS, not the processor's data sheet, so a kernel that is faster than it shows more than 100 %. The
BLAS reads its number of threads when numpy is imported, so it has to be set in the environment of this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from neo.runtime.host import read_host
from neo.runtime.profiling.profile import Roofline

ROWS = 1024
SECONDS = 0.7
LEAST_COPY_BYTES, MOST_COPY_BYTES = 64 << 20, 256 << 20


def measure_roofline(threads: int) -> Roofline:
    return Roofline(_matrix_product_gflops(), _copy_gb_s(threads))


def _matrix_product_gflops() -> float:
    factor = np.ones((ROWS, ROWS), np.float32)
    product = np.empty_like(factor)
    return 2 * ROWS**3 / _best_seconds(lambda: np.matmul(factor, factor, out=product)) / 1e9


def _copy_gb_s(threads: int) -> float:
    # four times the L3 cache, so that a copy finds nothing of the one before in it
    size = min(max(LEAST_COPY_BYTES, 4 * read_host().l3_kib << 10), MOST_COPY_BYTES)
    source = np.ones((threads, size // threads), np.uint8)
    copy = np.zeros_like(source)
    with ThreadPoolExecutor(threads) as pool:
        seconds = _best_seconds(lambda: list(pool.map(np.copyto, copy, source)))
    return 2 * source.nbytes / seconds / 1e9


def _best_seconds(work: Callable[[], object]) -> float:
    """The shortest time, because a bound is what an undisturbed machine can do."""
    clock = time.perf_counter
    work()
    best = float("inf")
    start = clock()
    while clock() - start < SECONDS:
        begin = clock()
        work()
        best = min(best, clock() - begin)
    return best
