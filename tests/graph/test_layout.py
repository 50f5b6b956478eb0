from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError, UsageError
from neo.graph.confined import rewrite_confined
from neo.graph.layout import change_layouts, permutations, transposed_arrays, transposed_spec
from neo.graph.options import RewriteOptions
from neo.onnx_tools.passes import Pass, run_passes
from tests.engines.reference import reference_outputs
from tests.models import build

NHWC_IMAGE = TensorSpec("image", "float32", (1, 8, 6, 3))
NCHW_IMAGE = TensorSpec("image", "float32", ("N", 3, "H", "W"))
UNCLEAR = TensorSpec("features", "float32", (1, 8, 8, 16))
MASK = TensorSpec("mask", "float32", (1, 8, 6, 20))
VECTOR = TensorSpec("vector", "float32", (1, 20))
TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


@pytest.mark.parametrize(
    ("spec", "framework", "layout", "changed"),
    [
        (NHWC_IMAGE, "keras", "NCHW", TO_NCHW),
        (NHWC_IMAGE, "onnx", "NCHW", TO_NCHW),
        (NHWC_IMAGE, "onnx", "NHWC", None),
        (NCHW_IMAGE, "pytorch", "NHWC", TO_NHWC),
        (NCHW_IMAGE, "keras", "NCHW", None),
        (UNCLEAR, "tensorflow", "NCHW", TO_NCHW),
        (UNCLEAR, "mxnet", "NHWC", TO_NHWC),
        (UNCLEAR, "mxnet", "NCHW", None),
    ],
)
def test_what_a_layout_changes_depends_on_where_the_channels_are_now(
    spec: TensorSpec, framework: str, layout: str, changed: tuple[int, ...] | None
) -> None:
    for layouts in ({"": layout}, {spec.name: layout}):
        found = permutations(layouts, [VECTOR, spec], [VECTOR], framework)
        assert found == ({} if changed is None else {spec.name: changed})


def test_outputs_change_only_by_name_and_follow_the_input() -> None:
    assert permutations({"": "NCHW"}, [NHWC_IMAGE], [MASK], "onnx") == {"image": TO_NCHW}
    assert permutations({"mask": "NCHW"}, [NHWC_IMAGE], [MASK], "onnx") == {"mask": TO_NCHW}
    assert permutations({"": "NCHW", "image": "NHWC"}, [NHWC_IMAGE], [MASK], "onnx") == {}


def test_a_layout_is_for_tensors_with_four_dimensions() -> None:
    with pytest.raises(InputSpecError, match=r"vector=float32\[1,20\] has 2 dimensions"):
        permutations({"vector": "NCHW"}, [NHWC_IMAGE], [VECTOR], "keras")
    with pytest.raises(InputSpecError, match="no input of the model has four dimensions"):
        permutations({"": "NCHW"}, [VECTOR], [MASK], "keras")
    with pytest.raises(UsageError, match="'picture', which is no input or output") as caught:
        permutations({"picture": "NCHW"}, [NHWC_IMAGE], [MASK], "keras")
    assert "image=float32[1,8,6,3]" in caught.value.hint


def test_only_the_edges_change(tmp_path: Path) -> None:
    """An input read by a branch of an If, one that is handed on, and an output that others read."""
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["r"])], "then", [], [helper.make_tensor_value_info("r", 1, [1, 2, 3, 4])]
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["i"])], "else", [], [helper.make_tensor_value_info("i", 1, [1, 2, 3, 4])]
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Greater", ["largest", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=branch, else_branch=other),
        helper.make_node("Neg", ["y"], ["z"]),
    ]
    shape = (1, 2, 3, 4)
    model = build(nodes, {"x": shape}, {"y": shape, "z": shape}, {"zero": np.float32(0)})
    onnx.save(model, tmp_path / "m.onnx")
    changed = {"x": TO_NHWC, "y": TO_NHWC}
    (tmp_path / "out").mkdir()
    only = Pass("layout", partial(change_layouts, options=RewriteOptions(changed)))
    transposed = onnx.load(run_passes(tmp_path / "m.onnx", [only], tmp_path / "out"))
    onnx.checker.check_model(transposed, full_check=True)
    assert [value.name for value in (*transposed.graph.input, *transposed.graph.output)] == ["x", "y", "z"]
    for sign in (1, -1):
        x = sign * np.random.default_rng(0).random(shape, np.float32)
        y, z = reference_outputs(model, [x])
        got_y, got_z = reference_outputs(transposed, [x.transpose(TO_NHWC)])
        assert (got_y == y.transpose(TO_NHWC)).all()
        assert (got_z == z).all()


def test_there_and_back_is_the_model_as_it_was(tmp_path: Path) -> None:
    shape = (1, 2, 3, 4)
    model = build([helper.make_node("Relu", ["x"], ["y"])], {"x": shape}, {"y": shape}, {})
    onnx.save(model, tmp_path / "m.onnx")
    path = tmp_path / "m.onnx"
    for number, axes in enumerate((TO_NHWC, TO_NCHW)):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = rewrite_confined(path, folder, RewriteOptions({"x": axes, "y": axes}))
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    (want,), (got,) = reference_outputs(model, [x]), reference_outputs(onnx.load(path), [x])
    assert (got == want).all()


def test_samples_and_descriptions_follow() -> None:
    assert transposed_spec(NCHW_IMAGE, {"image": TO_NHWC}).shape == ("N", "H", "W", 3)
    arrays = {"image": np.zeros((1, 3, 6, 5)), "mask": np.zeros((1, 2))}
    transposed = transposed_arrays(arrays, {"image": TO_NHWC})
    assert {name: array.shape for name, array in transposed.items()} == {"image": (1, 6, 5, 3), "mask": (1, 2)}
