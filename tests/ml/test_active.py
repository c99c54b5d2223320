"""Which images to ask about next: against naive versions, and at the edges."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.active import diversity, uncertainty
from ml.active.strategies import NEEDS_NO_MODEL, STRATEGIES, Pool, pick, pick_within, share_out, weigh_classes

Floats = NDArray[np.float32]


def draw_pool(count: int, *, labelled: int, seed: int = 0) -> Pool:
    rng = np.random.default_rng(seed)
    labels = np.full(count, -1)
    labels[:labelled] = rng.integers(0, 3, labelled)
    return Pool(
        probs=rng.dirichlet(np.ones(3), count).astype(np.float32),
        embeddings=rng.normal(size=(count, 4)).astype(np.float32),
        labels=labels,
    )


def clusters(*, each: int = 20, seed: int = 0) -> Floats:
    """Five heaps of points, far apart."""
    rng = np.random.default_rng(seed)
    centres = np.eye(5, 5) * 10
    return np.concatenate([centre + 0.1 * rng.normal(size=(each, 5)) for centre in centres]).astype(np.float32)


def naive_k_center(points: Floats, labelled: list[int], k: int) -> list[int]:
    chosen = list(labelled)
    for _ in range(k):
        nearest = [min(float(((point - points[row]) ** 2).sum()) for row in chosen) for point in points]
        chosen.append(int(np.argmax([-1 if row in chosen else far for row, far in enumerate(nearest)])))
    return chosen[len(labelled) :]


def test_k_center_greedy_is_the_naive_rule() -> None:
    points = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    found = diversity.k_center_greedy(points, labelled=np.array([3, 7]), k=6, rng=np.random.default_rng(0))
    assert found.tolist() == naive_k_center(points, [3, 7], 6)


def test_k_center_greedy_without_labels_visits_every_heap() -> None:
    points = clusters()
    found = diversity.k_center_greedy(points, labelled=np.empty(0, np.int64), k=5, rng=np.random.default_rng(0))
    assert sorted(row // 20 for row in found.tolist()) == [0, 1, 2, 3, 4]


def test_cover_takes_one_of_each_heap_and_follows_the_weight() -> None:
    points = clusters()
    found = diversity.cover(points, weights=np.ones(100, np.float32), k=5, rng=np.random.default_rng(0))
    assert sorted(row // 20 for row in found.tolist()) == [0, 1, 2, 3, 4]

    weights = np.full(100, 1e-6, np.float32)
    weights[:20] = 1  # only the first heap matters
    found = diversity.cover(points, weights=weights, k=5, rng=np.random.default_rng(0))
    assert sum(row < 20 for row in found.tolist()) >= 2


def test_cover_of_equal_rows_still_gives_distinct_ones() -> None:
    points = np.zeros((9, 2), np.float32)
    found = diversity.cover(points, weights=np.ones(9, np.float32), k=4, rng=np.random.default_rng(0))
    assert len(set(found.tolist())) == 4


def test_badge_passes_by_what_the_model_is_sure_of() -> None:
    points = clusters()
    probs = np.full((100, 2), [1.0, 0.0], np.float32)
    probs[::20] = 0.5  # one of each heap is a tie
    found = diversity.badge(probs, points, k=5, rng=np.random.default_rng(0))
    assert sorted(found.tolist()) == [0, 20, 40, 60, 80]


@pytest.mark.parametrize("k", [0, 11])
def test_more_than_there_is_cannot_be_picked(k: int) -> None:
    points = np.zeros((10, 2), np.float32)
    if k:
        with pytest.raises(ValueError, match="11 rows cannot be picked from 10"):
            diversity.k_center_greedy(points, labelled=np.empty(0, np.int64), k=k, rng=np.random.default_rng(0))
    else:
        assert len(pick(draw_pool(10, labelled=10), strategy="margin", k=5, seed=0).rows) == 0
    points[3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        diversity.cover(points, weights=np.ones(10, np.float32), k=2, rng=np.random.default_rng(0))


def test_bald_asks_where_labels_are_far_not_where_the_picture_is_ambiguous() -> None:
    """Two places of equal doubt: at one there are a hundred labels, at the other none."""
    points = np.repeat(np.eye(2, dtype=np.float32), 101, axis=0)
    probs = np.full((202, 2), 0.5, np.float32)
    known = np.arange(100)
    gain = uncertainty.bald(probs, points, labelled=known, rng=np.random.default_rng(0), draws=64)
    assert gain[150] > 2 * gain[100]
    sure = uncertainty.bald(np.full((202, 2), [1.0, 0.0]), points, labelled=known, rng=np.random.default_rng(0))
    assert sure.max() < gain[150] / 10


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_picks_distinct_open_rows_and_the_same_again(strategy: str) -> None:
    pool = draw_pool(60, labelled=20)
    found = pick(pool, strategy=strategy, k=15, seed=3)
    assert len(set(found.rows.tolist())) == 15
    assert found.rows.min() >= 20
    assert (np.diff(found.scores) <= 0).all()
    assert pick(pool, strategy=strategy, k=15, seed=3).rows.tolist() == found.rows.tolist()
    assert sorted(pick(pool, strategy=strategy, k=99, seed=0).rows.tolist()) == list(range(20, 60))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_a_model_only_what_needs_none(strategy: str) -> None:
    pool = Pool(np.zeros((8, 0), np.float32), np.eye(8, dtype=np.float32), np.full(8, -1))
    if strategy in NEEDS_NO_MODEL:
        assert len(pick(pool, strategy=strategy, k=3, seed=0).rows) == 3
    else:
        with pytest.raises(ValueError, match="needs a model"):
            pick(pool, strategy=strategy, k=3, seed=0)


def test_margin_is_the_naive_order() -> None:
    pool = draw_pool(30, labelled=5)
    ranked = np.sort(pool.probs, axis=1)
    lead = {row: ranked[row, -1] - ranked[row, -2] for row in range(5, 30)}
    assert pick(pool, strategy="margin", k=6, seed=0).rows.tolist() == sorted(lead, key=lead.__getitem__)[:6]


def test_classes_with_few_labels_weigh_more() -> None:
    labels = np.array([0] * 90 + [1] * 9 + [2] + [-1] * 5)
    pool = Pool(np.full((105, 3), 1 / 3, np.float32), np.zeros((105, 2), np.float32), labels)
    common, rarer, rarest = weigh_classes(pool).tolist()
    assert common < rarer <= rarest
    assert (common, rarest) == (pytest.approx((101 / 3 / 91) ** 0.5), 2.0)


def test_budgets_are_dealt_evenly_and_what_is_left_goes_on() -> None:
    assert share_out(np.array([10, 2, 10]), k=12).tolist() == [5, 2, 5]
    assert share_out(np.array([10, 10]), k=3).tolist() == [2, 1]
    assert share_out(np.array([1, 1]), k=9).tolist() == [1, 1]
    assert share_out(np.array([0, 0]), k=4).tolist() == [0, 0]


def test_budgets_count_by_the_predicted_class() -> None:
    pool = draw_pool(80, labelled=10)
    found = pick_within(pool, strategy="margin", budgets={0: 3, 2: 5}, seed=0)
    predicted = pool.probs[found.rows].argmax(1)
    assert np.bincount(predicted, minlength=3).tolist() == [3, 0, 5]
    assert (np.diff(found.scores) <= 0).all()
    assert len(pick_within(pool, strategy="margin", budgets={}, seed=0).rows) == 0
