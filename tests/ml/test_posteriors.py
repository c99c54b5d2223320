"""A posterior that agrees with P(wrong), and that learns where wrong labels belong."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from ml.posteriors import keep_shares, learn_beliefs, learn_posterior

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


def test_beliefs_rank_wrong_labels_better_than_the_model_does() -> None:
    probs, given, truth, _ = draw()
    rows = np.arange(300)
    found = learn_beliefs(probs, given, verdict_rows=rows, verdict_classes=truth[rows])
    unseen = np.arange(300, len(given))
    wrong = given[unseen] != truth[unseen]
    ranked = [average_precision_score(wrong, 1 - each[unseen, given[unseen]]) for each in (found.probs, probs)]
    assert ranked[0] > ranked[1] + 0.1
    np.testing.assert_allclose(found.probs.sum(1), 1, atol=1e-9)
    own = found.crossed[rows, truth[rows]]
    assert np.log(own).mean() > np.log(probs[rows, truth[rows]]).mean()


def test_verdicts_that_name_no_class_teach_nothing() -> None:
    probs, given, truth, _ = draw(200)
    rows = np.arange(200)
    nothing = learn_beliefs(probs, given, verdict_rows=rows, verdict_classes=np.full(200, -1))
    np.testing.assert_allclose(nothing.probs, probs, atol=1e-12)
    assert np.isnan(nothing.crossed).all()
    half = np.where(rows % 2 == 0, truth[rows], -1)
    mixed = learn_beliefs(probs, given, verdict_rows=rows, verdict_classes=half)
    alone = learn_beliefs(probs, given, verdict_rows=rows[::2], verdict_classes=truth[rows[::2]])
    np.testing.assert_array_equal(mixed.probs, alone.probs)


def test_where_noise_follows_no_class_nothing_particular_is_learned() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 400)
    given = np.where(rng.random(400) < 0.2, rng.integers(0, 4, 400), truth)
    probs = 0.6 * np.eye(4)[truth] + 0.4 * rng.dirichlet(np.ones(4), 400)
    found = learn_beliefs(probs, given, verdict_rows=np.arange(200), verdict_classes=truth[:200])
    assert found.strength >= 3


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
    with pytest.raises(ValueError, match="one value for each image"):
        learn_posterior(np.ones((3, 2)) / 2, NONE, p_wrong=np.zeros(3), verdict_rows=NONE, verdict_classes=NONE)


def test_classes_keep_what_they_weigh_among_the_labels() -> None:
    labels = np.eye(3)[[0, 0, 1, 2]]
    posterior = np.array([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5]])
    same, even = keep_shares(posterior, labels, strength=0)
    np.testing.assert_allclose(same, posterior)
    np.testing.assert_allclose(even, 1)
    targets, weights = keep_shares(posterior, labels, strength=1)
    np.testing.assert_allclose((targets * weights[:, None]).sum(0), [2, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    targets, weights = keep_shares(posterior, labels, strength=0.5)
    first, second, _ = (targets * weights[:, None]).sum(0)
    assert 1 < first < 2
    assert 1 < second < 2.5


def test_keeping_shares_of_nothing_and_of_a_class_without_belief() -> None:
    targets, weights = keep_shares(np.zeros((0, 2)), np.zeros((0, 2)), strength=0.5)
    assert (targets.shape, weights.shape) == ((0, 2), (0,))
    targets, weights = keep_shares(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), strength=0)
    np.testing.assert_array_equal(targets, [[1, 0]])
