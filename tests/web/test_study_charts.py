"""The geometry of the plots of a study: one axis for all lines, logarithms, words side by side."""

import pytest

from workbench.services.study_files import Range
from workbench.web.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from workbench.web.study_charts import Mark, Share, Trial, curve_plot, dot_plot, scatter

TRIALS = [
    Trial("1", {"rate": 0.01, "net": "a", "width": 16}, [0.2, 0.5], "stopped"),
    Trial("2", {"rate": 0.1, "net": "b", "width": 32}, [0.4, 0.6, 0.8], "best"),
    Trial("3", {"rate": 0.001, "net": "b", "width": 8}, [0.3, 0.6, 0.7], "done"),
    Trial("4", {"rate": 0.05, "net": "a", "width": 8}, [], "done"),
]


def test_all_lines_of_the_dot_plot_share_an_axis_of_round_numbers() -> None:
    plot = dot_plot(
        {1: (Share(0.6, 0.5, 0.7), Share(0.55), "one"), 2: (None, Share(0.9, 0.85, 0.93), "two"), 3: (None, None, "")}
    )
    assert plot is not None
    assert [tick.words for tick in plot.ticks] == ["40", "60", "80", "100"]
    assert [tick.at for tick in plot.ticks] == [0.0, 33.33, 66.67, 100.0]
    assert plot.rows[1].ours == Mark(33.33, 16.67, 50.0)
    assert plot.rows[1].published == Mark(25.0, None, None)
    assert (plot.rows[2].ours, plot.rows[2].published) == (None, Mark(83.33, 75.0, 88.33))
    assert (plot.rows[3].ours, plot.rows[3].published) == (None, None)


def test_an_axis_says_no_more_digits_than_it_needs() -> None:
    plot = dot_plot({1: (Share(0.61, 0.60, 0.65), None, "one")})
    assert plot is not None
    assert [tick.words for tick in plot.ticks] == ["60", "62", "64", "66"]
    fine = dot_plot({1: (Share(0.61, 0.605, 0.61), None, "one")})
    assert fine is not None
    assert [tick.words for tick in fine.ticks] == ["60.4", "60.6", "60.8", "61"]


def test_without_a_number_there_is_no_plot() -> None:
    assert dot_plot({}) is None
    assert dot_plot({1: (None, None, "waits")}) is None


def test_a_logarithmic_range_is_even_by_ratio() -> None:
    plot = scatter("rate", Range(low=0.001, high=0.1, log=True), TRIALS, goal="accuracy")
    places = {dot.words.split(":")[0]: dot.x for dot in plot.dots}
    assert places["Run 1"] == pytest.approx((places["Run 2"] + places["Run 3"]) / 2)
    assert [tick.words for tick in plot.x_ticks] == ["0.001", "0.01", "0.1"]
    assert plot.dots[-1].kind == "best"
    assert plot.summary == "Validation accuracy by rate: 3 runs, the best 80.0 % at rate 0.1."
    assert plot.dots[0].words == "Run 1: rate 0.01, net a, width 16; 50.0 %, stopped after epoch 2"


def test_words_stand_side_by_side_and_numbers_where_they_are() -> None:
    words = scatter("net", Range(values=("a", "b")), TRIALS, goal="loss")
    assert [tick.words for tick in words.x_ticks] == ["a", "b"]
    assert {dot.x for dot in words.dots} == {tick.at for tick in words.x_ticks}
    numbers = scatter("width", Range(low=8, high=32, step=8), TRIALS, goal="loss")
    assert [tick.words for tick in numbers.x_ticks] == ["8", "20", "32"]


def test_everything_stays_inside_of_the_frame() -> None:
    spans = {
        "rate": Range(low=0.001, high=0.1, log=True),
        "net": Range(values=("a", "b")),
        "width": Range(low=8, high=32),
    }
    plots = [scatter(key, span, TRIALS, goal="loss") for key, span in spans.items()]
    for plot in [*plots, curve_plot(TRIALS, epochs=3, goal="accuracy")]:
        assert all(LEFT <= dot.x <= WIDTH - RIGHT and TOP <= dot.y <= HEIGHT - BOTTOM for dot in plot.dots)


def test_a_curve_ends_where_its_run_was_stopped() -> None:
    plot = curve_plot(TRIALS, epochs=3, goal="accuracy")
    assert [(kind, path.count("L")) for kind, path in plot.lines] == [("stopped", 1), ("done", 2), ("best", 2)]
    assert plot.summary == "Validation accuracy by epoch: 3 runs, 2 to their end, 1 stopped before."
    assert [tick.words for tick in plot.x_ticks] == ["1", "2", "3"]
