"""Runs cases one after another as it is told: ``python -m benchmarks.conformance.worker SCRATCH ENGINE,...``.

A line {"kind", "name"} on standard input is answered by a line {"who", "status", "reason", "seconds"} for ONNX Runtime
alone, for the conversion and for every engine, then by an empty object. What one step costs in a process of its own is
imports, more than a second: here the steps of a compilation are called directly, and the parent confines all of it.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx.backend.test.runner import Runner

from benchmarks.conformance.cases import Case, load_case
from benchmarks.conformance.outcome import CONVERSION, OUT, PASSED, PEER, REFUSED, WRONG, Outcome
from neo.contract.parity import compare
from neo.contract.precision import FP32
from neo.contract.strings import STRING, dtype_name
from neo.contract.tensors import DTYPES, TensorSpec
from neo.engines import ENGINES
from neo.engines.base import BuildRequest
from neo.errors import NeoError, ParityError
from neo.frontends.base import Conversion, ConversionRequest
from neo.frontends.conversion import convert
from neo.graph import rewrite
from neo.onnx_tools.files import save
from neo.runtime.engine_folder import LIBRARY_FILE
from neo.runtime.load import load_engine
from neo.targets import HOST, load_target

_SILENT = 4
_REASON_LENGTH = 400


class Difference(Exception):
    """An answer is not the case's."""


def peer(case: Case) -> None:
    """ONNX Runtime as its documentation has it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    session = onnxruntime.InferenceSession(case.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for given, wanted in case.values:
        feeds = {value.name: array for value, array in zip(case.inputs, given, strict=False)}
        expect(case, wanted, session.run(None, feeds))


def expect(case: Case, wanted: tuple[Any, ...], found: list[Any]) -> None:
    """Shape, dtype and every element, as ONNX's own test runner compares them. Raises Difference."""
    try:
        Runner.assert_similar_outputs(list(wanted), found, case.rtol, case.atol)
    except (AssertionError, TypeError, AttributeError) as error:
        words = " ".join(str(error).split())
        raise Difference(words) from error


def converted(case: Case, scratch: Path) -> Conversion:
    """As ``neo compile --golden`` does it, with the first data set as the golden sample."""
    path = scratch / "case.onnx"
    save(case.model, path)
    given, wanted = case.values[0]
    arrays = [*zip(case.inputs, given, strict=False), *zip(case.model.graph.output, wanted, strict=False)]
    golden = None
    if all(isinstance(array, np.ndarray) and dtype_name(array) in DTYPES for _, array in arrays):
        golden = scratch / "golden.npz"
        np.savez(golden, **{v.name: a.astype(str) if dtype_name(a) == STRING else a for v, a in arrays})
    return convert(ConversionRequest(path, "onnx", scratch / "convert", inputs=described(case), golden=golden))


def described(case: Case) -> tuple[TensorSpec, ...]:
    """What --input would say; a size that differs between the data sets stays open, and so does one of 0 that the file
    does not state: --input gives 1 or more. () where there are no tensors.
    """
    specs = []
    for index, value in enumerate(case.inputs):
        arrays = [given[index] for given, _ in case.values]
        if not all(isinstance(array, np.ndarray) and dtype_name(array) in DTYPES for array in arrays):
            return ()
        if len({array.ndim for array in arrays}) > 1:
            return ()
        sizes = [set(column) for column in zip(*(array.shape for array in arrays), strict=True)]
        stated = [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]
        shape = tuple(
            column.pop() if len(column) == 1 and (column != {0} or stated[axis] == 0) else f"d{index}_{axis}"
            for axis, column in enumerate(sizes)
        )
        specs.append(TensorSpec(value.name, dtype_name(arrays[0]), shape))
    return tuple(specs)


def answer(case: Case, conversion: Conversion, model: Path, engine: str, folder: Path) -> None:
    """Build, load, predict. Raises EngineError or ParityError where a compilation would, Difference where not."""
    folder.mkdir()
    request = BuildRequest(model, load_target(HOST), conversion.inputs, conversion.outputs, folder)
    recipe = ENGINES[engine]
    _resolve(recipe.build)(request)
    if recipe.finish:
        _resolve(recipe.finish)(request)
    loaded = load_engine(folder, 1)
    try:
        for sample in conversion.samples:
            outputs = loaded.run([sample.inputs[spec.name] for spec in loaded.inputs])
            named = dict(zip((spec.name for spec in loaded.outputs), outputs, strict=True))
            parity = compare(sample.outputs, named)
            if not FP32.tolerance.accepts(parity):
                raise ParityError(f"its answers differ by {parity.max_abs:.3g} ({parity.max_rel:.3g} of the largest)")
        for given, wanted in case.values:
            expect(case, wanted, loaded.run(list(given[: len(loaded.inputs)])))
    finally:
        loaded.close()


def _resolve(entry: str) -> Any:
    module, function = entry.split(":")
    return getattr(importlib.import_module(module), function)


def outcomes(case: Case, engines: list[str], scratch: Path) -> Iterator[tuple[str, Outcome]]:
    outcome, _ = _tried(lambda: peer(case), OUT)
    yield PEER, outcome
    model: list[Path] = []

    def to_graph() -> Conversion:
        (scratch / "convert").mkdir()
        (scratch / "graph").mkdir()
        conversion = converted(case, scratch)
        model.append(rewrite(conversion.onnx, scratch / "graph"))
        return conversion

    outcome, conversion = _tried(to_graph, REFUSED)
    yield CONVERSION, outcome
    for engine in engines if conversion is not None else []:
        step = functools.partial(answer, case, conversion, model[0], engine, scratch / engine)
        yield engine, _tried(step, OUT)[0]


def _tried(step: Callable[[], Any], failure: str) -> tuple[Outcome, Any]:
    start = time.perf_counter()
    status, reason, result = PASSED, "", None
    try:
        result = step()
    except Difference as error:
        status, reason = WRONG, str(error)
    except NeoError as error:
        status, reason = failure, error.message
    except Exception as error:  # noqa: BLE001  # of ONNX Runtime alone, or one that we forgot to translate
        status, reason = failure, f"{type(error).__name__}: {error}"
    return Outcome(status, " ".join(reason.split())[:_REASON_LENGTH], time.perf_counter() - start), result


def main(scratch: Path, engines: list[str]) -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")

    def say(obj: dict[str, Any]) -> None:
        answers.write(json.dumps(obj) + "\n")
        answers.flush()

    for number, line in enumerate(sys.stdin):
        order = json.loads(line)
        case = load_case(order["kind"], order["name"])
        folder = scratch / f"{os.getpid()}-{number}"
        folder.mkdir()
        for who, outcome in outcomes(case, engines, folder):
            say({"who": who, **outcome.to_json()})
        _sweep(folder)
        say({})


def _sweep(folder: Path) -> None:
    """Libraries that were loaded stay: the loader would take a new file with the inode of an old one for the old."""
    for path in folder.rglob("*"):
        if path.is_file() and path.name != LIBRARY_FILE:
            path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [name for name in sys.argv[2].split(",") if name])
