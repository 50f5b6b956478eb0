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

from neo.errors import InputSpecError, ModelError, ParityError, UnsupportedModel, UntrustedModel
from neo.frontends.base import Conversion, ConversionRequest
from neo.frontends.lightgbm import _decides_alike
from neo.frontends.recognise import recognise_format
from neo.frontends.special import BOUNDARIES, NAN, SOME_NAN
from tests.frontends.conftest import Convert

skops_io = pytest.importorskip("skops.io")
xgboost = pytest.importorskip("xgboost")
lightgbm = pytest.importorskip("lightgbm")

from sklearn import datasets  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.ensemble import (  # noqa: E402
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer  # noqa: E402
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


def test_thresholds_of_lightgbm_are_rounded_to_what_decides_alike() -> None:
    up, down, exact = 0.1, 0.7, 0.5
    assert float(np.float32(up)) > up
    assert float(np.float32(down)) < down
    for threshold in (up, down, exact, -up, -down, 1e-30):
        below = _decides_alike([threshold])[0]
        assert below <= threshold < float(np.nextafter(np.float32(below), np.float32(1)))
    zero = float(np.float32(1e-35))
    # what is not farther from zero than this is zero
    assert _decides_alike([0.0, zero / 2, zero]) == [zero, zero, zero]
    assert max(_decides_alike([-zero, -zero / 2])) < -zero
    largest = float(np.finfo(np.float32).max)
    assert _decides_alike([1.7976931348623157e308]) == [largest]


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


def gaps(rows: Any, share: float = 0.2) -> Any:
    return np.where(np.random.default_rng(0).random(rows.shape) < share, np.float32(np.nan), rows)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"zero_as_missing": True}, "zero_as_missing.*a zero goes where missing values go"),
        ({"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}, r"random forest \(boosting=rf\)"),
        ({"linear_tree": True}, "linear_tree"),
        ({"objective": "multiclassova"}, "multiclassova"),
        ({"sigmoid": 2.0}, "sigmoid parameter other than 1"),
        ({"reg_sqrt": True}, "reg_sqrt"),
    ],
)
def test_what_onnxmltools_passes_over_in_lightgbm_is_named(
    options: dict[str, Any], says: str, tmp_path: Path, through_sandbox: Convert
) -> None:
    rows, target = data("iris")
    rows = np.where(rows < 1.5, np.float32(0), rows)
    regression = "reg_sqrt" in options or "linear_tree" in options
    target = target if regression or "objective" in options else target > 0
    kind = lightgbm.LGBMRegressor if regression else lightgbm.LGBMClassifier
    kind(n_estimators=5, verbose=-1, **options).fit(rows, target).booster_.save_model(tmp_path / "m.txt")
    with pytest.raises(UnsupportedModel, match=says) as caught:
        through_sandbox(tmp_path / "m.txt")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("options", "target", "says"),
    [
        ({"booster": "dart", "rate_drop": 0.5}, 0, "XGBoost dart"),
        ({}, 2, "2 targets at once"),
        ({"num_parallel_tree": 3}, 1, "3 trees for each class"),
        ({"objective": "reg:logistic"}, 0, "the objective reg:logistic"),
    ],
)
def test_what_onnxmltools_passes_over_in_xgboost_is_named(
    options: dict[str, Any], target: int, says: str, tmp_path: Path, through_sandbox: Convert
) -> None:
    rows, classes = data("iris")
    wanted = [(classes > 0).astype(float), classes, np.stack([rows[:, 0], -rows[:, 1]], axis=1)][target]
    kind = xgboost.XGBClassifier if target == 1 else xgboost.XGBRegressor
    kind(n_estimators=5, **options).fit(rows, wanted).get_booster().save_model(tmp_path / "m.ubj")
    with pytest.raises(UnsupportedModel, match=says):
        through_sandbox(tmp_path / "m.ubj")


def test_what_skl2onnx_passes_over_is_named(tmp_path: Path, through_sandbox: Convert) -> None:
    rows, target = data("diabetes")
    skops_io.dump(HistGradientBoostingRegressor(max_iter=5, loss="poisson").fit(rows, target), tmp_path / "m.skops")
    with pytest.raises(UnsupportedModel, match="loss='poisson', whose exponential"):
        through_sandbox(tmp_path / "m.skops")
    rows[:, 1] = np.arange(len(rows)) % 5
    model = HistGradientBoostingRegressor(max_iter=5, categorical_features=[1]).fit(rows, target)
    skops_io.dump(model, tmp_path / "c.skops")
    with pytest.raises(UnsupportedModel, match=r"columns 1 of the .* are categorical"):
        through_sandbox(tmp_path / "c.skops", trust_pickle=True)


MISSING = {
    "tree": DecisionTreeClassifier(random_state=0),
    "forest": RandomForestClassifier(10, random_state=0),
    "extra": ExtraTreesClassifier(10, random_state=0),
    "bagging": BaggingClassifier(n_estimators=5, random_state=0),
    "hist": HistGradientBoostingClassifier(max_iter=10),
    "imputed": make_pipeline(SimpleImputer(), DecisionTreeClassifier(random_state=0)),
    "lightgbm": lightgbm.LGBMClassifier(n_estimators=10, verbose=-1),
    "lightgbm without": lightgbm.LGBMClassifier(n_estimators=10, verbose=-1, use_missing=False),
    "xgboost": xgboost.XGBClassifier(n_estimators=10),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_value_goes_where_the_training_sent_it(name: str, tmp_path: Path, through_sandbox: Convert) -> None:
    rows, target = data("iris")
    rows = gaps(rows)
    model = clone(MISSING[name]).fit(rows, target)
    path = tmp_path / {"xgboost": "m.ubj", "lightgb": "m.txt"}.get(name[:7], "m.skops")
    if path.suffix == ".skops":
        skops_io.dump(model, path)
    else:
        (model.booster_ if path.suffix == ".txt" else model).save_model(path)
    converted = through_sandbox(path, dims={"N": len(rows)})
    for seed_rows in (rows, gaps(rows, 0.6), np.full_like(rows, np.nan)):
        found = answers(converted, seed_rows)
        np.testing.assert_allclose(found["probabilities"], model.predict_proba(seed_rows), atol=1e-5)
    assert NAN in {one.kind for one in converted.special} or SOME_NAN in {one.kind for one in converted.special}
    assert converted.notes == ()


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "hist", "tree"])
def test_at_and_beside_every_threshold_the_answer_is_the_sources(
    name: str, tmp_path: Path, through_sandbox: Convert
) -> None:
    rows, target = data("breast_cancer")
    model = clone(MISSING[name]).fit(rows, target)
    path = tmp_path / {"xgboost": "m.ubj", "lightgbm": "m.txt"}.get(name, "m.skops")
    if path.suffix == ".skops":
        skops_io.dump(model, path)
    else:
        (model.booster_ if path.suffix == ".txt" else model).save_model(path)
    converted = through_sandbox(path)
    boundaries = [one for one in converted.special if one.kind == BOUNDARIES]
    assert boundaries
    session = onnxruntime.InferenceSession(str(converted.onnx), providers=["CPUExecutionProvider"])
    for one in boundaries:
        found = session.run(["probabilities"], one.inputs)[0]
        np.testing.assert_allclose(found, model.predict_proba(one.inputs["x"]), atol=1e-5)


def test_a_tree_that_is_wrong_on_zeros_alone_is_refused(
    tmp_path: Path, through_sandbox: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without being refused by name: the samples find it."""
    from neo.frontends import lightgbm as frontend
    from neo.frontends.conversion import convert

    monkeypatch.setattr(frontend, "_refuse_what_onnxmltools_ignores", lambda *_: None)
    rows, target = data("iris")
    rows = np.where(rows < 1.5, np.float32(0), rows)
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, zero_as_missing=True).fit(rows, target)
    model.booster_.save_model(tmp_path / "m.txt")
    (tmp_path / "scratch").mkdir()
    with pytest.raises(ParityError, match="on zeros"):
        convert(ConversionRequest(tmp_path / "m.txt", "lightgbm", tmp_path / "scratch"))
