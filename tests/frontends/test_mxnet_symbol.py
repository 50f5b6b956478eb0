"""Symbols: what is read, and that damage of every kind is a ModelError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo.errors import ModelError
from neo.frontends.mxnet.attributes import Attributes
from neo.frontends.mxnet.symbol import Entry, parse_symbol, read_symbol

DIGITS = Path(__file__).parents[2] / "neo/demo/mxnet_digits/digits-symbol.json"


def node(op: str, name: str, inputs: list[list[int]], **attrs: str) -> dict[str, Any]:
    return {"op": op, "name": name, "inputs": inputs, "attrs": attrs}


def symbol(*nodes: dict[str, Any], heads: Any = None) -> bytes:
    return json.dumps({"nodes": nodes, "heads": heads or [[len(nodes) - 1, 0, 0]]}).encode()


def test_digits_symbol_is_read() -> None:
    graph = read_symbol(DIGITS)
    assert graph.version == "1.9.1"
    assert graph.nodes[0].name == "data"
    assert [graph.nodes[head.node].output_name(head.output) for head in graph.heads] == ["softmax_output"]


def test_a_label_is_not_needed_at_inference() -> None:
    graph = read_symbol(DIGITS)
    needed = {graph.nodes[number].name for number in graph.reachable()}
    assert {node.name for node in graph.nodes} - needed == {"softmax_label"}


def test_attributes_of_every_age_are_read() -> None:
    old = {"op": "relu", "name": "r", "inputs": [[0, 0]], "param": {"a": "1"}, "attr": {"b": "2"}}
    graph = parse_symbol(symbol(node("null", "x", []), old))
    assert graph.nodes[1].attributes == {"a": "1", "b": "2"}
    assert graph.version == "unknown"
    assert graph.nodes[1].inputs == (Entry(0, 0),)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "no MXNet symbol"),
        (b'{"nodes": 3}', "no MXNet symbol"),
        (b'{"nodes": [], "heads": []}', "no heads"),
        (b'{"nodes": []}', "heads should be a list"),
        (b'{"nodes": [3], "heads": [[0, 0]]}', "node 0 should be an object"),
        (symbol({"op": "null"}), "lacks an operator or a name"),
        (symbol(node("null", "x", []), heads=[[1, 0]]), "refer to output 0 of node 1"),
        (symbol(node("null", "x", []), heads=[[-1, 0]]), "refer to output 0 of node -1"),
        (symbol(node("null", "x", []), heads=[[0, -1]]), "refer to output -1"),
        (symbol(node("null", "x", []), heads=[[True, 0]]), "should hold"),
        (symbol(node("relu", "r", [[0, 0]])), "refer to output 0 of node 0"),
        (symbol(node("relu", "r", [[1, 0]]), node("relu", "s", [[0, 0]])), "refer to output 0 of node 1"),
        (symbol(node("null", "x", []), node("null", "y", [[0, 0]])), "a variable and yet has inputs"),
        (symbol(node("null", "x", []), node("null", "x", [])), "several variables of the name 'x'"),
        (symbol({**node("null", "x", []), "attrs": {"a": 3}}), "should hold texts"),
    ],
)
def test_what_is_no_symbol_is_told(data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_symbol(data)


@pytest.mark.parametrize(
    ("version", "axis"),
    [(None, "None"), (904, "None"), (905, "-1"), (10901, "-1")],
    ids=["none", "0.9.4", "0.9.5", "1.9.1"],
)
def test_the_last_axis_meant_all_elements_before_0_9_5(version: int | None, axis: str) -> None:
    document = json.loads(symbol(node("null", "x", []), node("argmax", "a", [[0, 0]], axis="-1")))
    if version is not None:
        document["attrs"] = {"mxnet_version": ["int", version]}
    assert parse_symbol(json.dumps(document).encode()).nodes[1].attributes["axis"] == axis


@pytest.mark.parametrize(("stored", "numpy"), [(["int", 1], True), (["int", 0], False), (None, False), ("1", False)])
def test_a_symbol_tells_whether_its_shapes_are_those_of_numpy(stored: Any, numpy: bool) -> None:
    document = json.loads(symbol(node("null", "x", [])))
    document["attrs"] = {"is_np_shape": stored}
    assert parse_symbol(json.dumps(document).encode()).numpy is numpy


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(json_values, json_values, json_values)
def test_any_json_in_a_symbol_gives_a_graph_or_a_model_error(nodes: Any, heads: Any, attrs: Any) -> None:
    variable = {"op": "null", "name": "x", "inputs": [], "attrs": attrs}
    for document in ({"nodes": nodes, "heads": heads}, {"nodes": [variable, nodes], "heads": [[0, 0]], "attrs": attrs}):
        try:
            graph = parse_symbol(json.dumps(document).encode())
        except ModelError:
            continue
        assert graph.reachable() <= set(range(len(graph.nodes)))


@given(st.data())
def test_a_damaged_symbol_gives_a_graph_or_a_model_error(data: st.DataObject) -> None:
    damaged = bytearray(DIGITS.read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=6)):
        damaged[position] = data.draw(st.integers(0, 255))
    try:
        graph = parse_symbol(bytes(damaged))
    except ModelError:
        return
    assert graph.heads


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("(3, 3)", (3, 3)),
        ("[3,3]", (3, 3)),
        ("(3L, 3L)", (3, 3)),
        ("(7,)", (7,)),
        ("7", (7,)),
        ("-1", (-1,)),
        ("()", ()),
        ("[]", ()),
    ],
)
def test_every_spelling_of_a_tuple_is_read(text: str, numbers: tuple[int, ...]) -> None:
    assert Attributes("node", {"a": text}).integers("a") == numbers


@pytest.mark.parametrize(
    "text", ["(3, 3", "3)", "(3;3)", "(3, x)", "(1.5,)", "((1, 2))", "(,)x", "(None, 1)", "9" * 400]
)
def test_what_is_no_tuple_is_told_with_the_node(text: str) -> None:
    with pytest.raises(ModelError, match=r"node 'c' \(Convolution\): attribute kernel="):
        Attributes("node 'c' (Convolution)", {"kernel": text}).integers("kernel")


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused_by_every_reader(text: str) -> None:
    attributes = Attributes("node", {"a": text})
    for read in (
        lambda: attributes.integer("a", 1),
        lambda: attributes.integers("a", ()),
        lambda: attributes.optional_integers("a"),
        lambda: attributes.number("a", 1.0),
        lambda: attributes.boolean("a", default=True),
        lambda: attributes.choice("a", ("x",), "x"),
    ):
        try:
            read()
        except ModelError as error:
            assert "node" in error.message  # noqa: PT017 - not raising is fine too


def test_none_is_the_default_and_a_required_attribute_is_missed() -> None:
    attributes = Attributes("node 'p' (Pooling)", {"layout": "None"})
    assert attributes.text("layout", "NCHW") == "NCHW"
    assert attributes.boolean("global_pool", default=True)
    with pytest.raises(ModelError, match=r"node 'p' \(Pooling\) lacks its attribute 'kernel'"):
        attributes.integers("kernel")
