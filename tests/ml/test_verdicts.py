import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ml.labels import label_issues
from ml.verdicts import AMBIGUOUS, UNUSABLE, learn_p_wrong


def noisy(rates, *, count=2000, seed=0, strength=2.0):
    """Truth, labels of which the share rates[truth] is wrong, and probabilities of a fair model of the truth."""
    rng = np.random.default_rng(seed)
    classes = len(rates)
    truth = rng.integers(0, classes, count)
    wrong = rng.random(count) < np.array(rates)[truth]
    given = np.where(wrong, (truth + 1) % classes, truth)
    odds = np.exp(rng.normal(0, 1, (count, classes)) + strength * np.eye(classes)[truth])
    return truth, given, odds / odds.sum(1, keepdims=True)


def ask(truth, rows, *, seed=0, mistaken=0.1, classes=4):
    """Verdicts of single raters, who now and then say any class."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(rows)) < mistaken, rng.integers(0, classes, len(rows)), truth[rows])


def draw(count, most, seed=0):
    return np.random.default_rng(seed).permutation(most)[:count]


def precision(given, truth, score):
    return average_precision_score(given != truth, score)


def ece(p, wrong):
    bins = np.minimum((p * 10).astype(int), 9)
    return sum(abs(p[bins == k].mean() - wrong[bins == k].mean()) * (bins == k).mean() for k in np.unique(bins))


def test_where_errors_follow_the_classes_verdicts_teach_more_than_any_score_and_stay_calibrated():
    truth, given, probs = noisy([0.02, 0.5, 0.02, 0.3])
    before = label_issues(probs, given)
    rows = draw(300, len(truth))
    found = learn_p_wrong(probs, given, verdict_rows=rows, verdict_classes=ask(truth, rows))
    assert precision(given, truth, found.score) > precision(given, truth, before.score) + 0.03
    assert found.verdicts == 300
    assert 0 < found.shrinkage < 1
    assert ece(found.p_wrong, given != truth) < 0.05
    for cls in range(4):
        assert ece(found.p_wrong[given == cls], (given != truth)[given == cls]) < 0.12


def test_where_errors_do_not_follow_the_classes_verdicts_cost_nothing_to_speak_of():
    truth, given, probs = noisy([0.09] * 4, strength=2.5)
    before = precision(given, truth, label_issues(probs, given).score)
    lost = []
    for seed in range(3):
        rows = draw(200, len(truth), seed)
        found = learn_p_wrong(probs, given, verdict_rows=rows, verdict_classes=ask(truth, rows, seed=seed))
        lost.append(before - precision(given, truth, found.score))
    assert np.mean(lost) < 0.01


def test_verdicts_from_the_top_of_a_queue_with_a_random_share_teach_too():
    truth, given, probs = noisy([0.02, 0.5, 0.02, 0.3])
    before = label_issues(probs, given)
    rows = np.unique(np.r_[np.argsort(-before.score)[:240], draw(60, len(truth))])
    found = learn_p_wrong(probs, given, verdict_rows=rows, verdict_classes=ask(truth, rows))
    assert precision(given, truth, found.score) > precision(given, truth, before.score) - 0.02
    assert found.p_wrong.mean() == pytest.approx((given != truth).mean(), abs=0.08)


def test_an_unusable_image_has_a_wrong_label_and_an_ambiguous_one_teaches_nothing():
    truth, given, probs = noisy([0.1, 0.1, 0.1, 0.1])
    rows = draw(200, len(truth))
    classes = ask(truth, rows, mistaken=0)
    plain = learn_p_wrong(probs, given, verdict_rows=rows, verdict_classes=classes)
    unusable = learn_p_wrong(
        probs, given, verdict_rows=rows, verdict_classes=np.where(given[rows] == 2, UNUSABLE, classes)
    )
    assert unusable.p_wrong[given == 2].mean() > 0.7 > 0.3 > plain.p_wrong[given == 2].mean()
    more = np.setdiff1d(np.arange(len(truth)), rows)[:50]
    with_ambiguous = learn_p_wrong(
        probs, given, verdict_rows=np.r_[rows, more], verdict_classes=np.r_[classes, np.full(50, AMBIGUOUS)]
    )
    np.testing.assert_array_equal(with_ambiguous.p_wrong, plain.p_wrong)


def test_p_hit_is_what_single_reviewers_say_and_p_wrong_what_most_would():
    truth, given, probs = noisy([0.02, 0.5, 0.02, 0.3])
    rows, rest = np.split(np.random.default_rng(0).permutation(len(truth)), [400])
    said = ask(truth, np.arange(len(truth)), mistaken=0.3)
    found = learn_p_wrong(probs, given, verdict_rows=rows, verdict_classes=said[rows])
    assert found.p_hit[rest].mean() == pytest.approx((said != given)[rest].mean(), abs=0.05)  # .35
    assert found.p_wrong[rest].mean() == pytest.approx((truth != given)[rest].mean(), abs=0.05)  # .2
    assert ece(found.p_hit[rest], (said != given)[rest]) < 0.1 < ece(found.p_wrong[rest], (said != given)[rest])
    wavering = np.where(np.random.default_rng(1).random(len(rows)) < 0.25, AMBIGUOUS, said[rows])
    doubtful = learn_p_wrong(probs, given, verdict_rows=rows, verdict_classes=wavering)
    hits = (wavering == AMBIGUOUS) | (wavering != given[rows])
    assert doubtful.p_hit[rest].mean() == pytest.approx(hits.mean(), abs=0.05)  # an ambiguous one changes it too


def test_images_between_classes_are_ambiguous_not_wrong():
    rng = np.random.default_rng(0)
    truth, given, probs = noisy([0.2, 0.2, 0.2, 0.2], strength=5.0)
    torn = rng.random(len(truth)) < 0.3
    other = (truth + 2) % 4
    probs[torn] = 0.05 + 0.4 * (np.eye(4)[truth] + np.eye(4)[other])[torn]
    rows = draw(400, len(truth))
    said = np.where(torn & (rng.random(len(truth)) < 0.5), other, truth)
    found = learn_p_wrong(probs, given, verdict_rows=rows, verdict_classes=said[rows])
    assert roc_auc_score(torn, found.p_ambiguous) > 0.95
    assert found.p_wrong[torn & (given == truth)].mean() < found.p_wrong[~torn & (given != truth)].mean() - 0.3


def test_few_verdicts_leave_everything_as_it_was():
    truth, given, probs = noisy([0.1] * 4, count=200)
    before = label_issues(probs, given)
    rows = np.arange(5)
    found = learn_p_wrong(probs, given, verdict_rows=rows, verdict_classes=truth[rows])
    np.testing.assert_array_equal(found.p_wrong, before.p_wrong)
    assert (found.verdicts, found.shrinkage) == (0, 1.0)
    other = np.linspace(0, 1, 200, dtype=np.float32)
    found = learn_p_wrong(probs, given, plain=other, verdict_rows=rows, verdict_classes=truth[rows])
    np.testing.assert_array_equal(found.score, other)


def test_images_without_a_label_or_not_to_be_judged_get_none():
    truth, given, probs = noisy([0.1] * 4, count=400)
    given = np.where(np.arange(400) < 100, -1, given)
    plain = label_issues(probs, given).p_wrong
    plain[100:200] = np.nan
    rows = np.arange(0, 400, 2)
    found = learn_p_wrong(probs, given, plain=plain, verdict_rows=rows, verdict_classes=truth[rows])
    assert np.isnan(found.p_wrong[:200]).all()
    assert np.isfinite(found.p_wrong[200:]).all()
    assert found.verdicts == 100
    assert np.isfinite(found.p_ambiguous).all()
    again = learn_p_wrong(probs, given, plain=plain, verdict_rows=rows, verdict_classes=truth[rows])
    np.testing.assert_array_equal(again.p_wrong, found.p_wrong)


def test_unequal_lists_are_refused_and_nothing_is_fine():
    _, given, probs = noisy([0.1] * 4, count=20)
    with pytest.raises(ValueError, match="one class for each row"):
        learn_p_wrong(probs, given, verdict_rows=np.arange(3), verdict_classes=np.arange(2))
    empty = np.zeros(0, np.int64)
    found = learn_p_wrong(np.zeros((0, 3)), empty, verdict_rows=empty, verdict_classes=empty)
    assert len(found.p_wrong) == len(found.p_ambiguous) == 0
    alone = learn_p_wrong(
        np.ones((30, 1)), np.zeros(30, int), verdict_rows=np.arange(30), verdict_classes=np.zeros(30, int)
    )
    assert (alone.p_wrong <= 0.5).all()
