"""Every rewrite keeps what the model answers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from neo.errors import EngineError
from neo.graph import REWRITES, Rewrite, rewrite
from neo.graph.confined import rewrite_confined
from neo.graph.options import RewriteOptions
from neo.onnx_tools.passes import Model, Pass, PassResult, run_passes
from tests.engines.reference import reference_outputs
from tests.models import build, classifier

UNARY = st.sampled_from(["Relu", "Sigmoid", "Tanh", "Abs", "Neg", "Identity", "Elu", "Softplus"])


@pytest.mark.parametrize("row", REWRITES, ids=lambda row: row.name)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(channels=st.integers(1, 5), operators=st.lists(UNARY, max_size=3), scale=st.booleans(), seed=st.integers(0, 99))
def test_a_pass_keeps_the_answers(
    tmp_path_factory: pytest.TempPathFactory, row: Rewrite, channels: int, operators: list[str], scale: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = {
        "w": rng.normal(size=(channels, 2, 3, 3)).astype(np.float32),
        "k": np.full((1, channels, 1, 1), 1.5, np.float32),
    }
    nodes = [helper.make_node("Conv", ["x", "w"], ["v0"])]
    if scale:
        nodes.append(helper.make_node("Mul", ["v0", "k"], ["v1"]))
    for operator in operators:
        nodes.append(helper.make_node(operator, [f"v{len(nodes) - 1}"], [f"v{len(nodes)}"]))
    last = f"v{len(nodes) - 1}"
    model = build(nodes, {"x": (1, 2, 6, 5)}, {last: (1, channels, 4, 3)}, weights)
    folder = tmp_path_factory.mktemp("pass")
    onnx.save(model, folder / "in.onnx")
    before = (folder / "in.onnx").read_bytes()
    results = []

    def told(given: Model, place: Path, *, options: RewriteOptions) -> PassResult:
        content = given.proto.SerializeToString(deterministic=True)
        results.append(row.as_pass(options).run(given, place))
        result = results[-1]
        assert result.modified == (result.model.proto.SerializeToString(deterministic=True) != content)
        return result

    rewritten = {}
    for name, options in (("plain", RewriteOptions()), ("turned", RewriteOptions({"x": (0, 2, 3, 1)}))):
        (folder / name).mkdir()
        only = Pass(row.name, partial(told, options=options), row.needs)
        rewritten[name] = run_passes(folder / "in.onnx", [only], folder / name)
        assert (rewritten[name] == folder / "in.onnx") == (not results[-1].modified)
    assert (folder / "in.onnx").read_bytes() == before
    x = rng.normal(size=(1, 2, 6, 5)).astype(np.float32)
    turned = x.transpose(0, 2, 3, 1) if row.name == "layout" else x
    (want,), (got,) = reference_outputs(model, [x]), reference_outputs(onnx.load(rewritten["plain"]), [x])
    (again,) = reference_outputs(onnx.load(rewritten["turned"]), [turned])
    assert np.abs(again - want).max() <= 1e-5 * max(np.abs(want).max(), 1)
    assert np.abs(got - want).max() <= 1e-5 * max(np.abs(want).max(), 1)


def test_batch_norms_are_folded_and_weights_embedded(tmp_path: Path) -> None:
    model = onnx.load(classifier(tmp_path / "m.onnx"))
    onnx.save(model, tmp_path / "big.onnx", save_as_external_data=True, location="big.data", size_threshold=0)
    (tmp_path / "out").mkdir()
    rewritten = onnx.load(rewrite(tmp_path / "big.onnx", tmp_path / "out"))
    assert "BatchNormalization" not in {node.op_type for node in rewritten.graph.node}
    assert not any(tensor.external_data for tensor in rewritten.graph.initializer)
    assert [value.name for value in rewritten.graph.input] == ["x"]
    assert [value.name for value in rewritten.graph.output] == ["y"]


def test_constants_are_folded(tmp_path: Path) -> None:
    weights = {"a": np.ones((1, 3), np.float32), "b": np.full((1, 3), 2, np.float32)}
    nodes = [helper.make_node("Add", ["a", "b"], ["c"]), helper.make_node("Mul", ["x", "c"], ["y"])]
    onnx.save(build(nodes, {"x": (1, 3)}, {"y": (1, 3)}, weights), tmp_path / "m.onnx")
    (tmp_path / "out").mkdir()
    rewritten = onnx.load(rewrite(tmp_path / "m.onnx", tmp_path / "out"))
    assert [node.op_type for node in rewritten.graph.node] == ["Mul"]
    assert any(np.array_equal(numpy_helper.to_array(t), [[3, 3, 3]]) for t in rewritten.graph.initializer)


def test_what_was_folded_can_be_optimised_again(tmp_path: Path) -> None:
    """ONNX Runtime makes up names for new constants and would make up the same ones a second time."""
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(16, 16)).astype(np.float32) for name in "abc"} | {"d": np.ones(16, np.float32)}
    nodes = []
    for index, name in enumerate("abc"):  # MatMul + Add on three dimensions becomes Reshape, Gemm, Reshape
        nodes.append(helper.make_node("MatMul", [f"v{index}" if index else "x", name], [f"m{index}"]))
        nodes.append(helper.make_node("Add", [f"m{index}", "d"], [f"v{index + 1}"]))
    model = build(nodes, {"x": (1, 4, 16)}, {"v3": (1, 4, 16)}, weights)
    onnx.save(model, tmp_path / "m.onnx")
    x = rng.normal(size=(1, 4, 16)).astype(np.float32)
    rewritten = tmp_path / "m.onnx"
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
        rewritten = rewrite(rewritten, tmp_path / name)
        np.testing.assert_allclose(
            reference_outputs(onnx.load(rewritten), [x])[0], reference_outputs(model, [x])[0], rtol=1e-4, atol=1e-5
        )


def test_a_damaged_model_is_an_engine_error_of_the_confined_process(tmp_path: Path) -> None:
    model = onnx.load(classifier(tmp_path / "m.onnx"))
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, tmp_path / "m.onnx")
    (tmp_path / "scratch").mkdir()
    with pytest.raises(EngineError, match="NoSuchOperator"):
        rewrite_confined(tmp_path / "m.onnx", tmp_path / "scratch")


def test_what_was_rewritten_already_is_passed_on_as_it_is(tmp_path: Path) -> None:
    path = classifier(tmp_path / "m.onnx")
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
    once = rewrite(path, tmp_path / "once")
    assert once.is_relative_to(tmp_path / "once")
    content = once.read_bytes()
    assert rewrite(once, tmp_path / "twice") == once
    assert once.read_bytes() == content


def test_every_value_has_a_shape_afterwards(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    model = onnx.load(rewrite(classifier(tmp_path / "m.onnx"), tmp_path / "out"))
    shaped = {value.name for value in (*model.graph.value_info, *model.graph.output)}
    assert {name for node in model.graph.node for name in node.output} <= shaped


def test_the_graph_is_kept_after_every_step(tmp_path: Path) -> None:
    """Each file is whole: its weights are in it, wherever they lay at that step."""
    path = classifier(tmp_path / "m.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="m.data", size_threshold=0)
    for name in ("scratch", "steps"):
        (tmp_path / name).mkdir()
    rewrite_confined(path, tmp_path / "scratch", RewriteOptions({"x": (0, 2, 3, 1)}, tmp_path / "steps"))
    names = sorted(file.name for file in (tmp_path / "steps").iterdir())
    assert names[:3] == ["00-converted.onnx", "01-layout.onnx", "02-fold.onnx"]
    x = np.random.default_rng(0).standard_normal((1, 1, 8, 8), np.float32)
    (want,) = reference_outputs(onnx.load(path), [x])
    for name in names:
        given = x if name.startswith("00") else x.transpose(0, 2, 3, 1)
        (got,) = reference_outputs(onnx.load(tmp_path / "steps" / name), [given])
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
