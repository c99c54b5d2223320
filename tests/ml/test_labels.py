import numpy as np
import pytest
from cleanlab.rank import get_normalized_margin_for_each_label, get_self_confidence_for_each_label
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from ml.labels import estimate_noise_rate, label_issues


def noisy_labels(count=2000, *, classes=5, rate=0.2, seed=0, strength=3.0):
    """Truth, given labels of which `rate` are wrong, and probabilities of a fair model of the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, count)
    wrong = rng.random(count) < rate
    given = np.where(wrong, (truth + rng.integers(1, classes, count)) % classes, truth)
    logits = rng.normal(0, 1, (count, classes)) + strength * np.eye(classes)[truth]
    odds = np.exp(logits)
    return truth, given, odds / odds.sum(1, keepdims=True)


def test_wrong_labels_rank_first_and_their_class_is_suggested():
    truth, given, probs = noisy_labels()
    found = label_issues(probs, given)
    assert roc_auc_score(given != truth, found.score) > 0.95
    assert average_precision_score(given != truth, found.p_wrong) > 0.85
    assert (found.suggested == probs.argmax(1)).all()
    assert found.p_wrong.dtype == found.score.dtype == np.float32
    assert found.suggested.dtype == np.int64


def test_score_is_the_mean_of_cleanlabs_two_ranks():
    _, given, probs = noisy_labels(300)
    expected = [rankdata(1 - get_self_confidence_for_each_label(given, probs))]
    expected.append(rankdata(1 - get_normalized_margin_for_each_label(given, probs)))
    np.testing.assert_allclose(label_issues(probs, given).score, (np.mean(expected, 0) - 0.5) / 300, rtol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2, 0.4])
def test_mean_of_p_wrong_is_the_estimated_rate_near_the_real_one(rate):
    truth, given, probs = noisy_labels(4000, rate=rate, strength=4.0)
    found = label_issues(probs, given)
    assert found.p_wrong.mean() == pytest.approx(found.noise_rate, abs=1e-3)
    assert found.noise_rate == pytest.approx((given != truth).mean(), abs=0.08)
    assert found.p_wrong.min() >= 0
    assert found.p_wrong.max() <= 1


def test_p_wrong_keeps_the_order_of_the_score():
    _, given, probs = noisy_labels(500)
    found = label_issues(probs, given)
    ordered = found.p_wrong[np.argsort(found.score, kind="stable")]
    assert (np.diff(ordered) >= 0).all()
    assert len(np.unique(found.p_wrong)) > 0.95 * len(np.unique(found.score))


def test_rows_without_a_label_get_nan_and_a_suggestion():
    _, given, probs = noisy_labels(200)
    partly = given.copy()
    partly[::2] = -1
    found, alone = label_issues(probs, partly), label_issues(probs[1::2], given[1::2])
    assert np.isnan(found.p_wrong[::2]).all()
    assert np.isnan(found.score[::2]).all()
    np.testing.assert_array_equal(found.p_wrong[1::2], alone.p_wrong)
    np.testing.assert_array_equal(found.suggested, probs.argmax(1))


def test_equal_rows_get_equal_answers():
    found = label_issues(np.full((6, 3), 1 / 3), np.array([0, 1, 2, 0, 1, 2]))
    assert len(set(found.p_wrong.tolist())) == 1
    assert found.suggested.tolist() == [0] * 6


@pytest.mark.parametrize("labels", [[], [0], [-1, -1], [1, 1, 1], [0, 2]])
def test_few_rows_and_absent_classes(labels):
    probs = np.full((len(labels), 3), 1 / 3, np.float16)
    found = label_issues(probs, np.array(labels, int))
    known = np.array(labels, int) >= 0
    assert np.isfinite(found.p_wrong[known]).all()
    assert np.isnan(found.p_wrong[~known]).all()
    assert np.isnan(found.noise_rate) == (not known.any())


def test_one_class_and_certain_models():
    assert label_issues(np.ones((4, 1)), np.zeros(4, int)).p_wrong.max() <= 0.5
    certain = label_issues(np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 2, 1]))
    assert certain.p_wrong.argmax() == 3
    assert certain.suggested[3] == 0


def test_three_hundred_classes():
    truth, given, probs = noisy_labels(3000, classes=300, strength=8.0)
    assert roc_auc_score(given != truth, label_issues(probs, given).p_wrong) > 0.95


@pytest.mark.parametrize(
    "probs", [[[np.nan, 1.0]], [[0.5, 0.6]], [[-0.1, 1.1]], [[np.inf, 0.0]], [0.5, 0.5], np.zeros((1, 0))]
)
def test_what_is_no_probability_is_refused(probs):
    with pytest.raises(ValueError, match="probs must be"):
        label_issues(np.array(probs), np.zeros(1, int))


@pytest.mark.parametrize("labels", [[2], [-2], [0, 0]])
def test_unknown_classes_are_refused(labels):
    with pytest.raises(ValueError, match="labels must be"):
        label_issues(np.array([[0.5, 0.5]]), np.array(labels))


def test_noise_rate_of_clean_labels_is_small():
    truth, _, probs = noisy_labels(strength=9.0)
    assert estimate_noise_rate(probs, truth) < 0.01
