"""Special samples: what they hold, when they refuse a model, and when they only tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from neo.contract.parity import Tolerance
from neo.contract.tensors import TensorSpec
from neo.errors import ParityError
from neo.frontends.agreement import check_special
from neo.frontends.base import Arrays, SourceModel
from neo.frontends.special import (
    INFINITE,
    LARGEST,
    NAN,
    REPEATED,
    SMALLEST,
    SOME_NAN,
    ZEROS,
    decides_between_engines,
    has_one_answer,
    special_inputs,
)
from tests.frontends.conftest import Convert

X, Y = TensorSpec("x", "float32", (4, 8)), TensorSpec("y", "float32", (4, 8))
LABEL = TensorSpec("label", "int64", (4,))


def one_node(operator: str, **attributes: object) -> onnx.ModelProto:
    node = helper.make_node(operator, ["x"], ["y"], **attributes)
    edges = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 8]) for name in "xy"]
    graph = helper.make_graph([node], "g", edges[:1], edges[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def kinds(model: onnx.ModelProto, *inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = (Y,)) -> dict[str, Arrays]:
    rng = np.random.default_rng(0)
    base = {spec.name: np.ones(spec.shape, spec.dtype) * rng.integers(2, 9) for spec in inputs}
    base = {spec.name: base[spec.name].astype(spec.dtype) for spec in inputs}
    return dict(special_inputs(model, base, inputs, outputs, 0))


def test_every_kind_holds_what_it_says() -> None:
    found = {kind: arrays["x"] for kind, arrays in kinds(one_node("Neg"), X).items()}
    assert set(found) == {ZEROS, REPEATED, SMALLEST, LARGEST, INFINITE, NAN, SOME_NAN}
    assert all(array.dtype == np.float32 and array.shape == (4, 8) for array in found.values())
    assert not found[ZEROS].any()
    assert set(found[REPEATED].ravel()) == {-1, 0, 1}
    assert np.abs(found[SMALLEST]).max() == np.finfo(np.float32).tiny
    assert np.abs(found[SMALLEST][found[SMALLEST] != 0]).min() == np.finfo(np.float32).smallest_subnormal
    assert set(found[LARGEST].ravel()) == {2.0**127, -(2.0**127)}
    assert set(found[INFINITE].ravel()) == {np.inf, -np.inf}
    assert np.isnan(found[NAN]).all()
    assert 0 < np.isnan(found[SOME_NAN]).sum() < 32


def test_indices_lengths_and_parameters_stay_plausible() -> None:
    specs = X, TensorSpec("ids", "int64", (4,)), TensorSpec("scale", "float32", ()), TensorSpec("on", "bool", (2,))
    for kind, arrays in kinds(one_node("Neg"), *specs).items():
        assert not np.array_equal(arrays["x"], np.ones((4, 8)), equal_nan=True), kind
        assert set(arrays["ids"].tolist()) <= set(range(2, 9))
        assert np.isfinite(arrays["scale"])
    assert kinds(one_node("Neg"), specs[1]) == {}


def test_pixels_become_black_and_white() -> None:
    found = kinds(one_node("Neg"), TensorSpec("x", "uint8", (4, 8)))
    assert set(found) == {ZEROS, REPEATED, LARGEST}
    assert found[LARGEST]["x"].min() == 255
    assert set(found[REPEATED]["x"].ravel()) == {0, 255}


def test_values_that_decide_sizes_or_steps_are_left_alone() -> None:
    assert kinds(one_node("NonZero"), X, outputs=(TensorSpec("y", "int64", (2, "n")),)) == {}
    assert kinds(one_node("Loop"), X) == {}
    batch = TensorSpec("x", "float32", ("N", 8))
    base = {"x": np.ones((1, 8), np.float32)}
    assert dict(special_inputs(one_node("Neg"), base, [batch], [TensorSpec("y", "float32", ("N", 8))], 0))


def test_a_transformed_convolution_may_spread_a_nan_further() -> None:
    assert SOME_NAN not in kinds(one_node("Conv"), X)
    assert NAN in kinds(one_node("Conv"), X)


def test_where_a_model_takes_one_of_equals_or_sums_the_largest_nobody_is_judged() -> None:
    assert not has_one_answer(ZEROS, one_node("TopK"))
    assert has_one_answer(NAN, one_node("TopK"))
    assert not decides_between_engines(LARGEST, one_node("Conv"))
    assert decides_between_engines(LARGEST, one_node("Relu"))
    assert decides_between_engines(ZEROS, one_node("Conv"))


def source(run: Callable[[Arrays], Arrays], *outputs: TensorSpec, **more: object) -> SourceModel:
    return SourceModel(Path("m.onnx"), "toy 1", (X,), outputs or (Y,), run, **more)


def sample(kind: str, value: float) -> tuple[str, Arrays]:
    return kind, {"x": np.full((4, 8), value, np.float32)}


def passed(arrays: Arrays) -> Arrays:
    return {"y": arrays["x"]}


def zeroed(arrays: Arrays) -> Arrays:
    return {"y": np.nan_to_num(arrays["x"], nan=0, posinf=0, neginf=0)}


def offset(arrays: Arrays) -> Arrays:
    return {"y": arrays["x"] + 1}


def failing(arrays: Arrays) -> Arrays:
    raise ValueError("Input contains NaN")


@pytest.mark.parametrize(("kind", "value"), [(NAN, np.nan), (SOME_NAN, np.nan), (INFINITE, np.inf)])
def test_a_difference_on_what_is_not_finite_is_told_and_that_kind_dropped(kind: str, value: float) -> None:
    agreed, notes = check_special(source(passed), [sample(kind, value), sample(ZEROS, 0)], zeroed, "toy 1")
    assert [one.kind for one in agreed] == [ZEROS]
    assert notes == (f"on {kind} the converted model answers otherwise than toy 1; engines are not judged on that",)


@pytest.mark.parametrize(("kind", "value"), [(ZEROS, 0), (REPEATED, 1), (SMALLEST, 1e-40), (LARGEST, 4.0)])
def test_a_difference_on_finite_numbers_refuses_the_model(kind: str, value: float) -> None:
    with pytest.raises(ParityError, match=f"output 'y' .* differs by .*toy 1, on {kind}"):
        check_special(source(passed), [sample(kind, value)], offset, "toy 1")


def test_a_runtime_that_fails_on_finite_numbers_refuses_the_model() -> None:
    with pytest.raises(ParityError, match="fails: Input contains NaN"):
        check_special(source(passed), [sample(ZEROS, 0)], failing, "toy 1")


def test_what_overflows_on_one_side_is_no_fault() -> None:
    def overflows(arrays: Arrays) -> Arrays:
        return {"y": np.full((4, 8), np.inf, np.float32)}

    for want, got in ((passed, overflows), (overflows, passed)):
        agreed, notes = check_special(source(want), [sample(LARGEST, 1e38)], got, "toy 1")
        assert agreed == ()
        assert LARGEST in notes[0]


def test_what_the_source_does_not_take_is_left_out_without_a_word() -> None:
    assert check_special(source(failing), [sample(NAN, np.nan)], passed, "toy 1") == ((), ())


def test_a_quantised_source_may_answer_extremes_as_it_likes() -> None:
    toy = source(passed, tolerance={"y": Tolerance(0.1, 0.1)})
    agreed, notes = check_special(toy, [sample(LARGEST, 4.0)], offset, "toy 1")
    assert (agreed, len(notes)) == ((), 1)


def test_a_tie_between_labels_is_no_fault_but_another_probability_is() -> None:
    def answers(label: int, shift: float) -> Callable[[Arrays], Arrays]:
        return lambda _arrays: {"label": np.full(4, label), "y": np.full((4, 8), 0.5 + shift, np.float32)}

    toy = source(answers(0, 0), LABEL, Y)
    agreed, notes = check_special(toy, [sample(ZEROS, 0)], answers(1, 1e-7), "toy 1")
    assert (agreed, len(notes)) == ((), 1)
    with pytest.raises(ParityError):
        check_special(toy, [sample(ZEROS, 0)], answers(1, 0.2), "toy 1")


def test_many_rows_are_answered_in_one_call() -> None:
    calls = []

    def counted(arrays: Arrays) -> Arrays:
        calls.append(len(arrays["x"]))
        return passed(arrays)

    samples = [sample(ZEROS, 0), sample(ZEROS, -0.0), sample(NAN, np.nan)]
    agreed, notes = check_special(source(counted, any_rows=True), samples, passed, "toy 1")
    assert calls == [8, 4]
    assert [one.kind for one in agreed] == [ZEROS, ZEROS, NAN]
    assert notes == ()


def test_special_samples_come_out_of_the_sandbox_with_the_answers(tmp_path: Path, through_sandbox: Convert) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(one_node("Relu").SerializeToString())
    converted = through_sandbox(path)
    by_kind = {one.kind: one for one in converted.special}
    assert {NAN, ZEROS, INFINITE, LARGEST} <= set(by_kind)
    assert np.isnan(by_kind[NAN].outputs["y"]).all()
    assert set(by_kind[INFINITE].outputs["y"].ravel()) == {0, np.inf}
    assert len(converted.samples) == 4
    for one in converted.samples:
        assert np.isfinite(one.inputs["x"]).all()
