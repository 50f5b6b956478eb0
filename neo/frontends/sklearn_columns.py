"""The columns of a scikit-learn model's table: by position, and what they may hold."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from neo.contract.strings import STRING
from neo.frontends.table_columns import Column, around

_MOST_WORDS = 500
_WIDTH = 3.0


def with_positions(estimator: Any) -> Any:
    """A copy that finds its columns by position: a tensor has no column names."""
    model = copy.deepcopy(estimator)
    for part in _parts(model):
        names = getattr(part, "feature_names_in_", None)
        if isinstance(part, ColumnTransformer):
            part.transformers_ = [
                (name, step, _positions(columns, names)) for name, step, columns in part.transformers_
            ]
    for part in _parts(model):
        if "feature_names_in_" in vars(part):
            del part.feature_names_in_
    return model


def _positions(columns: Any, names: Any) -> Any:
    if isinstance(columns, str):  # one column as a vector, which is what takes text
        return list(names).index(columns)
    if isinstance(columns, slice):
        return list(range(len(names)))[columns] if names is not None and not isinstance(columns.start, str) else columns
    if isinstance(columns, int):
        return columns
    listed = list(columns)
    return [list(names).index(column) if isinstance(column, str) else column for column in listed]


def _parts(model: Any) -> Iterator[Any]:
    """The estimator and all fitted ones in it that transform columns or hold such."""
    yield model
    if isinstance(model, Pipeline):
        for _name, step in model.steps:
            yield from _parts(step) if isinstance(step, BaseEstimator) else ()
    elif isinstance(model, ColumnTransformer):
        for _name, step, _columns in model.transformers_:
            yield from _parts(step) if isinstance(step, BaseEstimator) else ()


def width_of(model: Any) -> int:
    """How many columns it takes: a vectorizer, which does not say, takes one of text."""
    try:
        return int(model.n_features_in_)
    except AttributeError:
        return 1


def takes_text(model: Any) -> bool:
    """Whether it takes a vector of texts, not a table."""
    if hasattr(model, "n_features_in_"):
        return False
    return any(hasattr(step, "vocabulary_") for step, _ in _readers(model, [0]))


def column_names(estimator: Any, columns: tuple[Column, ...], taken: Sequence[str]) -> tuple[str, ...]:
    """Those of the data frame that it was fitted on, or numbers; () if it holds numbers only, which are one table.

    taken: names of outputs, which an input cannot have.
    """
    if all(column.dtype != STRING for column in columns):
        return ()
    given = getattr(estimator, "feature_names_in_", None)
    if given is None:
        given = ["text"] if takes_text(estimator) else [f"column_{i}" for i in range(len(columns))]
    return tuple(f"{name}_in" if name in taken else str(name) for name in given)


def _readers(model: Any, positions: list[int]) -> Iterator[tuple[Any, list[int]]]:
    """(step, columns of the table) of every step that sees columns as they come in."""
    if isinstance(model, Pipeline):
        for _name, step in model.steps:
            if isinstance(step, BaseEstimator):
                yield from _readers(step, positions)
                # an imputer keeps the columns, all others make new ones
                if not hasattr(step, "statistics_"):
                    return
    elif isinstance(model, ColumnTransformer):
        for _name, step, columns in model.transformers_:
            if isinstance(step, BaseEstimator):
                yield from _readers(step, [positions[i] for i in _chosen(columns, positions)])
    else:
        yield model, positions


def vectorizers(model: Any) -> Iterator[Any]:
    """The steps that split text."""
    return (step for step, _ in _readers(model, list(range(width_of(model)))) if hasattr(step, "vocabulary_"))


def _chosen(columns: Any, positions: list[int]) -> list[int]:
    if isinstance(columns, slice):
        return list(range(len(positions)))[columns]
    listed = [columns] if isinstance(columns, int) else list(columns)
    if listed and isinstance(listed[0], bool | np.bool_):
        return [i for i, chosen in enumerate(listed) if chosen]
    return [int(i) for i in listed]


def columns_of(model: Any) -> tuple[Column, ...]:
    """What the training left behind about the values of each column: means, bounds, thresholds, categories, words."""
    features = width_of(model)
    columns = list(_known(model, features) or (Column(),) * features)
    for step, positions in _readers(model, list(range(features))):
        if hasattr(step, "vocabulary_"):
            columns[positions[0]] = Column(words=_told_apart(step), text=True)
        for position, categories in zip(positions, getattr(step, "categories_", ()), strict=False):
            values = np.asarray(categories).tolist()
            words = tuple(value for value in values if isinstance(value, str))
            numbers = () if words else tuple(float(value) for value in values if value is not None)
            columns[position] = replace(columns[position], words=words, choices=numbers)
    return tuple(columns)


def _told_apart(vectorizer: Any) -> tuple[str, ...]:
    """Words and sequences of words that the vectorizer counts, also with stop words in between; a spread-out selection
    if there are very many. A text of these shows whether another program splits it in the same way.
    """
    counted = sorted(map(str, vectorizer.vocabulary_))
    stops = sorted(vectorizer.get_stop_words() or ())
    across = [entry.replace(" ", f" {stop} ") for entry, stop in zip(counted, cycle(stops), strict=False)]
    words = [*counted, *stops, *across]
    return tuple(words[:: len(words) // _MOST_WORDS + 1])


def _known(model: Any, features: int) -> tuple[Column, ...] | None:
    if isinstance(model, Pipeline):
        steps = [step for _name, step in model.steps if isinstance(step, BaseEstimator)]
        # what comes after the first step sees other columns, unless that was an imputer
        while len(steps) > 1 and hasattr(steps[0], "statistics_"):
            del steps[0]
        return _known(steps[0], features) if steps else None
    if isinstance(model, ColumnTransformer):
        return _known_by_part(model, features)
    if hasattr(model, "data_min_"):
        return tuple(
            Column(float(low), float(high)) for low, high in zip(model.data_min_, model.data_max_, strict=True)
        )
    if getattr(model, "mean_", None) is not None and getattr(model, "scale_", None) is not None:
        middles, widths = np.asarray(model.mean_), _WIDTH * np.asarray(model.scale_)
        return tuple(Column(float(m - w), float(m + w)) for m, w in zip(middles, widths, strict=True))
    for attribute in ("support_vectors_", "_fit_X", "cluster_centers_", "theta_", "means_"):
        rows = getattr(model, attribute, None)
        if isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.shape[1] == features:
            return around([(i, float(row[i])) for row in rows for i in range(features)], features)
    thresholds = list(_thresholds(model))
    return around(thresholds, features) if thresholds else None


def _known_by_part(model: Any, features: int) -> tuple[Column, ...]:
    columns = [Column()] * features
    for _name, step, chosen in model.transformers_:
        positions = _chosen(chosen, list(range(features)))
        known = _known(step, len(positions)) if isinstance(step, BaseEstimator) else None
        for position, column in zip(positions, known or (), strict=False):
            columns[position] = column
    return tuple(columns)


def _thresholds(model: Any) -> Iterator[tuple[int, float]]:
    """Of all trees in a tree, a forest or a boosted model."""
    if hasattr(model, "tree_"):
        inner = model.tree_.feature >= 0
        yield from zip(model.tree_.feature[inner].tolist(), model.tree_.threshold[inner].tolist(), strict=True)
    for tree in np.ravel(np.array(getattr(model, "estimators_", ()), dtype=object)):
        yield from _thresholds(tree)
    for row in getattr(model, "_predictors", ()):
        for predictor in row:
            nodes = predictor.nodes[predictor.nodes["is_leaf"] == 0]
            yield from zip(nodes["feature_idx"].tolist(), nodes["num_threshold"].tolist(), strict=True)
