"""LightGBM models (.txt of Booster.save_model) to ONNX through onnxmltools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx

from neo.errors import ModelError, UnsupportedModel
from neo.frontends.base import ConversionRequest, SourceModel
from neo.frontends.failures import first_line
from neo.frontends.recognise import require_format
from neo.frontends.tabular import INPUT, OPSETS, Answer, Table, around, table_source

_THRESHOLDS = "threshold="
_CLASSIFIERS = ("binary", "multiclass")
# onnxmltools 1.16 turns it into softmax
_CONVERTED_WRONGLY = "multiclassova"


def convert(request: ConversionRequest) -> SourceModel:
    """request.source: a text file. Input: x, float32 (N, features). Outputs: label and probabilities of a classifier,
    else prediction.

    Raises ModelError for a damaged file, UnsupportedModel for categorical splits and for what the converter lacks.
    """
    require_format(request.source, "lightgbm")
    text = request.source.read_text(encoding="utf-8")
    booster = _booster(text, request.source)
    features = int(booster.num_feature())
    _refuse_categories(booster)
    if _objective(text) == _CONVERTED_WRONGLY:
        raise UnsupportedModel(f"the objective {_CONVERTED_WRONGLY} has no converter", hint="train with multiclass")
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
    return table_source(table, _to_onnx(_booster(_float32_thresholds(text), request.source), features), request)


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


def _float32_thresholds(text: str) -> str:
    """The same model for float32 inputs: x <= t holds for a float32 x if and only if it does for the largest float32
    that is not above t. ONNX has float32 thresholds, and rounding to the nearest would move some the wrong way.
    """
    # tree_sizes counts the characters of each tree, which change; without it they are found by their headings
    lines = (line for line in text.splitlines(keepends=True) if not line.startswith("tree_sizes="))
    return "".join(_rounded(line) if line.startswith(_THRESHOLDS) else line for line in lines)


def _rounded(line: str) -> str:
    exact = np.array(line.removeprefix(_THRESHOLDS).split(), np.float64)
    near = exact.astype(np.float32)
    below = np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)
    return _THRESHOLDS + " ".join(repr(float(value)) for value in below) + "\n"


def _splits(booster: Any) -> Iterator[dict[str, Any]]:
    for tree in booster.dump_model()["tree_info"]:
        waiting = [tree["tree_structure"]]
        while waiting:
            node = waiting.pop()
            if "split_feature" in node:
                yield node
                waiting += [node["left_child"], node["right_child"]]


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
