"""XGBoost models (.ubj, .json) to ONNX through onnxmltools."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import xgboost

from neo.errors import ModelError, UnsupportedModel
from neo.frontends.base import ConversionRequest, SourceModel
from neo.frontends.failures import first_line
from neo.frontends.recognise import require_format
from neo.frontends.table_columns import around
from neo.frontends.tabular import INPUT, OPSETS, Answer, Table, table_source

_CLASSIFIERS = ("binary:logistic", "multi:softprob", "multi:softmax")
_REGRESSORS = ("reg:squarederror", "reg:linear", "reg:absoluteerror", "reg:pseudohubererror")


def convert(request: ConversionRequest) -> SourceModel:
    """request.source: what Booster.save_model wrote. Input: x, float32 (N, features). Outputs: label and probabilities
    of a classifier, else prediction.

    Raises ModelError for a damaged file, UnsupportedModel for categorical columns, other boosters than gbtree, several
    targets, parallel trees of several classes, and objectives whose answers are neither probabilities nor plain sums.
    """
    require_format(request.source, "xgboost")
    booster = _read(request.source)
    objective = _supported_objective(booster)
    _refuse_categories(booster)
    # the converter wants names of its own, and a tensor has none
    booster.feature_names = None
    features = booster.num_features()
    if objective == "multi:softmax":
        booster.set_param({"objective": "multi:softprob"})

    def run(x: Any) -> Sequence[Any]:
        predicted = booster.predict(xgboost.DMatrix(x))
        if objective not in _CLASSIFIERS:
            return [predicted]
        table = predicted if predicted.ndim == 2 else np.stack([1 - predicted, predicted], axis=1)
        return [table.argmax(1), table]

    classes = 0
    if objective in _CLASSIFIERS:
        classes = run(np.zeros((1, features), np.float32))[1].shape[1]
    table = Table(
        framework=f"xgboost {xgboost.__version__}",
        features=features,
        answers=_answers(booster, classes),
        classes=tuple(range(classes)),
        columns=around(_thresholds(booster), features),
        run=run,
    )
    return table_source(table, _to_onnx(booster, features), request)


def _read(path: Path) -> Any:
    booster = xgboost.Booster()
    try:
        # XGBoost goes by the ending, not by the content
        booster.load_model(bytearray(path.read_bytes()))
    except xgboost.core.XGBoostError as error:
        raise ModelError(
            f"{path} cannot be read by xgboost {xgboost.__version__}: {first_line(error)}",
            hint="it may be damaged, or written by another version; save it again with Booster.save_model",
        ) from error
    return booster


def _supported_objective(booster: Any) -> str:
    learner = json.loads(booster.save_config())["learner"]
    kind, objective = learner["gradient_booster"]["name"], str(learner["objective"]["name"])
    if kind != "gbtree":
        what = "drops trees, and the converter their weights" if kind == "dart" else "is no ensemble of trees"
        raise UnsupportedModel(f"the model is an XGBoost {kind}, which {what}", hint="train it with booster='gbtree'")
    targets = int(learner["learner_model_param"].get("num_target", 1))
    if targets > 1:
        raise UnsupportedModel(
            f"the model predicts {targets} targets at once, which the converter mixes up",
            hint="train one model for each",
        )
    parallel = int(learner["gradient_booster"].get("gbtree_model_param", {}).get("num_parallel_tree", 1))
    classes = int(learner["learner_model_param"].get("num_class", 0))
    if parallel > 1 and classes > 1:
        raise UnsupportedModel(
            f"the model has {parallel} trees for each class and round (num_parallel_tree), which the converter gives to"
            " the wrong classes",
            hint="train with num_parallel_tree=1",
        )
    if objective not in (*_CLASSIFIERS, *_REGRESSORS):
        raise UnsupportedModel(
            f"the objective {objective} has no converter", hint=f"known: {', '.join((*_CLASSIFIERS, *_REGRESSORS))}"
        )
    return objective


def _refuse_categories(booster: Any) -> None:
    types = booster.feature_types or []
    names = booster.feature_names or [str(i) for i in range(len(types))]
    columns = [name for name, kind in zip(names, types, strict=True) if kind == "c"]
    if columns:
        raise UnsupportedModel(
            f"the columns {', '.join(columns)} are categorical, which the converter lacks",
            hint="train on numbers: one column of 0 and 1 per category",
            details={"columns": columns},
        )


def _answers(booster: Any, classes: int) -> tuple[Answer, ...]:
    if classes:
        return Answer("label", "label", "int64", 0), Answer("probabilities", "probabilities", "float32", classes)
    targets = np.asarray(booster.predict(xgboost.DMatrix(np.zeros((1, booster.num_features()), np.float32))))
    return (Answer("variable", "prediction", "float32", targets.shape[1] if targets.ndim == 2 else 0),)


def _thresholds(booster: Any) -> Iterator[tuple[int, float]]:
    for text in booster.get_dump(dump_format="json"):
        waiting = [json.loads(text)]
        while waiting:
            node = waiting.pop()
            if "split_condition" in node:
                yield int(str(node["split"]).removeprefix("f")), float(node["split_condition"])
            waiting += node.get("children", [])


def _to_onnx(booster: Any, features: int) -> onnx.ModelProto:
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    try:
        found: onnx.ModelProto = convert_xgboost(
            booster, initial_types=[(INPUT, FloatTensorType([None, features]))], target_opset=OPSETS[""]
        )
    except Exception as error:  # onnxmltools has no common class for what it cannot convert
        raise UnsupportedModel(f"onnxmltools cannot convert this XGBoost model: {first_line(error)[:300]}") from error
    return found
