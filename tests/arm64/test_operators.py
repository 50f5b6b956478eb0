"""Kernels compiled for every ARM target answer as ONNX Runtime does, on the oldest processor that the target allows."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from neo.contract.manifest import ENGINE_DIR
from neo.contract.precision import BF16, FP32, Precision
from neo.contract.tensors import TensorSpec
from neo.runtime.engine_folder import ALIGNMENT_BYTES, LIBRARY_FILE, RUNTIME_FILE, EngineFolder
from neo.targets import load_target
from tests.arm64.emulation import ARM_TARGETS, Device
from tests.arm64.networks import NETWORKS, random
from tests.engines.conftest import build_engine_here, to_bfloat16
from tests.engines.reference import reference_outputs, specs
from tests.models import build
from tests.processing.text_models import compiled, expected, write_document

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DeviceOf = Callable[[str], Device]

MAX_REL = 1e-4
EXPECTED_KERNELS = {
    "vision": {"winograd_products", "max_pool2d", "concatenate"},
    "language": {"recurrence_lstm", "recurrence_gru", "layer_norm"},
}
# with 64 KiB pages, as some ARM systems have them, a library with smaller segments is not loaded
LARGEST_PAGE_BYTES = 1 << 16
PT_LOAD = 1


@dataclass(frozen=True, slots=True)
class Built:
    """A model, its engine folder, one input for each of its names and what ONNX Runtime answers to them here."""

    engine: Path
    arrays: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]

    @property
    def description(self) -> EngineFolder:
        return EngineFolder.read(self.engine)

    def answer(self, device: Device, threads: int = 2) -> dict[str, np.ndarray]:
        """By output. The second of two: it finds what the first left in its buffers."""
        engine = device.open_engine(self.engine, threads)
        arrays = list(self.arrays.values())
        engine.run(arrays)
        return {spec.name: array for spec, array in zip(engine.outputs, engine.run(arrays), strict=True)}

    def differences(self, answers: Mapping[str, np.ndarray]) -> dict[str, float]:
        """By output: the largest difference, divided by the largest expected number; only those that are too large."""
        found = {}
        for name, want in self.expected.items():
            got = answers[name]
            assert (got.shape, got.dtype) == (want.shape, want.dtype)
            found[name] = float(np.abs(got - want).max() / np.abs(want).max())
        return {name: error for name, error in found.items() if not error <= MAX_REL}


def build_for(
    target: str, model: onnx.ModelProto, folder: Path, engine: str = "tvm", precision: Precision = FP32
) -> Built:
    build_engine_here(engine, model, folder, precision, target)
    rng = np.random.default_rng(0)
    inputs: tuple[TensorSpec, ...] = specs(model.graph.input)
    arrays = {spec.name: to_bfloat16(rng.normal(size=spec.shape)) for spec in inputs}
    expected = reference_outputs(model, list(arrays.values()))
    return Built(folder / "engine", arrays, {v.name: a for v, a in zip(model.graph.output, expected, strict=True)})


@pytest.mark.parametrize("target", ARM_TARGETS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_kernel_answers_as_onnx_runtime(
    target: str, name: str, device_of: DeviceOf, tmp_path: Path
) -> None:
    network = build_for(target, NETWORKS[name](), tmp_path)
    assert EXPECTED_KERNELS[name] <= {kernel.name for kernel in network.description.kernels}
    assert network.differences(network.answer(device_of(target))) == {}


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_kernels_answer_as_onnx_runtime(name: str, device_of: DeviceOf, tmp_path: Path) -> None:
    """Inputs and weights are numbers that bfloat16 holds exactly, so that only the sums may differ."""
    (target,) = [name for name in ARM_TARGETS if BF16.runs_on(load_target(name).cpu)]
    network = build_for(target, NETWORKS[name](), tmp_path, precision=BF16)
    assert network.differences(network.answer(device_of(target))) == {}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_onnxruntime_engine_answers_as_here(name: str, device_of: DeviceOf, tmp_path: Path) -> None:
    network = build_for("aarch64", NETWORKS[name](), tmp_path, "onnxruntime")
    assert network.differences(network.answer(device_of("aarch64"))) == {}


def test_one_thread_answers_as_two(device_of: DeviceOf, tmp_path: Path) -> None:
    network, device = build_for("aarch64", NETWORKS["vision"](), tmp_path), device_of("aarch64")
    two, one = network.answer(device), network.answer(device, threads=1)
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name])


def test_weights_are_mapped_from_their_files(device_of: DeviceOf, tmp_path: Path) -> None:
    network, device = build_for("raspberry-pi-4", NETWORKS["vision"](), tmp_path), device_of("raspberry-pi-4")
    assert network.differences(network.answer(device)) == {}
    weights = network.description.weights
    assert any(weight.offset for weight in weights)
    assert all(weight.offset % ALIGNMENT_BYTES == 0 for weight in weights)
    assert {str(network.engine / weight.file) for weight in weights} <= device.mapped_files()


def test_a_graph_that_is_cut_runs_in_both_engines(device_of: DeviceOf, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("TopK", ["f", "k"], ["y", "places"]),
    ]
    weights = {"w": random(32, 16, 3, 3), "k": np.array([5])}
    model = build(nodes, {"x": (1, 16, 20, 20)}, {"y": (1, 5)}, weights)
    network = build_for("raspberry-pi-4", model, tmp_path)
    parts = [EngineFolder.read(network.engine / name).engine for name in network.description.segments]
    assert parts == ["tvm", "onnxruntime"]
    assert network.differences(network.answer(device_of("raspberry-pi-4"))) == {}


def test_a_text_is_split_on_the_device(device_of: DeviceOf, tmp_path: Path) -> None:
    """By the library of ONNX Runtime's extensions; the tvm engine computes with the numbers."""
    write_document(tmp_path)
    _, bundle = compiled(tmp_path, "tvm", "raspberry-pi-4")
    engine = device_of("raspberry-pi-4").open_engine(bundle / ENGINE_DIR, 2)
    found = engine.run([np.array(["Hello, worlds!"], object)])
    seen = found[[spec.name for spec in engine.outputs].index("seen")]
    assert seen.tolist() == expected("hello", ",", "world", "##s", "!")


def load_alignments(library: Path) -> list[int]:
    """Of the segments of an ELF file that are loaded, bytes."""
    data = library.read_bytes()
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    entries = [table + index * size for index in range(count)]
    return [
        struct.unpack_from("<Q", data, entry + 48)[0]
        for entry in entries
        if struct.unpack_from("<I", data, entry)[0] == PT_LOAD
    ]


@pytest.mark.parametrize("target", ARM_TARGETS)
def test_libraries_load_on_systems_with_large_pages(target: str, tmp_path: Path) -> None:
    """A Raspberry Pi 5 has pages of 16 KiB; QEMU's are those of the machine it runs on."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = build([node], {"x": (1, 7)}, {"y": (1, 5)}, {"w": random(7, 5)})
    engine = build_for(target, model, tmp_path / "product").engine
    for name in (LIBRARY_FILE, RUNTIME_FILE):
        alignments = load_alignments(engine / name)
        assert alignments
        assert min(alignments) >= LARGEST_PAGE_BYTES
