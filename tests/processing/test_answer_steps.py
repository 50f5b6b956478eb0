"""Each step after the model, against torch or by hand, and against its own numpy reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neo.contract.tensors import TensorSpec
from neo.errors import UsageError
from neo.processing.answer.state import Answer
from tests.processing.runs import answer_step, run_answer_steps


def scores(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, shape).astype(np.float32)


@pytest.mark.parametrize("axis", [-1, 1])
def test_softmax_and_sigmoid_are_torchs(axis: int) -> None:
    torch = pytest.importorskip("torch")
    x = scores(2, 5, 7) * 20
    (soft,), (wanted,), _ = run_answer_steps([answer_step(do="softmax", axis=axis)], {"x": x})
    assert np.allclose(soft, torch.softmax(torch.from_numpy(x), axis).numpy(), atol=1e-6)
    assert np.allclose(soft, wanted, atol=1e-6)
    (sig,), (wanted,), _ = run_answer_steps([answer_step(do="sigmoid")], {"x": x})
    assert np.allclose(sig, torch.sigmoid(torch.from_numpy(x)).numpy(), atol=1e-6)
    assert np.allclose(sig, wanted, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 4), classes=st.integers(1, 12), data=st.data())
def test_topk_and_argmax_find_the_highest(rows: int, classes: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, classes))
    x = scores(rows, classes, seed=data.draw(st.integers(0, 99)))
    steps = [answer_step(do="softmax"), answer_step(do="topk", k=k)]
    (index, best), (want_index, want_best), behind = run_answer_steps(steps, {"x": x})
    assert np.array_equal(index, want_index)
    assert np.array_equal(index, np.argsort(-x, axis=1)[:, :k])
    assert np.allclose(best, want_best, atol=1e-6)
    assert [(answer.spec.name, answer.labelled_by, answer.classes) for answer in behind] == [
        ("index", "value", classes),
        ("score", None, None),
    ]
    (one,), (want_one,), _ = run_answer_steps([answer_step(do="argmax")], {"x": x})
    assert np.array_equal(one, index[:, 0])
    assert np.array_equal(one, want_one)


def test_argmax_over_channels_makes_a_map_of_classes() -> None:
    (found,), _, (answer,) = run_answer_steps([answer_step(do="argmax", axis=1)], {"x": scores(1, 6, 4, 5)})
    assert found.shape == (1, 4, 5)
    assert answer.classes == 6


BOXES = np.array([[[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [20, 20, 30, 31], [50, 50, 51, 51]]], np.float32)
SCORES = np.array([[[0.9, 0.1], [0.8, 0.7], [0.1, 0.6], [0.05, 0.65], [0.2, 0.2]]], np.float32)


def test_overlapping_boxes_of_a_class_leave_the_best_one() -> None:
    step = answer_step(do="nms", format="xyxy", iou=0.5, score=0.3, count=6)
    (boxes, best, classes, count), expected, answers = run_answer_steps([step], {"boxes": BOXES, "scores": SCORES})
    assert count.tolist() == [3]
    assert classes.tolist() == [[0, 1, 1, -1, -1, -1]]
    assert np.allclose(best, [[0.9, 0.7, 0.65, 0, 0, 0]])
    assert np.array_equal(boxes[0, :3], BOXES[0, [0, 1, 3]])
    assert not boxes[0, 3:].any()
    for got, want in zip((boxes, best, classes, count), expected, strict=True):
        assert np.allclose(got, want)
    assert [answer.labelled_by for answer in answers] == [None, None, "value", None]


def test_no_box_at_all_is_an_answer_too() -> None:
    step = answer_step(do="nms", format="xyxy", score=0.95, count=4)
    (boxes, _, classes, count), _, _ = run_answer_steps([step], {"boxes": BOXES, "scores": SCORES})
    assert count.tolist() == [0]
    assert classes.tolist() == [[-1] * 4]
    assert boxes.shape == (1, 4, 4)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    boxes=st.integers(1, 12),
    classes=st.integers(1, 4),
    together=st.booleans(),
    layout=st.sampled_from(["boxes-first", "values-first"]),
    objectness=st.booleans(),
    activation=st.sampled_from(["none", "sigmoid", "softmax"]),
    kind=st.sampled_from(["xyxy", "cxcywh"]),
    count=st.integers(1, 15),
    seed=st.integers(0, 10_000),
)
def test_what_the_nodes_keep_numpy_keeps(
    batch: int,
    boxes: int,
    classes: int,
    together: bool,
    layout: str,
    objectness: bool,
    activation: str,
    kind: str,
    count: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 20, (batch, boxes, 4))
    places[..., 2:] = rng.uniform(2, 10, (batch, boxes, 2)) + (places[..., :2] if kind == "xyxy" else 0)
    marks = rng.uniform(0, 1, (batch, boxes, classes + objectness))
    arrays = {"both": np.concatenate([places, marks], axis=2)} if together else {"boxes": places, "scores": marks}
    if layout == "values-first":
        arrays = {name: array.transpose(0, 2, 1) for name, array in arrays.items()}
    arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    options = {"layout": layout, "objectness": objectness, "activation": activation, "count": count, "format": kind}
    step = answer_step(do="nms", iou=0.4, score=0.2, **options)
    actual, expected, _ = run_answer_steps([step], arrays)
    for got, want in zip(actual, expected, strict=True):
        assert np.allclose(got, want, atol=1e-4)


@pytest.mark.parametrize(
    ("step", "spec", "words"),
    [
        ({"do": "topk", "k": 11}, TensorSpec("y", "float32", (1, 10)), "only 10 scores"),
        ({"do": "softmax", "axis": 2}, TensorSpec("y", "float32", (1, 10)), "axis 2"),
        ({"do": "argmax"}, TensorSpec("y", "int64", (1, 10)), "float scores"),
        ({"do": "topk", "k": 1}, TensorSpec("y", "float32", (1, "M")), "dynamic dimension 'M'"),
        ({"do": "nms", "format": "xyxy"}, TensorSpec("y", "float32", (1, 10)), "three dimensions"),
        ({"do": "nms", "format": "xyxy"}, TensorSpec("y", "float32", (1, 84, 4)), "boxes-first"),
    ],
)
def test_a_step_that_does_not_fit_says_why(step: dict[str, object], spec: TensorSpec, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        answer_step(**step).after((Answer(spec),))
