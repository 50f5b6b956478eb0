"""ONNX files that are damaged or mean harm: an error of our tree, within the limits, and nothing read or written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from neo.errors import ModelError, NeoError, ResourceLimitExceeded, UntrustedModel
from neo.frontends.onnx import _external_files
from neo.frontends.onnx_file import interface
from neo.frontends.onnx_names import refuse_unknown_operators
from neo.isolation import Limits, isolated
from neo.isolation.call import Work
from neo.onnx_tools.files import load
from tests.frontends.conftest import Convert

GIB = 1 << 30
TIGHT = Limits(memory_bytes=4 * GIB, seconds=60.0, file_bytes=GIB)
SHAPE = [2, 3]


def model_of(
    nodes: list[onnx.NodeProto], *constants: onnx.TensorProto, functions: tuple[onnx.FunctionProto, ...] = ()
) -> onnx.ModelProto:
    """X float32 (2, 3) -> y."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], list(constants))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=list(functions))


def small_model() -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.arange(9, dtype=np.float32).reshape(3, 3), "w")
    branches = [
        helper.make_graph(
            [helper.make_node(operator, ["product"], ["chosen"])],
            operator,
            [],
            [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, SHAPE)],
        )
        for operator in ("Relu", "Neg")
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["positive"], to=TensorProto.BOOL),
        helper.make_node("If", ["positive"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    return model_of(nodes, weight)


def constant(name: str, dims: list[int], data: bytes = b"") -> onnx.TensorProto:
    return TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, raw_data=data)


def add(name: str) -> onnx.NodeProto:
    return helper.make_node("Add", ["x", name], ["y"])


def recursive_function() -> onnx.ModelProto:
    body = [helper.make_node("Again", ["a"], ["b"], domain="own")]
    function = helper.make_function("own", "Again", ["a"], ["b"], body, [helper.make_opsetid("own", 1)])
    return model_of([helper.make_node("Again", ["x"], ["y"], domain="own")], functions=(function,))


def two_functions_that_call_each_other() -> onnx.ModelProto:
    opsets = [helper.make_opsetid("own", 1)]
    functions = tuple(
        helper.make_function("own", one, ["a"], ["b"], [helper.make_node(other, ["a"], ["b"], domain="own")], opsets)
        for one, other in (("Ping", "Pong"), ("Pong", "Ping"))
    )
    return model_of([helper.make_node("Ping", ["x"], ["y"], domain="own")], functions=functions)


def endless_loop() -> onnx.ModelProto:
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["still"]), helper.make_node("Identity", ["state"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, SHAPE),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, SHAPE),
        ],
    )
    yes = numpy_helper.from_array(np.array(True), "yes")
    return model_of([helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body)], yes)


def nested(depth: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["z0"])],
        "g0",
        [],
        [helper.make_tensor_value_info("z0", TensorProto.FLOAT, SHAPE)],
    )
    for level in range(1, depth):
        node = helper.make_node("If", ["yes"], [f"z{level}"], then_branch=graph, else_branch=graph)
        output = helper.make_tensor_value_info(f"z{level}", TensorProto.FLOAT, SHAPE)
        graph = helper.make_graph([node], f"g{level}", [], [output])
    yes = numpy_helper.from_array(np.array(True), "yes")
    return model_of([helper.make_node("If", ["yes"], ["y"], then_branch=graph, else_branch=graph)], yes)


def giant_range() -> onnx.ModelProto:
    limits = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in (("a", 0), ("b", 1 << 45))]
    step = numpy_helper.from_array(np.array(1, np.int64), "step")
    nodes = [
        helper.make_node("Range", ["a", "b", "step"], ["r"]),
        helper.make_node("ReduceSum", ["r"], ["total"], keepdims=0),
        helper.make_node("Cast", ["total"], ["t"], to=TensorProto.FLOAT),
        add("t"),
    ]
    return model_of(nodes, *limits, step)


BAD: dict[str, Callable[[], onnx.ModelProto]] = {
    "a cycle": lambda: model_of([helper.make_node("Relu", ["y"], ["z"]), helper.make_node("Add", ["x", "z"], ["y"])]),
    "a node that reads itself": lambda: model_of([helper.make_node("Relu", ["y"], ["y"])]),
    "one name for two tensors": lambda: model_of(
        [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["y"])]
    ),
    "a size that overflows": lambda: model_of([add("w")], constant("w", [1 << 32, 1 << 32, 4])),
    "a size without the bytes": lambda: model_of([add("w")], constant("w", [1 << 20, 1 << 10], b"abcd")),
    "a negative size": lambda: model_of([add("w")], constant("w", [-1, 3], bytes(12))),
    "more bytes than the size": lambda: model_of([add("w")], constant("w", [3], bytes(400))),
    "a type that does not exist": lambda: model_of([add("w")], TensorProto(name="w", data_type=999, dims=[3])),
    "an operator without its inputs": lambda: model_of([helper.make_node("Conv", ["x"], ["y"])]),
    "an attribute of the wrong type": lambda: model_of([helper.make_node("Relu", ["x"], ["y"], alpha="yes")]),
    "no output": lambda: helper.make_model(helper.make_graph([], "g", [], []), ir_version=10),
    "a function that calls itself": recursive_function,
    "two functions that call each other": two_functions_that_call_each_other,
    "a range of 2^45 numbers": giant_range,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_a_bad_model_is_an_error_that_says_what_is_wrong(name: str, tmp_path: Path, through_sandbox: Convert) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(BAD[name]().SerializeToString())
    with pytest.raises((ModelError, ResourceLimitExceeded)) as caught:
        through_sandbox(path, limits=TIGHT)
    assert caught.value.message
    assert "Traceback" not in caught.value.message


@pytest.mark.slow
def test_a_loop_without_end_is_stopped(tmp_path: Path, through_sandbox: Convert) -> None:
    path = tmp_path / "endless.onnx"
    onnx.save(endless_loop(), path)
    with pytest.raises(ResourceLimitExceeded, match="not finished after 10 s"):
        through_sandbox(path, limits=Limits(memory_bytes=4 * GIB, seconds=10.0, file_bytes=GIB))


def test_graphs_nested_deeper_than_protobuf_reads_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(_deep_message(200))
    with pytest.raises(ModelError, match="damaged"):
        _external_files(tmp_path / "m.onnx", load(tmp_path / "m.onnx", weights=False))


def _deep_message(depth: int) -> bytes:
    """A graph in an attribute in a node, again and again: fields 7, 1, 5 and 6."""
    content = b""
    for _ in range(depth):
        for number in (6, 5, 1):
            content = _field(number, content)
    return onnx.ModelProto(ir_version=10).SerializeToString() + _field(7, content)


def _field(number: int, content: bytes) -> bytes:
    size, encoded = len(content), bytearray()
    while size >= 0x80:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *encoded, size]) + content


def external(name: str, location: str) -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "12")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def hidden_in_a_function(location: str) -> onnx.ModelProto:
    body = [
        helper.make_node("Constant", [], ["c"], value=external("", location)),
        helper.make_node("Add", ["a", "c"], ["b"]),
    ]
    function = helper.make_function("own", "F", ["a"], ["b"], body, [helper.make_opsetid("", 18)])
    return model_of([helper.make_node("F", ["x"], ["y"], domain="own")], functions=(function,))


def hidden_in_a_branch(location: str) -> onnx.ModelProto:
    model = small_model()
    branch = model.graph.node[3].attribute[0].g
    branch.node.insert(0, helper.make_node("Constant", [], ["c"], value=external("", location)))
    return model


def in_plain_sight(location: str) -> onnx.ModelProto:
    return model_of([add("w")], external("w", location))


OUTSIDE = ["../secret.bin", "/etc/hostname", "C:\\secret.bin", "link.bin", "folder/hostname"]


@pytest.mark.parametrize("hide", [in_plain_sight, hidden_in_a_function, hidden_in_a_branch])
@pytest.mark.parametrize("location", OUTSIDE)
def test_external_data_is_found_wherever_it_hides_and_does_not_leave_the_folder(
    tmp_path: Path, hide: Callable[[str], onnx.ModelProto], location: str
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(12))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "folder").symlink_to("/etc")
    (folder / "m.onnx").write_bytes(hide(location).SerializeToString())
    with pytest.raises(UntrustedModel, match="outside its own folder"):
        _external_files(folder / "m.onnx", load(folder / "m.onnx", weights=False))


def test_external_data_may_be_no_hard_link(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(12))
    (tmp_path / "models").mkdir()
    os.link(tmp_path / "secret.bin", tmp_path / "models" / "w.bin")
    (tmp_path / "models" / "m.onnx").write_bytes(in_plain_sight("w.bin").SerializeToString())
    with pytest.raises(UntrustedModel, match="hard link") as caught:
        _external_files(tmp_path / "models" / "m.onnx", load(tmp_path / "models" / "m.onnx", weights=False))
    assert "copy" in caught.value.hint


SMALL = small_model().SerializeToString()
mutations = st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=6)


def mutated(changes: list[tuple[int, int]], cut: int) -> bytes:
    content = bytearray(SMALL)
    for position, value in changes:
        content[position] = value
    return bytes(content[: len(content) - cut])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=mutations, cut=st.integers(0, 40))
def test_what_we_read_ourselves_of_a_changed_file_is_read_or_refused(
    tmp_path: Path, changes: list[tuple[int, int]], cut: int
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(mutated(changes, cut))
    try:
        _external_files(path, load(path, weights=False))
        refuse_unknown_operators(path, "")
        interface(path)
    except NeoError as error:
        assert error.message  # noqa: PT017


def convert_many(scratch: Path) -> dict[str, object]:
    """In the confined process: changed files, one after another, from the number in ``next`` on."""
    from neo.frontends.base import ConversionRequest
    from neo.frontends.conversion import convert

    first = int((scratch / "next").read_text())
    outcomes = []
    for number in range(first, FILES):
        (scratch / "next").write_text(str(number + 1))
        rng = np.random.default_rng(number)
        changes = [(int(rng.integers(len(SMALL))), int(rng.integers(256))) for _ in range(rng.integers(1, 5))]
        folder = scratch / str(number)
        folder.mkdir()
        (folder / "m.onnx").write_bytes(mutated(changes, 0))
        try:
            convert(ConversionRequest(folder / "m.onnx", "onnx", folder, samples=1))
            outcomes.append("converted")
        except NeoError as error:
            outcomes.append(type(error).__name__)
    return {"outcomes": outcomes}


FILES = 150


@pytest.mark.slow
def test_changed_files_are_converted_or_refused_and_never_take_more_than_their_process(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "next").write_text("0")
    work = Work("tests.frontends.test_onnx_hostile:convert_many", "converting", ModelError)
    crashes = 0
    while int((scratch / "next").read_text()) < FILES:
        try:
            outcomes = isolated(work, scratch, TIGHT)["outcomes"]
            assert len(outcomes) > 0
        except ModelError as error:  # a library fell over: its file is the last one, go on behind it
            assert "crashed" in error.message  # noqa: PT017
            crashes += 1
    assert crashes < FILES // 10
    assert {path.name for path in tmp_path.iterdir()} == {"scratch"}
