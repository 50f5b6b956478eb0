from __future__ import annotations

import pytest

from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError
from neo.frontends.shapes import dim_name, fix_inputs, name_dims


def specs(*texts: str) -> tuple[TensorSpec, ...]:
    return tuple(map(TensorSpec.parse, texts))


def test_a_batch_that_nobody_mentions_is_one() -> None:
    assert fix_inputs(specs("x=float32[N,3]", "y=int64[N]"), (), {}) == specs("x=float32[1,3]", "y=int64[1]")


def test_dim_gives_every_dimension_of_that_name_its_size() -> None:
    declared = specs("x=float32[N,T]", "y=int64[N,T,4]")
    assert fix_inputs(declared, (), {"T": 7, "N": 2}) == specs("x=float32[2,7]", "y=int64[2,7,4]")


def test_a_size_given_for_one_input_holds_for_the_others() -> None:
    declared = specs("x=float32[N,T]", "y=int64[N,T]")
    assert fix_inputs(declared, specs("y=int64[5,6]"), {}) == specs("x=float32[5,6]", "y=int64[5,6]")


def test_a_name_in_input_keeps_the_dimension_dynamic() -> None:
    declared = specs("x=float32[N,T]", "y=int64[N,T]")
    assert fix_inputs(declared, specs("x=float32[B,6]"), {}) == specs("x=float32[B,6]", "y=int64[B,6]")
    assert fix_inputs(declared, specs("x=float32[B,6]"), {"B": 3}) == specs("x=float32[3,6]", "y=int64[3,6]")


@pytest.mark.parametrize(
    ("given", "dims", "says", "hints"),
    [
        ((), {}, "dimensions without a size: h, w in x=float32[1,3,h,w]", "--dim h=SIZE --dim w=SIZE"),
        ((), {"h": 4}, "dimensions without a size: w", "--dim w=SIZE"),
        ((), {"h": 4, "w": 4, "k": 4}, "--dim names 'k'", "N, h, w"),
        ((), {"h": 4, "w": 0}, "--dim w=0", ""),
        (("z=float32[1,3,4,4]",), {}, "--input names 'z'", "x=float32[N,3,h,w]"),
        (("x=float64[1,3,4,4]",), {}, "does not fit the model", "the model declares x=float32[N,3,h,w]"),
        (("x=float32[1,3,4]",), {}, "does not fit the model", "the model declares"),
        (("x=float32[1,1,4,4]",), {}, "does not fit the model", "the model declares"),
        (("x=float32[0,3,4,4]",), {}, "does not fit the model", "the model declares"),
        (("x=float32[1,3,4,4]", "x=float32[1,3,4,4]"), {}, "twice", "once"),
        (("x=float32[1,3,4,4]",), {"h": 5}, "dimension 'h' gets two sizes: 5 and 4", ""),
    ],
)
def test_what_does_not_fit_is_named_with_the_flag_that_helps(
    given: tuple[str, ...], dims: dict[str, int], says: str, hints: str
) -> None:
    with pytest.raises(InputSpecError) as caught:
        fix_inputs(specs("x=float32[N,3,h,w]"), specs(*given), dims)
    assert says in caught.value.message
    assert hints in caught.value.hint


def test_channels_in_the_wrong_place_are_recognised() -> None:
    with pytest.raises(InputSpecError) as caught:
        fix_inputs(specs("x=float32[N,8,9,3]"), specs("x=float32[1,3,8,9]"), {})
    assert "channels last" in caught.value.hint


def test_a_nameless_dimension_gets_a_name_that_a_flag_can_hold() -> None:
    assert [dim_name("image", 0), dim_name("image", 2), dim_name("a/b:0", 1)] == ["N", "image_2", "a_b_0_1"]
    assert dim_name("14", 1) == "dim_14_1"


def test_two_inputs_may_have_two_sizes_where_the_model_gave_no_name() -> None:
    declared, given = specs("a=float32[N,3]", "b=float32[N,4]"), specs("a=float32[2,3]", "b=float32[5,4]")
    assert fix_inputs(declared, given, {}, nameless={"N"}) == given
    with pytest.raises(InputSpecError, match="'N' gets two sizes"):
        fix_inputs(declared, given, {})
    assert fix_inputs(declared, given[:1], {}, nameless={"N"}) == specs("a=float32[2,3]", "b=float32[2,4]")
    assert fix_inputs(declared, (), {"N": 4}, nameless={"N"}) == specs("a=float32[4,3]", "b=float32[4,4]")


def test_a_size_of_nothing_gives_way_to_the_users() -> None:
    assert fix_inputs(specs("x=float32[0,3]"), specs("x=float32[2,3]"), {}) == specs("x=float32[2,3]")
    assert fix_inputs(specs("x=float32[0,3]"), (), {}) == specs("x=float32[0,3]")


def test_made_up_names_differ_from_all_others() -> None:
    shapes, made_up = name_dims({"a/b": [None, "?", -1, 4, 0], "a_b": ["N!", "a_b_2", None]}, {"a_b_1"})
    assert shapes == {"a/b": ("N", "a_b_1_", "a_b_2_", 4, 0), "a_b": ("N", "a_b_2", "a_b_2__")}
    assert made_up == {"N", "a_b_1_", "a_b_2_", "a_b_2__"}
    assert name_dims({"x": ["?"]}, {"N"})[0] == {"x": ("x_0",)}
    assert name_dims({"x": ["?"]}, batch=False)[0] == {"x": ("x_0",)}
