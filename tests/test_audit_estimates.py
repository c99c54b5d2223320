"""The estimators of audits, against the truth of drawn populations; frames and draws; edges."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from workbench.services.audit_estimates import Assistant, Sample, estimate_among, estimate_plain, weigh
from workbench.services.audit_frames import Frame, draw, make_frame, read_frame


def _population(count: int, *, seed: int = 0, slope: float = 1.0) -> dict[str, NDArray[np.generic]]:
    """Labels that are wrong as often as P(wrong) says, or (slope below 1) as it says only roughly."""
    rng = np.random.default_rng(seed)
    class_ids = rng.integers(1, 5, count)
    logits = rng.normal(-2 + 0.7 * class_ids, 1.5)
    wrong = rng.random(count) < 1 / (1 + np.exp(-slope * logits))
    return {
        "class_ids": class_ids,
        "splits": rng.integers(0, 2, count),
        "p_wrong": 1 / (1 + np.exp(-logits)),
        "settled": np.zeros(count, np.bool_),
        "wrong": wrong,
    }


def _frame(population: dict[str, NDArray[np.generic]], size: int) -> tuple[Frame, NDArray[np.int64], NDArray[np.int64]]:
    known = {key: value for key, value in population.items() if key != "wrong"}
    return make_frame(**known, size=size)  # type: ignore[arg-type] - as their names say


@pytest.mark.parametrize("slope", [1.0, 0.3, -0.5])
def test_intervals_hold_the_truth_whatever_p_wrong_is_worth(slope: float) -> None:
    """200 audits each; at .95 fewer than .91 or more than .995 happen once in a hundred times. Useless and misleading
    P(wrong) too: it may cost width, not coverage."""
    population = _population(6000, slope=slope)
    frame, cell_of, wanted = _frame(population, 200)
    truth = float(population["wrong"].mean())
    plain, assisted, simple = [], [], []
    for number in range(200):
        rows = draw(cell_of, frame, wanted, rng=np.random.default_rng(number))
        sample = Sample(cell_of[rows], population["wrong"][rows].astype(bool))
        for found, estimate in (
            (plain, estimate_plain(frame, sample)),
            (assisted, Assistant(frame, sample).estimate()),
        ):
            assert estimate is not None
            found.append((estimate.low <= truth <= estimate.high, estimate.high - estimate.low, estimate.rate))
        simple.append(2 * 1.96 * np.sqrt(truth * (1 - truth) / 200))
    for found in (plain, assisted):
        covered, widths, rates = np.array(found, float).T
        assert 0.905 <= covered.mean() <= 0.995
        assert abs(rates.mean() - truth) < 0.008
        if slope == 1.0:
            assert widths.mean() < 0.9 * np.mean(simple)


def test_a_frame_is_read_as_it_was_stored() -> None:
    frame, _, _ = _frame(_population(500), 60)
    again = read_frame(json.loads(json.dumps(frame.report())))
    assert again.report() == frame.report()
    np.testing.assert_array_equal(again.stratum_counts, frame.stratum_counts)
    assert again.splits == frame.splits


@pytest.mark.parametrize("size", [20, 60, 400, 500])
def test_a_sample_has_the_size_asked_for_and_no_image_twice(size: int) -> None:
    frame, cell_of, wanted = _frame(_population(500), size)
    rows = draw(cell_of, frame, wanted, rng=np.random.default_rng(0))
    assert abs(len(rows) - size) <= 3
    assert len(set(rows.tolist())) == len(rows)
    np.testing.assert_array_equal(np.bincount(frame.strata[cell_of[rows]], minlength=len(wanted)), wanted)
    np.testing.assert_array_equal(rows, draw(cell_of, frame, wanted, rng=np.random.default_rng(0)))


def test_weights_stand_for_all_images_and_the_plain_rate_is_their_mean() -> None:
    population = _population(800)
    frame, cell_of, wanted = _frame(population, 100)
    rows = draw(cell_of, frame, wanted, rng=np.random.default_rng(3))
    sample = Sample(cell_of[rows], population["wrong"][rows].astype(bool))
    weights = weigh(frame, sample)
    assert weights.sum() == pytest.approx(800)
    estimate = estimate_plain(frame, sample)
    assert estimate is not None
    assert estimate.rate == pytest.approx(weights[sample.wrong].sum() / 800)


def test_rare_classes_are_drawn_too() -> None:
    population = _population(3000)
    population["class_ids"][:40] = 9
    population["p_wrong"][:40] = 0.02
    frame, cell_of, wanted = _frame(population, 300)
    rows = draw(cell_of, frame, wanted, rng=np.random.default_rng(0))
    assert (population["class_ids"][rows] == 9).sum() >= 10


def test_the_first_verdicts_are_a_smaller_sample() -> None:
    population = _population(4000)
    frame, cell_of, wanted = _frame(population, 300)
    truth, rates = float(population["wrong"].mean()), []
    for number in range(60):
        rows = draw(cell_of, frame, wanted, rng=np.random.default_rng(number))[:80]
        sample = Sample(cell_of[rows], population["wrong"][rows].astype(bool), drawn=wanted)
        estimate = estimate_plain(frame, sample)
        assert estimate is not None
        rates.append(estimate.rate)
    assert abs(np.mean(rates) - truth) < 0.02


def test_edges() -> None:
    population = _population(50)
    frame, cell_of, _ = _frame(population, 50)
    nothing = Sample(np.zeros(0, np.int64), np.zeros(0, bool))
    assert (estimate_plain(frame, nothing), Assistant(frame, nothing).estimate()) == (None, None)

    everything = Sample(cell_of, population["wrong"].astype(bool))
    whole = Assistant(frame, everything).estimate()
    assert whole is not None
    assert whole.low == whole.rate == whole.high == pytest.approx(population["wrong"].mean())

    alone = Sample(cell_of[:1], np.zeros(1, bool))
    for estimate in (estimate_plain(frame, alone), Assistant(frame, alone).estimate()):
        assert estimate is not None
        assert (estimate.low, estimate.n, estimate.high > 0.5) == (0.0, 1, True)

    none_wrong = Assistant(frame, Sample(cell_of[:30], np.zeros(30, bool))).estimate()
    assert none_wrong is not None
    assert none_wrong.low == 0.0
    assert estimate_among(frame, everything, np.zeros(50, bool)) is None


def test_without_p_wrong_strata_are_split_and_class() -> None:
    population = _population(900)
    population["p_wrong"] = np.full(900, np.nan)
    _, _, wanted = _frame(population, 90)
    assert len(wanted) == 8
    assert wanted.sum() == 90
    assert wanted.min() >= 8
