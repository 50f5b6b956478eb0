"""Whole networks of any connections: what is right kernel by kernel may be joined wrongly."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from onnx import helper

from neo.contract.precision import BF16, FP32, Precision
from tests.engines.conftest import Check
from tests.models import build
from tests.thorough import times

SIZE = (10, 12)
CHANNELS = 16
KERNELS = {"pointwise": 1, "conv": 3, "wide": 5}
# of (kind, number of one input, number of another): inputs are counted back from the newest
LAYERS = st.lists(
    st.tuples(
        st.sampled_from(["pointwise", "conv", "wide", "depthwise", "add", "concat", "concat", "pool", "relu"]),
        st.integers(0, 3),
        st.integers(0, 3),
    ),
    min_size=4,
    max_size=9,
)


def network(layers: list[tuple[str, int, int]]) -> onnx.ModelProto:
    """Every layer reads layers before it; those that none reads are outputs. All images have one size."""
    generator = np.random.default_rng(len(layers))
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, np.ndarray] = {}
    made, channels, unread = ["x"], {"x": CHANNELS}, {"x"}

    def convolve(source: str, result: str, kernel: int, groups: int = 1) -> None:
        inputs = channels[source] // groups
        shape = (CHANNELS if groups == 1 else groups, inputs, kernel, kernel)
        weights[f"w_{result}"] = (generator.normal(size=shape) / (inputs * kernel * kernel) ** 0.5).astype(np.float32)
        options = {"pads": [kernel // 2] * 4, "group": groups}
        nodes.append(helper.make_node("Conv", [source, f"w_{result}"], [result], **options))
        channels[result] = shape[0]

    for index, (kind, one, other) in enumerate(layers):
        first, second = made[-1 - one % len(made)], made[-1 - other % len(made)]
        result, read = f"t{index}", {first}
        if kind in KERNELS:
            convolve(first, result, KERNELS[kind])
        elif kind == "depthwise":
            convolve(first, result, 3, channels[first])
        elif kind in ("add", "concat") and (kind == "concat" or channels[first] == channels[second]):
            read.add(second)
            options = {"axis": 1} if kind == "concat" else {}
            nodes.append(helper.make_node("Concat" if options else "Add", [first, second], [result], **options))
            channels[result] = channels[first] + channels[second] if options else channels[first]
        elif kind == "pool":
            options = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [1, 1]}
            nodes.append(helper.make_node("MaxPool", [first], [result], **options))
            channels[result] = channels[first]
        else:
            nodes.append(helper.make_node("Relu", [first], [result]))
            channels[result] = channels[first]
        made.append(result)
        unread = unread - read | {result}
    outputs = {name: (1, channels[name], *SIZE) for name in made if name in unread}
    return build(nodes, {"x": (1, CHANNELS, *SIZE)}, outputs, weights)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "max_rel"), [(FP32, 1e-4), (BF16, 5e-2)])
@settings(
    max_examples=times(40, 1000),
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # not shrunk: every example is a build
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(layers=LAYERS)
def test_layers_connected_in_any_way(
    agrees: Check, layers: list[tuple[str, int, int]], precision: Precision, max_rel: float
) -> None:
    agrees("tvm", network(layers), precision=precision, max_rel=max_rel)
