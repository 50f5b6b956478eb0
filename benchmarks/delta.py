"""What a device that has one version of a model fetches of the next one, of which the last layer alone was retrained.

``python -m benchmarks.delta`` compiles two MobileNetV1 (Howard et al. 2017; width 1.0, two classes, random weights)
for this machine with each engine, and prints the bytes of the second bundle that the first one has not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from neo.compiler.pipeline import run
from neo.compiler.request import CompileRequest
from neo.contract.oci import Descriptor
from neo.engines import ENGINES
from neo.onnx_tools.files import save
from neo.store import Store
from neo.store.bundles import Bundle

CLASSES = 2
SIDE = 224
OPSET, IR_VERSION = 17, 10
# channels and stride of every pair of a depthwise and a pointwise convolution
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


@dataclass(frozen=True, slots=True)
class Delta:
    """Bytes of the second bundle: of all its blobs, and of those that are not in the first one. files: the latter."""

    total: int
    fetched: int
    files: tuple[str, ...]

    @property
    def share(self) -> float:
        return self.fetched / self.total


def mobilenet_v1(last_layer: int) -> onnx.ModelProto:
    """last_layer: the seed of its weights; all others are always the same."""
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, NDArray[np.float32]] = {}

    def convolve(x: str, channels_in: int, channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> str:
        name = f"conv{len(nodes) // 2}"
        fan_in = channels_in // groups * kernel * kernel
        shape = (channels, channels_in // groups, kernel, kernel)
        weights[f"{name}.weight"] = rng.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(0, 0.1, channels).astype(np.float32)
        pads, strides = [kernel // 2] * 4, [stride, stride]
        given = [x, f"{name}.weight", f"{name}.bias"]
        nodes.append(helper.make_node("Conv", given, [name], group=groups, pads=pads, strides=strides))
        nodes.append(helper.make_node("Relu", [name], [f"{name}.relu"]))
        return f"{name}.relu"

    x, channels = convolve("image", 3, 32, 3, stride=2), 32
    for wider, stride in BLOCKS:
        x = convolve(x, channels, channels, 3, stride=stride, groups=channels)
        x = convolve(x, channels, wider, 1)
        channels = wider
    own = np.random.default_rng([1, last_layer])
    weights["classifier.weight"] = own.normal(0, channels**-0.5, (channels, CLASSES)).astype(np.float32)
    weights["classifier.bias"] = own.normal(0, 0.1, CLASSES).astype(np.float32)
    nodes += [
        helper.make_node("GlobalAveragePool", [x], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "classifier.weight", "classifier.bias"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mobilenet_v1",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def retrain(engine: str, folder: Path) -> Delta:
    """Compile both versions with the engine; folder: for the models and the store. Raises NeoError."""
    store = Store(folder / "store")
    bundles = []
    for last_layer in range(2):
        save(mobilenet_v1(last_layer), folder / "mobilenet.onnx")
        (compiled,) = run(CompileRequest(folder / "mobilenet.onnx", store, None, engine=engine))
        bundles.append(compiled.bundle)
    return difference(*bundles)


def difference(old: Bundle, new: Bundle) -> Delta:
    known = {blob.digest for blob in _blobs(old)}
    blobs = {blob.digest: blob for blob in _blobs(new)}
    fetched = [blob for digest, blob in blobs.items() if digest not in known]
    return Delta(
        sum(blob.size for blob in blobs.values()),
        sum(blob.size for blob in fetched),
        tuple(f"{blob.title or blob.media_type} {blob.size}" for blob in fetched),
    )


def _blobs(bundle: Bundle) -> tuple[Descriptor, ...]:
    return (bundle.descriptor, bundle.image.config, *bundle.image.layers)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delta", description=__doc__)
    parser.add_argument("--engine", choices=list(ENGINES), action="append", help="[default: all]")
    parser.add_argument("--files", action="store_true", help="list what is fetched")
    options = parser.parse_args(arguments)
    for engine in options.engine or list(ENGINES):
        with tempfile.TemporaryDirectory(prefix="neo-delta-") as folder:
            delta = retrain(engine, Path(folder))
        print(f"{engine}: {delta.fetched} of {delta.total} bytes are fetched, {100 * delta.share:.2f} %")
        if options.files:
            print("\n".join(f"  {file}" for file in delta.files))


if __name__ == "__main__":
    main(sys.argv[1:])
