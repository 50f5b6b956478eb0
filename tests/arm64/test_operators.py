"""Kernels compiled for every ARM target answer as ONNX Runtime does, on the oldest processor that the target allows."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from neo.contract.tensors import TensorSpec
from neo.engines.base import BF16, FP32
from neo.runtime.engine_folder import ALIGNMENT_BYTES, LIBRARY_FILE, RUNTIME_FILE, EngineFolder
from neo.targets import list_targets, load_target
from tests.arm64.emulation import Answer, Case, Device, answers
from tests.arm64.networks import NETWORKS, random
from tests.engines.conftest import build_engine_here, to_bfloat16
from tests.engines.reference import reference_outputs, specs
from tests.models import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# target -> what QEMU calls a processor with the target's features and as few others as it has
PROCESSORS = {
    "aarch64": "cortex-a53",
    "graviton3": "max,sve-default-vector-length=32",
    "jetson-orin": "cortex-a76",
    "raspberry-pi-3": "cortex-a53",
    "raspberry-pi-4": "cortex-a72",
    "raspberry-pi-5": "cortex-a76",
}
ARM_TARGETS = [target.name for target in list_targets() if target.arch == "aarch64"]
MAX_REL = 1e-4
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

    def case(self, threads: int) -> Case:
        return Case(self.engine, self.arrays, threads)

    def differences(self, answer: Answer) -> dict[str, float]:
        """By output: the largest difference, divided by the largest expected number; only those that are too large."""
        found = {}
        for name, want in self.expected.items():
            got = answer.arrays[name]
            assert (got.shape, got.dtype) == (want.shape, want.dtype)
            found[name] = float(np.abs(got - want).max() / np.abs(want).max())
        return {name: error for name, error in found.items() if not error <= MAX_REL}


def build_for(target: str, model: onnx.ModelProto, folder: Path, engine: str = "tvm", precision: str = FP32) -> Built:
    build_engine_here(engine, model, folder, precision, target)
    rng = np.random.default_rng(0)
    inputs: tuple[TensorSpec, ...] = specs(model.graph.input)
    arrays = {spec.name: to_bfloat16(rng.normal(size=spec.shape)) for spec in inputs}
    expected = reference_outputs(model, list(arrays.values()))
    return Built(folder / "engine", arrays, {v.name: a for v, a in zip(model.graph.output, expected, strict=True)})


def kernels(built: Built) -> set[str]:
    return {kernel.name for kernel in built.description.kernels}


@pytest.fixture
def answer_on(device_python: str, tmp_path: Path) -> Callable[[str, list[Case]], list[Answer]]:
    """(target, cases) -> answers of the target's processor, all in one process."""

    def run(target: str, cases: list[Case]) -> list[Answer]:
        scratch = tmp_path / "emulated"
        scratch.mkdir()
        return answers(Device(device_python, PROCESSORS[target]), cases, scratch)

    return run


AnswerOn = Callable[[str, list[Case]], list[Answer]]


@pytest.mark.parametrize("target", ARM_TARGETS)
def test_every_kind_of_kernel_answers_as_onnx_runtime(target: str, answer_on: AnswerOn, tmp_path: Path) -> None:
    built = {name: build_for(target, make(), tmp_path / name) for name, make in NETWORKS.items()}
    assert "winograd_products" in kernels(built["vision"])
    assert "recurrence_lstm" in kernels(built["language"])
    found = answer_on(target, [network.case(threads=2) for network in built.values()])
    assert [network.differences(answer) for network, answer in zip(built.values(), found, strict=True)] == [{}, {}]


def test_bfloat16_kernels_answer_as_onnx_runtime(answer_on: AnswerOn, tmp_path: Path) -> None:
    """Inputs and weights are numbers that bfloat16 holds exactly, so that only the sums may differ."""
    (target,) = [name for name in ARM_TARGETS if "bf16" in load_target(name).features]
    built = [build_for(target, make(), tmp_path / name, precision=BF16) for name, make in NETWORKS.items()]
    found = answer_on(target, [network.case(threads=2) for network in built])
    assert [network.differences(answer) for network, answer in zip(built, found, strict=True)] == [{}, {}]


def test_one_thread_and_two_answer_the_same(answer_on: AnswerOn, tmp_path: Path) -> None:
    network = build_for("aarch64", NETWORKS["language"](), tmp_path / "language")
    one, two = answer_on("aarch64", [network.case(threads=1), network.case(threads=2)])
    assert network.differences(one) == network.differences(two) == {}
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, two.arrays[name])


def test_weights_are_mapped_from_their_files(answer_on: AnswerOn, tmp_path: Path) -> None:
    network = build_for("raspberry-pi-4", NETWORKS["vision"](), tmp_path / "vision")
    (answer,) = answer_on("raspberry-pi-4", [network.case(threads=1)])
    assert network.differences(answer) == {}
    weights = network.description.weights
    assert any(weight.offset for weight in weights)
    assert all(weight.offset % ALIGNMENT_BYTES == 0 for weight in weights)
    assert set(answer.mapped) == {str(network.engine / weight.file) for weight in weights}


def test_the_onnxruntime_engine_answers_as_here(answer_on: AnswerOn, tmp_path: Path) -> None:
    built = [build_for("aarch64", make(), tmp_path / name, "onnxruntime") for name, make in NETWORKS.items()]
    found = answer_on("aarch64", [network.case(threads=2) for network in built])
    assert [network.differences(answer) for network, answer in zip(built, found, strict=True)] == [{}, {}]


def test_a_graph_that_is_cut_runs_in_both_engines(answer_on: AnswerOn, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("TopK", ["f", "k"], ["y", "places"]),
    ]
    weights = {"w": random(32, 16, 3, 3), "k": np.array([5])}
    model = build(nodes, {"x": (1, 16, 20, 20)}, {"y": (1, 5)}, weights)
    network = build_for("raspberry-pi-4", model, tmp_path / "cut")
    parts = [EngineFolder.read(network.engine / name).engine for name in network.description.segments]
    assert parts == ["tvm", "onnxruntime"]
    (answer,) = answer_on("raspberry-pi-4", [network.case(threads=2)])
    assert network.differences(answer) == {}


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
