"""Models of scikit-learn, XGBoost and LightGBM, fitted to the data sets that come with scikit-learn."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.frameworks.entries import Made
from neo.contract.tensors import TensorSpec
from neo.errors import MissingDependency

SEED = 0


def joblib(folder: Path, name: str) -> Made:
    model, features = _fitted(name)
    path = folder / "model.joblib"
    _library("joblib").dump(model, path)
    return Made(path, _row(features), trust_pickle=True)


def skops(folder: Path, name: str) -> Made:
    model, features = _fitted(name)
    path = folder / "model.skops"
    _library("skops.io").dump(model, path)
    return Made(path, _row(features))


def xgboost(folder: Path, to: str) -> Made:
    features, target = _data("breast cancer")
    model = _library("xgboost").XGBClassifier(n_estimators=30, max_depth=4, random_state=SEED)
    path = folder / f"model.{to}"
    model.fit(features, target).save_model(path)
    return Made(path, _row(features.shape[1]))


def lightgbm(folder: Path) -> Made:
    features, target = _data("breast cancer")
    model = _library("lightgbm").LGBMClassifier(n_estimators=30, random_state=SEED, verbose=-1)
    path = folder / "model.txt"
    model.fit(features, target).booster_.save_model(path)
    return Made(path, _row(features.shape[1]))


def _fitted(name: str) -> tuple[Any, int]:
    """-> (the model, how many features it takes)."""
    _library("sklearn")
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    models: dict[str, tuple[Any, str]] = {
        "linear regression": (LinearRegression(), "diabetes"),
        "logistic regression": (LogisticRegression(max_iter=5000), "iris"),
        "decision tree": (DecisionTreeClassifier(random_state=SEED), "iris"),
        "random forest": (RandomForestClassifier(30, random_state=SEED), "breast cancer"),
        "SVM": (SVC(), "digits"),
        "scaled pipeline": (make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)), "breast cancer"),
    }
    model, data = models[name]
    features, target = _data(data)
    return model.fit(features, target), features.shape[1]


def _data(name: str) -> tuple[Any, Any]:
    datasets = _library("sklearn.datasets")
    features, target = getattr(datasets, f"load_{name.replace(' ', '_')}")(return_X_y=True)
    return features.astype(np.float32), target


def _row(features: int) -> tuple[TensorSpec, ...]:
    """The name that every converter of these models gives its only input."""
    return (TensorSpec("X", "float32", (1, features)),)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0].replace("sklearn", "scikit-learn")
        raise MissingDependency(f"{package} is not installed", hint=f"pip install {package}") from error
