"""scikit-learn models that read words or answer with them, on its own data: equal on every row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from neo.errors import InputSpecError, ParityError
from neo.frontends.base import Conversion
from tests.frontends.conftest import Convert

skops_io = pytest.importorskip("skops.io")
pandas = pytest.importorskip("pandas")

from sklearn import datasets  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LogisticRegression, Ridge  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore::UserWarning")]

SPECIES = datasets.load_iris().target_names.astype(object)


def flowers() -> Any:
    """Iris with its species as a word, and a column of notes that nobody reads."""
    frame = datasets.load_iris(as_frame=True).frame
    frame["species"] = SPECIES[frame.pop("target")]
    frame["length"] = np.where(frame["petal length (cm)"] > 4, "long", "short")
    frame["note"] = "seen by Fisher"
    return frame


def lines() -> tuple[list[str], list[str]]:
    """What scikit-learn tells about its data sets, line by line, and which data set a line is about."""
    told = {
        name: getattr(datasets, f"load_{name}")().DESCR.splitlines()
        for name in ("iris", "wine", "breast_cancer", "diabetes")
    }
    pairs = [(line, name) for name, text in told.items() for line in text if len(line.split()) > 3]
    return [line for line, _ in pairs], [name for _, name in pairs]


def answers(converted: Conversion, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(str(converted.onnx), providers=["CPUExecutionProvider"])
    names = [spec.name for spec in converted.outputs]
    return dict(zip(names, session.run(names, arrays), strict=True))


def columns(converted: Conversion, frame: Any) -> dict[str, np.ndarray]:
    kinds = {"string": object, "float32": np.float32}
    return {spec.name: frame[[spec.name]].to_numpy(kinds[spec.dtype]) for spec in converted.inputs}


def test_classes_that_are_words_are_answered_as_words(tmp_path: Path, through_sandbox: Convert) -> None:
    rows, target = datasets.load_iris(return_X_y=True)
    model = RandomForestClassifier(10, random_state=0).fit(rows.astype(np.float32), SPECIES[target])
    skops_io.dump(model, tmp_path / "m.skops")
    converted = through_sandbox(tmp_path / "m.skops", dims={"N": 150})
    assert [str(spec) for spec in converted.outputs] == ["label=string[150]", "probabilities=float32[150,3]"]
    found = answers(converted, {"x": rows.astype(np.float32)})
    assert found["label"].tolist() == model.predict(rows.astype(np.float32)).tolist()
    (labels,) = converted.labels
    assert (labels.output, labels.by, labels.texts) == ("probabilities", "position", tuple(SPECIES))


@pytest.mark.parametrize(
    "encoder",
    [OneHotEncoder(handle_unknown="ignore"), OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)],
)
def test_a_frame_of_numbers_and_words_has_one_input_per_column(
    encoder: Any, tmp_path: Path, through_sandbox: Convert
) -> None:
    frame = flowers()
    frame.loc[3, "sepal width (cm)"] = np.nan
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    parts = ColumnTransformer(
        [("numbers", numbers, ["sepal width (cm)", "petal length (cm)"]), ("words", encoder, ["species", "length"])]
    )
    model = make_pipeline(parts, Ridge()).fit(frame, frame["petal width (cm)"])
    skops_io.dump(model, tmp_path / "m.skops")
    converted = through_sandbox(tmp_path / "m.skops", dims={"N": 150})
    # in the frame's order, without the columns that nobody reads
    assert [str(spec) for spec in converted.inputs] == [
        "sepal width (cm)=float32[150,1]",
        "petal length (cm)=float32[150,1]",
        "species=string[150,1]",
        "length=string[150,1]",
    ]
    assert set(converted.samples[0].inputs["species"].ravel()) <= set(SPECIES)
    found = answers(converted, columns(converted, frame))["prediction"]
    np.testing.assert_allclose(found, model.predict(frame), rtol=1e-4, atol=1e-5)
    frame["species"] = "tulip"  # as the model was told to take what it does not know
    found = answers(converted, columns(converted, frame))["prediction"]
    np.testing.assert_allclose(found, model.predict(frame), rtol=1e-4, atol=1e-5)


def test_columns_without_names_are_numbered(tmp_path: Path, through_sandbox: Convert) -> None:
    rows = flowers()[["species", "petal width (cm)"]].to_numpy(object)
    target = np.where(flowers()["sepal length (cm)"] > 6, "large", "small")
    parts = ColumnTransformer([("size", StandardScaler(), [1]), ("kind", OneHotEncoder(), [0])])
    model = make_pipeline(parts, LogisticRegression()).fit(rows, target)
    skops_io.dump(model, tmp_path / "m.skops")
    converted = through_sandbox(tmp_path / "m.skops", "column_0=string[M,1]", "column_1=float32[M,1]")
    assert [str(spec) for spec in converted.outputs] == ["label=string[M]", "probabilities=float32[M,2]"]
    arrays = {"column_0": rows[:, :1], "column_1": rows[:, 1:].astype(np.float32)}
    assert answers(converted, arrays)["label"].tolist() == model.predict(rows).tolist()
    with pytest.raises(InputSpecError, match="'column_0' does not fit the model"):
        through_sandbox(tmp_path / "m.skops", "column_0=float32[1,1]")


def test_a_column_named_like_an_output_gets_another_name(tmp_path: Path, through_sandbox: Convert) -> None:
    frame = flowers().rename(columns={"species": "label"})
    parts = ColumnTransformer([("kind", OneHotEncoder(), ["label"])])
    model = make_pipeline(parts, LogisticRegression()).fit(frame, frame["length"])
    skops_io.dump(model, tmp_path / "m.skops")
    converted = through_sandbox(tmp_path / "m.skops")
    assert [spec.name for spec in (*converted.inputs, *converted.outputs)] == ["label_in", "label", "probabilities"]


@pytest.mark.parametrize("splitter", [TfidfVectorizer(), CountVectorizer(ngram_range=(1, 2), lowercase=False)])
def test_lines_of_text_are_split_as_scikit_learn_does(splitter: Any, tmp_path: Path, through_sandbox: Convert) -> None:
    texts, names = lines()
    model = make_pipeline(splitter, LogisticRegression()).fit(texts, names)
    skops_io.dump(model, tmp_path / "m.skops")
    converted = through_sandbox(tmp_path / "m.skops", dims={"N": len(texts)})
    assert str(converted.inputs[0]) == f"text=string[{len(texts)},1]"
    found = answers(converted, {"text": np.array(texts, object)[:, np.newaxis]})
    assert found["label"].tolist() == model.predict(texts).tolist()
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(texts), atol=1e-4)


def test_pairs_of_words_across_a_stop_word_are_counted_otherwise_and_refused(
    tmp_path: Path, through_sandbox: Convert
) -> None:
    """scikit-learn takes stop words out before it makes pairs, the converted model afterwards."""
    texts, names = lines()
    splitter = CountVectorizer(ngram_range=(1, 2), stop_words=["the", "of", "in", "is"])
    skops_io.dump(make_pipeline(splitter, LogisticRegression()).fit(texts, names), tmp_path / "m.skops")
    with pytest.raises(ParityError):
        through_sandbox(tmp_path / "m.skops", dims={"N": 64})


def test_a_text_beside_a_word(tmp_path: Path, through_sandbox: Convert) -> None:
    texts, names = lines()
    frame = pandas.DataFrame({"line": texts, "ends": ["dot" if text.endswith(".") else "none" for text in texts]})
    parts = ColumnTransformer([("text", TfidfVectorizer(), "line"), ("end", OneHotEncoder(), ["ends"])])
    model = make_pipeline(parts, LogisticRegression()).fit(frame, names)
    skops_io.dump(model, tmp_path / "m.skops")
    converted = through_sandbox(tmp_path / "m.skops", dims={"N": len(texts)})
    found = answers(converted, columns(converted, frame))
    assert found["label"].tolist() == model.predict(frame).tolist()
