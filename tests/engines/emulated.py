"""Runs an engine in this process, and prints how many products of tiles were emulated: see ``emulation.py``."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from neo.contract.manifest import CONFIG_PATH
from neo.runtime import load, load_engine
from neo.runtime.host import Host, read_host

# what the emulator adds to a processor, which the kernel knows nothing of
EMULATED = ("amx_bf16", "amx_tile")


def emulated_host() -> Host:
    host = read_host()
    return replace(host, features=tuple(sorted({*host.features, *EMULATED})))


def main(folder: Path, given: str, made: str, threads: int) -> None:
    counter = getattr(ctypes.CDLL(None), "amx_emulator_products", None)
    if counter is not None:
        counter.restype = ctypes.c_uint64
        vars(sys.modules[load.__module__])[read_host.__name__] = emulated_host
    with np.load(given) as inputs:
        arrays = [inputs[name] for name in inputs.files]
    if (folder / CONFIG_PATH).exists():
        predictor = load(folder, threads)
        names = [spec.name for spec in predictor.inputs]
        outputs = list(predictor.predict(dict(zip(names, arrays, strict=True))).values())
    else:
        engine = load_engine(folder, threads)
        engine.run(arrays)
        outputs = engine.run(arrays)  # the second run finds what the first left in its buffers
    np.savez(made, *outputs)
    sys.stdout.write(str(0 if counter is None else counter()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
