"""Numbers at which functions are often wrong, and every operator that the tvm engine takes, once or more, to meet them.

The answers are ONNX Runtime's, but where these depend on the order of the numbers (it finds a NaN among others only if
it is the first, or the last of a vector) or are wrong: there they are what numpy and torch say, by a function of its
own.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.engines.reference import reference_outputs

IR_VERSION = 10
OPSET = 20
MICROSOFT = "com.microsoft"

_F = np.finfo(np.float32)
# every one of them is in a vector's first lane at one place or another
NUMBERS = np.array(
    [
        *(math.nan, math.inf, -math.inf, 0.0, -0.0),
        *(_F.smallest_subnormal, -_F.smallest_subnormal, 1e-40, -1e-40, _F.tiny, -_F.tiny),
        *(_F.max, _F.min, 1e30, -1e30, 3e9, -3e9),
        *(0.5, -0.5, 1.0, -1.0, 1.5, -1.5, 2.5, -2.5, 3.0, -3.0, 0.49999997, 8388609.0, -8388609.0),
        *(9.5, -9.5, 17.0, -17.0, 88.0, -88.0, 88.8, -88.8, 104.0, -104.0, 1000.0, -1000.0),
    ],
    np.float32,
)
ROWS, COLUMNS = 16, 20
SHAPE = (ROWS, COLUMNS)
IMAGE = (1, 16, 6, 8)


def elements(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """float32: all of NUMBERS, in some order, several times."""
    count = math.prod(shape)
    return np.random.default_rng(seed).permutation(np.resize(NUMBERS, count)).reshape(shape)


def rows(shape: Sequence[int]) -> np.ndarray:
    """float32: standard normal, but every row has another kind of special numbers in it; the first has none."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=shape).astype(np.float32).reshape(-1, shape[-1])
    last = shape[-1] - 1
    specials: list[dict[int, float] | float] = [
        *({}, {0: math.nan}, {last: math.nan}, {5: math.nan, 6: math.inf}, {3: math.inf}, {3: -math.inf}),
        *({2: math.inf, last: -math.inf}, {4: math.inf, 9: math.inf}, {1: _F.max, 2: _F.max}, {last: _F.min}),
        *(math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-40),
    ]
    for index, row in enumerate(x):
        special = specials[index % len(specials)]
        if isinstance(special, dict):
            for at, number in special.items():
                row[at] = number
        else:
            row[:] = special
    return x.reshape(shape)


@dataclass(frozen=True, slots=True)
class Case:
    """One operator, x -> y."""

    name: str
    operator: str
    x: np.ndarray = field(default_factory=lambda: elements(SHAPE))
    attributes: Mapping[str, Any] = field(default_factory=dict)
    #: behind x, constants
    inputs: tuple[np.ndarray | None, ...] = ()
    domain: str = ""
    #: x is its second input too
    twice: bool = False
    #: x -> y, where ONNX Runtime's answer is none to go by
    answer: Callable[[np.ndarray], np.ndarray] | None = None
    #: ONNX Runtime multiplies infinities by a weight of zero, which has no part in the result
    zero_weights: bool = False
    #: of finite numbers
    rtol: float = 2e-5
    atol: float = 1e-6


def differences(case: Case, want: np.ndarray, got: np.ndarray) -> np.ndarray:
    """bool, where got is another number, NaN or infinity. Zeros are equal, whatever their sign."""
    with np.errstate(all="ignore"):
        close = np.isfinite(want) & np.isfinite(got) & (np.abs(want - got) <= case.atol + case.rtol * np.abs(want))
    same = (np.isnan(want) & np.isnan(got)) | (want == got) | close
    if case.zero_weights:
        same |= np.isnan(want) & np.isinf(case.x).any() & ~np.isnan(got)
    different: np.ndarray = ~same
    return different


def _constant(*values: float) -> np.ndarray:
    return np.array(values[0] if len(values) == 1 else values, np.float32)


def _unary(*names: str, **attributes: Any) -> list[Case]:
    return [Case(name, name, attributes=attributes) for name in names]


def _reductions() -> list[Case]:
    cases = []
    for name in ("Max", "Min", "Sum", "Mean", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare"):
        for axis in (0, 1):
            extreme = {"Max": np.max, "Min": np.min}.get(name)
            answer = None if extreme is None else functools.partial(extreme, axis=axis, keepdims=True)
            axes = np.array([axis], np.int64)
            cases.append(Case(f"Reduce{name}-{axis}", f"Reduce{name}", _along(axis), inputs=(axes,), answer=answer))
    for name, find in (("ArgMax", np.argmax), ("ArgMin", np.argmin)):
        for axis, last in itertools.product((0, 1), (0, 1)):
            attributes = {"axis": axis, "select_last_index": last}
            answer = functools.partial(_place, find=find, axis=axis, last=bool(last))
            cases.append(Case(f"{name}-{axis}-{last}", name, _along(axis), attributes, answer=answer))
    return cases


def _along(axis: int) -> np.ndarray:
    """``rows`` along the axis of a matrix."""
    return rows(SHAPE) if axis else rows(SHAPE[::-1]).T.copy()


def _place(x: np.ndarray, find: Callable[..., np.ndarray], axis: int, *, last: bool) -> np.ndarray:
    if not last:
        return find(x, axis=axis, keepdims=True)
    return x.shape[axis] - 1 - find(np.flip(x, axis), axis=axis, keepdims=True)


def _hardmax(x: np.ndarray, axis: int) -> np.ndarray:
    places = np.arange(x.shape[axis]).reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
    return places == x.argmax(axis, keepdims=True)


def _largest_of_windows(
    x: np.ndarray, kernel: Sequence[int], strides: Sequence[int], pads: int, dilation: int, *, ceil: bool = False
) -> np.ndarray:
    """x: [N, C, ...]. pads: on every side. What is outside of the image is no number of its windows."""
    reach = [(size - 1) * dilation + 1 for size in kernel]
    over = [
        (n + 2 * pads - r + (step - 1 if ceil else 0)) // step + 1
        for n, r, step in zip(x.shape[2:], reach, strides, strict=True)
    ]
    behind = [max(pads, (n - 1) * step + r) for n, r, step in zip(over, reach, strides, strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *((pads, b) for b in behind)], constant_values=-np.inf)
    found = np.full((*x.shape[:2], *over), -np.inf, np.float32)
    for offsets in itertools.product(*(range(size) for size in kernel)):
        spans = [
            slice(at * dilation, at * dilation + (n - 1) * step + 1, step)
            for at, n, step in zip(offsets, over, strides, strict=True)
        ]
        found = np.maximum(found, padded[(..., *spans)])
    return found


def _normalised(x: np.ndarray) -> np.ndarray:
    """Rows of mean 0 and variance 1, in float32: a sum that is too large for it is infinite."""
    with np.errstate(all="ignore"):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(1e-5))


def _local_response(x: np.ndarray, size: int, alpha: float, beta: float) -> np.ndarray:
    """x: [N, C, H, W]. Source: the ONNX operator LRN, with its bias of 1."""
    half = size // 2
    squares = np.pad(x.astype(np.float64) ** 2, [(0, 0), (half, half), (0, 0), (0, 0)])
    with np.errstate(all="ignore"):
        total = sum(squares[:, at : at + x.shape[1]] for at in range(size))
        return (x / (1 + alpha / size * total) ** beta).astype(np.float32)


def _poolings() -> list[Case]:
    image = rows((16, 48)).reshape(IMAGE)
    plain = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    return [
        Case("MaxPool", "MaxPool", image, plain, answer=lambda x: _largest_of_windows(x, (3, 3), (2, 2), 1, 1)),
        Case(
            "MaxPool-lines",
            "MaxPool",
            image[0],
            {"kernel_shape": [3], "pads": [1, 1]},
            answer=lambda x: _largest_of_windows(x, (3,), (1,), 1, 1),
        ),
        Case(
            "MaxPool-dilated",
            "MaxPool",
            image,
            {"kernel_shape": [2, 2], "dilations": [2, 2]},
            answer=lambda x: _largest_of_windows(x, (2, 2), (1, 1), 0, 2),
        ),
        Case(
            "MaxPool-ceil",
            "MaxPool",
            image,
            {**plain, "ceil_mode": 1},
            answer=lambda x: _largest_of_windows(x, (3, 3), (2, 2), 1, 1, ceil=True),
        ),
        Case(
            "MaxPool-volumes",
            "MaxPool",
            image[:, None],
            {"kernel_shape": [2, 2, 2]},
            answer=lambda x: _largest_of_windows(x, (2, 2, 2), (1, 1, 1), 0, 1),
        ),
        Case("AveragePool", "AveragePool", image, plain),
        Case("AveragePool-counting", "AveragePool", image, {**plain, "count_include_pad": 1}),
        Case("LpPool", "LpPool", image, plain),
        Case("GlobalMaxPool", "GlobalMaxPool", image, answer=functools.partial(np.max, axis=(2, 3), keepdims=True)),
        Case("GlobalAveragePool", "GlobalAveragePool", image),
        Case("GlobalLpPool", "GlobalLpPool", image),
    ]


def _images() -> list[Case]:
    image = rows((16, 48)).reshape(IMAGE)
    scales = _constant(1, 1, 2, 2)
    channels = [np.linspace(0.5, 1.5, IMAGE[1], dtype=np.float32) for _ in range(4)]
    empty = np.zeros(0, np.float32)
    return [
        *(
            Case(f"Resize-{mode}", "Resize", image, {"mode": mode}, (empty, scales), zero_weights=True)
            for mode in ("nearest", "linear", "cubic")
        ),
        Case("BatchNormalization", "BatchNormalization", image, inputs=tuple(channels)),
        Case("InstanceNormalization", "InstanceNormalization", image, inputs=(channels[0], channels[1])),
        Case("LRN", "LRN", image, {"size": 3}, answer=lambda x: _local_response(x, 3, 1e-4, 0.75)),
        Case("PRelu", "PRelu", image, inputs=(channels[0].reshape(-1, 1, 1),)),
        Case("Pad", "Pad", image, inputs=(np.array([0, 0, 1, 1, 0, 0, 1, 1]), _constant(math.nan))),
    ]


def _layers() -> list[Case]:
    image, x = rows((16, 48)).reshape(IMAGE), rows(SHAPE)
    kernel = np.random.default_rng(2).normal(size=(4, IMAGE[1], 3, 3)).astype(np.float32)
    scale = np.linspace(0.5, 1.5, COLUMNS, dtype=np.float32)
    return [
        Case("Conv", "Conv", image, inputs=(kernel,)),
        Case("ConvTranspose", "ConvTranspose", image, {"strides": [2, 2]}, (kernel.swapaxes(0, 1).copy(),)),
        Case("Gemm", "Gemm", x, inputs=(np.ones((COLUMNS, 24), np.float32), np.ones(24, np.float32))),
        Case("BiasGelu", "BiasGelu", x, inputs=(scale,), domain=MICROSOFT),
        Case("Trilu", "Trilu", x),
        Case("GridSample", "GridSample", image, inputs=(np.zeros((1, 3, 3, 2), np.float32),), zero_weights=True),
    ]


def _rows() -> list[Case]:
    x, odd = rows(SHAPE), rows((ROWS, 19))
    moderate = np.where(np.abs(x) == _F.max, np.float32(1e18), x)
    scale = np.linspace(0.5, 1.5, COLUMNS, dtype=np.float32)
    return [
        *(
            Case(
                f"{name}-{label}", name, values, {"axis": axis}, answer=answer and functools.partial(answer, axis=axis)
            )
            for name, answer in (("Softmax", None), ("LogSoftmax", None), ("Hardmax", _hardmax))
            for label, values, axis in (("last", x, -1), ("odd", odd, -1), ("first", _along(0), 0))
        ),
        Case(
            "LayerNormalization",
            "LayerNormalization",
            x,
            inputs=(scale, scale),
            answer=lambda x: _normalised(x) * scale + scale,
        ),
        Case("MatMul", "MatMul", x, inputs=(np.ones((COLUMNS, 24), np.float32),)),
        Case("MatMul-zeros", "MatMul", x, inputs=(np.zeros((COLUMNS, 7), np.float32),)),
        Case("CumSum", "CumSum", x, inputs=(np.array(1, np.int64),)),
        # whose squares have a sum in float32: of others it depends on the order what is infinite
        Case("MeanVarianceNormalization", "MeanVarianceNormalization", moderate, {"axes": [1]}),
    ]


def _binary() -> list[Case]:
    other = elements(SHAPE, 7)
    return [
        *(
            Case(name, name, inputs=(other,))
            for name in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Equal", "Greater", "GreaterOrEqual", "Less")
        ),
        Case("LessOrEqual", "LessOrEqual", inputs=(other,)),
        *(Case(f"{name}-three", name, inputs=(other, elements(SHAPE, 8))) for name in ("Max", "Min", "Sum", "Mean")),
        *(Case(f"{name}-number", name, inputs=(_constant(0.5),)) for name in ("Max", "Min")),
        *(Case(f"{name}-nan", name, inputs=(_constant(math.nan),)) for name in ("Max", "Min")),
        *(
            Case(f"{name}-itself", name, twice=True)
            for name in ("Max", "Min", "Sub", "Div", "Mul", "Equal", "Less", "LessOrEqual", "GreaterOrEqual")
        ),
        Case("Mul-zero", "Mul", inputs=(_constant(0.0),)),
        Case("Add-zero", "Add", inputs=(_constant(0.0),)),
        Case("Mod", "Mod", inputs=(other,), attributes={"fmod": 1}),
        *(
            Case(f"Pow-{exponent}", "Pow", inputs=(_constant(exponent),))
            for exponent in (0.5, -0.5, 2, 3, 4, -1, -2, 0, 1, 2.5)
        ),
        Case("Where", "Where", inputs=(other,)),
    ]


def _clips() -> list[Case]:
    bounds = {"both": (0.0, 6.0), "low": (-1.0, None), "high": (None, 1.0), "none": (None, None)}
    bounds |= {"crossed": (2.0, 1.0), "infinite": (-math.inf, math.inf), "halves": (0.0, math.inf)}
    return [
        Case(f"Clip-{name}", "Clip", inputs=tuple(None if b is None else _constant(b) for b in pair))
        for name, pair in bounds.items()
    ]


CASES = [
    *_unary("Relu", "Elu", "Selu", "LeakyRelu", "ThresholdedRelu", "Softplus", "Softsign", "HardSigmoid"),
    *_unary("HardSwish", "Sigmoid", "Tanh", "Erf", "Exp", "Log", "Sqrt", "Reciprocal", "Abs", "Neg", "Sign", "Round"),
    *_unary("Floor", "Ceil", "IsNaN", "IsInf", "Mish", "Gelu", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Asinh"),
    *_unary("Acosh", "Atanh", "Identity", "Shrink"),
    Case("Gelu-tanh", "Gelu", attributes={"approximate": "tanh"}),
    Case("Gelu-microsoft", "Gelu", domain=MICROSOFT),
    Case("FastGelu", "FastGelu", domain=MICROSOFT),
    Case("Elu-alpha", "Elu", attributes={"alpha": 2.0}),
    Case("Elu-negative", "Elu", attributes={"alpha": -0.5}),
    Case("LeakyRelu-negative", "LeakyRelu", attributes={"alpha": -0.5}),
    Case("ThresholdedRelu-negative", "ThresholdedRelu", attributes={"alpha": -2.0}),
    Case("Shrink-bias", "Shrink", attributes={"lambd": 1.5, "bias": 0.5}),
    *_clips(),
    *_binary(),
    *_reductions(),
    *_poolings(),
    *_images(),
    *_layers(),
    *_rows(),
]


def model_of(cases: Sequence[Case]) -> tuple[onnx.ModelProto, list[np.ndarray]]:
    """-> (x0, x1, ... -> y0, y1, ..., float32, whatever the operators give; the right answers)"""
    nodes, weights, inputs, outputs = [], {}, [], []
    for index, case in enumerate(cases):
        x, y, result, condition = (f"{name}{index}" for name in ("x", "y", "result", "condition"))
        names = [x, *([x] if case.twice else [])]
        for position, array in enumerate(case.inputs):
            names.append("" if array is None else f"w{index}_{position}")
            weights |= {} if array is None else {names[-1]: array}
        if case.operator == "Where":
            nodes.append(helper.make_node("Greater", names, [condition]))
            names = [condition, *names]
        nodes += [
            helper.make_node(case.operator, names, [result], case.name, domain=case.domain, **case.attributes),
            helper.make_node("Cast", [result], [y], to=TensorProto.FLOAT),
        ]
        inputs.append(helper.make_tensor_value_info(x, TensorProto.FLOAT, case.x.shape))
        outputs.append(helper.make_tensor_value_info(y, TensorProto.FLOAT, None))
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "special_values", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    answers = reference_outputs(model, [case.x for case in cases])
    for index, (case, output, given) in enumerate(zip(cases, model.graph.output, answers, strict=True)):
        output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, given.shape))
        if case.answer is not None:
            answers[index] = case.answer(case.x).astype(np.float32)
    return model, answers
