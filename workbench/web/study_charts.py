"""Geometry of the charts on the page of a study: a dot plot beside its table, and for searches scatters and curves."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.services.study_files import Range, write_value
from workbench.web.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Tick, nice_steps

MOST_TICKS = 6


# --- the dot plot -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mark:
    """A value with its interval, in a box 100 wide; the interval is none where it is not known."""

    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class DotRow:
    """What one line of the table draws."""

    ours: Mark | None
    published: Mark | None
    words: str


@dataclass(frozen=True)
class DotPlot:
    """The rows, by number, on one axis. ticks: evenly spaced from the left edge to the right."""

    rows: dict[int, DotRow]
    ticks: list[Tick]


@dataclass(frozen=True)
class Share:
    """A share between 0 and 1 with its interval."""

    value: float
    low: float | None = None
    high: float | None = None


def dot_plot(rows: Mapping[int, tuple[Share | None, Share | None, str]]) -> DotPlot | None:
    """(ours, published, words) of each row; none where there is nothing to draw."""
    numbers = [
        number
        for ours, published, _ in rows.values()
        for share in (ours, published)
        if share is not None
        for number in (share.value, share.low, share.high)
        if number is not None
    ]
    if not numbers:
        return None
    steps = nice_steps(min(numbers), max(numbers))
    place = _scale(steps[0], steps[-1], 0.0, 100.0)
    return DotPlot(
        rows={
            number: DotRow(_mark(ours, place), _mark(published, place), words)
            for number, (ours, published, words) in rows.items()
        },
        ticks=[Tick(place(step), f"{100 * step:.4g}") for step in steps],
    )


def _mark(share: Share | None, place: Callable[[float], float]) -> Mark | None:
    if share is None:
        return None
    low, high = (None if number is None else place(number) for number in (share.low, share.high))
    return Mark(place(share.value), low, high)


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    width = (high - low) or 1.0
    return lambda value: round(start + (value - low) / width * (end - start), 2)


# --- plots of a search ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dot:
    kind: str  # done, stopped, best
    x: float
    y: float
    words: str


@dataclass(frozen=True)
class Plot:
    """Dots and lines in the coordinates of a viewBox of `width` by `height`. summary: for those who do not see it."""

    title: str
    summary: str
    dots: list[Dot]
    lines: list[tuple[str, str]]  # (kind, path)
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Trial:
    """A run of a search as plots show it. curve: the goal's measure after each epoch; the last one is its score."""

    name: str
    chosen: dict[str, Any]
    curve: Sequence[float]
    kind: str  # done, stopped, best


def scatter(key: str, span: Range, trials: Sequence[Trial], *, goal: str) -> Plot:
    """The score over one setting; words and true or false stand side by side."""
    percent = goal == "accuracy"
    shown = [trial for trial in trials if trial.curve and key in trial.chosen]
    y, y_ticks = _measure_y([trial.curve[-1] for trial in shown], percent=percent)
    x, x_ticks = _measure_x(span)
    dots = [
        Dot(trial.kind, x(trial.chosen[key]), y(trial.curve[-1]), _tell(trial, percent=percent))
        for trial in sorted(shown, key=_last_on_top)
    ]
    title = f"Validation {goal} by {key}"
    return Plot(title, _summarise(title, key, shown, percent=percent), dots, [], x_ticks, y_ticks)


def curve_plot(trials: Sequence[Trial], *, epochs: int, goal: str) -> Plot:
    """The measure after each epoch, a line for each run; those that were stopped end early."""
    title, percent = f"Validation {goal} by epoch", goal == "accuracy"
    shown = [trial for trial in trials if trial.curve]
    y, y_ticks = _measure_y([value for trial in shown for value in trial.curve], percent=percent)
    x = _scale(1, max(epochs, 2), LEFT, WIDTH - RIGHT)
    lines, dots = [], []
    for trial in sorted(shown, key=_last_on_top):
        places = [(x(epoch), y(value)) for epoch, value in enumerate(trial.curve, 1)]
        lines.append((trial.kind, "M" + "L".join(f"{left},{top}" for left, top in places)))
        dots.append(Dot(trial.kind, *places[-1], _tell(trial, percent=percent)))
    step = max(1, math.ceil((epochs - 1) / MOST_TICKS))
    ticks = [Tick(x(epoch), str(epoch)) for epoch in range(1, max(epochs, 2) + 1, step)]
    done = sum(trial.kind != "stopped" for trial in shown)
    summary = f"{title}: {len(shown)} runs, {done} to their end, {len(shown) - done} stopped before."
    return Plot(title, summary, dots, lines, ticks, y_ticks)


def _last_on_top(trial: Trial) -> int:
    return ("stopped", "done", "best").index(trial.kind)


def _measure_y(values: Sequence[float], *, percent: bool) -> tuple[Callable[[float], float], list[Tick]]:
    known = [value for value in values if math.isfinite(value)]
    steps = nice_steps(min(known, default=0.0), max(known, default=1.0))
    y = _scale(steps[0], steps[-1], HEIGHT - BOTTOM, TOP)
    return y, [Tick(y(step), f"{100 * step:.4g} %" if percent else f"{step:.4g}") for step in steps]


def _measure_x(span: Range) -> tuple[Callable[[Any], float], list[Tick]]:
    left, right = float(LEFT), float(WIDTH - RIGHT)
    if span.values:
        width = (right - left) / len(span.values)
        places = {value: round(left + (index + 0.5) * width, 2) for index, value in enumerate(span.values)}
        return lambda value: places.get(value, left), [Tick(places[value], write_value(value)) for value in span.values]
    pad = 10.0
    if span.log:
        scale = _scale(math.log10(span.low), math.log10(span.high), left + pad, right - pad)
        marks = [span.low, *_powers(span.low, span.high), span.high]
        return lambda value: scale(math.log10(value)), [Tick(scale(math.log10(mark)), f"{mark:g}") for mark in marks]
    scale = _scale(span.low, span.high, left + pad, right - pad)
    marks = [span.low, (span.low + span.high) / 2, span.high]
    return scale, [Tick(scale(mark), f"{mark:g}") for mark in marks]


def _powers(low: float, high: float) -> list[float]:
    """Powers of ten well between the ends, so that their words do not touch."""
    room = 0.18 * math.log10(high / low)
    exponents = range(math.ceil(math.log10(low) + room), math.floor(math.log10(high) - room) + 1)
    step = max(1, math.ceil(len(exponents) / 4))
    return [10.0**exponent for exponent in exponents[::step]]


def _tell(trial: Trial, *, percent: bool) -> str:
    chosen = ", ".join(f"{key} {write_value(value)}" for key, value in trial.chosen.items())
    ended = f"stopped after epoch {len(trial.curve)}" if trial.kind == "stopped" else "to its end"
    return f"Run {trial.name}: {chosen}; {_write(trial.curve[-1], percent=percent)}, {ended}"


def _write(value: float, *, percent: bool) -> str:
    return f"{100 * value:.1f} %" if percent else f"{value:.4f}"


def _summarise(title: str, key: str, trials: Sequence[Trial], *, percent: bool) -> str:
    best = next((trial for trial in trials if trial.kind == "best"), None)
    if best is None:
        return f"{title}: {len(trials)} runs."
    value = f"{_write(best.curve[-1], percent=percent)} at {key} {write_value(best.chosen[key])}"
    return f"{title}: {len(trials)} runs, the best {value}."
