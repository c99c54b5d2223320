"""Paired differences beside SciPy, scikit-learn and statsmodels, and beside resampling images one by one."""

import itertools
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom
from sklearn.metrics import balanced_accuracy_score, f1_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from workbench.services import paired

Answers = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


@pytest.fixture(params=[(4, 300), (2, 40), (7, 60)])
def answers(request: pytest.FixtureRequest) -> Answers:
    """Two noisy answers to labels of a few classes, the last of them rare or absent."""
    class_count, count = request.param
    rng = np.random.default_rng(class_count)
    labels = rng.integers(0, class_count - 1, count)
    a, b = (np.where(rng.random(count) < share, labels, rng.integers(0, class_count, count)) for share in (0.5, 0.7))
    return a, b, labels


def test_the_bootstrap_equals_resampling_images_one_by_one() -> None:
    gained, lost, count = 40, 25, 300
    differences = np.array([1] * gained + [-1] * lost + [0] * (count - gained - lost))
    rng = np.random.default_rng(1)
    drawn = rng.choice(differences, size=(10_000, count)).mean(1)
    expected = np.quantile(drawn, [0.025, 0.975])
    assert paired.bootstrap_difference(gained, lost, count) == pytest.approx(expected, abs=0.005)
    first, second = (paired.bootstrap_difference(gained, lost, count, seed=3) for _ in range(2))
    assert first == second


def test_mcnemar_equals_summing_the_binomial() -> None:
    for gained, lost in itertools.product(range(12), range(12)):
        few, all_ = min(gained, lost), gained + lost
        expected = min(1.0, 2 * binom.cdf(few, all_, 0.5)) if all_ else 1.0
        assert paired.mcnemar_p(gained, lost) == pytest.approx(expected, abs=1e-9)


def test_mcnemar_equals_statsmodels(answers: Answers) -> None:
    a, b, labels = answers
    found = paired.compare_right(a == labels, b == labels)
    table = [[int(((a == labels) & (b == labels)).sum()), found.lost], [found.gained, 0]]
    assert found.p == pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-12)
    assert found.difference == pytest.approx((b == labels).mean() - (a == labels).mean(), abs=1e-12)
    assert found.low < found.difference < found.high


def test_holm_equals_statsmodels() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 7, 30):
        p_values = rng.random(count) ** 3
        expected = multipletests(p_values, method="holm")[1]
        assert paired.correct_holm(p_values.tolist()) == pytest.approx(expected, abs=1e-12)
    assert paired.correct_holm([]) == []


def test_balance_equals_scikit_learn(answers: Answers) -> None:
    a, b, labels = answers
    found = paired.measure_balance(a, b, labels, class_count=8)
    for answer, side in ((a, "a"), (b, "b")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes that are answered and never occur
            recall = balanced_accuracy_score(labels, answer)
        assert getattr(found["balanced_accuracy"], side) == pytest.approx(recall, abs=1e-12)
        expected = f1_score(labels, answer, average="macro", zero_division=0)
        assert getattr(found["macro_f1"], side) == pytest.approx(expected, abs=1e-12)


def test_the_interval_of_balance_equals_resampling_images(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, labels = answers
    rng = np.random.default_rng(5)
    drawn = []
    for _ in range(1_500):
        rows = rng.integers(0, len(labels), len(labels))
        occurring = np.unique(labels[rows])
        recalls = [
            np.mean([(answer[rows][labels[rows] == cls] == cls).mean() for cls in occurring]) for answer in (a, b)
        ]
        drawn.append(recalls[1] - recalls[0])
    found = paired.measure_balance(a, b, labels, class_count=8, seed=3)["balanced_accuracy"]
    width = found.high - found.low
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.12 * width)
    monkeypatch.setattr(paired, "_CELLS_AT_ONCE", 1000)  # many blocks give what one gives
    assert paired.measure_balance(a, b, labels, class_count=8, seed=3)["balanced_accuracy"] == found
