"""AMX: the machine code that ships, on a processor that has it or on an emulation of one."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import tvm
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st
from onnx import helper

from neo.compiler.pipeline import run
from neo.compiler.request import CompileRequest
from neo.contract.precision import BF16
from neo.engines.tvm.cpu.codegen.host_passes import pipeline_of
from neo.engines.tvm.cpu.lowering.graph import lower_graph
from neo.engines.tvm.cpu.schedules import configurations_of, schedule_module
from neo.engines.tvm.cpu.schedules.packing import packable_weights
from neo.engines.tvm.cpu.units import amx
from neo.engines.tvm.cpu.units.amx import Product
from neo.engines.tvm.cpu.units.bfloat16 import unit_of
from neo.engines.tvm.cpu.units.llvm import llvm_target
from neo.errors import EngineError
from neo.runtime import load_engine
from neo.runtime.engine_folder import EngineFolder
from neo.runtime.host import read_host
from neo.store import Store
from neo.store.bundles import unpack_bundle
from neo.targets import load_target
from tests.engines.conftest import build_engine_here, imported, to_bfloat16
from tests.engines.emulation import Machine, machine_with_amx
from tests.engines.reference import reference_outputs, specs
from tests.engines.test_attention import LENGTHS, MASKS, attention, mask_shape
from tests.models import build

TARGET = "x86-64-v4-amx"
ODD = st.sampled_from([3, 4, 8, 16, 20, 33, 64, 100])
# not shrunk: every example is a build
FEW = settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def random(*shape: int) -> np.ndarray:
    return to_bfloat16(np.random.default_rng(sum(shape)).normal(size=shape))


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    if not set(load_target("x86-64-v4-bf16").cpu.features) <= set(read_host().features):
        pytest.skip("only the tiles are emulated, and this processor lacks more")
    return machine_with_amx(tmp_path_factory.mktemp("amx"))


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles also where they do not pay."""
    for module in ("lowering", "lowering.attention_operands"):
        monkeypatch.setattr(f"neo.engines.tvm.cpu.{module}.pays", lambda *_: True)


Check = Callable[..., None]


@pytest.fixture
def answers(tmp_path: Path, machine: Machine) -> Check:
    """Build an engine for a processor with AMX, run it, and hold its answers against numpy's or ONNX Runtime's."""
    counter = itertools.count()

    def check(
        model: onnx.ModelProto,
        expected: Callable[[np.ndarray], np.ndarray] | None = None,
        *,
        threads: int = 2,
        max_rel: float = 1e-5,
        tiles: bool = True,
    ) -> None:
        folder = tmp_path / str(next(counter))
        build_engine_here("tvm", model, folder, BF16, TARGET)
        arrays = [random(*map(int, spec.shape)) for spec in specs(model.graph.input)]
        wanted = reference_outputs(model, arrays) if expected is None else [expected(arrays[0].astype(np.float64))]
        got = machine.run(folder / "engine", arrays, threads=threads)
        for want, have in zip(wanted, got.outputs, strict=True):
            assert have.shape == want.shape
            assert np.abs(have - want).max() <= max_rel * np.abs(want).max()
        assert EngineFolder.read(folder / "engine").tiles == tiles
        assert got.products is None or (got.products > 0) == tiles

    return check


@dataclass(frozen=True)
class Convolution:
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]

    def out(self, size: Sequence[int]) -> tuple[int, int]:
        """Height and width; none positive if the kernel does not fit."""
        height, width = (
            (size[axis] + self.pads[axis] + self.pads[axis + 2] - self.dilations[axis] * (self.kernel[axis] - 1) - 1)
            // self.strides[axis]
            + 1
            for axis in (0, 1)
        )
        return height, width

    def reference(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """x: [N, C, H, W], weights: [O, C, KH, KW], both float64."""
        top, left, bottom, right = self.pads
        padded = np.pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)])
        (height, width), total = self.out(x.shape[2:]), 0.0
        for row, column in np.ndindex(*self.kernel):
            rows, columns = (
                slice(at * spread, at * spread + (count - 1) * stride + 1, stride)
                for at, spread, stride, count in zip(
                    (row, column), self.dilations, self.strides, (height, width), strict=True
                )
            )
            total = total + np.einsum("nchw,oc->nohw", padded[:, :, rows, columns], weights[:, :, row, column])
        return np.asarray(total)


CONVOLUTIONS = st.builds(
    Convolution,
    kernel=st.sampled_from([(1, 1), (3, 3), (5, 1), (2, 3), (7, 7)]),
    strides=st.sampled_from([(1, 1), (2, 2), (1, 2)]),
    dilations=st.sampled_from([(1, 1), (2, 2), (2, 1)]),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
)


@pytest.mark.slow
@pytest.mark.usefixtures("always")
@FEW
@example(  # no window reaches the zeros behind the last column
    convolution=Convolution((2, 3), (1, 2), (1, 1), (0, 0, 0, 1)),
    channels=8,
    filters=20,
    size=(11, 29),
    batch=1,
    threads=1,
)
@given(
    convolution=CONVOLUTIONS,
    channels=ODD,
    filters=ODD,
    size=st.tuples(*[st.sampled_from([5, 7, 11, 13, 17, 29])] * 2),
    batch=st.sampled_from([1, 2, 7]),
    threads=st.sampled_from([1, 2]),
)
def test_convolutions_of_any_shape(
    answers: Check,
    convolution: Convolution,
    channels: int,
    filters: int,
    size: tuple[int, int],
    batch: int,
    threads: int,
) -> None:
    out = convolution.out(size)
    assume(min(out) > 0)
    weights = random(filters, channels, *convolution.kernel)
    attrs = {name: list(getattr(convolution, name)) for name in ("strides", "dilations", "pads")}
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], **attrs)]
    shapes = {"x": (batch, channels, *size)}, {"y": (batch, filters, *out)}
    model = build(nodes, *shapes, {"w": weights})
    answers(model, lambda x: convolution.reference(x, weights.astype(np.float64)), threads=threads)


@pytest.mark.slow
@pytest.mark.usefixtures("always")
@FEW
@given(
    rows=st.sampled_from([1, 5, 16, 17, 33, 128]),
    inner=st.sampled_from([2, 20, 33, 34, 64, 100, 257]),
    columns=st.sampled_from([3, 16, 17, 48, 100]),
    batch=st.sampled_from([(), (1,), (2, 3)]),
    transposed=st.booleans(),
    threads=st.sampled_from([1, 2]),
)
def test_products_of_any_shape(
    answers: Check, rows: int, inner: int, columns: int, batch: tuple[int, ...], transposed: bool, threads: int
) -> None:
    weights = random(inner, columns)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    if transposed:
        nodes = [helper.make_node("Transpose", ["v"], ["w"]), *nodes]
    given_weights = {"v": np.ascontiguousarray(weights.T)} if transposed else {"w": weights}
    model = build(nodes, {"x": (*batch, rows, inner)}, {"y": (*batch, rows, columns)}, given_weights)
    answers(model, lambda x: x @ weights.astype(np.float64), threads=threads)


def network() -> onnx.ModelProto:
    """An image, a bottleneck with a residual, a pooling and a classifier, as networks have them."""
    pads = [1] * 4
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["a"], pads=[3] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1", "b1"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "w2", "b2"], ["e"], pads=pads),
        helper.make_node("Sigmoid", ["e"], ["f"]),
        helper.make_node("Mul", ["e", "f"], ["g"]),
        helper.make_node("Add", ["g", "b"], ["h"]),
        helper.make_node("Conv", ["h", "w3"], ["i"], pads=pads, strides=[2, 2]),
        helper.make_node("Flatten", ["i"], ["j"], axis=2),
        helper.make_node("MatMul", ["j", "w4"], ["y"]),
    ]
    shapes = {"w0": (32, 3, 7, 7), "w1": (24, 32, 1, 1), "w2": (32, 24, 3, 3), "w3": (40, 32, 3, 3), "w4": (36, 10)}
    weights = {name: random(*shape) / np.sqrt(np.float32(math.prod(shape[1:]))) for name, shape in shapes.items()}
    weights |= {f"b{index}": random(size) for index, size in enumerate((32, 24, 32))}
    return build(nodes, {"x": (1, 3, 23, 23)}, {"y": (1, 40, 10)}, weights)


@pytest.mark.slow
@pytest.mark.usefixtures("always")
@FEW
@given(
    queries=LENGTHS,
    keys=LENGTHS,
    width=st.sampled_from([32, 64, 96]),
    heads=st.sampled_from([1, 3]),
    batch=st.sampled_from([1, 2]),
    joins_heads=st.booleans(),
    masked=MASKS,
    threads=st.sampled_from([1, 2]),
)
def test_attention_of_any_shape(
    answers: Check,
    queries: int,
    keys: int,
    width: int,
    heads: int,
    batch: int,
    joins_heads: bool,
    masked: str,
    threads: int,
) -> None:
    mask = mask_shape(masked, batch, heads, queries, keys)
    model = attention(queries, keys, width, heads, batch=batch, mask=mask, joins_heads=joins_heads)
    answers(model, threads=threads, max_rel=5e-3)


@pytest.mark.parametrize("width", [64, 48])
def test_attention_is_in_tiles_where_heads_are_whole_tiles(answers: Check, width: int) -> None:
    answers(attention(40, 50, width), max_rel=5e-3, tiles=width == 64)


def test_a_network_answers_as_its_source_does(answers: Check) -> None:
    answers(network(), max_rel=2e-2)


@pytest.mark.slow
def test_a_bundle_answers_as_its_source_does(tmp_path: Path, machine: Machine) -> None:
    onnx.save(network(), tmp_path / "network.onnx")
    store = Store(tmp_path / "store")
    request = CompileRequest(
        tmp_path / "network.onnx", store, None, targets=(TARGET,), engine="tvm", precision=BF16.name
    )
    (compiled,) = run(request)
    unpack_bundle(store, compiled.bundle, tmp_path / "bundle")
    assert {"amx_tile", "amx_bf16"} <= set(compiled.bundle.manifest.requires.features)
    x = random(1, 3, 23, 23)
    got = machine.run(tmp_path / "bundle", [x])
    (wanted,) = reference_outputs(network(), [x])
    assert np.abs(got.outputs[0] - wanted).max() <= 2e-2 * np.abs(wanted).max()
    assert got.products is None or got.products > 0


@pytest.mark.parametrize("channels", [3, 4])
def test_images_are_read_as_they_are_rearranged(answers: Check, channels: int) -> None:
    convolution = Convolution((7, 7), (2, 2), (1, 1), (3, 3, 3, 3))
    weights = random(20, channels, 7, 7)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[3] * 4, strides=[2, 2])]
    model = build(nodes, {"x": (2, channels, 37, 41)}, {"y": (2, 20, 19, 21)}, {"w": weights})
    answers(model, lambda x: convolution.reference(x, weights.astype(np.float64)))


@pytest.mark.parametrize("groups", [4, 32])
def test_convolutions_in_groups_use_no_tiles(answers: Check, groups: int) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=groups)
    model = build([node], {"x": (1, 32, 9, 9)}, {"y": (1, 32, 7, 7)}, {"w": random(32, 32 // groups, 3, 3)})
    answers(model, tiles=False)


@pytest.mark.parametrize("rows", [1, 3])
def test_products_of_a_few_rows_use_no_tiles(answers: Check, rows: int) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    answers(build(nodes, {"x": (rows, 64)}, {"y": (rows, 48)}, {"w": random(64, 48)}), tiles=False)


def test_weights_that_two_products_read_are_not_packed_for_one(answers: Check) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["c"]),
        helper.make_node("Add", ["c", "b"], ["y"]),
    ]
    weights = {"w": random(64, 64) / 8}
    answers(build(nodes, {"x": (33, 64)}, {"y": (33, 64)}, weights), max_rel=2e-2, tiles=False)


def test_a_sum_that_makes_more_of_the_product_is_no_pass_over_it(answers: Check) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Add", ["a", "b"], ["y"])]
    weights = {"w": random(64, 48), "b": random(3, 17, 48)}
    answers(build(nodes, {"x": (17, 64)}, {"y": (3, 17, 48)}, weights), tiles=False)


def test_a_device_without_amx_refuses_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = build(nodes, {"x": (16, 64)}, {"y": (16, 48)}, {"w": random(64, 48)})
    build_engine_here("tvm", model, tmp_path, BF16, TARGET)
    monkeypatch.setattr("neo.runtime.tvm.ask_for_tiles", lambda: False)
    with pytest.raises(EngineError, match="compiled for a processor with AMX") as raised:
        load_engine(tmp_path / "engine")
    assert "x86-64-v4-bf16" in raised.value.hint


def lowered(rows: int, inner: int, columns: int, *, added: tuple[int, ...] | None = None) -> tvm.IRModule:
    """A product, as far as it is before its loops are scheduled. added: the shape of what is added to it."""
    target = load_target(TARGET)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["product"])]
    inputs = {"x": (rows, inner)}
    if added is None:
        nodes.append(helper.make_node("Relu", ["product"], ["y"]))
    else:
        nodes.append(helper.make_node("Add", ["product", "r"], ["y"]))
        inputs["r"] = added
    model = build(nodes, inputs, {"y": (rows, columns)}, {"w": random(inner, columns)})
    module, _ = lower_graph(imported(model, target), target, llvm_target(target), unit_of(target))
    return module


def product_of(module: tvm.IRModule) -> tvm.tirx.PrimFunc:
    (product,) = (f for variable, f in module.functions.items() if "matmul" in variable.name_hint)
    return product


def compiled(rows: int, inner: int, columns: int, *, added: tuple[int, ...] | None = None) -> tvm.runtime.Module:
    target, module = load_target(TARGET), lowered(rows, inner, columns, added=added)
    scheduled = schedule_module(module, target, packable_weights(module))
    assert scheduled.tiles
    named = tvm.IRModule({"product": product_of(scheduled.module).with_attr("global_symbol", "product")})
    pipeline = pipeline_of(unit_of(target), target.cpu.cores)
    return tvm.compile(named, target=llvm_target(target), tir_pipeline=pipeline).mod


def test_a_product_in_tiles_has_no_configurations_to_measure() -> None:
    target, module = load_target(TARGET), lowered(64, 64, 48)
    (weights,) = packable_weights(module).values()
    assert configurations_of(product_of(module), target, frozenset(weights)) == ()
    assert configurations_of(product_of(module), target, frozenset()) != ()  # not its own to pack


def test_the_processor_multiplies_tiles() -> None:
    instructions = compiled(64, 64, 48).inspect_source("asm").split()
    assert {"ldtilecfg", "tileloadd", "tdpbf16ps", "tilestored", "tilerelease"} <= set(instructions)


@pytest.mark.parametrize("rows", [100, 1000])
def test_weights_that_are_more_than_the_outputs_are_fetched_before_their_turn(rows: int) -> None:
    instructions = compiled(rows, 512, 256).inspect_source("asm").split()
    assert ("prefetcht0" in instructions) == (rows == 100)


@pytest.mark.parametrize("added", [(20, 64), (64,)])
def test_what_is_added_to_each_row_is_fetched_before_the_sums_are_done(added: tuple[int, ...]) -> None:
    instructions = compiled(20, 64, 64, added=added).inspect_source("asm").split()
    assert ("prefetcht0" in instructions) == (len(added) == 2)


@pytest.mark.parametrize("columns", [3, 35])
def test_the_stack_has_room_for_whole_tiles_also_where_few_columns_are_read(columns: int) -> None:
    text = compiled(32, 64, columns).inspect_source("ll")
    rooms = [int(size) for size in re.findall(r"alloca \[(\d+) x float\]", text)]
    assert rooms
    assert all(room % (amx.TILE_ROWS * amx.TILE_COLUMNS) == 0 for room in rooms)


SIZES = st.integers(1, 100)
PRODUCTS = st.builds(Product, st.integers(1, 3), SIZES, st.sampled_from([16, 48, 64]), st.integers(1, 9), SIZES)


@given(PRODUCTS)
def test_blocks_take_every_row_and_fit_the_tiles(product: Product) -> None:
    starts = [min(block * product.block_rows, product.rows - product.block_rows) for block in range(product.blocks)]
    assert {row for start in starts for row in range(start, start + product.block_rows)} == set(range(product.rows))
    assert sum(product.heights) == product.block_rows
    assert min(product.heights) > 0
    raw = np.array(product.configuration, np.int64).tobytes()
    row_bytes, rows = np.frombuffer(raw[16:48], np.uint16), np.frombuffer(raw[48:], np.uint8)
    assert (raw[0], set(raw[1:16])) == (1, {0})
    assert (rows <= amx.TILE_ROWS).all()
    assert (row_bytes <= amx.ROW_BYTES).all()
    assert np.array_equal(rows > 0, row_bytes > 0)
    assert not rows[8:].any()


@given(PRODUCTS)
def test_weights_in_tiles_meet_each_pair_once(product: Product) -> None:
    rng = np.random.default_rng(product.pairs)
    inputs = rng.integers(-9, 9, (product.runs, product.pairs))
    weights = rng.integers(-9, 9, (product.runs, product.pairs, product.columns)).astype(np.int32)
    packed, total = product.pack(weights), np.zeros(product.columns)
    for step in range(product.steps):
        start = min(step * product.depth, product.pairs - product.depth)
        met = np.einsum("rp,trpc->tc", inputs[:, start : start + product.depth], packed[:, :, step])
        total += met.reshape(-1)
    assert np.array_equal(total, np.einsum("rp,rpc->c", inputs, weights))


def test_tiles_are_meant_for_more_than_a_few_rows() -> None:
    taller = [Product(1, rows, 64, 1, 32).cycles for rows in (1, 16, 32, 33, 64)]
    assert taller == sorted(taller)
    assert Product(1, 32, 64, 1, 32).cycles < 2 * Product(1, 16, 64, 1, 32).cycles
