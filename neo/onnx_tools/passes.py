"""Passes over a model. Each declares what it needs and says whether it changed anything; the runner handles files.

The design (one function, a result with ``modified``) is that of onnx-ir's passes.
Source: https://github.com/onnx/ir-py, src/onnx_ir/passes
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import onnx.shape_inference

from neo.onnx_tools.files import MODEL_FILE, load, load_weights, save
from neo.onnx_tools.walk import graphs


class Need(enum.Enum):
    """What must hold for a model before a pass runs, or before the result is used."""

    #: It is in a file, unchanged: for libraries that read files themselves.
    FILE = enum.auto()
    #: Its values have shapes, as far as inference can find them.
    SHAPES = enum.auto()


@dataclass(frozen=True, slots=True)
class Model:
    """A model between two passes."""

    #: may refer to external data instead of containing large weights
    proto: onnx.ModelProto
    #: Where the files of external data are.
    folder: Path
    #: A file in folder with this model; None if the model was changed since it was read.
    file: Path | None
    #: Were shapes inferred since the last change?
    has_shapes: bool = False

    def changed(self) -> Model:
        """The model after proto was changed in place."""
        return replace(self, file=None, has_shapes=False)


@dataclass(frozen=True, slots=True)
class PassResult:
    #: The model itself if it was not modified.
    model: Model
    modified: bool


@dataclass(frozen=True, slots=True)
class Pass:
    """A rewrite of the graph."""

    #: One word, used in names of files and folders.
    name: str
    #: (Model, whose proto it may change; an empty folder for files of its own) -> PassResult.
    run: Callable[[Model, Path], PassResult]
    needs: frozenset[Need] = frozenset()


OnStep = Callable[[str, Model], None]
"""Called with a name and the model: before the first pass ("converted"), and after every step that changed it."""


def run_passes(
    path: Path,
    passes: Iterable[Pass],
    folder: Path,
    *,
    result_needs: frozenset[Need] = frozenset(),
    on_step: OnStep = lambda _name, _model: None,
) -> Path:
    """Run the passes in order on a model's file. folder: empty; all files are written to it.

    -> the file with the result, external data beside it; path itself if nothing was modified.

    Raises ModelError for a damaged file, and what the passes raise.
    """
    proto = load(path, weights=False)
    model = Model(proto, path.parent, path, has_shapes=_has_all_shapes(proto))
    on_step("converted", model)
    for each in passes:
        place = folder / each.name
        place.mkdir()
        model = _provide(model, each.needs, folder, on_step)
        result = each.run(model, place)
        if result.modified:
            model = result.model
            on_step(each.name, model)
    model = _provide(model, result_needs | {Need.FILE}, folder, on_step)
    assert model.file is not None  # noqa: S101  FILE is among the needs
    return model.file


def write_copy(model: Model, path: Path) -> None:
    """Write the model with all weights to path, or beside it, wherever the weights are now."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model.proto)
    load_weights(whole, model.folder)
    save(whole, path)


def _provide(model: Model, needs: frozenset[Need], folder: Path, on_step: OnStep) -> Model:
    if Need.SHAPES in needs and not model.has_shapes:
        inferred = _infer_shapes(model)
        if inferred.file is None and model.file is not None:
            on_step("shapes", inferred)
        model = inferred
    if Need.FILE in needs and model.file is None:
        place = model.folder
        if not place.is_relative_to(folder):  # the caller's folder: nothing may be written there
            place = folder / f"written-{len(list(folder.iterdir()))}"
            place.mkdir()
            load_weights(model.proto, model.folder)
        model = replace(model, folder=place, file=save(model.proto, place / MODEL_FILE))
    return model


def _infer_shapes(model: Model) -> Model:
    inferred = onnx.shape_inference.infer_shapes(model.proto)
    if _types(inferred) == _types(model.proto):
        return replace(model, has_shapes=True)
    return replace(model, proto=inferred, file=None, has_shapes=True)


def _types(model: onnx.ModelProto) -> dict[str, bytes]:
    """Value -> its serialised type, for all values, those in subgraphs included."""
    return {
        f"{index} {value.name}": value.type.SerializeToString(deterministic=True)
        for index, graph in enumerate(graphs(model.graph))
        for value in (*graph.input, *graph.output, *graph.value_info)
    }


def _has_all_shapes(model: onnx.ModelProto) -> bool:
    """Does every value, those in subgraphs included, have a type with a complete shape?"""
    for graph in graphs(model.graph):
        known = {value.name for value in (*graph.output, *graph.value_info) if _is_complete(value.type)}
        if any(name and name not in known for node in graph.node for name in node.output):
            return False
    return True


def _is_complete(kind: onnx.TypeProto) -> bool:
    shape = kind.tensor_type.shape
    return kind.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in shape.dim)
