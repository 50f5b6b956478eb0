"""ONNX files as source models: checked, copied with their external data, and given fixed shapes."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx

from neo.contract.tensors import TensorSpec
from neo.errors import ModelError, UnsupportedModel, UntrustedModel
from neo.frontends.base import Arrays, ConversionRequest, SourceModel
from neo.frontends.onnx_file import (
    check,
    declared_inputs,
    fix_shapes,
    has_known_inputs,
    interface,
    open_in_onnxruntime,
)
from neo.frontends.onnx_interface import forget_empty, tidy_interface
from neo.frontends.onnx_names import refuse_unknown_operators
from neo.frontends.onnx_portable import answer, make_portable, reference_evaluator
from neo.frontends.recognise import require_format
from neo.frontends.samples import random_inputs
from neo.frontends.shapes import fix_inputs
from neo.frontends.words import known_words
from neo.onnx_tools.files import LIGHT_BYTES, embedded_bytes, external_locations, load, save


def convert(request: ConversionRequest) -> SourceModel:
    """request.source: an ONNX file. ONNX Runtime answers the samples with the original, before shapes are fixed; where
    it lacks an operator, ONNX's reference implementation does.

    Raises ModelError for a damaged or invalid file, UnsupportedModel naming an operator that nobody defines,
    UntrustedModel for external data outside the model's own folder.
    """
    require_format(request.source, "onnx")
    model = load(request.source, weights=False)
    external = _external_files(request.source, model)
    hint = "export the model with standard ONNX operators, or with the operator as a function in it"
    refuse_unknown_operators(request.source, hint, model)
    path = _copy(request.source, model, external, request.scratch)
    if tidy_interface(path, model):
        check(path)
    declared, nameless = declared_inputs(model)
    inputs = fix_inputs(declared, request.inputs, request.dims, nameless=nameless)
    if any(0 in spec.shape and 0 not in fixed.shape for spec, fixed in zip(declared, inputs, strict=True)):
        forget_empty(path)
    states_all = inputs == declared and not has_known_inputs(model)
    run, reference, is_portable = _original(request.source, path, inputs, runs=not states_all)
    fix_shapes(path, inputs)
    is_original = states_all and is_portable
    if is_original:
        run, _runtime = open_in_onnxruntime(path)
    _inputs, outputs = interface(path)
    draw = functools.partial(random_inputs, inputs, words=known_words(path))
    return SourceModel(path, "onnx", inputs, outputs, run, reference, is_original=is_original, draw=draw)


def _original(
    source: Path, copy: Path, inputs: tuple[TensorSpec, ...], *, runs: bool
) -> tuple[Callable[[Arrays], Arrays] | None, str, bool]:
    """-> who answers for the original file, their name, and whether ONNX Runtime can open that file.

    If it cannot, the copy is rewritten until it can. copy: differs from the original only in sizes that it states and
    that are none. runs: False if another file will answer; the function is slow then.
    """
    try:
        run, runtime = open_in_onnxruntime(copy, optimised=runs)
    except UnsupportedModel:
        make_portable(copy)
    else:
        return run, f"{runtime} on the original file", True
    evaluator = reference_evaluator(source, inputs)
    if evaluator is None:
        return None, "", False
    return functools.partial(answer, evaluator), f"onnx {onnx.__version__}'s reference on the original file", False


def _external_files(source: Path, model: onnx.ModelProto) -> tuple[str, ...]:
    """Where the weights beside the model lie, relative to its folder."""
    locations = external_locations(model)
    for location in locations:
        _check_location(source, location)
    return locations


def _check_location(source: Path, location: str) -> None:
    folder = source.parent.resolve()
    absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).is_absolute()
    inside = not absolute and (folder / location).resolve().is_relative_to(folder)
    if not inside or ".." in PurePosixPath(location).parts or (folder / location).is_symlink():
        raise UntrustedModel(
            f"{source} wants to read its weights from {location!r}, outside its own folder",
            hint="put the weights beside the model and store their plain file name in it",
        )
    if not (folder / location).is_file():
        raise ModelError(
            f"{source} keeps its weights in {location!r}, and there is no such file beside it",
            hint=f"copy {location} into {source.parent} as well",
        )
    if (folder / location).stat().st_nlink > 1:
        raise UntrustedModel(
            f"the weights of {source} in {location!r} are a hard link, which may show a file from anywhere",
            hint=f"if they are yours, make a copy of {location} and put it in its place",
        )


def _copy(source: Path, model: onnx.ModelProto, external: tuple[str, ...], folder: Path) -> Path:
    # a true copy, no hard link: what comes later may write into the file
    for location in external:
        target = folder / location
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.parent / location, target)
    # the name of a weight file could be the one we would choose for the model
    name = "model.onnx" if "model.onnx" not in external else f"graph-{source.name}"
    if embedded_bytes(model) > LIGHT_BYTES:
        return save(model, folder / name, most_bytes=LIGHT_BYTES)
    shutil.copyfile(source, folder / name)
    return folder / name
