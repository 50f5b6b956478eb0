from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo.contract.fields import ContractError
from neo.contract.tensors import DTYPES, MAX_DIM, TensorSpec

typed_names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="=[]"), min_size=1, max_size=20
).filter(lambda name: name == name.strip())
typed_specs = st.builds(
    TensorSpec,
    typed_names,
    st.sampled_from(sorted(DTYPES)),
    st.lists(st.integers(0, MAX_DIM) | st.sampled_from(["N", "seq.len", "N + 1"]), max_size=6).map(tuple),
)


@given(typed_specs)
def test_what_is_printed_can_be_typed(spec: TensorSpec) -> None:
    assert TensorSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("x=float32[1,3,224,224]", TensorSpec("x", "float32", (1, 3, 224, 224))),
        (" ids = int64[ N , 128 ] ".replace(" = ", "="), TensorSpec("ids", "int64", ("N", 128))),
        ("x=float32[]", TensorSpec("x", "float32", ())),
        ("serving_default_x:0=uint8[0]", TensorSpec("serving_default_x:0", "uint8", (0,))),
    ],
)
def test_a_description_is_read(text: str, spec: TensorSpec) -> None:
    assert TensorSpec.parse(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "x=",
        "x=float32",
        "x=[1]",
        "=float32[1]",
        "x=float32[1",
        "x=float32 1]",
        "x=float32[1,,2]",
        "x=float32[-1]",
        "x=float32[1.5]",
        "x=bfloat99[1]",
        "x=float32[99999999999999]",
        "x=float32[" + ",".join("1" * 33) + "]",
        "x=float32[[1]]",
        "x=float32[1]junk",
    ],
)
def test_what_is_no_description_is_refused_with_a_hint_or_the_reason(text: str) -> None:
    with pytest.raises(ContractError):
        TensorSpec.parse(text)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        spec = TensorSpec.parse(text)
    except ContractError:
        return
    assert spec.dtype in DTYPES


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"name": "x", "dtype": "float32"},
        {"name": "x", "dtype": "float32", "shape": [True]},
        {"name": "x", "dtype": "float32", "shape": [1.0]},
        {"name": "x", "dtype": "float32", "shape": [None]},
        {"name": "x", "dtype": "float32", "shape": [-1]},
        {"name": "x", "dtype": "float32", "shape": [MAX_DIM + 1]},
        {"name": "x", "dtype": "float32", "shape": [""]},
        {"name": "x", "dtype": "object", "shape": []},
        {"name": "", "dtype": "float32", "shape": []},
        {"name": "x" * 1025, "dtype": "float32", "shape": []},
        {"name": 1, "dtype": "float32", "shape": []},
        {"name": "x", "dtype": ["float32"], "shape": []},
    ],
)
def test_a_tensor_that_cannot_be_is_refused(value: object) -> None:
    with pytest.raises(ContractError):
        TensorSpec.from_json(value)


def test_dimensions_of_one_name_are_fixed_together() -> None:
    spec = TensorSpec("x", "float32", ("N", 3, "N", "M"))
    assert spec.dynamic_dims == ("N", "M")
    assert spec.fixed({"N": 2, "Z": 9}).shape == (2, 3, 2, "M")
