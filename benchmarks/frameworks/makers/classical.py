"""Models of scikit-learn, XGBoost and LightGBM, fitted to the data sets that come with scikit-learn, and asked every
row of these.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frameworks.entries import Asked, Made
from neo.contract.tensors import TensorSpec
from neo.errors import MissingDependency

SEED = 0


def pickled(folder: Path, name: str, ending: str) -> Made:
    """ending: of the file: joblib or pkl."""
    model, rows = _fitted(name)
    path = folder / f"model.{ending}"
    _library("joblib").dump(model, path)
    return _made(path, rows, _answers(model, rows), trust_pickle=True)


def skops(folder: Path, name: str) -> Made:
    model, rows = _fitted(name)
    path = folder / "model.skops"
    _library("skops.io").dump(model, path)
    return _made(path, rows, _answers(model, rows))


def xgboost(folder: Path, data: str, to: str) -> Made:
    rows, target = _data(data)
    library = _library("xgboost")
    kind = library.XGBRegressor if data == "diabetes" else library.XGBClassifier
    model = kind(n_estimators=30, max_depth=4, random_state=SEED).fit(rows, target)
    path = folder / f"model.{to}"
    model.save_model(path)
    return _made(path, rows, _answers(model, rows))


def lightgbm(folder: Path, data: str) -> Made:
    rows, target = _data(data)
    library = _library("lightgbm")
    kind = library.LGBMRegressor if data == "diabetes" else library.LGBMClassifier
    model = kind(n_estimators=30, random_state=SEED, verbose=-1).fit(rows, target)
    path = folder / "model.txt"
    model.booster_.save_model(path)
    return _made(path, rows, _answers(model, rows))


def _made(path: Path, rows: NDArray[Any], answers: tuple[NDArray[Any], ...], *, trust_pickle: bool = False) -> Made:
    spec = TensorSpec("x", "float32", ("N", rows.shape[1]))
    return Made(path, (spec,), asked=(Asked((rows,), answers),), table=True, trust_pickle=trust_pickle)


def _answers(model: Any, rows: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """As the converted model gives them: label and probabilities or scores, or the prediction."""
    second = next((name for name in ("predict_proba", "decision_function") if hasattr(model, name)), None)
    methods = ["predict", second] if second else ["predict"] if hasattr(model, "predict") else ["transform"]
    return tuple(np.asarray(getattr(model, method)(rows)) for method in methods)


def _fitted(name: str) -> tuple[Any, NDArray[Any]]:
    """-> (the model, the rows of its data set)."""
    make, data = MODELS[name]
    rows, target = _data(data)
    return make().fit(rows, target), rows


def _sklearn(name: str, *arguments: Any, **options: Any) -> Callable[[], Any]:
    """name: below sklearn, as in linear_model.Ridge."""

    def make() -> Any:
        module, _, attribute = name.rpartition(".")
        return getattr(_library(f"sklearn.{module}"), attribute)(*arguments, **options)

    return make


def _pipeline(*steps: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: _library("sklearn.pipeline").make_pipeline(*(step() for step in steps))


def _by_column() -> Any:
    """One column as categories, one in bins, the others scaled."""
    transformers = [
        (_sklearn("preprocessing.OneHotEncoder", sparse_output=False)(), [1]),
        (
            _sklearn(
                "preprocessing.KBinsDiscretizer", 5, encode="onehot-dense", quantile_method="averaged_inverted_cdf"
            )(),
            [0],
        ),
    ]
    make = _library("sklearn.compose").make_column_transformer
    return make(*transformers, remainder=_sklearn("preprocessing.StandardScaler")())


_SCALER = _sklearn("preprocessing.StandardScaler")
# name: (model, data set)
MODELS: dict[str, tuple[Callable[[], Any], str]] = {
    "linear regression": (_sklearn("linear_model.LinearRegression"), "diabetes"),
    "logistic regression": (_sklearn("linear_model.LogisticRegression", max_iter=5000), "iris"),
    "decision tree": (_sklearn("tree.DecisionTreeClassifier", random_state=SEED), "iris"),
    "decision tree regression": (_sklearn("tree.DecisionTreeRegressor", max_depth=6, random_state=SEED), "diabetes"),
    "random forest": (_sklearn("ensemble.RandomForestClassifier", 30, random_state=SEED), "breast cancer"),
    "random forest regression": (_sklearn("ensemble.RandomForestRegressor", 30, random_state=SEED), "diabetes"),
    "extra trees": (_sklearn("ensemble.ExtraTreesClassifier", 30, random_state=SEED), "digits"),
    "gradient boosting": (_sklearn("ensemble.GradientBoostingClassifier", random_state=SEED), "wine"),
    "histogram boosting": (_sklearn("ensemble.HistGradientBoostingClassifier", random_state=SEED), "breast cancer"),
    "SVM": (_sklearn("svm.SVC"), "digits"),
    "linear SVM": (_sklearn("svm.LinearSVC", max_iter=20000), "iris"),
    "SVM regression": (_pipeline(_SCALER, _sklearn("svm.SVR", C=100.0)), "diabetes"),
    "nearest neighbours": (_sklearn("neighbors.KNeighborsClassifier"), "iris"),
    "naive Bayes": (_sklearn("naive_bayes.GaussianNB"), "wine"),
    "perceptron": (_sklearn("neural_network.MLPClassifier", random_state=SEED, max_iter=500), "digits"),
    "scaled pipeline": (_pipeline(_SCALER, _sklearn("linear_model.LogisticRegression", max_iter=500)), "breast cancer"),
    "components pipeline": (
        _pipeline(_SCALER, _sklearn("decomposition.PCA", 8), _sklearn("svm.SVC")),
        "breast cancer",
    ),
    "polynomial pipeline": (
        _pipeline(
            _sklearn("preprocessing.MinMaxScaler"),
            _sklearn("preprocessing.PolynomialFeatures", 2),
            _sklearn("linear_model.Ridge"),
        ),
        "diabetes",
    ),
    "encoders by column": (_pipeline(_by_column, _sklearn("linear_model.Ridge")), "patients"),
}


def _data(name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """The patients are those of the diabetes data as they were measured: the sex is 1 or 2."""
    datasets = _library("sklearn.datasets")
    if name == "patients":
        features, target = datasets.load_diabetes(return_X_y=True, scaled=False)
    else:
        features, target = getattr(datasets, f"load_{name.replace(' ', '_')}")(return_X_y=True)
    return features.astype(np.float32), target


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0].replace("sklearn", "scikit-learn")
        raise MissingDependency(f"{package} is not installed", hint=f"pip install {package}") from error
