"""Passes over a model: each says what it needs and whether it changed anything; the runner reads and writes for them.

The shape of it (one function, a result that says ``modified``) is that of onnx-ir's passes.
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
    """What has to hold of a model before a pass, or whoever reads the result, can take it."""

    #: It stands in a file as it is: for libraries that read files themselves.
    FILE = enum.auto()
    #: Its values have shapes, as far as inference finds them.
    SHAPES = enum.auto()


@dataclass(frozen=True, slots=True)
class Model:
    """A model between two passes. Of large weights it may only say where they lie."""

    proto: onnx.ModelProto
    #: Where the weights lie that are in files of their own ("external data").
    folder: Path
    #: A file in folder that holds the model as it is; None if it was changed since it was read.
    file: Path | None
    #: Shape inference would find nothing new.
    has_shapes: bool = False

    def changed(self) -> Model:
        """The same after proto was changed in place."""
        return replace(self, file=None, has_shapes=False)


@dataclass(frozen=True, slots=True)
class PassResult:
    #: The model that was given, if it was not modified.
    model: Model
    modified: bool


@dataclass(frozen=True, slots=True)
class Pass:
    """A rewrite of the graph."""

    #: One word, in names of files and folders.
    name: str
    #: Takes the model, whose proto it may change, and an empty folder for files of its own.
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
    """The passes in their order, on a model's file. folder: empty; all that is written lies in it.

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
    assert model.file is not None  # noqa: S101  it was asked for
    return model.file


def write_copy(model: Model, path: Path) -> None:
    """With all weights, in path or beside it, wherever they lie now."""
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
        if not place.is_relative_to(folder):  # the folder of whoever gave the model: nothing is written there
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
    """Of all values, at every depth, as bytes that are equal where the types are."""
    return {
        f"{index} {value.name}": value.type.SerializeToString(deterministic=True)
        for index, graph in enumerate(graphs(model.graph))
        for value in (*graph.input, *graph.output, *graph.value_info)
    }


def _has_all_shapes(model: onnx.ModelProto) -> bool:
    """Whether every value of the outermost graph, and of those within, has a type with all its sizes."""
    for graph in graphs(model.graph):
        known = {value.name for value in (*graph.output, *graph.value_info) if _is_complete(value.type)}
        if any(name and name not in known for node in graph.node for name in node.output):
            return False
    return True


def _is_complete(kind: onnx.TypeProto) -> bool:
    shape = kind.tensor_type.shape
    return kind.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in shape.dim)
