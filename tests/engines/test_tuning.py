"""Searching configurations: what is measured, what is believed, and that answers stay the same."""

from __future__ import annotations

import random as chance
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import tvm
from onnx import helper
from tvm import te, tirx

from neo.contract.device import Target
from neo.contract.precision import BF16
from neo.engines.base import BuildRequest, BuiltEngine
from neo.engines.tvm.build import build as build_tvm
from neo.engines.tvm.cpu.codegen.runtime_library import add_runtime_library
from neo.engines.tvm.cpu.lowering.graph import lower_graph
from neo.engines.tvm.cpu.schedules import configurations_of, schedule_by, schedule_module
from neo.engines.tvm.cpu.schedules.costs import kernel_costs
from neo.engines.tvm.cpu.schedules.packing import Uses, packable_weights
from neo.engines.tvm.cpu.tuning.bench import Bench
from neo.engines.tvm.cpu.tuning.cache import Cache, Document, Key, Measured, cache_at, documents_to_bytes
from neo.engines.tvm.cpu.tuning.search import TunableKernel, Tuner, find_kernels
from neo.engines.tvm.cpu.tuning.signature import operands, signature
from neo.engines.tvm.cpu.tuning.worker import LEAST_GAIN, Trial, same, search
from neo.engines.tvm.cpu.units.bfloat16 import unit_of
from neo.engines.tvm.cpu.units.configuration import VERSIONS, Configuration
from neo.engines.tvm.cpu.units.llvm import llvm_target
from neo.engines.tvm.cpu.units.tiles import Tile
from neo.runtime import load_engine
from neo.targets import load_target
from tests.engines.conftest import imported
from tests.engines.reference import reference_outputs, specs
from tests.models import build

HOST = load_target("host")
NO_WEIGHTS: frozenset[int] = frozenset()

CURRENT = ("reduction", VERSIONS["reduction"])


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 0.3, shape).astype(np.float32)


def small_network(scale: float = 1.0, name: str = "w") -> onnx.ModelProto:
    """Two convolutions, a pooling and a product: x float32 (1, 8, 12, 12) -> y float32 (1, 24)."""
    weights = {name: random(32, 8, 3, 3) * scale, "p": random(48, 32, 1, 1), "m": random(48 * 6 * 6, 24)}
    nodes = [
        helper.make_node("Conv", ["x", name], ["c"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "p"], ["q"]),
        helper.make_node("Flatten", ["q"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["y"]),
    ]
    return build(nodes, {"x": (1, 8, 12, 12)}, {"y": (1, 24)}, weights)


def lowered(model: onnx.ModelProto, target: Target = HOST) -> tuple[tvm.IRModule, Uses]:
    module, _ = lower_graph(imported(model, target), target, llvm_target(target))
    return module, packable_weights(module)


def kernels_of(model: onnx.ModelProto, target: Target = HOST) -> list[TunableKernel]:
    module, uses = lowered(model, target)
    return find_kernels(module, target, uses, kernel_costs(module))


def build_here(model: onnx.ModelProto, folder: Path, tune_s: float, tuning: Path | None) -> BuiltEngine:
    (folder / "engine").mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    inputs, outputs = specs(model.graph.input), specs(model.graph.output)
    request = BuildRequest(
        folder / "model.onnx", HOST, inputs, outputs, folder / "engine", tune_s=tune_s, tuning=tuning
    )
    built = build_tvm(request)
    add_runtime_library(request)
    return built


def answers_right(model: onnx.ModelProto, folder: Path) -> bool:
    arrays = [np.random.default_rng(1).normal(size=(1, 8, 12, 12)).astype(np.float32)]
    (want,), (got,) = reference_outputs(model, arrays), load_engine(folder / "engine", 2).run(arrays)
    return bool(np.abs(got - want).max() <= 1e-4 * np.abs(want).max())


def keep(tuning: Path, configurations: dict[str, Configuration]) -> None:
    kernels = {name: Measured(chosen, 1.5, 10.0, 2, "", *CURRENT) for name, chosen in configurations.items()}
    cache_at(tuning).add(Document(Key.of(HOST), kernels))


def test_a_signature_does_not_depend_on_names_or_weights() -> None:
    first, second = kernels_of(small_network()), kernels_of(small_network(scale=3.0, name="another"))
    assert len({kernel.signature for kernel in first}) == len(first) == 3
    assert {kernel.signature for kernel in first} == {kernel.signature for kernel in second}


def summed(rows: int, columns: int = 16, dtype: str = "float32", names: str = "xk") -> tirx.PrimFunc:
    x = te.placeholder((rows, columns), name=names[0], dtype=dtype)
    step = te.reduce_axis((0, columns), name=names[1])
    return te.create_prim_func([x, te.compute((rows,), lambda i: te.sum(x[i, step], axis=step))])


def test_a_signature_depends_on_shapes_types_and_what_may_be_packed() -> None:
    signatures = [
        signature(summed(8), NO_WEIGHTS),
        signature(summed(9), NO_WEIGHTS),
        signature(summed(8, dtype="float64"), NO_WEIGHTS),
        signature(summed(8), frozenset({0})),
    ]
    assert len(set(signatures)) == 4
    assert signature(summed(8, names="ab").with_attr("global_symbol", "other"), NO_WEIGHTS) == signatures[0]
    assert operands(summed(8)) == "float32[8,16] float32[8]"


def test_a_signature_is_the_same_in_another_process() -> None:
    code = (
        "from tests.engines.test_tuning import summed\n"
        "from neo.engines.tvm.cpu.tuning.signature import signature\nprint(signature(summed(8), frozenset()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == signature(summed(8), NO_WEIGHTS)


def test_the_first_configuration_is_the_one_that_is_taken_unmeasured() -> None:
    module, uses = lowered(small_network())
    scheduled = schedule_module(module, HOST, uses)
    for kernel in kernels_of(small_network()):
        variable = module.get_global_var(kernel.name)
        assert len(set(kernel.configurations)) == len(kernel.configurations) > 1
        found = schedule_by(kernel.configurations[0], kernel.function, HOST, kernel.weights)
        assert found is not None
        tvm.ir.assert_structural_equal(found[0], scheduled.module[variable])


def test_a_winograd_convolution_has_the_tiles_of_its_products_as_choice() -> None:
    target = load_target("x86-64-v4")  # whose caches make it one kernel, block by block
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)]
    model = build(nodes, {"x": (1, 64, 56, 56)}, {"y": (1, 64, 56, 56)}, {"w": random(64, 64, 3, 3)})
    module, uses = lowered(model, target)
    (kernel,) = (kernel for kernel in kernels_of(model, target) if "winograd" in kernel.name)
    assert len(set(kernel.configurations)) == len(kernel.configurations) > 1
    found = [
        schedule_by(configuration, kernel.function, target, kernel.weights) for configuration in kernel.configurations
    ]
    assert all(found)
    assert found[0] is not None
    variable = module.get_global_var(kernel.name)
    tvm.ir.assert_structural_equal(found[0][0], schedule_module(module, target, uses).module[variable])
    rows_first = Configuration(kernel.configurations[0].tile, columns_first=False)
    assert schedule_by(rows_first, kernel.function, target, kernel.weights) is None


def test_what_has_no_choice_has_no_configurations() -> None:
    x = te.placeholder((64,), name="x")
    assert configurations_of(te.create_prim_func([x, te.compute((64,), lambda i: x[i] + 1)]), HOST, NO_WEIGHTS) == ()


@pytest.mark.parametrize("tile", [Tile(5, 1, 1), Tile(1, 7, 16), Tile(36, 2, 16), Tile(1, 1, 3), Tile(1 << 62, 1, 16)])
def test_a_configuration_that_does_not_fit_is_refused(tile: Tile) -> None:
    for kernel in kernels_of(small_network()):
        assert schedule_by(Configuration(tile, columns_first=True), kernel.function, HOST, kernel.weights) is None


@pytest.mark.parametrize("target", ["host", "x86-64-v2", "aarch64"])
def test_every_configuration_that_is_listed_fits(target: str) -> None:
    loaded = load_target(target)
    for kernel in kernels_of(small_network(), loaded):
        for configuration in kernel.configurations:
            assert schedule_by(configuration, kernel.function, loaded, kernel.weights) is not None


def test_the_kernel_with_most_of_the_work_comes_first_by_its_share() -> None:
    shares = {operands(kernel.function): kernel.share for kernel in kernels_of(small_network())}
    assert 0 < sum(shares.values()) <= 1
    (heaviest,) = (text for text, share in shares.items() if share == max(shares.values()))
    # the product: its weights are read from memory. Their columns are filled up to a register tile's
    assert re.search(r"float32\[1728,\d+\]", heaviest)


@pytest.mark.slow
def test_a_build_that_searched_answers_as_one_that_did_not(tmp_path: Path) -> None:
    model, tuning = small_network(), tmp_path / "tuning"
    assert build_here(model, tmp_path / "plain", 0, tuning).notes == ()
    searched = build_here(model, tmp_path / "searched", 300, tuning)
    assert any("kernels measured in this build: 3," in note for note in searched.notes)
    again = build_here(small_network(scale=0.5), tmp_path / "again", 300, tuning)
    assert any("kernels measured in this build: 0," in note for note in again.notes)
    assert all(answers_right(model, tmp_path / name) for name in ("plain", "searched"))
    assert answers_right(small_network(scale=0.5), tmp_path / "again")
    assert {kernel.signature for kernel in kernels_of(model)} == set(cache_at(tuning).known(HOST).kernels)


@pytest.mark.parametrize("choice", [1, 2, -1])
def test_what_is_known_is_used_and_does_not_change_the_answer(tmp_path: Path, choice: int) -> None:
    model = small_network()
    keep(tmp_path / "tuning", {kernel.signature: kernel.configurations[choice] for kernel in kernels_of(model)})
    built = build_here(model, tmp_path / "known", 0, tmp_path / "tuning")
    assert built.notes == ("kernels in a configuration that measured faster: 3 of 3",)
    build_here(model, tmp_path / "plain", 0, None)
    code = [(tmp_path / name / "engine" / "model.so").read_bytes() for name in ("known", "plain")]
    assert code[0] != code[1]
    assert answers_right(model, tmp_path / "known")


def test_what_is_known_and_does_not_fit_is_ignored(tmp_path: Path) -> None:
    model = small_network()
    odd = Configuration(Tile(5, 1, 1), columns_first=True)
    keep(tmp_path / "tuning", {kernel.signature: odd for kernel in kernels_of(model)})
    assert build_here(model, tmp_path / "odd", 0, tmp_path / "tuning").notes == ()
    assert answers_right(model, tmp_path / "odd")


def test_what_was_measured_and_not_faster_keeps_the_default(tmp_path: Path) -> None:
    model, key = small_network(), Key.of(HOST)
    slower = {
        kernel.signature: Measured(kernel.configurations[-1], 1.0, 10.0, 2, "", *CURRENT)
        for kernel in kernels_of(model)
    }
    cache_at(tmp_path / "tuning").add(Document(key, slower))
    built = build_here(model, tmp_path / "known", 60, tmp_path / "tuning")
    assert any("kernels measured in this build: 0," in note for note in built.notes)
    build_here(model, tmp_path / "plain", 0, None)
    code = [(tmp_path / name / "engine" / "model.so").read_bytes() for name in ("known", "plain")]
    assert code[0] == code[1]


def test_a_folder_that_takes_nothing_costs_a_note_and_no_build(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    module, uses = lowered(small_network())
    with Tuner(HOST, llvm_target(HOST), cache_at(tmp_path / "file" / "tuning"), 60.0) as tuner:
        chosen = tuner.configurations(module, uses, kernel_costs(module), 0)
    assert set(chosen) <= {kernel.name for kernel in kernels_of(small_network())}
    assert sum("is not kept" in note for note in tuner.notes()) == 1


def test_when_the_time_is_over_the_rest_keeps_its_default() -> None:
    module, uses = lowered(small_network())
    ticks = iter([0.0, 2.0])
    with Tuner(HOST, llvm_target(HOST), None, 1.0, clock=lambda: next(ticks)) as tuner:
        tuner.configurations(module, uses, kernel_costs(module), 0)
    assert any(note.startswith("kernels measured in this build: 1,") for note in tuner.notes())
    assert any(note.startswith("kernels not measured yet: 2;") for note in tuner.notes())


def test_what_comes_with_the_package_is_used_but_measured_again_where_that_is_asked_for(tmp_path: Path) -> None:
    module, uses = lowered(small_network())
    kernels = kernels_of(small_network())
    shipped = {kernel.signature: Measured(kernel.configurations[1], 1.5, 10.0, 2, "", *CURRENT) for kernel in kernels}
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "host.json").write_bytes(documents_to_bytes([Document(Key.of(HOST), shipped)]))
    cache = Cache(tmp_path / "own", tmp_path / "shipped")
    with Tuner(HOST, llvm_target(HOST), cache, 0.0) as tuner:
        chosen = tuner.configurations(module, uses, kernel_costs(module), 0)
    assert chosen == {kernel.name: kernel.configurations[1] for kernel in kernels}
    ticks = iter([0.0, 2.0])
    with Tuner(HOST, llvm_target(HOST), cache, 1.0, clock=lambda: next(ticks)) as tuner:
        chosen = tuner.configurations(module, uses, kernel_costs(module), 0)
    assert any(note.startswith("kernels measured in this build: 1,") for note in tuner.notes())
    assert sum(chosen.get(kernel.name) == kernel.configurations[1] for kernel in kernels) >= len(kernels) - 1


class Machine:
    """A clock and trials that take a known time, times what a busy machine makes of it."""

    def __init__(self, seconds: list[float], noise: Callable[[], float] = lambda: 1.0) -> None:
        self.now = 0.0
        self.trials = [Trial(index, self._run(time, noise)) for index, time in enumerate(seconds)]

    def _run(self, seconds: float, noise: Callable[[], float]) -> Callable[[int], None]:
        def run(turn: int) -> None:
            self.now += seconds * noise()

        return run

    def search(self) -> tuple[int, float]:
        chosen, gain, _ = search(self.trials, lambda: self.now)
        return chosen.index, gain


def test_the_fastest_is_chosen_with_its_gain() -> None:
    chosen, gain = Machine([2e-4, 1.9e-4, 1e-4, 1.1e-4, 5e-4]).search()
    assert chosen == 2
    assert gain == pytest.approx(2.0)


def test_a_small_gain_is_not_worth_another_choice() -> None:
    assert Machine([1.02e-4, 1e-4]).search() == (0, 1.0)
    assert Machine([1e-4, 1e-4, 1.5e-4]).search() == (0, 1.0)
    assert Machine([1e-4]).search() == (0, 1.0)


def test_noise_seldom_decides() -> None:
    def chosen(seed: int) -> int:
        busy = chance.Random(seed)
        return Machine([1e-4] * 12, lambda: 1 + busy.expovariate(1.0)).search()[0]

    assert sum(chosen(seed) != 0 for seed in range(50)) <= 2


def test_noise_does_not_hide_a_large_gain() -> None:
    def chosen(seed: int) -> int:
        busy = chance.Random(seed)
        return Machine([1.5e-4, 1.6e-4, 1e-4], lambda: 1 + busy.expovariate(1.0) / 4).search()[0]

    assert sum(chosen(seed) == 2 for seed in range(50)) >= 45


def test_stalls_of_a_shared_machine_do_not_decide() -> None:
    """One call in ten waits for a core, for as long as a hundred calls take."""

    def chosen(seed: int) -> int:
        busy = chance.Random(seed)
        return Machine([1e-4, 2e-4, 3e-4, 1.01e-4], lambda: 100.0 if busy.random() < 0.1 else 1.0).search()[0]

    assert [chosen(seed) for seed in range(50)] == [0] * 50


def test_answers_are_the_same_up_to_rounding() -> None:
    one = np.linspace(-1, 1, 100, dtype=np.float32)
    assert same([one], [one * np.float32(1 + 1e-6)])
    assert not same([one], [one * np.float32(1.01)])
    holes = np.where(one > 0.9, np.nan, one)
    assert same([holes], [holes])
    assert not same([one], [holes])
    assert not same([holes], [one])
    assert same([np.arange(3)], [np.arange(3)])
    assert not same([np.arange(3)], [np.arange(1, 4)])


def plus(number: float) -> tirx.PrimFunc:
    x = te.placeholder((64,), name="x")
    return te.create_prim_func([x, te.compute((64,), lambda i: x[i] + number, name="y")])


def calls_first(function: str) -> tirx.PrimFunc:
    right = plus(1.0)
    call = tirx.Evaluate(tirx.call_extern("int32", function))
    return right.with_body(tirx.SeqStmt([call, right.body]))


@pytest.mark.slow
def test_trials_that_crash_or_answer_wrongly_are_out() -> None:
    functions = [plus(1.0), calls_first("abort"), plus(2.0), plus(1.0)]
    with Bench(llvm_target(HOST), threads=1) as bench:
        outcome = bench.measure(plus(1.0), [(function, {}) for function in functions], NO_WEIGHTS, 0)
    assert outcome is not None
    assert outcome.out == (1, 2)
    assert outcome.best in (0, 3)
    assert (outcome.gain == 1.0) == (outcome.best == 0)
    assert outcome.gain == 1.0 or outcome.gain >= LEAST_GAIN


@pytest.mark.slow
def test_a_default_that_crashes_is_no_measure_and_the_bench_goes_on() -> None:
    with Bench(llvm_target(HOST), threads=1) as bench:
        assert bench.measure(plus(1.0), [(calls_first("abort"), {}), (plus(1.0), {})], NO_WEIGHTS, 0) is None
        assert bench.measure(plus(1.0), [(plus(1.0), {})], NO_WEIGHTS, 0) is not None


@pytest.mark.slow
def test_a_trial_that_hangs_ends_with_the_limit() -> None:
    with Bench(llvm_target(HOST), threads=1, limit_s=10.0) as bench:
        assert bench.measure(plus(1.0), [(plus(1.0), {}), (calls_first("pause"), {})], NO_WEIGHTS, 0) is None


@pytest.mark.slow
def test_packed_weights_are_measured_as_they_will_be_passed() -> None:
    (kernel,) = (k for k in kernels_of(small_network()) if re.search(r"float32\[1728,\d+\]", operands(k.function)))
    found = [
        schedule_by(configuration, kernel.function, HOST, kernel.weights) for configuration in kernel.configurations
    ]
    fitting = [one for one in found if one is not None]
    assert any(packing for _, packing in fitting)
    with Bench(llvm_target(HOST), threads=2) as bench:
        outcome = bench.measure(kernel.function, fitting, kernel.weights, 1 << 20)
    assert outcome is not None
    assert outcome.out == ()


@pytest.mark.slow
@pytest.mark.skipif(not BF16.runs_on(HOST.cpu), reason="this processor does not compute with bfloat16")
def test_kernels_of_bfloat16_are_measured_too() -> None:
    # tiles of AMX have loops of their own, and no choices
    attrs = tuple(attr for attr in HOST.cpu.attrs if "amx" not in attr)
    features = tuple(feature for feature in HOST.cpu.features if "amx" not in feature)
    target = replace(HOST, cpu=replace(HOST.cpu, attrs=attrs, features=features))
    model, unit = small_network(), unit_of(target)
    module, _ = lower_graph(imported(model, target), target, llvm_target(target), unit)
    kernels = find_kernels(module, target, packable_weights(module), kernel_costs(module))
    assert len(kernels) == 3
    with Bench(llvm_target(target), threads=2, unit=unit) as bench:
        for kernel in kernels:
            found = [
                schedule_by(configuration, kernel.function, target, kernel.weights)
                for configuration in kernel.configurations
            ]
            outcome = bench.measure(kernel.function, [one for one in found if one is not None], kernel.weights, 1 << 20)
            assert outcome is not None
            assert outcome.out == ()
