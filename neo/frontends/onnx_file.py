"""What all frontends do with an ONNX file: read its interface, fix its shapes, run it in ONNX Runtime.

Models stay in files, because weights may be beside them: a protobuf message cannot hold 2 GiB.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from neo.contract.strings import STRING
from neo.contract.tensors import DTYPES, Dim, TensorSpec
from neo.errors import ModelError, UnsupportedModel
from neo.frontends.base import Arrays
from neo.frontends.failures import first_line
from neo.frontends.shapes import name_dims
from neo.onnx_tools.files import LIGHT_BYTES, load, save
from neo.runtime.extensions import extensions_library, register_extensions
from neo.runtime.integers import open_exact_session

# from this version on, weights need not be listed among the inputs
_IR_WITH_PLAIN_CONSTANTS = 4


def interface(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs, initialisers left out; a nameless dynamic dimension gets a name of its own."""
    return interface_of(load(path, weights=False))


def interface_of(model: onnx.ModelProto) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """As ``interface``."""
    graph = model.graph
    inputs, _nameless = declared_inputs(model)
    known = {dim for spec in inputs for dim in spec.dynamic_dims}
    outputs, _nameless = _specs(graph.output, known, batch=False)
    return inputs, outputs


def declared_inputs(model: onnx.ModelProto) -> tuple[tuple[TensorSpec, ...], frozenset[str]]:
    """The inputs, and which names of dimensions are not the model's own, as ``name_dims`` gives them."""
    learnt = {tensor.name for tensor in model.graph.initializer}
    return _specs([value for value in model.graph.input if value.name not in learnt])


def _specs(
    values: Iterable[onnx.ValueInfoProto], known: Container[str] = (), *, batch: bool = True
) -> tuple[tuple[TensorSpec, ...], frozenset[str]]:
    tensors = [(value.name, *_tensor(value)) for value in values]
    shapes, nameless = name_dims({name: shape for name, _dtype, shape in tensors}, known, batch=batch)
    return tuple(TensorSpec(name, dtype, shapes[name]) for name, dtype, _shape in tensors), nameless


def _tensor(value: onnx.ValueInfoProto) -> tuple[str, list[int | str | None]]:
    """Dtype, and shape as the file has it."""
    if value.type.WhichOneof("value") != "tensor_type":
        raise UnsupportedModel(
            f"{value.name!r} is a {value.type.WhichOneof('value') or 'value without a type'}, not a tensor",
            hint="leave out the step that makes it (for scikit-learn: convert with zipmap=False)",
        )
    tensor = value.type.tensor_type
    dtype = _dtype_name(tensor.elem_type)
    if dtype not in DTYPES:
        raise UnsupportedModel(
            f"{value.name!r} has the type {dtype}", hint=f"an input or output can be: {', '.join(sorted(DTYPES))}"
        )
    if not tensor.HasField("shape"):
        raise UnsupportedModel(
            f"{value.name!r} has no shape, not even a number of dimensions",
            hint="export it again with shapes, or state one: value.type.tensor_type.shape in Python's onnx",
        )
    return dtype, [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim]


def _dtype_name(elem_type: int) -> str:
    if elem_type == onnx.TensorProto.STRING:
        return STRING
    try:
        return str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type)).name)
    except (KeyError, TypeError):
        return str(onnx.TensorProto.DataType.Name(elem_type)).lower()


def fix_shapes(path: Path, inputs: Iterable[TensorSpec]) -> None:
    """Writes the shapes of ``inputs`` into the file and infers all others again. Inputs that have a value in the file
    become constants: before IR version 4 every weight was an input too.

    Raises ModelError if the shapes contradict each other further down.
    """
    model = load(path, weights=False)
    _close_known_inputs(model)
    specs = {spec.name: spec for spec in inputs}
    renamed: dict[str, Dim] = {}
    for value in model.graph.input:
        if value.name in specs:
            renamed |= _set_shape(value, specs[value.name])
    del model.graph.value_info[:]
    for value in model.graph.output:
        if value.type.WhichOneof("value") == "tensor_type":
            _rename_dims(value, renamed)
    save(model, path, most_bytes=LIGHT_BYTES)
    try:
        onnx.shape_inference.infer_shapes_path(str(path), str(path), strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        shown = "  ".join(map(str, specs.values()))
        refusal = ModelError(
            f"the model does not work for the input {shown}: {first_line(error)}",
            hint="check the sizes that --input and --dim give",
        )
        # it stumbles over a few standard operators, too (MeanVarianceNormalization): ONNX Runtime's word decides
        if not _opens(path):
            raise refusal from error
        onnx.shape_inference.infer_shapes_path(str(path), str(path), data_prop=True)
    if not any(spec.dynamic_dims for spec in specs.values()):
        _close_outputs(path)


def _close_outputs(path: Path) -> None:
    """Sets sizes of outputs that ONNX's inference leaves open, but ONNX Runtime finds by folding constants."""
    model = load(path, weights=False)
    dims = {value.name: value.type.tensor_type.shape.dim for value in model.graph.output}
    if all(dim.HasField("dim_value") for shape in dims.values() for dim in shape):
        return
    try:
        session = _session(path)
    except UnsupportedModel:  # whoever opens the model next says so
        return
    for output in session.get_outputs():
        for dim, size in zip(dims[output.name], output.shape, strict=False):
            if isinstance(size, int) and not dim.HasField("dim_value"):
                dim.dim_value = size
    save(model, path)


def _opens(path: Path) -> bool:
    try:
        open_in_onnxruntime(path, optimised=False)
    except UnsupportedModel:
        return False
    return True


def has_known_inputs(model: onnx.ModelProto) -> bool:
    """Do some of the inputs have a value in the file? Before IR version 4 every weight was one of them."""
    known = {tensor.name for tensor in model.graph.initializer}
    return any(value.name in known for value in model.graph.input)


def _close_known_inputs(model: onnx.ModelProto) -> None:
    known = {tensor.name for tensor in model.graph.initializer}
    open_inputs = [value for value in model.graph.input if value.name not in known]
    del model.graph.input[:]
    model.graph.input.extend(open_inputs)
    model.ir_version = max(model.ir_version, _IR_WITH_PLAIN_CONSTANTS)


def _set_shape(value: onnx.ValueInfoProto, spec: TensorSpec) -> dict[str, Dim]:
    """-> name of a dimension -> what it has become."""
    renamed: dict[str, Dim] = {}
    for dim, size in zip(value.type.tensor_type.shape.dim, spec.shape, strict=True):
        if dim.dim_param:
            renamed[dim.dim_param] = size
        _set_dim(dim, size)
    return renamed


def _set_dim(dim: Any, size: Dim) -> None:
    if isinstance(size, int):
        dim.dim_value = size
    else:
        dim.dim_param = size


def _rename_dims(value: onnx.ValueInfoProto, renamed: dict[str, Dim]) -> None:
    """Keeps the rank, which inference may not find again, and the sizes of dimensions that inputs have too. Sizes that
    the file states are kept only if no dimension of an input got a size.
    """
    resized = any(isinstance(size, int) for size in renamed.values())
    for dim in value.type.tensor_type.shape.dim:
        if dim.dim_param in renamed:
            _set_dim(dim, renamed[dim.dim_param])
        elif resized or not dim.HasField("dim_value"):
            dim.ClearField("value")


def check(path: Path) -> None:
    """Raises ModelError if the file breaks the ONNX specification."""
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise ModelError(f"{path.name} is no valid ONNX model: {first_line(error)}") from error


def open_in_onnxruntime(path: Path, *, optimised: bool = True) -> tuple[Callable[[Arrays], Arrays], str]:
    """A function that runs the model on one thread, and the version that does. optimised: False opens it faster.

    Raises UnsupportedModel if ONNX Runtime lacks an operator or cannot build the graph.
    """
    import onnxruntime

    session = _session(path, optimised=optimised)
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Arrays) -> Arrays:
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run, f"onnxruntime {onnxruntime.__version__}"


def _session(path: Path, *, optimised: bool = True) -> Any:
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotImplementedByRuntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if extensions_library() is not None:  # a model that reads text may have them put before it
        register_extensions(options)
    try:
        return open_exact_session(path, options)
    except (Fail, InvalidArgument, InvalidGraph, NotImplementedByRuntime) as error:
        raise UnsupportedModel(f"ONNX Runtime cannot build this model: {first_line(error)}") from error
