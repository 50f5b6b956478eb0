"""The columns of a scikit-learn model's table: by position, what they may hold, and that they hold no strings."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from neo.errors import UnsupportedModel
from neo.frontends.tabular import Column, around

_MAX_CHOICES_SHOWN = 3
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
    if isinstance(columns, str):
        return [list(names).index(columns)]
    if isinstance(columns, slice):
        return list(range(len(names)))[columns] if names is not None and not isinstance(columns.start, str) else columns
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


def refuse_strings(model: Any, estimator: Any) -> None:
    """Raises UnsupportedModel naming the columns in which an encoder expects strings, or for text."""
    names = getattr(estimator, "feature_names_in_", None)
    for position, categories in _categories(model, list(range(int(getattr(model, "n_features_in_", 0))))):
        if any(isinstance(value, str) for value in categories):
            shown = ", ".join(repr(value) for value in categories[:_MAX_CHOICES_SHOWN])
            column = repr(str(names[position])) if names is not None else str(position)
            raise UnsupportedModel(
                f"column {column} of the model holds strings ({shown}{', ...' if len(categories) > 3 else ''});"
                " a tensor holds numbers only",
                hint="encode the column as numbers before the pipeline, fit it on these, and do the same on the device",
                details={"column": position, "categories": [str(value) for value in categories]},
            )
    for part in _parts(model):
        if hasattr(part, "vocabulary_"):
            raise UnsupportedModel(
                f"the model reads text ({type(part).__name__}); a tensor holds numbers only",
                hint="compile what follows that step, and run the step itself where the text is",
            )


def _categories(model: Any, positions: list[int]) -> Iterator[tuple[int, list[Any]]]:
    """(column of the table, categories) of every encoder that sees columns as they come in."""
    if isinstance(model, Pipeline):
        for _name, step in model.steps:
            if isinstance(step, BaseEstimator):
                yield from _categories(step, positions)
                # an imputer keeps the columns, all others make new ones
                if not hasattr(step, "statistics_"):
                    return
    elif isinstance(model, ColumnTransformer):
        for _name, step, columns in model.transformers_:
            if isinstance(step, BaseEstimator):
                yield from _categories(step, [positions[i] for i in _chosen(columns, positions)])
    elif hasattr(model, "categories_"):
        for position, categories in zip(positions, model.categories_, strict=False):
            yield position, list(np.asarray(categories).tolist())


def _chosen(columns: Any, positions: list[int]) -> list[int]:
    if isinstance(columns, slice):
        return list(range(len(positions)))[columns]
    listed = list(columns)
    if listed and isinstance(listed[0], bool | np.bool_):
        return [i for i, chosen in enumerate(listed) if chosen]
    return [int(i) for i in listed]


def columns_of(model: Any) -> tuple[Column, ...]:
    """What the training left behind about the values of each column: means, bounds, thresholds, categories."""
    features = int(model.n_features_in_)
    found = _known(model, features) or (Column(),) * features
    choices = dict(_categories(model, list(range(features))))
    return tuple(
        replace(column, choices=tuple(float(value) for value in choices[i] if value is not None))
        if i in choices and not any(isinstance(value, str) for value in choices[i])
        else column
        for i, column in enumerate(found)
    )


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
