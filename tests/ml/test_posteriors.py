"""A posterior that agrees with P(wrong), and that learns where wrong labels belong."""

import numpy as np
import pytest

from ml.posteriors import learn_posterior

NONE = np.empty(0, np.int64)


def draw(count: int = 1_500, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Four classes; half of class 0 is labelled 1, a fifth of class 2 is labelled 3; a model that learned the labels.

    Returns (probs, given, truth, p_wrong as it really is).
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, count)
    given = truth.copy()
    given[(truth == 0) & (rng.random(count) < 0.5)] = 1
    given[(truth == 2) & (rng.random(count) < 0.2)] = 3
    chances = np.array([[0.5, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 0.8, 0.2], [0, 0, 0, 1]])
    blur = rng.dirichlet([1.0, 1.0, 1.0, 1.0], count)
    probs = 0.6 * chances[truth] + 0.4 * blur
    wrong_of = np.array([0, 1 / 3, 0, 1 / 6])
    return probs, given, truth, wrong_of[given]


def test_the_posterior_says_of_the_label_what_p_wrong_says() -> None:
    probs, given, truth, p_wrong = draw()
    rows = np.arange(300)
    posterior = learn_posterior(probs, given, p_wrong=p_wrong, verdict_rows=rows, verdict_classes=truth[rows])
    np.testing.assert_allclose(1 - posterior[np.arange(len(given)), given], p_wrong, atol=1e-6)
    np.testing.assert_allclose(posterior.sum(1), 1, atol=1e-6)
    assert posterior.dtype == np.float32


def test_without_verdicts_wrong_labels_go_where_the_model_says() -> None:
    probs = np.array([[0.2, 0.6, 0.2], [0.1, 0.1, 0.8], [0.2, 0.5, 0.3]])
    given, p_wrong = np.array([0, 2, -1]), np.array([0.9, 0.0, np.nan])
    posterior = learn_posterior(probs, given, p_wrong=p_wrong, verdict_rows=NONE, verdict_classes=NONE)
    expected = [[0.1, 0.675, 0.225], [0, 0, 1], [0.2, 0.5, 0.3]]
    np.testing.assert_allclose(posterior, expected, atol=1e-6)


def test_verdicts_teach_where_wrong_labels_belong() -> None:
    probs, given, truth, p_wrong = draw()
    rows = np.arange(600)
    taught = learn_posterior(probs, given, p_wrong=p_wrong, verdict_rows=rows, verdict_classes=truth[rows])
    plain = learn_posterior(probs, given, p_wrong=p_wrong, verdict_rows=NONE, verdict_classes=NONE)
    unseen = np.flatnonzero((given != truth) & (np.arange(len(given)) >= 600))
    loss = [-np.log(np.maximum(each[unseen, truth[unseen]], 1e-6)).mean() for each in (taught, plain)]
    assert loss[0] < loss[1] - 0.1


def test_verdicts_that_name_no_class_or_confirm_the_label_teach_no_moves() -> None:
    probs, given, truth, p_wrong = draw(200)
    rows = np.arange(200)
    said = np.where(given == truth, given, -1)
    taught = learn_posterior(probs, given, p_wrong=p_wrong, verdict_rows=rows, verdict_classes=said)
    plain = learn_posterior(probs, given, p_wrong=p_wrong, verdict_rows=NONE, verdict_classes=NONE)
    np.testing.assert_array_equal(taught, plain)


def test_the_same_again_is_the_same() -> None:
    probs, given, truth, p_wrong = draw()
    rows = np.arange(400)
    first, second = (
        learn_posterior(probs, given, p_wrong=p_wrong, verdict_rows=rows, verdict_classes=truth[rows]) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_one_class_and_shapes_that_differ() -> None:
    one = learn_posterior(
        np.ones((3, 1)), np.zeros(3, int), p_wrong=np.full(3, 0.5), verdict_rows=NONE, verdict_classes=NONE
    )
    np.testing.assert_array_equal(one, np.ones((3, 1)))
    with pytest.raises(ValueError, match="one row for each image"):
        learn_posterior(np.ones((3, 2)) / 2, NONE, p_wrong=np.zeros(3), verdict_rows=NONE, verdict_classes=NONE)
