"""LightGBM models (.txt of Booster.save_model) to ONNX through onnxmltools."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx

from neo.errors import ModelError, UnsupportedModel
from neo.frontends.base import ConversionRequest, SourceModel
from neo.frontends.failures import first_line
from neo.frontends.recognise import require_format
from neo.frontends.table_columns import around
from neo.frontends.tabular import INPUT, OPSETS, Answer, Table, table_source

_THRESHOLDS = "threshold="
_CLASSIFIERS = ("binary", "multiclass")
# LightGBM treats numbers up to this distance from zero as zero (kZeroThreshold)
_ZERO = np.float32(1e-35)
_AVERAGED = "average_output"
_LINEAR = "is_linear=1"


def _has_sigmoid(objective: list[str]) -> bool:
    words = (word.partition(":") for word in objective)
    return any(name == "sigmoid" and float(value) != 1.0 for name, _, value in words)


# (what it is, does the objective's line ask for it?, what to do instead)
_IGNORED: tuple[tuple[str, Callable[[list[str]], bool], str], ...] = (
    ("the objective multiclassova", lambda words: words[:1] == ["multiclassova"], "train with multiclass"),
    ("reg_sqrt", lambda words: "sqrt" in words[1:], "train on the square root yourself, and square the prediction"),
    ("a sigmoid parameter other than 1", _has_sigmoid, "train with sigmoid=1, the default"),
)


def convert(request: ConversionRequest) -> SourceModel:
    """request.source: a text file. Input: x, float32 (N, features). Outputs: label and probabilities of a classifier,
    else prediction.

    Raises ModelError for a damaged file, UnsupportedModel for categorical splits, zero_as_missing, and whatever else
    the converter lacks or passes over.
    """
    require_format(request.source, "lightgbm")
    text = request.source.read_text(encoding="utf-8")
    booster = _booster(text, request.source)
    features = int(booster.num_feature())
    _refuse_categories(booster)
    _refuse_what_onnxmltools_ignores(text, booster)
    classifier = _objective(text) in _CLASSIFIERS

    def run(x: Any) -> Sequence[Any]:
        predicted = np.asarray(booster.predict(x))
        if not classifier:
            return [predicted]
        table = predicted if predicted.ndim == 2 else np.stack([1 - predicted, predicted], axis=1)
        return [table.argmax(1), table]

    answers: tuple[Answer, ...] = (Answer("variable", "prediction", "float32", 0),)
    classes = 0
    if classifier:
        classes = run(np.zeros((1, features), np.float32))[1].shape[1]
        answers = Answer("label", "label", "int64", 0), Answer("probabilities", "probabilities", "float32", classes)
    table = Table(
        framework=f"lightgbm {lightgbm.__version__}",
        features=features,
        answers=answers,
        classes=tuple(range(classes)),
        columns=around(_thresholds(booster), features),
        run=run,
    )
    return table_source(
        table, _to_onnx(_booster(_float32_thresholds(text, booster), request.source), features), request
    )


def _booster(text: str, path: Path) -> Any:
    try:
        return lightgbm.Booster(model_str=text)
    except (lightgbm.basic.LightGBMError, ValueError, TypeError) as error:
        raise ModelError(
            f"{path} cannot be read by lightgbm {lightgbm.__version__}: {first_line(error)}",
            hint="it may be damaged; save it again with Booster.save_model",
        ) from error


def _objective(text: str) -> str:
    line = next((line for line in text.splitlines() if line.startswith("objective=")), "objective=")
    return line.removeprefix("objective=").partition(" ")[0]


def _float32_thresholds(text: str, booster: Any) -> str:
    """The same model for float32 inputs: x <= t holds for a float32 x if and only if it does for the largest float32
    that is not above t. ONNX has float32 thresholds, and rounding to the nearest would move some the wrong way.

    booster: made of the text; it says what it read, which in the last digit need not be what is written.
    """
    exact = iter([tree for tree in map(_thresholds_of_tree, booster.dump_model()["tree_info"]) if tree])
    # tree_sizes counts the characters of each tree, which change; without it they are found by their headings
    lines = (line for line in text.splitlines(keepends=True) if not line.startswith("tree_sizes="))
    return "".join(_line(next(exact)) if _has_thresholds(line) else line for line in lines)


def _has_thresholds(line: str) -> bool:
    return line.startswith(_THRESHOLDS) and bool(line.removeprefix(_THRESHOLDS).strip())


def _thresholds_of_tree(tree: dict[str, Any]) -> list[float]:
    """In the order of the file, which numbers the splits."""
    found = {node["split_index"]: float(node["threshold"]) for node in _splits_of_tree(tree)}
    return [found[index] for index in sorted(found)]


def _line(thresholds: list[float]) -> str:
    return _THRESHOLDS + " ".join(map(repr, _decides_alike(thresholds))) + "\n"


def _decides_alike(thresholds: list[float]) -> list[float]:
    """As float32."""
    exact = np.array(thresholds, np.float64)
    limit = float(np.finfo(np.float32).max)
    near = np.clip(exact, -limit, limit).astype(np.float32)
    below = np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)
    # LightGBM treats inputs within _ZERO of zero as zero: x <= t holds for none of them if t < 0, for all if t >= 0
    below = np.where((exact >= -_ZERO) & (exact < 0), np.nextafter(-_ZERO, np.float32(-np.inf)), below)
    below = np.where((exact >= 0) & (exact < _ZERO), _ZERO, below)
    return [float(value) for value in below]


def _splits(booster: Any) -> Iterator[dict[str, Any]]:
    for tree in booster.dump_model()["tree_info"]:
        yield from _splits_of_tree(tree)


def _splits_of_tree(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    waiting = [tree["tree_structure"]]
    while waiting:
        node = waiting.pop()
        if "split_feature" in node:
            yield node
            waiting += [node["left_child"], node["right_child"]]


def _refuse_what_onnxmltools_ignores(text: str, booster: Any) -> None:
    """Raises UnsupportedModel for options that onnxmltools silently ignores: answers would be wrong on all or some
    rows.
    """
    lines = frozenset(text.splitlines())
    objective = next((line.removeprefix("objective=").split() for line in lines if line.startswith("objective=")), [])
    columns = sorted({node["split_feature"] for node in _splits(booster) if node["missing_type"] == "Zero"})
    if columns:
        names = [booster.feature_name()[column] for column in columns]
        raise UnsupportedModel(
            f"the model was trained with zero_as_missing: at its splits of the columns {', '.join(names)} a zero goes"
            " where missing values go, which ONNX cannot say",
            hint="train without zero_as_missing, and write NaN for what is missing",
            details={"columns": columns},
        )
    if _AVERAGED in lines:
        raise UnsupportedModel(
            "the model is a random forest (boosting=rf), whose average onnxmltools takes for a sum",
            hint="train it with boosting=gbdt, or a RandomForest of scikit-learn",
        )
    if _LINEAR in lines:
        raise UnsupportedModel(
            "the model has linear models in its leaves (linear_tree), which onnxmltools takes for constants",
            hint="train without linear_tree",
        )
    for option, ignored, hint in _IGNORED:
        if ignored(objective):
            raise UnsupportedModel(f"the model has {option}, which onnxmltools leaves out", hint=hint)


def _refuse_categories(booster: Any) -> None:
    columns = sorted({node["split_feature"] for node in _splits(booster) if node["decision_type"] == "=="})
    if columns:
        names = [booster.feature_name()[column] for column in columns]
        raise UnsupportedModel(
            f"the columns {', '.join(names)} are categorical; their splits have no operator in ONNX",
            hint="train on numbers: one column of 0 and 1 per category",
            details={"columns": columns},
        )


def _thresholds(booster: Any) -> Iterator[tuple[int, float]]:
    return ((node["split_feature"], float(node["threshold"])) for node in _splits(booster))


def _to_onnx(booster: Any, features: int) -> onnx.ModelProto:
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    inputs = [(INPUT, FloatTensorType([None, features]))]
    try:
        found: onnx.ModelProto = convert_lightgbm(booster, initial_types=inputs, target_opset=OPSETS[""], zipmap=False)
    except Exception as error:  # onnxmltools has no common class for what it cannot convert
        raise UnsupportedModel(f"onnxmltools cannot convert this LightGBM model: {first_line(error)[:300]}") from error
    return found
