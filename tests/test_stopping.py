"""How many wrong labels are left in a queue: intervals that hold what they promise, at any point of a review."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from workbench.services.stopping import AHEAD, Outlook, Trail, look_ahead


def make_trail(p_wrong: object, hits: object, *, done: int, is_random: object = None) -> Trail:
    p = np.asarray(p_wrong, np.float64)
    is_done = np.arange(len(p)) < done
    drawn = np.zeros(len(p), np.bool_) if is_random is None else np.asarray(is_random, np.bool_)
    nothing = np.zeros(len(p), np.int64)
    return Trail(p, is_done, np.asarray(hits, np.bool_) & is_done, drawn, nothing, nothing, np.ones(len(p)))


def simulate(rng: np.random.Generator, *, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A queue by P(wrong), a twentieth of it drawn at random; the forecast is off by a level and a slope."""
    forecast = np.sort(rng.normal(rng.uniform(-2, 1.5), rng.uniform(0.3, 1.5), size))[::-1]
    is_random = rng.random(size) < 0.05
    forecast[is_random] = rng.normal(-1.5, 1.0, is_random.sum())
    truth = expit(forecast.mean() + rng.normal(0, 0.5) + rng.normal(1, 0.25) * (forecast - forecast.mean()))
    return expit(forecast), rng.random(size) < truth, is_random


def test_nine_of_ten_intervals_cover_at_every_point_of_a_review() -> None:
    rng = np.random.default_rng(0)
    covered: dict[float, list[bool]] = {share: [] for share in (0.0, 0.1, 0.5, 0.9)}
    for _ in range(100):
        p_wrong, hits, is_random = simulate(rng, size=int(rng.integers(50, 600)))
        for share, told in covered.items():
            done = round(share * len(hits))
            left = look_ahead(make_trail(p_wrong, hits, done=done, is_random=is_random)).left
            told.append(left.low <= hits[done:].sum() <= left.high)

    assert {share: np.mean(told) >= 0.88 for share, told in covered.items()} == dict.fromkeys(covered, True)


def test_verdicts_make_the_interval_narrower_and_move_it_to_the_truth() -> None:
    rng = np.random.default_rng(1)
    p_wrong = np.full(400, 0.5)
    hits = rng.random(400) < 0.2

    before, after = (look_ahead(make_trail(p_wrong, hits, done=done)) for done in (0, 200))

    assert before.left.low < 0.35 * 400 < before.left.expected < before.left.high
    truth = int(hits[200:].sum())
    assert after.left.low <= truth <= after.left.high
    assert (after.left.high - after.left.low) / 200 < 0.6 * (before.left.high - before.left.low) / 400
    assert after.smoothed == pytest.approx(hits[150:200].mean(), abs=0.08)


def test_a_falling_hit_rate_is_foreseen_in_the_next_hundred() -> None:
    p_wrong = np.linspace(0.95, 0.02, 1000)
    hits = np.random.default_rng(2).random(1000) < p_wrong

    outlook = look_ahead(make_trail(p_wrong, hits, done=500))

    assert outlook.ahead.of == AHEAD
    assert abs(outlook.ahead.expected - hits[500:600].sum()) < 15
    assert outlook.left.expected < 0.5 * 500 * hits[:500].mean()  # the rate so far would promise far too much


def test_without_p_wrong_the_rate_in_the_queue_decides() -> None:
    hits = np.arange(300) % 4 == 0
    outlook = look_ahead(make_trail(np.full(300, np.nan), hits, done=150))

    assert outlook.left.low <= hits[150:].sum() <= outlook.left.high
    assert outlook.left.rate == pytest.approx(0.25, abs=0.08)


def test_an_empty_queue_and_one_that_is_done_hold_nothing() -> None:
    empty = look_ahead(make_trail([], [], done=0))
    done = look_ahead(make_trail([0.9] * 30, [True] * 30, done=30))

    assert (empty.left.of, empty.ahead.of, empty.smoothed) == (0, 0, None)
    assert (done.left.expected, done.left.high, done.ahead.of) == (0.0, 0, 0)
    assert (done.smoothed or 0.0) > 0.9


def test_a_thinned_queue_tells_of_all_its_items() -> None:
    p_wrong, hits, _ = simulate(np.random.default_rng(3), size=4000)
    whole = make_trail(p_wrong, hits, done=200)
    kept = whole.is_done | (np.arange(4000) % 10 == 0)
    thin = whole.take(kept)
    thin = replace(thin, counts=np.where(thin.is_done, 1.0, 10.0))

    full, part = look_ahead(whole).left, look_ahead(thin).left
    assert part.of == full.of == 3800
    assert part.expected == pytest.approx(full.expected, rel=0.1)


def test_the_same_verdicts_give_the_same_numbers() -> None:
    p_wrong, hits, is_random = simulate(np.random.default_rng(4), size=300)
    told: list[Outlook] = [look_ahead(make_trail(p_wrong, hits, done=100, is_random=is_random)) for _ in range(2)]
    assert told[0] == told[1]


def test_what_verdicts_taught_p_wrong_makes_its_level_surer() -> None:
    trail = make_trail(np.full(500, 0.3), np.zeros(500, np.bool_), done=0)
    before, learned = look_ahead(trail).left, look_ahead(trail, learned=400).left

    assert learned.high - learned.low < 0.75 * (before.high - before.low)
    assert logit(learned.rate) == pytest.approx(logit(0.3), abs=0.3)
