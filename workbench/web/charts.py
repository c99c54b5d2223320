"""Geometry of the charts that pages draw as inline SVG: lines with a band, intervals, paired bars, a heat map.

Pure functions from numbers to coordinates; templates/_charts.html turns them into markup, with a summary in words and
the numbers in a table beside each picture.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WIDTH, HEIGHT = 460, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 28
SQUARE, STRIP = 300, 44  # the diagram of calibration, and the bars below it
HEAT_STEPS = 10

Number = float | None


@dataclass(frozen=True)
class Series:
    """One line: a value, or none where there is a gap, per x; the band is (low, high) per x, or empty."""

    name: str
    values: Sequence[Number]
    kind: str = "a"  # a, b, quiet: how it is drawn
    band: Sequence[tuple[float, float] | None] = ()


@dataclass(frozen=True)
class Tick:
    at: float
    words: str


@dataclass(frozen=True)
class Line:
    name: str
    kind: str
    path: str
    band: str
    dots: list[tuple[float, float]]


@dataclass(frozen=True)
class LineChart:
    """Everything in the coordinates of a viewBox of `width` by `height`."""

    title: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    baseline: Tick | None
    summary: str
    header: list[str]
    rows: list[list[str]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x: Sequence[float],
    x_name: str = "",
    percent: bool = False,
    baseline: tuple[float, str] | None = None,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> LineChart:
    """Lines over x (ascending). percent: values are shares. baseline: a value and what it is, drawn across."""
    numbers = [value for each in series for value in each.values if value is not None and math.isfinite(value)]
    numbers += [edge for each in series for pair in each.band if pair is not None for edge in pair]
    numbers += [baseline[0]] if baseline else []
    numbers += y_range or ()
    steps = nice_steps(min(numbers, default=0.0), max(numbers, default=1.0))
    x_low, x_high = x_range or (min(x, default=0.0), max(x, default=1.0))
    frame = _Frame(x_low, x_high if x_high > x_low else x_low + 1, steps[0], steps[-1])
    return LineChart(
        title=title,
        lines=[frame.draw(each, x) for each in series],
        x_ticks=[Tick(frame.x(value), _write(value)) for value in _pick_x(x_low, x_high)],
        y_ticks=[Tick(frame.y(value), _write(value, percent=percent, step=steps[1] - steps[0])) for value in steps],
        baseline=Tick(frame.y(baseline[0]), baseline[1]) if baseline else None,
        summary=_summarise(title, series, percent=percent),
        header=[x_name, *(each.name for each in series)],
        rows=[
            [_write(place), *(_write(each.values[row], percent=percent, digits=3) for each in series)]
            for row, place in enumerate(x)
        ],
    )


@dataclass(frozen=True)
class _Frame:
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        return round(LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - self.y_low) / (self.y_high - self.y_low) * (HEIGHT - BOTTOM - TOP), 1)

    def draw(self, series: Series, x: Sequence[float]) -> Line:
        points = [
            (self.x(place), self.y(value)) if value is not None and math.isfinite(value) else None
            for place, value in zip(x, series.values, strict=True)
        ]
        shown = [point for point in points if point]
        return Line(series.name, series.kind, _join(points), self._draw_band(series, x), shown[-1:] or [])

    def _draw_band(self, series: Series, x: Sequence[float]) -> str:
        known = [(place, pair) for place, pair in zip(x, series.band, strict=False) if pair is not None]
        if len(known) < 2:
            return ""
        upper = [f"{self.x(place)},{self.y(pair[1])}" for place, pair in known]
        lower = [f"{self.x(place)},{self.y(pair[0])}" for place, pair in reversed(known)]
        return "M" + "L".join([*upper, *lower]) + "Z"


def _join(points: Sequence[tuple[float, float] | None]) -> str:
    """A path that lifts the pen over gaps."""
    path, pen = "", "M"
    for point in points:
        if point is None:
            pen = "M"
            continue
        path += f"{pen}{point[0]},{point[1]}"
        pen = "L"
    return path


def nice_steps(low: float, high: float, *, most: int = 5) -> list[float]:
    """Round numbers, evenly spaced, from at or below `low` to at or above `high`."""
    span = (high - low) or abs(high) or 1.0
    raw = span / (most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = max(first + 1, math.ceil(high / step - 1e-9))
    return [round(number * step, 10) for number in range(first, last + 1)]


def _pick_x(low: float, high: float) -> list[float]:
    """Whole numbers to write under the axis, the first and the last among them."""
    step = max(1, math.ceil((high - low) / 8))
    inner = [value for value in range(math.ceil(low), math.floor(high) + 1, step) if high - value >= step * 0.6]
    return list(dict.fromkeys([float(low), *map(float, inner), float(high)]))


def _write(value: Number, *, percent: bool = False, step: float | None = None, digits: int | None = None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    if percent:
        fine = digits is not None or (step is not None and step < 0.01)
        return f"{100 * value:.{1 if fine else 0}f} %"
    if digits is not None:
        return f"{value:.{digits}f}"
    return f"{value:.10g}"


def _summarise(title: str, series: Sequence[Series], *, percent: bool) -> str:
    parts = []
    for each in series:
        known = [value for value in each.values if value is not None]
        if known:
            first, last = (_write(value, percent=percent, digits=3) for value in (known[0], known[-1]))
            parts.append(f"{each.name} from {first} to {last}")
    return f"{title}: {'; '.join(parts) or 'nothing yet'}."


# --- intervals and bars -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IntervalBar:
    """A share as a bar with its 95 % interval and a baseline, in a viewBox 100 wide."""

    value: float
    low: float
    high: float
    baseline: float | None
    words: str


def interval_bar(value: Number, *, low: Number, high: Number, baseline: Number = None, words: str = "") -> IntervalBar:
    share, least, most = (_clip(number) for number in (value, low, high))
    return IntervalBar(share, least, most, None if baseline is None else _clip(baseline), words)


def _clip(value: Number) -> float:
    return round(100 * min(max(value or 0.0, 0.0), 1.0), 2)


@dataclass(frozen=True)
class PairedBars:
    """Two shares above each other, and the difference from the first to the second."""

    a: float
    b: float
    difference: Number
    words: str


def paired_bars(name: str, a: Number, b: Number, *, names: tuple[str, str]) -> PairedBars:
    difference = None if a is None or b is None else b - a
    words = f"{name}: {names[0]} {_write(a, percent=True, digits=1)}, {names[1]} {_write(b, percent=True, digits=1)}"
    return PairedBars(_clip(a), _clip(b), difference, words)


def count_bars(name: str, a: int, b: int, *, most: int) -> PairedBars:
    """How many images are labelled and how many predicted so, on the scale of the largest number of the page."""
    words = f"{name}: {a:,} labelled, {b:,} predicted"
    return PairedBars(_clip(a / most), _clip(b / most), float(b - a), words)


# --- calibration ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReliabilityPoint:
    """A bin in the square of the diagram: where its dot is, its whisker, and how tall the bar of its images is."""

    x: float
    y: float
    low: float
    high: float
    bar: float
    left: float
    width: float
    words: str


@dataclass(frozen=True)
class Reliability:
    """Confidence to the right, accuracy upwards, both from 0 to 1; below, how many images are how sure."""

    title: str
    points: list[ReliabilityPoint]
    ticks: list[Tick]  # for both axes: x = left + at, y = bottom - at
    summary: str
    header: list[str]
    rows: list[list[str]]
    size: int = SQUARE
    strip: int = STRIP


def reliability(title: str, bins: Sequence[Mapping[str, Any]]) -> Reliability:
    """bins: as `measures.measure_calibration` lists them."""
    most = max((each["n"] for each in bins), default=1)
    points = [
        ReliabilityPoint(
            x=round(SQUARE * each["confidence"], 1),
            y=round(SQUARE * (1 - each["accuracy"]), 1),
            low=round(SQUARE * (1 - each["accuracy_low"]), 1),
            high=round(SQUARE * (1 - each["accuracy_high"]), 1),
            bar=round(STRIP * each["n"] / most, 1),
            left=round(SQUARE * each["from"] + 1, 1),
            width=round(SQUARE * (each["to"] - each["from"]) - 2, 1),
            words=f"{each['n']:,} images about {each['confidence']:.0%} sure: {each['accuracy']:.0%} right",
        )
        for each in bins
    ]
    told = "; ".join(point.words for point in points)
    return Reliability(
        title=title,
        points=points,
        ticks=[Tick(SQUARE * share / 4, f"{25 * share} %") for share in range(5)],
        summary=f"{title}: {told or 'nothing'}.",
        header=["Confidence", "Images", "Mean confidence", "Accuracy", "95 % interval"],
        rows=[
            [
                f"{100 * each['from']:.0f} to {100 * each['to']:.0f} %",
                f"{each['n']:,}",
                _write(each["confidence"], percent=True, digits=1),
                _write(each["accuracy"], percent=True, digits=1),
                f"[{100 * each['accuracy_low']:.1f}, {100 * each['accuracy_high']:.1f}]",
            ]
            for each in bins
        ],
    )


# --- the heat map -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """heat: 0 for nothing to HEAT_STEPS for the whole row; negative ones are losses in a matrix of changes."""

    true: str
    predicted: str
    count: int
    share: Number
    heat: int

    @property
    def is_right(self) -> bool:
        return self.true == self.predicted


@dataclass(frozen=True)
class MatrixRow:
    name: str
    total: int
    cells: list[Cell]


@dataclass(frozen=True)
class Matrix:
    classes: list[str]
    rows: list[MatrixRow]
    totals: list[int] = field(default_factory=list)  # per predicted class


def matrix(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Matrix:
    """Rows are true classes; heat follows the root of a cell's share of its row, so that small cells show."""
    rows = []
    for name, row in zip(classes, counts, strict=True):
        total = sum(row)
        cells = [
            Cell(name, predicted, count, count / total if total else None, _heat(count / total if total else 0.0))
            for predicted, count in zip(classes, row, strict=True)
        ]
        rows.append(MatrixRow(name, total, cells))
    return Matrix(list(classes), rows, [sum(column) for column in zip(*counts, strict=True)])


def change_matrix(a: Sequence[Sequence[int]], b: Sequence[Sequence[int]], classes: Sequence[str]) -> Matrix:
    """What changed from a to b on the same images; heat is relative to the largest change."""
    most = max(
        (abs(y - x) for row_a, row_b in zip(a, b, strict=True) for x, y in zip(row_a, row_b, strict=True)), default=0
    )
    rows = []
    for name, row_a, row_b in zip(classes, a, b, strict=True):
        cells = [
            Cell(name, predicted, y - x, None, int(math.copysign(_heat(abs(y - x) / most), y - x)) if most else 0)
            for predicted, x, y in zip(classes, row_a, row_b, strict=True)
        ]
        rows.append(MatrixRow(name, sum(row_b), cells))
    return Matrix(list(classes), rows)


def _heat(share: float) -> int:
    return 0 if share <= 0 else max(1, round(HEAT_STEPS * math.sqrt(share)))
