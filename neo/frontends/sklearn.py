"""scikit-learn models (.skops, or .joblib and .pkl with --trust-pickle) to ONNX through skl2onnx."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import sklearn
from sklearn.base import BaseEstimator, is_classifier, is_outlier_detector, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from neo.contract.strings import STRING
from neo.errors import ModelError, UnsupportedModel, UntrustedModel
from neo.frontends.base import ConversionRequest, SourceModel
from neo.frontends.factories import in_folder
from neo.frontends.failures import first_line
from neo.frontends.pickled import TRUST
from neo.frontends.recognise import require_format
from neo.frontends.sklearn_columns import (
    column_names,
    columns_of,
    takes_text,
    vectorizers,
    with_positions,
)
from neo.frontends.sklearn_trees import estimators, float32_thresholds, keep_missing_values
from neo.frontends.table_columns import Column, drawn_rows
from neo.frontends.tabular import COLUMN, INPUT, OPSETS, Answer, Table, table_source

# what skl2onnx calls the only output of a regressor or transformer
_VARIABLE = "variable"
# CountVectorizer's default pattern for words, and the same in the syntax of ONNX Runtime (RE2)
_USUAL_PATTERN = r"(?u)\b\w\w+\b"
_WORD = r"[\p{L}\p{N}_]{2,}"
# scikit-learn's own containers of numbers. skops does not trust them, since a forged one can crash the process; but
# this process is confined. And the type of a column, which skops reads from an empty array
_HOLDERS = re.compile(
    r"numpy\.dtype|sklearn\.(tree\._tree\.Tree|ensemble\._hist_gradient_boosting\.predictor\.TreePredictor"
    r"|metrics\._dist_metrics\.\w+|neighbors\._(kd|ball)_tree\.\w+|neural_network\._stochastic_optimizers\.\w+)"
)
# losses of HistGradientBoosting under which it predicts the exponential of its sum
_EXPONENTIAL = frozenset(["poisson", "gamma"])
_DAMAGE = (ValueError, TypeError, KeyError, AttributeError, ImportError, OSError)


def convert(request: ConversionRequest) -> SourceModel:
    """request.source: a fitted estimator or pipeline. Input: x, float32 (N, features), in the order of training; if
    there are words among the columns, one input (N, 1) for each column that is read, with the data frame's names.
    Outputs: label and probabilities (or scores) of a classifier, prediction, transformed, label and scores.

    Raises UntrustedModel for a pickle, or types that skops does not trust, unless request.trust_pickle; ModelError for
    what is no fitted model; UnsupportedModel for a step that skl2onnx lacks.
    """
    found = require_format(request.source, "skops", "pickle", trust_pickle=request.trust_pickle)
    read = _read_skops if found == "skops" else _read_pickle
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = read(request.source, request.trust_pickle)
    model = with_positions(_fitted(estimator, request.source))
    _refuse_what_skl2onnx_ignores(model)
    answers, methods = _answers(model)
    columns = columns_of(model)
    names = column_names(estimator, columns, [answer.name for answer in answers])
    converted = _to_onnx(float32_thresholds(model), columns, names)
    keep_missing_values(converted, model)
    reached = {name for node in converted.graph.node for name in node.input}

    def run(x: Any) -> Sequence[Any]:
        return [getattr(model, method)(_as_fitted(model, x)) for method in methods]

    table = Table(
        framework=f"scikit-learn {sklearn.__version__}",
        features=len(columns),
        answers=answers,
        classes=tuple(np.asarray(model.classes_).tolist()) if is_classifier(model) else (),
        columns=columns,
        run=run,
        notes=_version_notes(caught),
        names=tuple(name if COLUMN.format(i) in reached else None for i, name in enumerate(names)),
    )
    return table_source(table, converted, request)


def _as_fitted(model: Any, rows: Any) -> Any:
    return rows[:, 0] if takes_text(model) else rows


def _read_skops(path: Path, trust: bool) -> Any:
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        doubtful = skops.io.get_untrusted_types(file=path)
        unknown = [name for name in doubtful if not _HOLDERS.fullmatch(name)]
        if unknown and not trust:
            raise UntrustedModel(
                f"{path} holds types that skops does not trust: {', '.join(unknown[:4])}",
                hint=f"they run code of a library or of yours; {TRUST}",
                details={"types": unknown},
            )
        return skops.io.load(path, trusted=doubtful)
    except (UntrustedTypesFoundException, *_DAMAGE) as error:
        raise _unreadable(path, error) from error


def _read_pickle(path: Path, _trust: bool) -> Any:
    import joblib

    with in_folder(path.parent):
        try:
            return joblib.load(path)
        except (pickle.UnpicklingError, EOFError, *_DAMAGE) as error:
            raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{path} cannot be read by scikit-learn {sklearn.__version__}: {type(error).__name__}: {first_line(error)}",
        hint="it may be damaged, be written by another version, or need code that is not beside it",
    )


def _fitted(estimator: Any, path: Path) -> Any:
    if not isinstance(estimator, BaseEstimator):
        raise ModelError(
            f"{path} holds a {type(estimator).__name__}, no scikit-learn estimator",
            hint="save the estimator or pipeline itself with skops.io.dump",
        )
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise ModelError(
            f"{path} holds a {type(estimator).__name__} that was not fitted", hint="fit, then save"
        ) from error
    return estimator


def _refuse_what_skl2onnx_ignores(model: Any) -> None:
    """Raises UnsupportedModel for parts of HistGradientBoosting that its converter silently ignores."""
    for part in estimators(model):
        if not hasattr(part, "_predictors"):
            continue
        name, loss = type(part).__name__, getattr(part, "loss", "")
        if loss in _EXPONENTIAL:
            raise UnsupportedModel(
                f"the {name} has loss={loss!r}, whose exponential skl2onnx leaves out",
                hint="train it with loss='squared_error' on the logarithm of the target",
            )
        if getattr(part, "is_categorical_", None) is not None and np.any(part.is_categorical_):
            columns = np.flatnonzero(part.is_categorical_).tolist()
            raise UnsupportedModel(
                f"the columns {', '.join(map(str, columns))} of the {name} are categorical; skl2onnx takes their"
                " categories for numbers",
                hint="encode them first, one column of 0 and 1 per category (OneHotEncoder)",
                details={"columns": columns},
            )


def _version_notes(caught: list[warnings.WarningMessage]) -> tuple[str, ...]:
    from sklearn.exceptions import InconsistentVersionWarning

    versions = {w.message.original_sklearn_version for w in caught if isinstance(w.message, InconsistentVersionWarning)}
    return tuple(f"saved by scikit-learn {version}, read by {sklearn.__version__}" for version in sorted(versions))


def _answers(model: Any) -> tuple[tuple[Answer, ...], tuple[str, ...]]:
    """The outputs, and the method of the model that gives each."""
    if is_classifier(model):
        return _classifier_answers(model)
    if is_regressor(model):
        columns = _width(model.predict, model)
        return (Answer(_VARIABLE, "prediction", "float32", columns),), ("predict",)
    if is_outlier_detector(model):
        return (Answer("label", "label", "int64", 0), Answer("scores", "scores", "float32", 0)), (
            "predict",
            "decision_function",
        )
    if hasattr(model, "predict") and hasattr(model, "transform"):
        answers = (
            Answer("label", "label", "int64", 0),
            Answer("scores", "scores", "float32", _width(model.transform, model)),
        )
        return answers, ("predict", "transform")
    if hasattr(model, "transform"):
        return (Answer(_VARIABLE, "transformed", "float32", _width(model.transform, model)),), ("transform",)
    raise UnsupportedModel(
        f"a {type(_last(model)).__name__} can answer no single row",
        hint="readable are classifiers, regressors, transformers, outlier detectors and KMeans",
    )


def _classifier_answers(model: Any) -> tuple[tuple[Answer, ...], tuple[str, ...]]:
    words = any(isinstance(name, str) for name in np.asarray(model.classes_).tolist())
    label = Answer("label", "label", STRING if words else "int64", 0)
    if hasattr(model, "predict_proba"):
        return (label, Answer("probabilities", "probabilities", "float32", len(model.classes_))), (
            "predict",
            "predict_proba",
        )
    columns = _width(model.decision_function, model)
    # of two classes, scikit-learn gives the score of the second one
    scores = Answer("probabilities", "scores", "float32", columns, None if columns else 1)
    return (label, scores), ("predict", "decision_function")


def _width(method: Callable[[Any], Any], model: Any) -> int:
    row = drawn_rows(columns_of(model), np.random.default_rng(0), 1)
    shape = np.shape(method(_as_fitted(model, row)))
    return int(shape[1]) if len(shape) > 1 else 0


def _last(model: Any) -> Any:
    return _last(model.steps[-1][1]) if isinstance(model, Pipeline) else model


def _to_onnx(model: Any, columns: Sequence[Column], names: Sequence[str]) -> onnx.ModelProto:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    inputs = [(INPUT, FloatTensorType([None, len(columns)]))]
    if names:
        types = [StringTensorType if column.dtype == STRING else FloatTensorType for column in columns]
        inputs = [(COLUMN.format(i), tensor_type([None, 1])) for i, tensor_type in enumerate(types)]
    for options in _options(model):
        try:
            with _integers_for_booleans():
                found: onnx.ModelProto = convert_sklearn(
                    model, initial_types=inputs, target_opset=OPSETS, options=options
                )
                return found
        except Exception as error:  # skl2onnx has no common class for what it cannot convert
            if isinstance(error, NameError) and str(error).startswith("Option"):
                continue
            raise UnsupportedModel(
                f"skl2onnx cannot convert this {type(_last(model)).__name__}: {first_line(error)[:300]}",
                hint="replace that step by one that skl2onnx lists: https://onnx.ai/sklearn-onnx/supported.html",
            ) from error
    raise UnsupportedModel(f"skl2onnx gives no plain tensors for a {type(_last(model)).__name__}")


def _options(model: Any) -> Iterator[dict[int, dict[str, Any]]]:
    """Tensors instead of dictionaries, scores as decision_function gives them; not every converter knows both. Words
    as scikit-learn splits them, unless the model has a pattern of its own.
    """
    text = {id(step): {"tokenexp": _WORD} for step in vectorizers(model) if step.token_pattern == _USUAL_PATTERN}
    if not is_classifier(model):
        yield text
        return
    scores = {} if hasattr(model, "predict_proba") else {"raw_scores": True}
    yield {**text, id(_last(model)): {"zipmap": False, **scores}}
    yield {**text, id(_last(model)): scores}


@contextmanager
def _integers_for_booleans() -> Iterator[None]:
    """skl2onnx 1.20 writes False for an int of HistGradientBoosting's leaves, which protobuf 7 refuses."""
    import skl2onnx.common._container as container

    make_node = container.make_node

    def make(*arguments: Any, **attributes: Any) -> onnx.NodeProto:
        plain = {
            name: [int(item) if isinstance(item, bool) else item for item in value]
            if isinstance(value, list)
            else value
            for name, value in attributes.items()
        }
        node: onnx.NodeProto = make_node(*arguments, **plain)
        return node

    container.make_node = make
    try:
        yield
    finally:
        container.make_node = make_node
