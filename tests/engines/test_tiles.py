"""Which register tiles are chosen, and for how many rows and columns."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import te, tirx
from tvm.s_tir import Schedule

from neo.engines.tvm.cpu.lowering.rows import Rows
from neo.engines.tvm.cpu.schedules.choice import reduction_configurations
from neo.engines.tvm.cpu.schedules.injective import schedule_injective
from neo.engines.tvm.cpu.schedules.loops import blocks_of, row_pitch
from neo.engines.tvm.cpu.units.tiles import (
    choose_strip,
    choose_tile,
    choose_width,
    list_strips,
    round_up_rows,
    round_up_strips,
    round_up_vectors,
)
from neo.targets import load_target


@given(rows=st.integers(1, 500), columns=st.integers(1, 500), lanes=st.sampled_from([4, 8, 16]), wide=st.booleans())
def test_a_tile_divides_the_output_and_fits_the_registers(rows: int, columns: int, lanes: int, wide: bool) -> None:
    registers = 32 if wide else 16
    tile = choose_tile(rows, columns, lanes, registers)
    assert rows % tile.rows == 0
    assert columns % (tile.vectors * tile.lanes) == 0
    assert tile.lanes <= lanes
    assert (tile.rows + 1) * tile.vectors < registers  # one is left for the input


@pytest.mark.parametrize(
    ("rows", "columns", "tile"),
    [
        (56, 64, (4, 4, 16)),
        (7, 512, (7, 2, 16)),
        (28, 96, (4, 6, 16)),
        (1, 1000, (1, 5, 8)),
        (1, 10, (1, 1, 10)),
        (56, 24, (8, 3, 8)),
    ],
)
def test_the_tile_of_common_layers(rows: int, columns: int, tile: tuple[int, int, int]) -> None:
    chosen = choose_tile(rows, columns, lanes=16, registers=32)
    assert (chosen.rows, chosen.vectors, chosen.lanes) == tile


@given(rows=st.integers(1, 500), columns=st.integers(1, 500), lanes=st.sampled_from([4, 8, 16]))
def test_rounding_rows_up_never_costs_time(rows: int, columns: int, lanes: int) -> None:
    rounded = round_up_rows(rows, columns, lanes, 32)
    cost = choose_tile(rows, columns, lanes, 32).cost
    assert rounded >= rows
    assert rounded * choose_tile(rounded, columns, lanes, 32).cost <= rows * cost


@given(
    rows=st.integers(1, 500),
    columns=st.integers(1, 500),
    lanes=st.sampled_from([4, 8, 16]),
    wide=st.booleans(),
    stride=st.integers(1, 3),
)
def test_a_strip_leaves_half_of_the_registers_to_inputs_and_weights(
    rows: int, columns: int, lanes: int, wide: bool, stride: int
) -> None:
    registers = 32 if wide else 16
    rounded = round_up_strips(rows, columns, lanes, registers, stride)
    strip = choose_strip(rounded, columns, lanes, registers, stride)
    assert rows <= rounded < rows + registers
    assert rounded % strip.rows == 0
    assert columns % strip.lanes == 0
    assert strip.rows * strip.vectors <= registers // 2


@given(columns=st.integers(1, 700), rows=st.integers(1, 14), lanes=st.sampled_from([4, 8, 16]), wide=st.booleans())
def test_vectors_for_so_many_rows_are_enough_and_fit_the_registers(
    columns: int, rows: int, lanes: int, wide: bool
) -> None:
    registers = 32 if wide else 16
    vectors = round_up_vectors(columns, rows, lanes, registers)
    width = choose_width(rows, vectors, registers)
    assert columns <= vectors * lanes < columns + 7 * lanes
    assert vectors % width == 0
    assert width == 1 or width * (rows + 1) < registers


def test_a_prime_number_of_vectors_gets_one_more() -> None:
    """197 columns are 13 vectors, which only a tile of one divides."""
    assert (round_up_vectors(197, 6, 16, 32), choose_width(6, 14, 32)) == (14, 2)


@pytest.mark.parametrize(("columns", "computed"), [(24, 32), (40, 48), (10, 16), (8, 8), (16, 16), (3, 16), (88, 96)])
def test_columns_are_rounded_up_where_that_takes_fewer_vectors(columns: int, computed: int) -> None:
    assert Rows(load_target("x86-64-v4")).columns(columns) == computed


def test_rows_are_not_rounded_up_for_next_to_nothing() -> None:
    """Nine rows keep the units busy where eight do not quite, and take as long."""
    assert round_up_rows(8, 16, 16, 32) == 8


def test_a_prime_number_of_rows_gets_a_wide_tile() -> None:
    rounded = round_up_rows(197, 768, 16, 32)
    tile = choose_tile(rounded, 768, 16, 32)
    assert (rounded, tile.rows, tile.vectors) == (198, 6, 4)


@pytest.mark.parametrize(
    ("rows", "columns", "lanes", "stride", "tile"),
    [
        (56, 144, 16, 1, (14, 1, 16)),
        (14, 672, 16, 1, (14, 1, 16)),
        (7, 1152, 16, 1, (7, 2, 16)),
        (28, 192, 8, 1, (7, 1, 8)),
        (14, 384, 4, 1, (14, 1, 4)),
        (28, 144, 16, 2, (7, 1, 16)),
        (28, 144, 8, 2, (4, 2, 8)),
        (14, 192, 8, 2, (7, 1, 8)),
    ],
)
def test_a_depthwise_convolution_has_a_tall_and_narrow_tile(
    rows: int, columns: int, lanes: int, stride: int, tile: tuple[int, int, int]
) -> None:
    first = list_strips(rows, columns, lanes, registers=32 if lanes != 8 else 16, stride=stride)[0]
    assert (first.rows, first.vectors, first.lanes) == tile


def product_of(shape: tuple[int, ...], place: Callable[[tirx.Var, tirx.Var], tuple[tirx.Expr, ...]]) -> Schedule:
    """A product of 14 rows that are somewhere in an array, with 256 columns of weights. place: row, step -> indices"""
    x, weights = te.placeholder(shape, name="x"), te.placeholder((shape[-1], 256), name="weights")
    step = te.reduce_axis((0, shape[-1]))
    return Schedule(
        te.create_prim_func(
            [
                x,
                weights,
                te.compute((14, 256), lambda row, o: te.sum(x[place(row, step)] * weights[step, o], axis=step)),
            ]
        )
    )


@pytest.mark.parametrize(
    ("schedule", "pitch"),
    [
        (product_of((14, 1024), lambda row, step: (row, step)), 4096),
        (product_of((28, 512), lambda row, step: (row * 2, step)), 4096),
        (product_of((2, 7, 100), lambda row, step: (row // 7, row % 7, step)), 400),
        (product_of((13, 64), lambda row, step: (tirx.min(row, 12), step)), 0),
    ],
)
def test_how_far_apart_rows_are(schedule: Schedule, pitch: int) -> None:
    (block,) = blocks_of(schedule)
    assert row_pitch(schedule, block) == pitch


@pytest.mark.parametrize(("target", "most_rows", "most_sums"), [("x86-64-v4", 8, 16), ("x86-64-v3", 4, 8)])
def test_a_first_layer_leaves_registers_to_its_unrolled_weights(target: str, most_rows: int, most_sums: int) -> None:
    x, weights = te.placeholder((3, 58, 114), name="x"), te.placeholder((3, 3, 3, 32), name="weights")
    ky, kx, c = (te.reduce_axis((0, 3)) for _ in range(3))
    terms = te.compute(
        (28, 56, 32),
        lambda h, w, o: te.sum(x[c, 2 * h + ky, 2 * w + kx] * weights[ky, kx, c, o], axis=[ky, kx, c]),
    )
    tile = reduction_configurations(Schedule(te.create_prim_func([x, weights, terms])), load_target(target))[0].tile
    assert tile.rows <= most_rows
    assert tile.rows * tile.vectors == most_sums


@pytest.mark.parametrize(("steps", "rows"), [(1024, 2), (1008, 14)])
def test_a_tile_has_no_more_rows_than_the_cache_has_places_for(steps: int, rows: int) -> None:
    """Rows that are a multiple of 4 KiB apart share eight lines of the cache that the target promises."""
    schedule = product_of((14, steps), lambda row, step: (row, step))
    assert reduction_configurations(schedule, load_target("x86-64-v3"))[0].tile.rows == rows


@pytest.mark.parametrize(
    ("image", "numbers", "lanes"),
    [
        ((1, 8, 8, 144), (1, 1, 1, 144), 16),  # 32 would reach into the next pixel
        ((1, 8, 8, 64), (1, 1, 1, 64), 32),
        ((1, 64, 6, 8), (1, 64, 1, 1), 16),
        ((1, 8, 8, 144), (1, 8, 8, 144), 32),
        ((4, 8, 8, 3), (1, 1, 1, 3), 32),
    ],
)
def test_a_vector_ends_where_the_number_of_a_channel_does(
    image: tuple[int, ...], numbers: tuple[int, ...], lanes: int
) -> None:
    x, scale = te.placeholder(image, "uint16", name="x"), te.placeholder(numbers, "uint16", name="scale")

    def product(*at: tirx.Var) -> tirx.Expr:
        return x(*at) * scale(*(0 if size == 1 else index for size, index in zip(numbers, at, strict=True)))

    schedule = Schedule(te.create_prim_func([x, scale, te.compute(image, product, name="product")]))
    assert schedule_injective(schedule, load_target("x86-64-v4"), frozenset()) == {}
    assert int(schedule.get(schedule.get_loops(schedule.get_sblock("product"))[-1]).extent) == lanes
