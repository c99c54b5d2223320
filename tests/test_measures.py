"""Every measure against an independent one: scikit-learn where it has it, a naive loop where not."""

import json
import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sklearn.dummy import DummyClassifier
from statsmodels.stats.proportion import proportion_confint

from workbench.services.measures import evaluate, mean_interval, measure_auc, score_interval, wilson

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
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(labels, probs, multi_class="ovr"), abs=1e-9)
    weighted = metrics.roc_auc_score(labels, probs, multi_class="ovr", average="weighted")
    assert found["weighted_auc"] == pytest.approx(weighted, abs=1e-9)
    assert found["confusion"] == metrics.confusion_matrix(labels, predicted).tolist()
    precision, recall, f1, support = metrics.precision_recall_fscore_support(labels, predicted)
    for index, row in enumerate(found["per_class"]):
        expected = (precision[index], recall[index], f1[index])
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx(expected, abs=1e-9)
        assert row["support"] == support[index]
        assert (row["recall_low"], row["recall_high"]) == wilson(row["right"], row["support"])
        assert row["specificity"] == pytest.approx(
            metrics.recall_score(labels == index, predicted == index, pos_label=0), abs=1e-9
        )
        assert row["auc"] == pytest.approx(metrics.roc_auc_score(labels == index, probs[:, index]), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_baseline_is_what_a_model_without_eyes_reaches(seed: int) -> None:
    probs, labels = draw(200, seed=seed)
    labels[labels == 3] = 0  # a class without images
    blind = np.zeros((len(labels), 1))
    constant = DummyClassifier(strategy="most_frequent").fit(blind, labels)
    prior = DummyClassifier(strategy="prior").fit(blind, labels)

    found = evaluate(probs, labels, class_names=NAMES)["baseline"]

    said = constant.predict(blind)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, said), abs=1e-12)
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, said, average="macro"), abs=1e-9)
    assert found["weighted_f1"] == pytest.approx(metrics.f1_score(labels, said, average="weighted"), abs=1e-9)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(labels, prior.predict_proba(blind)), abs=1e-9)
    assert found["top2"] == pytest.approx(np.sort(np.bincount(labels))[-2:].sum() / len(labels), abs=1e-12)
    assert found["auc"] == metrics.roc_auc_score(labels == 0, blind[:, 0])


def test_the_calibration_bins_equal_those_of_scikit_learn() -> None:
    probs, labels = draw(400, seed=4)
    right = (probs.argmax(1) == labels).astype(int)
    found = evaluate(probs, labels, class_names=NAMES)["calibration"]
    accuracy, confidence = calibration_curve(right, probs.max(1), n_bins=15)
    assert [each["accuracy"] for each in found] == pytest.approx(accuracy.tolist(), abs=1e-9)
    assert [each["confidence"] for each in found] == pytest.approx(confidence.tolist(), abs=1e-9)
    assert sum(each["n"] for each in found) == 400
    for each in found:
        assert (each["accuracy_low"], each["accuracy_high"]) == wilson(round(each["accuracy"] * each["n"]), each["n"])
        assert each["from"] < each["confidence"] <= each["to"]


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


@pytest.mark.parametrize(("right", "count"), [(0, 3), (3, 3), (2, 7), (2387, 3589), (1, 10_000)])
def test_wilson_equals_statsmodels(right: int, count: int) -> None:
    assert wilson(right, count) == pytest.approx(proportion_confint(right, count, method="wilson"), abs=1e-9)


def test_the_interval_of_a_mean_equals_that_of_scipy() -> None:
    values = np.random.default_rng(3).exponential(size=50)
    expected = stats.norm.interval(0.95, loc=values.mean(), scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected, abs=1e-9)
    assert mean_interval(values[:1]) == (None, None)


def f1_of(weights: np.ndarray, labels: np.ndarray, predicted: np.ndarray, average: str) -> float:
    return float(metrics.f1_score(labels, predicted, average=average, sample_weight=weights))


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_the_interval_of_f1_is_that_of_the_infinitesimal_jackknife(average: str) -> None:
    probs, labels = draw(60, seed=6)
    predicted = probs.argmax(1)
    value, slopes = f1_of(np.ones(60), labels, predicted, average), []
    for image in range(60):  # how much the measure moves with the weight of each image
        more, less = (np.ones(60) + step * (np.arange(60) == image) for step in (1e-4, -1e-4))
        slopes.append((f1_of(more, labels, predicted, average) - f1_of(less, labels, predicted, average)) / 2e-4)
    expected = score_interval(value, float(np.square(slopes).sum()), 60)

    found = evaluate(probs, labels, class_names=NAMES)

    assert (found[f"{average}_f1_low"], found[f"{average}_f1_high"]) == pytest.approx(expected, abs=1e-6)


def test_the_interval_of_a_class_f1_is_that_of_the_infinitesimal_jackknife() -> None:
    probs, labels = draw(60, seed=7)
    predicted = probs.argmax(1)
    row = evaluate(probs, labels, class_names=NAMES)["per_class"][2]
    right, both = row["right"], row["support"] + row["predicted"]
    moves = [
        (2 * ((said == 2) & (label == 2)) - row["f1"] * (int(said == 2) + int(label == 2))) / both
        for said, label in zip(predicted, labels, strict=True)
    ]
    expected = score_interval(2 * right / both, float(np.square(moves).sum()), both)
    assert (row["f1_low"], row["f1_high"]) == pytest.approx(expected, abs=1e-9)


def test_the_interval_of_an_auc_is_delongs() -> None:
    rng = np.random.default_rng(2)
    positive = rng.random(40) < 0.4
    scores = np.round(rng.random(40) + 0.4 * positive, 1)  # with ties
    wins = (scores[positive][:, None] > scores[~positive]) + 0.5 * (scores[positive][:, None] == scores[~positive])
    variance = wins.mean(1).var(ddof=1) / wins.shape[0] + wins.mean(0).var(ddof=1) / wins.shape[1]

    found = measure_auc(scores, positive)

    assert found is not None
    assert found.value == pytest.approx(wins.mean(), abs=1e-12)
    assert (found.low, found.high) == pytest.approx(score_interval(wins.mean(), variance, 16), abs=1e-9)
    assert found.influence.mean() == pytest.approx(0, abs=1e-12)
    assert measure_auc(scores, np.ones(40, bool)) is None


def test_two_classes_are_each_others_rest() -> None:
    probs, labels = draw(120, seed=9, classes=2)
    found = evaluate(probs, labels, class_names=["happy", "neutral"])
    happy, neutral = found["per_class"]
    tn, fp, fn, tp = metrics.confusion_matrix(labels, probs.argmax(1)).ravel()
    assert (happy["specificity"], neutral["recall"]) == (pytest.approx(tp / (tp + fn)), pytest.approx(tp / (tp + fn)))
    assert neutral["specificity"] == happy["recall"] == pytest.approx(tn / (tn + fp))
    assert found["auc"] == happy["auc"] == pytest.approx(neutral["auc"], abs=1e-12)
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(labels, probs[:, 1]), abs=1e-9)
    assert (found["top2"], found["baseline"]["top2"]) == (1.0, 1.0)


def test_a_perfect_answer_is_not_certain() -> None:
    labels = np.arange(12) % 4
    found = evaluate(np.eye(4)[labels], labels, class_names=NAMES)
    assert (found["macro_f1"], found["auc"], found["top2"]) == (1.0, 1.0, 1.0)
    assert 0.7 < found["macro_f1_low"] == found["auc_low"] == found["low"] < 0.8
    assert (found["ece"], found["ece_low"], found["ece_high"], found["ece_calibrated"]) == (0.0, 0.0, 0.0, 0.0)


def test_true_confidences_have_an_error_that_chance_explains() -> None:
    rng = np.random.default_rng(8)
    probs = rng.dirichlet(np.ones(3), size=2000)
    labels = (probs.cumsum(1) < rng.random((2000, 1))).sum(1)
    calm = evaluate(probs, labels, class_names=["a", "b", "c"])
    assert 0 < calm["ece"] < 2 * calm["ece_calibrated"]
    assert calm["ece_low"] == 0.0
    sharp = probs**3 / (probs**3).sum(1, keepdims=True)  # surer than it is right
    loud = evaluate(sharp, labels, class_names=["a", "b", "c"])
    assert loud["ece_low"] > 3 * loud["ece_calibrated"]
    assert loud["ece_low"] < loud["ece"] <= loud["ece_high"]


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

    assert (found["baseline"]["class"], found["baseline"]["accuracy"]) == ("a", 0.5)
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
