"""``python -m benchmarks.confined GIB MODULE ARGUMENT...``: a module as a program, confined to so much memory, without
network. The limits come first, before numpy starts its threads.
"""

from __future__ import annotations

import runpy
import sys

from neo.isolation.confine import Limits, confine

_GIB = 1 << 30
_A_DAY_S = 24 * 3600.0


def main(memory_gib: int, module: str, arguments: list[str]) -> None:
    confine(Limits(memory_bytes=memory_gib * _GIB, seconds=_A_DAY_S, file_bytes=8 * _GIB))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
