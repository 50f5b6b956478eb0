"""What an answer means, and scikit-learn's numbers for it."""

from __future__ import annotations

import numpy as np
import pytest

from neo.errors import NeoError, UsageError
from neo.evaluation.metrics import METRICS, Answered, confusion, usual_metric, vocabulary

sklearn_metrics = pytest.importorskip("sklearn.metrics")
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 7, 200)
LOGITS = (RNG.normal(0, 1, (200, 7)) + 1.5 * np.eye(7)[LABELS]).astype(np.float32)
PREDICTED = LOGITS.argmax(axis=1)


def score(name: str, labels: np.ndarray, answers: np.ndarray) -> float:
    return METRICS[name](Answered.of(labels, answers))


@pytest.mark.parametrize(
    "answers", [LOGITS, PREDICTED, PREDICTED[:, np.newaxis], np.argsort(-LOGITS, axis=1)[:, :5]], ids=str
)
def test_scores_classes_and_ranked_classes_have_the_same_accuracy(answers: np.ndarray) -> None:
    assert score("accuracy", LABELS, answers) == pytest.approx((PREDICTED == LABELS).mean())
    wanted = sklearn_metrics.f1_score(LABELS, PREDICTED, average="macro")
    assert score("f1", LABELS, answers) == pytest.approx(wanted)
    matrix = confusion(Answered.of(LABELS, answers), 8)
    assert matrix.sum() == 200
    assert np.trace(matrix) == (PREDICTED == LABELS).sum()
    assert matrix[2, 3] == ((LABELS == 2) & (PREDICTED == 3)).sum()


def test_top5_looks_at_five() -> None:
    wanted = sklearn_metrics.top_k_accuracy_score(LABELS, LOGITS, k=5)
    assert score("top5", LABELS, LOGITS) == pytest.approx(wanted)
    ranked = np.argsort(-LOGITS, axis=1)
    assert score("top5", LABELS, ranked[:, :5]) == pytest.approx(wanted)
    with pytest.raises(UsageError, match="3 best"):
        score("top5", LABELS, ranked[:, :3])


def test_auc_takes_logits_probabilities_and_one_score() -> None:
    powers = np.exp(LOGITS.astype(np.float64))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    wanted = sklearn_metrics.roc_auc_score(LABELS, probabilities, multi_class="ovr")
    assert score("auc", LABELS, LOGITS) == pytest.approx(wanted)
    assert score("auc", LABELS, probabilities.astype(np.float32)) == pytest.approx(wanted, abs=1e-6)
    binary = (LABELS > 3).astype(np.int64)
    one = LOGITS[:, 4:].sum(axis=1)
    wanted = sklearn_metrics.roc_auc_score(binary, one)
    assert score("auc", binary, one) == pytest.approx(wanted)
    assert score("auc", binary, np.stack([-one, one], axis=1)) == pytest.approx(wanted)
    with pytest.raises(UsageError, match="every class"):
        score("auc", np.zeros(200, np.int64), LOGITS)


def test_one_score_is_a_probability_or_has_its_border_at_zero() -> None:
    labels = np.array([0, 1, 1, 0])
    assert score("accuracy", labels, np.array([[0.2], [0.9], [0.6], [0.4]], np.float32)) == 1
    assert score("accuracy", labels, np.array([-2.0, 3.0, 0.1, -0.1], np.float32)) == 1


def test_maps_of_classes_are_judged_by_pixels() -> None:
    labels = RNG.integers(0, 3, (4, 5, 6))
    scores = np.eye(3)[labels].astype(np.float32)
    scores[0, 0, 0] = [0, 0, 0]
    scores[0, 0, 0, (labels[0, 0, 0] + 1) % 3] = 1
    for answers in (scores, scores.transpose(0, 3, 1, 2), scores.argmax(axis=3)):
        assert score("accuracy", labels, answers) == pytest.approx(1 - 1 / 120)


def test_values_are_compared_as_values() -> None:
    true = RNG.normal(size=(50, 1))
    found = true + RNG.normal(0, 0.1, (50, 1))
    for labels, answers in ((true, found), (true[:, 0], found), (true, found[:, 0])):
        assert score("rmse", labels, answers) == pytest.approx(np.sqrt(((found - true) ** 2).mean()))
        assert score("mae", labels, answers) == pytest.approx(np.abs(found - true).mean())
        assert score("r2", labels, answers) == pytest.approx(sklearn_metrics.r2_score(true, found))


@pytest.mark.parametrize(
    ("name", "labels", "answers"),
    [
        ("rmse", LABELS, LOGITS),
        ("accuracy", RNG.normal(size=200), LOGITS),
        ("accuracy", LABELS, LOGITS[:, np.newaxis]),
        ("top5", LABELS, PREDICTED),
        ("r2", np.ones(1), np.ones(1)),
    ],
)
def test_a_metric_that_does_not_fit_says_so(name: str, labels: np.ndarray, answers: np.ndarray) -> None:
    with pytest.raises(NeoError) as raised:
        score(name, labels, answers)
    assert raised.value.hint


def test_whole_labels_are_classes_unless_said_otherwise() -> None:
    assert usual_metric(LABELS) == "accuracy"
    assert usual_metric(LABELS.astype(np.float32)) == "rmse"


def test_words_are_classes_by_themselves_or_by_the_names_of_the_scores() -> None:
    names = ("cat", "dog", "emu")
    labels = np.array(["dog", "emu", "cat", "dog"])
    said = np.array(["dog", "cat", "cat", "dog"], object)
    words = vocabulary(labels, [said], ())
    assert words == names
    answered = Answered.of(labels, said, words)
    assert METRICS["accuracy"](answered) == 0.75
    assert confusion(answered, 3).tolist() == [[1, 0, 0], [0, 2, 0], [1, 0, 0]]
    scores = np.eye(3, dtype=np.float32)[[1, 0, 0, 1]]
    assert METRICS["accuracy"](Answered.of(labels, scores, vocabulary(labels, [scores], names))) == 0.75
    assert usual_metric(labels) == "accuracy"
    assert vocabulary(np.arange(3), [scores], names) == ()


def test_words_that_nothing_explains_say_so() -> None:
    with pytest.raises(UsageError, match="'emu' is no class of the model"):
        vocabulary(np.array(["cat", "emu"]), [LOGITS], ("cat", "dog"))
    with pytest.raises(UsageError, match="labels are int64, and the output's answers are string"):
        Answered.of(np.arange(2), np.array(["cat", "dog"]))
