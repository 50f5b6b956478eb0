"""What skl2onnx gets wrong in scikit-learn's trees: the branch for missing values, and thresholds as float32."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from sklearn.base import BaseEstimator

_TRACKS = "nodes_missing_value_tracks_true"


def float32_thresholds(model: Any) -> Any:
    """The same model for float32 inputs, with thresholds of HistGradientBoosting rounded down to float32: for a float32
    x, x <= t if and only if x is at most the largest float32 that is not above t. skl2onnx rounds to the nearest.
    """
    rounded = copy.deepcopy(model)
    for part in estimators(rounded):
        for row in getattr(part, "_predictors", ()):
            for predictor in row:
                nodes = predictor.nodes.copy()
                exact = nodes["num_threshold"]
                near = exact.astype(np.float32)
                nodes["num_threshold"] = np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)
                predictor.nodes = nodes
    return rounded


def keep_missing_values(converted: onnx.ModelProto, model: Any) -> None:
    """Rows with a missing value take the branch that training chose. Changes nothing if the two models do not have the
    same trees in the same order.
    """
    ours = [tree for part in estimators(model) if (tree := getattr(part, "tree_", None)) is not None]
    ensembles = (node for node in converted.graph.node if node.op_type.startswith("TreeEnsemble"))
    theirs = [place for node in ensembles for place in _places(node)]
    if len(ours) != len(theirs) or not all(map(_same, ours, theirs)):
        return
    for tree, (attributes, nodes) in zip(ours, theirs, strict=True):
        goes_left = tree.__getstate__()["nodes"]["missing_go_to_left"]
        tracks = attributes[_TRACKS].ints
        for node, left in zip(nodes.tolist(), goes_left.tolist(), strict=True):
            tracks[node] = int(left)


_Place = tuple[dict[str, onnx.AttributeProto], Any]


def _places(node: onnx.NodeProto) -> Iterator[_Place]:
    """(attributes, where the nodes of one tree stand in them) of every tree of the ensemble."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if _TRACKS in attributes:
        trees = np.array(attributes["nodes_treeids"].ints)
        yield from ((attributes, np.flatnonzero(trees == tree)) for tree in dict.fromkeys(trees.tolist()))


def _same(tree: Any, place: _Place) -> bool:
    attributes, nodes = place
    if len(nodes) != tree.node_count:
        return False
    features = np.array(attributes["nodes_featureids"].ints)[nodes]
    inner = tree.feature >= 0
    return np.array_equal(features[inner], tree.feature[inner])


def estimators(model: Any) -> Iterator[Any]:
    """The estimator and all fitted ones in it, in the order in which skl2onnx converts them."""
    if not isinstance(model, BaseEstimator):
        return
    yield model
    steps = [step for _name, step in getattr(model, "steps", ())]
    steps += [entry[1] for entry in getattr(model, "transformers_", ())]
    for step in (*steps, *np.ravel(np.array(getattr(model, "estimators_", ()), dtype=object))):
        yield from estimators(step)
