"""Every measure against an independent one: scikit-learn where it has it, a naive loop where not."""

import json
import math

import numpy as np
import pytest
from sklearn import metrics

from workbench.services.measures import evaluate, wilson

NAMES = ["cat", "dog", "owl", "Füchsin"]


def draw(count: int, *, seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    probs = rng.dirichlet(np.ones(classes), size=count) + 0.4 * np.eye(classes)[labels]
    return probs / probs.sum(1, keepdims=True), labels


@pytest.mark.parametrize("seed", range(3))
def test_measures_equal_those_of_scikit_learn(seed: int) -> None:
    probs, labels = draw(500, seed=seed)
    predicted = probs.argmax(1)

    found = evaluate(probs, labels, class_names=NAMES)

    assert found["n"] == 500
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted), abs=1e-12)
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"), abs=1e-9)
    assert found["weighted_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="weighted"), abs=1e-9)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(labels, probs), abs=1e-9)
    assert found["top2"] == pytest.approx(metrics.top_k_accuracy_score(labels, probs, k=2), abs=1e-9)
    assert found["confusion"] == metrics.confusion_matrix(labels, predicted).tolist()
    precision, recall, f1, support = metrics.precision_recall_fscore_support(labels, predicted)
    for index, row in enumerate(found["per_class"]):
        expected = (precision[index], recall[index], f1[index])
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx(expected, abs=1e-9)
        assert row["support"] == support[index]
        assert (row["recall_low"], row["recall_high"]) == wilson(row["right"], row["support"])


def test_the_calibration_error_equals_a_naive_loop_over_bins() -> None:
    probs, labels = draw(400, seed=5)
    probs[0] = [1.0, 0.0, 0.0, 0.0]
    confidence, right = probs.max(1), probs.argmax(1) == labels
    expected = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert evaluate(probs, labels, class_names=NAMES)["ece"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("right", "count", "expected"),
    [
        (0, 10, (0.0, 0.277533)),
        (10, 10, (0.722467, 1.0)),
        (5, 10, (0.236593, 0.763407)),
        (81, 263, (0.255289, 0.366183)),
    ],
)
def test_wilson_equals_published_values(right: int, count: int, expected: tuple[float, float]) -> None:
    assert wilson(right, count) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("count", [1, 7, 100])
def test_wilson_bounds_solve_the_score_equation(count: int) -> None:
    for right in range(1, count):
        for bound in wilson(right, count):
            z = (right / count - bound) / math.sqrt(bound * (1 - bound) / count)
            assert abs(z) == pytest.approx(1.959963984540054, abs=1e-9)


def test_baseline_and_most_confused_pairs() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    probs = np.eye(3)[[1, 1, 0, 0, 1, 1]]

    found = evaluate(probs, labels, class_names=["a", "b", "c"])

    assert found["baseline"] == {"class": "a", "accuracy": 0.5}
    assert found["most_confused"] == [
        {"true": "a", "predicted": "b", "n": 2, "share": 2 / 3},
        {"true": "b", "predicted": "a", "n": 1, "share": 0.5},
        {"true": "c", "predicted": "b", "n": 1, "share": 1.0},
    ]
    assert found["per_class"][2]["precision"] is None  # never predicted
    assert found["per_class"][2]["recall"] == 0.0
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, probs.argmax(1), average="macro"))


def test_half_precision_zeros_and_ties_stay_finite() -> None:
    probs = np.array([[0.0, 1.0], [0.5, 0.5]], np.float16)
    found = evaluate(probs, np.array([0, 0]), class_names=["a", "b"])
    assert found["accuracy"] == 0.5  # the tie goes to the first class
    assert found["log_loss"] == pytest.approx((-math.log(2**-24) + math.log(2)) / 2)


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_and_one_image_give_json_without_nan(count: int) -> None:
    probs, labels = draw(count, seed=1) if count else (np.empty((0, 4)), np.empty(0, np.int64))
    found = evaluate(probs, labels, class_names=NAMES)
    assert json.loads(json.dumps(found, allow_nan=False))["n"] == count
    if not count:
        assert (found["accuracy"], found["low"], found["high"], found["log_loss"]) == (None, 0.0, 1.0, None)
