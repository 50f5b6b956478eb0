"""Two models with an output for each kind of kernel, so that one build and one emulated process try them all.

Sizes are no multiples of any vector or tile, unless a kernel is chosen for such sizes only. Every output is one step of
arithmetic away from the inputs, or two: in bfloat16 nothing is rounded twice then.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.models import build


def random(*shape: int) -> np.ndarray:
    """float32 that bfloat16 holds exactly."""
    values = np.random.default_rng(sum(shape)).normal(0, 0.5, shape).astype(np.float32)
    return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


class Network:
    """Collects nodes; every one is named for its output."""

    def __init__(self, inputs: dict[str, tuple[int, ...]]) -> None:
        self.inputs = inputs
        self.outputs: dict[str, tuple[int, ...]] = {}
        self.weights: dict[str, np.ndarray] = {}
        self._nodes: list[onnx.NodeProto] = []

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = random(*shape)
        return name

    def inner(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        """A node whose output is no output of the model."""
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def output(self, kind: str, name: str, *inputs: str, shape: tuple[int, ...], **attributes: Any) -> None:
        self.outputs[name] = shape
        self.inner(kind, name, *inputs, **attributes)

    def convolution(
        self, name: str, x: str, filters: int, kernel: int, *, stride: int = 1, group: int = 1, dilation: int = 1
    ) -> None:
        """With a bias, and zeros around the image as far as the kernel reaches."""
        batch, channels, height, width = self.inputs[x]
        reach = dilation * (kernel // 2)
        self.output(
            "Conv",
            name,
            x,
            self.weight(filters, channels // group, kernel, kernel),
            self.weight(filters),
            pads=[reach] * 4,
            strides=[stride] * 2,
            dilations=[dilation] * 2,
            group=group,
            shape=(batch, filters, -(-height // stride), -(-width // stride)),
        )

    def model(self) -> onnx.ModelProto:
        return build(self._nodes, self.inputs, self.outputs, self.weights)


def vision() -> onnx.ModelProto:
    """Convolutions of all kinds and what stands between them."""
    net = Network({"picture": (1, 3, 37, 41), "odd": (1, 13, 17, 19), "wide": (1, 64, 28, 28), "batch": (3, 24, 7, 11)})
    net.convolution("first_layer", "picture", 16, 7, stride=2)
    net.convolution("direct", "odd", 29, 3)
    net.convolution("pointwise", "odd", 31, 1)
    net.convolution("strided", "odd", 23, 5, stride=2)
    net.convolution("dilated", "odd", 8, 3, dilation=2)
    net.convolution("depthwise", "odd", 13, 3, group=13)
    net.convolution("depthwise_strided", "batch", 24, 5, stride=2, group=24)
    net.convolution("grouped", "batch", 12, 3, group=4)
    net.convolution("batched", "batch", 17, 3)
    net.convolution("winograd", "wide", 64, 3)
    net.output("ConvTranspose", "transposed", "odd", net.weight(13, 5, 2, 2), shape=(1, 5, 34, 38), strides=[2, 2])
    pooling = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    net.output("MaxPool", "max_pool", "odd", shape=(1, 13, 9, 10), **pooling)
    net.output("AveragePool", "average_pool", "odd", shape=(1, 13, 9, 10), **pooling)
    net.output("GlobalAveragePool", "global_pool", "odd", shape=(1, 13, 1, 1))
    net.output("Concat", "concat", "odd", "odd", shape=(1, 26, 17, 19), axis=1)
    net.output("HardSwish", "hard_swish", "odd", shape=(1, 13, 17, 19))
    return net.model()


def language() -> onnx.ModelProto:
    """A transformer's parts, and recurrent cells."""
    net = Network({"tokens": (1, 11, 30), "long": (2, 197, 48), "steps": (7, 2, 10), "vector": (1, 192)})
    net.output("MatMul", "product", "tokens", net.weight(30, 37), shape=(1, 11, 37))
    net.output("MatMul", "long_product", "long", net.weight(48, 64), shape=(2, 197, 64))
    net.output("Gemm", "dense", "vector", net.weight(192, 101), net.weight(101), shape=(1, 101))
    net.inner("Transpose", "keys", "tokens", perm=[0, 2, 1])
    net.output("MatMul", "scores", "tokens", "keys", shape=(1, 11, 11))
    net.output("Softmax", "attention", "scores", shape=(1, 11, 11), axis=-1)
    net.output("MatMul", "attended", "attention", "tokens", shape=(1, 11, 30))
    net.output("LayerNormalization", "normalised", "long", net.weight(48), net.weight(48), shape=(2, 197, 48), axis=-1)
    net.output("Erf", "erf", "long", shape=(2, 197, 48))
    net.output("Tanh", "tanh", "tokens", shape=(1, 11, 30))
    net.output("Sigmoid", "sigmoid", "tokens", shape=(1, 11, 30))
    net.output("ReduceMean", "mean", "long", shape=(2, 197, 1), axes=[-1])
    for cell, gates, units, direction in (("LSTM", 4, 21, "bidirectional"), ("GRU", 3, 33, "forward")):
        both = 2 if direction == "bidirectional" else 1
        parameters = [net.weight(both, gates * units, size) for size in (10, units)]
        parameters.append(net.weight(both, 2 * gates * units))
        net.output(
            cell,
            cell.lower(),
            "steps",
            *parameters,
            shape=(7, both, 2, units),
            hidden_size=units,
            direction=direction,
        )
    return net.model()


NETWORKS = {"vision": vision, "language": language}
