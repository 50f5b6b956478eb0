"""Run by the emulated Python: ``on_device.py REQUEST``. Opens engine folders and answers, as a worker on a device does.

REQUEST is a JSON list of {"engine": the folder, "threads", "inputs": an .npz, "outputs": the .npz to write, "mapped":
the file for a JSON list of the weight files that are mapped}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from neo.runtime import load_engine

for case in json.loads(Path(sys.argv[1]).read_bytes()):
    engine = load_engine(Path(case["engine"]), case["threads"])
    with np.load(case["inputs"]) as inputs:
        arrays = [inputs[spec.name] for spec in engine.inputs]
    engine.run(arrays)
    answers = engine.run(arrays)  # the second time it finds what the first left in its buffers
    np.savez(case["outputs"], **{spec.name: array for spec, array in zip(engine.outputs, answers, strict=True)})
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    weights = {line.split()[-1] for line in maps if line.endswith(".bin")}
    Path(case["mapped"]).write_text(json.dumps(sorted(weights)), encoding="utf-8")
    engine.close()
