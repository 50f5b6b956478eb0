"""Classical models on scikit-learn's own data: labels equal on every row, numbers within float32."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from neo.errors import InputSpecError, ModelError, UnsupportedModel, UntrustedModel
from neo.frontends.base import Conversion
from neo.frontends.lightgbm import _float32_thresholds
from neo.frontends.recognise import recognise_format
from tests.frontends.conftest import Convert

skops_io = pytest.importorskip("skops.io")
xgboost = pytest.importorskip("xgboost")
lightgbm = pytest.importorskip("lightgbm")

from sklearn import datasets  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.ensemble import (  # noqa: E402
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import KBinsDiscretizer, MinMaxScaler, OneHotEncoder, StandardScaler  # noqa: E402
from sklearn.svm import SVC, SVR  # noqa: E402
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"),
]


def data(name: str) -> tuple[Any, Any]:
    rows, target = getattr(datasets, f"load_{name}")(return_X_y=True)
    return rows.astype(np.float32), target


def answers(converted: Conversion, rows: Any) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(str(converted.onnx), providers=["CPUExecutionProvider"])
    names = [spec.name for spec in converted.outputs]
    return dict(zip(names, session.run(names, {"x": rows}), strict=True))


CLASSIFIERS: dict[str, tuple[str, Callable[[], Any]]] = {
    "logistic": ("iris", lambda: LogisticRegression(max_iter=500)),
    "tree": ("breast_cancer", lambda: DecisionTreeClassifier(random_state=0)),
    "forest": ("digits", lambda: RandomForestClassifier(20, random_state=0)),
    "boosted": ("breast_cancer", lambda: HistGradientBoostingClassifier(max_iter=10)),
    "scaled svm": ("digits", lambda: make_pipeline(StandardScaler(), SVC())),
    "svm of two classes": ("breast_cancer", lambda: make_pipeline(MinMaxScaler(), SVC())),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_gives_the_same_label_for_every_row(name: str, tmp_path: Path, through_sandbox: Convert) -> None:
    source, make = CLASSIFIERS[name]
    rows, target = data(source)
    model = make().fit(rows, target)
    skops_io.dump(model, tmp_path / "m.skops")
    converted = through_sandbox(tmp_path / "m.skops", dims={"N": len(rows)})
    assert str(converted.inputs[0]) == f"x=float32[{len(rows)},{rows.shape[1]}]"
    assert converted.parity is not None
    assert converted.parity.max_rel <= 1e-4
    if "svm" not in name:  # whose far regions all have one label
        assert len(np.unique(converted.samples[0].outputs["label"])) > 1
    found = answers(converted, rows)
    np.testing.assert_array_equal(found["label"], model.predict(rows))
    if "probabilities" in found:
        np.testing.assert_allclose(found["probabilities"], model.predict_proba(rows), atol=1e-5)
    else:
        scores = model.decision_function(rows)
        np.testing.assert_allclose(found["scores"], scores, atol=1e-4 * np.abs(scores).max())


REGRESSORS: dict[str, Callable[[], Any]] = {
    "linear": LinearRegression,
    "tree": lambda: DecisionTreeRegressor(random_state=0),
    "boosted": lambda: GradientBoostingRegressor(n_estimators=20),
    "scaled svm": lambda: make_pipeline(StandardScaler(), SVR()),
}


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_predicts_the_same_number(name: str, tmp_path: Path, through_sandbox: Convert) -> None:
    rows, target = data("diabetes")
    model = REGRESSORS[name]().fit(rows, target)
    skops_io.dump(model, tmp_path / "m.skops")
    converted = through_sandbox(tmp_path / "m.skops", "x=float32[M,10]")
    assert [str(spec) for spec in (*converted.inputs, *converted.outputs)] == [
        "x=float32[M,10]",
        "prediction=float32[M]",
    ]
    expected = model.predict(rows)
    np.testing.assert_allclose(answers(converted, rows)["prediction"], expected, atol=1e-4 * np.abs(expected).max())


def test_other_estimators_have_their_own_outputs(tmp_path: Path, through_sandbox: Convert) -> None:
    rows, _target = data("iris")
    for model, outputs in (
        (StandardScaler(), ["transformed=float32[1,4]"]),
        (IsolationForest(n_estimators=10, random_state=0), ["label=int64[1]", "scores=float32[1]"]),
    ):
        skops_io.dump(model.fit(rows), tmp_path / "m.skops")
        converted = through_sandbox(tmp_path / "m.skops")
        assert [str(spec) for spec in converted.outputs] == outputs


def test_encoders_of_numbers_work_by_column(tmp_path: Path, through_sandbox: Convert) -> None:
    rows, target = data("iris")
    rows[:, 3] = np.round(rows[:, 3])
    parts = ColumnTransformer([("numbers", StandardScaler(), [0, 1, 2]), ("kind", OneHotEncoder(), [3])])
    model = make_pipeline(parts, LogisticRegression(max_iter=500)).fit(rows, target)
    skops_io.dump(model, tmp_path / "m.skops")
    converted = through_sandbox(tmp_path / "m.skops", dims={"N": 150})
    np.testing.assert_array_equal(answers(converted, rows)["label"], model.predict(rows))


def test_columns_of_a_data_frame_are_found_by_position(tmp_path: Path, through_sandbox: Convert) -> None:
    pandas = pytest.importorskip("pandas")
    rows, target = data("diabetes")
    frame = pandas.DataFrame(rows, columns=datasets.load_diabetes().feature_names)
    parts = ColumnTransformer([("a", StandardScaler(), ["bp", "age"]), ("b", MinMaxScaler(), ["s1"])], remainder="drop")
    model = make_pipeline(parts, Ridge()).fit(frame, target)
    skops_io.dump(model, tmp_path / "m.skops")
    converted = through_sandbox(tmp_path / "m.skops", dims={"N": len(rows)})
    np.testing.assert_allclose(answers(converted, rows)["prediction"], model.predict(frame), rtol=1e-4)


def test_bins_and_categories_are_read_without_trust(tmp_path: Path, through_sandbox: Convert) -> None:
    """Their files hold the type of a column."""
    rows, target = datasets.load_diabetes(return_X_y=True, scaled=False)
    rows = rows.astype(np.float32)
    bins = KBinsDiscretizer(5, encode="onehot-dense", quantile_method="averaged_inverted_cdf")
    parts = ColumnTransformer([("sex", OneHotEncoder(sparse_output=False), [1]), ("age", bins, [0])])
    model = make_pipeline(parts, Ridge()).fit(rows, target)
    skops_io.dump(model, tmp_path / "m.skops")
    converted = through_sandbox(tmp_path / "m.skops", dims={"N": len(rows)})
    np.testing.assert_allclose(answers(converted, rows)["prediction"], model.predict(rows), rtol=1e-5)


def boosted(library: str, name: str) -> tuple[Any, Any]:
    rows, target = data(name)
    kind = "Regressor" if name == "diabetes" else "Classifier"
    if library == "lightgbm":
        return getattr(lightgbm, f"LGBM{kind}")(n_estimators=10, verbose=-1, num_threads=1).fit(rows, target), rows
    return getattr(xgboost, f"XGB{kind}")(n_estimators=10, n_jobs=1).fit(rows, target), rows


@pytest.mark.parametrize("name", ["iris", "breast_cancer", "diabetes"])
@pytest.mark.parametrize("file", ["m.ubj", "m.json", "m.txt"])
def test_boosted_trees_decide_alike_for_every_row(
    file: str, name: str, tmp_path: Path, through_sandbox: Convert
) -> None:
    library = "lightgbm" if file == "m.txt" else "xgboost"
    model, rows = boosted(library, name)
    (model.booster_ if library == "lightgbm" else model).save_model(tmp_path / file)
    assert recognise_format(tmp_path / file) == library
    converted = through_sandbox(tmp_path / file, dims={"N": len(rows)})
    found = answers(converted, rows)
    expected = model.predict(rows)
    if name == "diabetes":
        np.testing.assert_allclose(found["prediction"], expected, rtol=1e-5)
    else:
        np.testing.assert_array_equal(found["label"], expected)
        np.testing.assert_allclose(found["probabilities"], model.predict_proba(rows), atol=1e-5)


def test_thresholds_of_lightgbm_are_rounded_down(tmp_path: Path) -> None:
    up, down, exact = 0.1, 0.7, 0.5
    assert float(np.float32(up)) > up
    assert float(np.float32(down)) < down
    text = _float32_thresholds(f"tree\ntree_sizes=5\nthreshold={up} {down} {exact}\nleaf_value=0.1\n")
    rounded = [float(word) for word in text.splitlines()[1].removeprefix("threshold=").split()]
    assert "tree_sizes" not in text
    assert "leaf_value=0.1" in text
    for threshold, below in zip((up, down, exact), rounded, strict=True):
        assert below <= threshold < float(np.nextafter(np.float32(below), np.float32(1)))


def test_pickles_need_trust_and_then_work(tmp_path: Path, through_sandbox: Convert) -> None:
    joblib = pytest.importorskip("joblib")
    rows, target = data("iris")
    model = DecisionTreeClassifier().fit(rows, target)
    joblib.dump(model, tmp_path / "m.joblib", compress=3)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(model))
    for name in ("m.joblib", "m.pkl"):
        with pytest.raises(UntrustedModel, match="pickled Python object"):
            through_sandbox(tmp_path / name, framework="sklearn")
    converted = through_sandbox(tmp_path / "m.pkl", framework="sklearn", dims={"N": 150}, trust_pickle=True)
    np.testing.assert_array_equal(answers(converted, rows)["label"], model.predict(rows))


def test_types_that_skops_does_not_know_are_named(tmp_path: Path, through_sandbox: Convert) -> None:
    from sklearn.preprocessing import FunctionTransformer

    skops_io.dump(FunctionTransformer(_double).fit(np.ones((2, 2))), tmp_path / "m.skops")
    with pytest.raises(UntrustedModel, match=r"test_tabular\._double") as caught:
        through_sandbox(tmp_path / "m.skops")
    assert "--trust-pickle" in caught.value.hint


def _double(rows: Any) -> Any:
    return 2 * rows


def test_what_is_no_fitted_model_is_told_so(tmp_path: Path, through_sandbox: Convert) -> None:
    skops_io.dump(LogisticRegression(), tmp_path / "unfitted.skops")
    skops_io.dump({"a": 1}, tmp_path / "dict.skops")
    with pytest.raises(ModelError, match="LogisticRegression that was not fitted"):
        through_sandbox(tmp_path / "unfitted.skops")
    with pytest.raises(ModelError, match="holds a dict, no scikit-learn estimator"):
        through_sandbox(tmp_path / "dict.skops")


def test_damaged_files_are_modelerrors(tmp_path: Path, through_sandbox: Convert) -> None:
    model, _rows = boosted("xgboost", "iris")
    model.save_model(tmp_path / "m.json")
    content = (tmp_path / "m.json").read_bytes()
    (tmp_path / "m.json").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="cannot be read by xgboost"):
        through_sandbox(tmp_path / "m.json")
    with zipfile.ZipFile(tmp_path / "m.skops", "w") as archive:
        archive.writestr("schema.json", '{"__class__": "X", "__module__": "y", "__loader__": "Nobody"}')
    with pytest.raises(ModelError, match="cannot be read by scikit-learn"):
        through_sandbox(tmp_path / "m.skops")


def test_an_input_of_another_width_is_refused(tmp_path: Path, through_sandbox: Convert) -> None:
    rows, target = data("iris")
    skops_io.dump(LogisticRegression(max_iter=500).fit(rows, target), tmp_path / "m.skops")
    with pytest.raises(InputSpecError, match="does not fit the model"):
        through_sandbox(tmp_path / "m.skops", "x=float32[1,5]")


def test_categorical_columns_of_xgboost_are_named(tmp_path: Path, through_sandbox: Convert) -> None:
    rows = np.array([[0, 1.5], [1, 2.5], [2, 0.5], [0, 3.5]] * 10)
    table = xgboost.DMatrix(rows, np.arange(40) % 2, feature_types=["c", "q"], enable_categorical=True)
    xgboost.train({"objective": "binary:logistic"}, table, 2).save_model(tmp_path / "m.ubj")
    with pytest.raises(UnsupportedModel, match="columns 0 are categorical"):
        through_sandbox(tmp_path / "m.ubj")
