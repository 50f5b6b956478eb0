"""One engine with one model in a process of its own, which works only when told: JSON lines in, JSON lines out.

``python -m benchmarks.worker REQUEST``, a JSON object {"library", "path", "samples", "threads", "precision"}. It pins
itself to ``threads`` cores, loads the model, answers every sample of the folder ``samples`` (golden samples)
once and says
{"load_ms", "first_ms", "parity"}. Then every line {"seconds", "clock"}, a key of CLOCKS, is answered with
{"times_ms", "peak_rss_mb"}.
An error is a line {"failed": why}.

Nothing is imported here that is not needed by the engine, so that the peak memory is the engine's.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.parity import Parity, compare
from neo.runtime.golden import read_golden
from neo.runtime.stopwatch import peak_rss_mb

Arrays = dict[str, NDArray[Any]]
Run = Callable[[Arrays], Arrays]

# cpu: of all threads of the process together, whatever else the machine does meanwhile
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
WARM_UP_S = 0.1
LEAST_RUNS = 3
MOST_RUNS = 5000
_ERRORS_ONLY = 3


def open_neo(folder: Path, threads: int, precision: str) -> Run:
    """An engine folder of ours, as a device opens it."""
    from neo.runtime.load import load_engine

    del precision  # it was chosen when the engine was built
    engine = load_engine(folder, threads)
    inputs, outputs = [spec.name for spec in engine.inputs], [spec.name for spec in engine.outputs]

    def run(arrays: Arrays) -> Arrays:
        return dict(zip(outputs, engine.run([arrays[name] for name in inputs]), strict=True))

    return run


def open_onnxruntime(model: Path, threads: int, precision: str) -> Run:
    """ONNX Runtime as its documentation has it, all optimisations on (its default)."""
    import onnxruntime

    if precision != "fp32":
        raise ValueError(f"ONNX Runtime's CPU provider has no {precision} for a float32 graph")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda arrays: dict(zip(names, session.run(names, arrays), strict=True))


def open_openvino(model: Path, threads: int, precision: str) -> Run:
    """OpenVINO's CPU plugin, tuned for latency; inputs are shared with it, outputs are arrays of their own."""
    import openvino

    hints = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    request = openvino.Core().compile_model(str(model), "CPU", hints).create_infer_request()
    names = [output.get_any_name() for output in request.model_outputs]

    def run(arrays: Arrays) -> Arrays:
        results = request.infer(arrays, share_inputs=True, share_outputs=False)
        return {name: results[index] for index, name in enumerate(names)}

    return run


OPENERS: dict[str, Callable[[Path, int, str], Run]] = {
    "neo": open_neo,
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
}


def _load(request: dict[str, Any]) -> tuple[Run, list[Arrays], dict[str, Any]]:
    samples = read_golden(Path(request["samples"]))
    start = time.perf_counter()
    run = OPENERS[request["library"]](Path(request["path"]), request["threads"], request["precision"])
    loaded = time.perf_counter()
    answers = [run(samples[0][0])]
    first = time.perf_counter()
    answers += [run(inputs) for inputs, _ in samples[1:]]
    parity = Parity(0.0, 0.0)
    for (_, expected), answer in zip(samples, answers, strict=True):
        parity = parity.worst(compare(expected, answer))
    report = {"load_ms": (loaded - start) * 1e3, "first_ms": (first - loaded) * 1e3, "parity": parity.to_json()}
    return run, [inputs for inputs, _ in samples], report


def _measure(run: Run, feeds: list[Arrays], seconds: float, clock: Callable[[], float]) -> list[float]:
    """Milliseconds per run; the other engines' caches are warmed away first."""
    wall = time.perf_counter
    start = wall()
    run(feeds[0])
    while wall() - start < WARM_UP_S:
        run(feeds[0])
    times: list[float] = []
    start = wall()
    while len(times) < LEAST_RUNS or (wall() - start < seconds and len(times) < MOST_RUNS):
        feed = feeds[len(times) % len(feeds)]
        begin = clock()
        run(feed)
        times.append((clock() - begin) * 1e3)
    return times


def main(request: dict[str, Any]) -> None:
    # libraries write to standard output as they like; what is said to the parent goes through a copy of it
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: request["threads"]])
    try:
        run, feeds, report = _load(request)
        say(report)
        for line in sys.stdin:
            order = json.loads(line)
            times = _measure(run, feeds, order["seconds"], CLOCKS[order["clock"]])
            say({"times_ms": np.round(times, 5).tolist(), "peak_rss_mb": peak_rss_mb()})
    except Exception as error:  # noqa: BLE001  # whatever an engine fails of is a row of the table
        say({"failed": f"{type(error).__name__}: {error}"[:500]})


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
