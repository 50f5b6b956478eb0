"""The cases that come with the ``onnx`` package: one operator each ("node"), and small or light whole models."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from neo.onnx_tools.files import load

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")
# what the light copies of large models are stored beside
_PACKAGE = Path(onnx.__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Case:
    """values: per data set, what goes in and what should come out, in the graph's order: arrays, lists (sequences) or
    None (an empty optional). rtol, atol: as numpy.testing.assert_allclose takes them, per element.
    """

    name: str
    model: onnx.ModelProto
    values: tuple[tuple[tuple[Any, ...], tuple[Any, ...]], ...]
    rtol: float
    atol: float

    @property
    def inputs(self) -> tuple[onnx.ValueInfoProto, ...]:
        """Those without a default in the file."""
        known = {tensor.name for tensor in self.model.graph.initializer}
        return tuple(value for value in self.model.graph.input if value.name not in known)


@functools.cache
def _tests(kind: str) -> dict[str, Any]:
    # the package makes its cases of casts when it is imported; processors with float16 instructions notice overflow
    with np.errstate(over="ignore", invalid="ignore"):
        return {test.name: test for test in load_model_tests(kind=kind)}


def case_names(kind: str) -> tuple[str, ...]:
    """Of the cases that lie in the package; those that would have to be downloaded are left out."""
    return tuple(name for name, test in _tests(kind).items() if not (test.url or "").startswith("http"))


def load_case(kind: str, name: str) -> Case:
    test = _tests(kind)[name]
    if test.model is not None:
        values = tuple((tuple(map(_array, given)), tuple(map(_array, wanted))) for given, wanted in test.data_sets)
        return Case(name, test.model, values, test.rtol, test.atol)
    if test.model_dir is not None:
        folder = Path(test.model_dir)
        model = load(folder / "model.onnx")
        values = tuple(_stored(folder, model) for folder in sorted(folder.glob("test_data_set_*")))
        return Case(name, model, values, test.rtol, test.atol)
    path = _PACKAGE / test.url
    model = load(path)
    return Case(name, model, (_light(path, model),), test.rtol, test.atol)


def _array(value: Any) -> Any:
    """Some cases give numpy's numbers where arrays without dimensions are meant."""
    if isinstance(value, np.generic):
        return np.asarray(value)
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _stored(folder: Path, model: onnx.ModelProto) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    given, wanted = (sorted(folder.glob(f"{kind}_*.pb"), key=_number) for kind in ("input", "output"))
    return _read(given, model.graph.input), _read(wanted, model.graph.output)


def _number(path: Path) -> int:
    return int(re.sub(r"\D", "", path.stem))


def _read(paths: Sequence[Path], declared: Sequence[onnx.ValueInfoProto]) -> tuple[Any, ...]:
    return tuple(
        _read_value(path, value.type.WhichOneof("value")) for path, value in zip(paths, declared, strict=False)
    )


def _read_value(path: Path, kind: str | None) -> Any:
    content = path.read_bytes()
    if kind == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(content))
    if kind == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
    return numpy_helper.to_array(onnx.TensorProto.FromString(content))


def _light(path: Path, model: onnx.ModelProto) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The package stores what comes out for one ramp from 0 to 1 as the input."""
    known = {tensor.name for tensor in model.graph.initializer}
    given = tuple(_ramp(value) for value in model.graph.input if value.name not in known)
    stored = [path.with_name(f"{path.stem}_output_{number}.pb") for number in range(len(model.graph.output))]
    return given, _read(stored, model.graph.output)


def _ramp(value: onnx.ValueInfoProto) -> NDArray[np.float32]:
    shape = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
    size = int(np.prod(shape))
    return (np.arange(size).reshape(shape) / size).astype(np.float32)
