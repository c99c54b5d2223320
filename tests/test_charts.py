"""Charts: coordinates from numbers, words for those who do not see them."""

import itertools

import pytest

from workbench.web.charts import (
    HEIGHT,
    LEFT,
    RIGHT,
    WIDTH,
    Series,
    change_matrix,
    interval_bar,
    line_chart,
    matrix,
    nice_steps,
    paired_bars,
)


@pytest.mark.parametrize(
    ("low", "high", "steps"),
    [
        (0.0, 1.0, [0.0, 0.25, 0.5, 0.75, 1.0]),
        (0.38, 0.63, [0.3, 0.4, 0.5, 0.6, 0.7]),
        (2.0, 2.0, [2.0, 2.5]),
        (0.0, 0.0, [0.0, 0.25]),
        (-3, 7, [-5.0, -2.5, 0.0, 2.5, 5.0, 7.5]),
        (1e-5, 3e-5, [1e-5, 1.5e-5, 2e-5, 2.5e-5, 3e-5]),
    ],
)
def test_steps_are_round_and_cover_the_values(low: float, high: float, steps: list[float]) -> None:
    found = nice_steps(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert len(found) <= 7
    gaps = {round(b - a, 12) for a, b in itertools.pairwise(found)}
    assert len(gaps) == 1
    if low != high:
        assert found == pytest.approx(steps)


def test_a_line_runs_from_edge_to_edge_and_says_its_ends() -> None:
    chart = line_chart("Accuracy", [Series("validation", [0.25, 0.5])], x=[1, 2], x_name="Epoch", percent=True)
    line = chart.lines[0]
    assert line.path.startswith(f"M{LEFT}")
    assert f"L{WIDTH - RIGHT}" in line.path
    assert chart.summary == "Accuracy: validation from 25.0 % to 50.0 %."
    assert (chart.header, chart.rows) == (["Epoch", "validation"], [["1", "25.0 %"], ["2", "50.0 %"]])


def test_higher_values_are_higher_on_the_page() -> None:
    chart = line_chart("Loss", [Series("a", [1.0, 2.0])], x=[0, 1])
    first, last = (float(point.split(",")[1]) for point in chart.lines[0].path[1:].split("L"))
    assert 0 < last < first < HEIGHT


def test_a_gap_lifts_the_pen_and_one_point_is_a_dot() -> None:
    gap = line_chart("Loss", [Series("a", [1.0, None, 2.0])], x=[1, 2, 3]).lines[0]
    assert gap.path.count("M") == 2
    assert "L" not in gap.path
    single = line_chart("Loss", [Series("a", [1.0])], x=[1], x_range=(1, 2)).lines[0]
    assert len(single.dots) == 1
    nothing = line_chart("Loss", [Series("a", [float("nan")])], x=[1]).lines[0]
    assert (nothing.path, nothing.dots) == ("", [])


def test_a_band_goes_there_and_back() -> None:
    series = Series("rate", [0.2, 0.3], band=[(0.1, 0.3), (0.2, 0.4)])
    band = line_chart("Rate", [series], x=[0, 1]).lines[0].band
    assert band.count("L") == 3
    assert band.endswith("Z")
    assert line_chart("Rate", [Series("rate", [0.2, 0.3], band=[None, (0.2, 0.4)])], x=[0, 1]).lines[0].band == ""


def test_the_axis_names_first_and_last_epoch() -> None:
    ticks = line_chart("Loss", [Series("a", [1.0] * 14)], x=range(1, 15)).x_ticks
    assert [tick.words for tick in ticks] == ["1", "3", "5", "7", "9", "11", "14"]
    assert line_chart("Loss", [Series("a", [])], x=[]).x_ticks[0].words == "0"


def test_an_interval_stays_within_its_bar() -> None:
    bar = interval_bar(0.5, low=-0.1, high=1.2, baseline=0.25)
    assert (bar.value, bar.low, bar.high, bar.baseline) == (50.0, 0.0, 100.0, 25.0)
    assert interval_bar(None, low=None, high=None).baseline is None


def test_paired_bars_say_both_values() -> None:
    bars = paired_bars("happy", 0.5, 0.625, names=("run 1", "run 2"))
    assert (bars.a, bars.b, bars.difference) == (50.0, 62.5, 0.125)
    assert bars.words == "happy: run 1 50.0 %, run 2 62.5 %"
    assert paired_bars("owl", None, 0.5, names=("run 1", "run 2")).difference is None


def test_a_matrix_is_read_row_by_row() -> None:
    found = matrix([[8, 2], [0, 0]], ["cat", "dog"])
    assert [[cell.count for cell in row.cells] for row in found.rows] == [[8, 2], [0, 0]]
    assert [cell.heat for cell in found.rows[0].cells] == [9, 4]
    assert [(cell.share, cell.heat) for cell in found.rows[1].cells] == [(None, 0), (None, 0)]
    assert ([row.total for row in found.rows], found.totals) == ([10, 0], [8, 2])
    assert [cell.is_right for cell in found.rows[0].cells] == [True, False]


def test_a_change_has_a_sign() -> None:
    found = change_matrix([[8, 2], [1, 9]], [[9, 1], [1, 9]], ["cat", "dog"])
    assert [[cell.count for cell in row.cells] for row in found.rows] == [[1, -1], [0, 0]]
    assert [[cell.heat for cell in row.cells] for row in found.rows] == [[10, -10], [0, 0]]
    assert change_matrix([[1]], [[1]], ["cat"]).rows[0].cells[0].heat == 0
