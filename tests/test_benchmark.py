"""The arithmetic of the duplicates benchmark: recall, thresholds, intervals, calibration, sheets and verdicts."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.photographs import _split
from benchmarks.scoring import (
    Found,
    Truth,
    calibration_error,
    choose_threshold,
    count_grouped,
    count_recalled,
    fit_exponent,
    tabulate_reliability,
    wilson,
)
from benchmarks.sheets import VERDICTS, Judged, draw_pairs, estimate_precision, read_verdicts, write_sheets


def make_found(pairs: list[tuple[int, int, float]], *, count: int = 10, group: dict[int, int] | None = None) -> Found:
    a, b, score = (np.array(column) for column in zip(*pairs, strict=True))
    groups = np.array([(group or {}).get(row, -1) for row in range(count)], np.int64)
    return Found(a.astype(np.int64), b.astype(np.int64), score.astype(np.float32), score.astype(np.float32), groups)


def test_recall_is_counted_by_family() -> None:
    truth = Truth(np.array([0, 1, 2]), np.array([7, 8, 9]), ["zoom", "mirror", "zoom"], 10)
    found = make_found([(0, 7, 0.9), (0, 8, 0.8), (2, 9, 0.7)], group={0: 1, 7: 1, 2: 0, 9: 3})
    assert count_recalled(truth, found.keys().tolist()) == {"all": (2, 3), "zoom": (2, 2), "mirror": (0, 1)}
    assert count_grouped(truth, found) == 1


def test_threshold_takes_all_pairs_of_one_score_or_none() -> None:
    found = make_found([(0, 1, 5), (0, 2, 4), (0, 3, 4), (0, 4, 3), (0, 5, 2)])
    assert choose_threshold(found, {1, 2, 4}, precision=0.7) == 3  # the pair of rows 0 and 3 is wrong: 3 of 4
    assert choose_threshold(found, {1, 2, 4}, precision=0.9) == 5
    assert choose_threshold(found, set(), precision=0.9) == 5  # nothing is good enough: the strictest there is


def test_wilson_agrees_with_the_book() -> None:
    low, high = wilson(95, 100)
    assert (round(low, 4), round(high, 4)) == (0.8882, 0.9785)
    assert wilson(0, 0) == (0.0, 1.0)


def test_calibration_error_weighs_the_bins() -> None:
    table = tabulate_reliability(np.array([0.05, 0.95, 0.95, 1.0]), np.array([False, True, True, False]))
    assert [(row.low, row.weight) for row in table] == [(0.0, 1), (0.9, 3)]
    assert calibration_error(table) == pytest.approx((0.05 + 3 * abs(2.9 / 3 - 2 / 3)) / 4)
    assert calibration_error([]) == 0


def test_exponent_of_a_square_is_two() -> None:
    assert fit_exponent([10, 100, 1000], [1, 100, 10_000]) == pytest.approx(2)


def test_pairs_are_drawn_from_every_stratum() -> None:
    p = np.concatenate([np.full(1000, 0.999), np.full(4, 0.6), np.full(50, 0.8), np.full(90, 0.01)])
    drawn = p[draw_pairs(p, count=60, rng=np.random.default_rng(0))]
    assert {value: int((drawn == value).sum()) for value in (0.999, 0.6, 0.8, 0.01)} == {
        0.999: 46,  # 8 as of each, and 38 because they are the most
        0.6: 4,
        0.8: 9,
        0.01: 0,
    }
    assert len(draw_pairs(np.zeros(0), count=60, rng=np.random.default_rng(0))) == 0


def test_verdicts_come_back_weighted_by_their_stratum(tmp_path: Path) -> None:
    pictures = [np.full((48, 48), 20 * row, np.uint8) for row in range(10)]
    found = make_found([(0, row, 0.995) for row in range(1, 9)] + [(0, 9, 0.6)])
    write_sheets(tmp_path, pictures, found, np.arange(9), count=3, seed=0)
    with (tmp_path / VERDICTS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["verdict"] = "Same" if float(row["p"]) > 0.9 else "different"
    with (tmp_path / VERDICTS).open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)

    judged = read_verdicts(tmp_path)
    share, low, high, trials = estimate_precision(judged, min_p=0.5)

    assert sorted((pair.weight, pair.same) for pair in judged) == [(1, False), (4, True), (4, True)]
    assert share == pytest.approx(8 / 9)
    assert trials == 3
    assert low < share < high
    with Image.open(tmp_path / "sheet-01.png") as sheet:
        assert sheet.size == (1600, 228)


def test_a_strange_verdict_is_refused(tmp_path: Path) -> None:
    (tmp_path / VERDICTS).write_text("p,weight,verdict\n0.9,1,maybe\n")
    with pytest.raises(ValueError, match="not maybe"):
        read_verdicts(tmp_path)


def test_nothing_judged_gives_no_precision() -> None:
    share, low, high, trials = estimate_precision([Judged(0.2, 1, same=True)], min_p=0.5)
    assert np.isnan(share)
    assert (low, high, trials) == (0, 1, 0)


@pytest.mark.parametrize("size", [(640, 427), (96, 96), (3000, 500), (50, 400)])
def test_windows_of_a_photograph_do_not_overlap(size: tuple[int, int]) -> None:
    seen = np.zeros(size[::-1], np.int64)
    for left, top, right, bottom in _split((0, 0, *size), np.random.default_rng(0)):
        seen[top:bottom, left:right] += 1
        assert min(right - left, bottom - top) >= 96
    assert seen.max(initial=0) <= 1
    assert seen.any() == (min(size) >= 96)
