"""Contact sheets: pairs side by side for a person to judge, and the table that the verdicts are noted in."""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.scoring import Found, wilson

Picture = NDArray[np.uint8]

STRATA = (0.1, 0.5, 0.7, 0.9, 0.97, 0.99, 1.01)  # bounds of P; what lies below 0.5 is shown for its calibration
VERDICTS = "verdicts.csv"
_SHARED = 0.4  # of the pairs that are shown, drawn evenly from the strata
_SAME, _OTHER = "same", "different"
_TILE = 192  # pixels: 4 times 48
_CAPTION, _GAP = 20, 16
_ACROSS, _DOWN = 4, 6


@dataclass(frozen=True)
class Judged:
    """One row of the table: a pair with what stands for it in the population, and the verdict that a person gave."""

    p: float
    weight: float  # pairs of its stratum that it stands for
    same: bool


def draw_pairs(p: NDArray[np.floating], *, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """About `count` places in p, in random order: the same few from each stratum, the rest by the strata's sizes.

    The few say how P runs; the rest makes the precision of the many sure ones sharp.
    """
    strata = [rng.permutation(places) for places in _list_strata(p)]
    few = [min(len(places), math.ceil(count * _SHARED / len(strata))) for places in strata]
    left = np.array([len(places) - taken for places, taken in zip(strata, few, strict=True)])
    more = np.floor(left * min(1.0, (count - sum(few)) / max(left.sum(), 1))).astype(int)
    drawn = [places[: one + other] for places, one, other in zip(strata, few, more, strict=True)]
    return rng.permutation(np.concatenate(drawn)) if drawn else np.zeros(0, np.int64)


def _list_strata(p: NDArray[np.floating]) -> Iterator[NDArray[np.int64]]:
    for low, high in pairwise(STRATA):
        places = np.flatnonzero((p >= low) & (p < high))
        if len(places):
            yield places


def write_sheets(
    folder: Path, pictures: Sequence[Picture], found: Found, extra: NDArray[np.int64], *, count: int, seed: int
) -> None:
    """Draw some of the pairs at the places `extra` and write sheet-01.png ... and a table with room for verdicts."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = extra[draw_pairs(found.p[extra], count=count, rng=np.random.default_rng(seed))]
    weights = _weigh(found.p[extra], found.p[chosen])
    each = _ACROSS * _DOWN
    with (folder / VERDICTS).open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["sheet", "number", "a", "b", "score", "p", "weight", "verdict"])
        for number, place in enumerate(chosen):
            a, b = int(found.a[place]), int(found.b[place])
            values = [f"{found.score[place]:.4f}", f"{found.p[place]:.6f}", f"{weights[number]:.4f}"]
            table.writerow([number // each + 1, number + 1, a, b, *values, ""])
    for start in range(0, len(chosen), each):
        tiles = [
            _show_pair(pictures, found, place, start + at + 1) for at, place in enumerate(chosen[start : start + each])
        ]
        cv2.imwrite(str(folder / f"sheet-{start // each + 1:02}.png"), _lay_out(tiles)[:, :, ::-1])


def _weigh(population: NDArray[np.floating], sample: NDArray[np.floating]) -> NDArray[np.float64]:
    """How many pairs of the population each pair of the sample stands for: those of its stratum, shared out."""
    bounds = np.array(STRATA[1:-1])
    there = np.bincount(np.digitize(population[population >= STRATA[0]], bounds), minlength=len(bounds) + 1)
    here = np.digitize(sample, bounds)
    weights: NDArray[np.float64] = there[here] / np.bincount(here, minlength=len(there))[here]
    return weights


def _show_pair(pictures: Sequence[Picture], found: Found, place: int, number: int) -> Picture:
    tile = np.full((_TILE + _CAPTION, 2 * _TILE, 3), 40, np.uint8)
    for side, row in enumerate((found.a[place], found.b[place])):
        shown = _enlarge(pictures[row])
        tile[: shown.shape[0], side * _TILE : side * _TILE + shown.shape[1]] = shown
    text = f"{number}: P {found.p[place]:.3f}  score {found.score[place]:.3f}"
    at = (4, _TILE + _CAPTION - 5)
    cv2.putText(tile, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return tile


def _enlarge(picture: Picture) -> Picture:
    colour = picture if picture.ndim == 3 else np.repeat(picture[:, :, np.newaxis], 3, axis=2)
    factor = _TILE / max(colour.shape[:2])
    size = (max(1, int(colour.shape[1] * factor)), max(1, int(colour.shape[0] * factor)))
    how = cv2.INTER_NEAREST if factor == int(factor) else cv2.INTER_AREA
    return np.asarray(cv2.resize(colour[:, :, :3], size, interpolation=how), np.uint8)


def _lay_out(tiles: Sequence[Picture]) -> Picture:
    height, width = tiles[0].shape[0] + _GAP, tiles[0].shape[1] + _GAP
    rows = -(-len(tiles) // _ACROSS)
    sheet = np.zeros((rows * height, _ACROSS * width, 3), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // _ACROSS * height, number % _ACROSS * width
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def read_verdicts(folder: Path) -> list[Judged]:
    """The rows that say same or different; others (left empty, or not to be told) are left out. Raises ValueError."""
    with (folder / VERDICTS).open(newline="") as file:
        rows = [(row, row["verdict"].strip().lower()) for row in csv.DictReader(file)]
    strange = sorted({verdict for _, verdict in rows} - {_SAME, _OTHER, "unsure", ""})
    if strange:
        raise ValueError(f"a verdict is {_SAME}, {_OTHER}, unsure or empty, not {', '.join(strange)}")
    return [
        Judged(float(row["p"]), float(row["weight"]), verdict == _SAME)
        for row, verdict in rows
        if verdict in (_SAME, _OTHER)
    ]


def estimate_precision(judged: Sequence[Judged], *, min_p: float) -> tuple[float, float, float, int]:
    """(share that is right, low, high, pairs judged) of the pairs with P >= min_p, strata weighted by their size.

    The interval is Wilson's for as many pairs as a plain random sample would need to be as sure (Kish).
    """
    kept = [pair for pair in judged if pair.p >= min_p]
    weights = np.array([pair.weight for pair in kept])
    if not len(weights):
        return float("nan"), 0.0, 1.0, 0
    share = float(np.average([pair.same for pair in kept], weights=weights))
    trials = float(weights.sum() ** 2 / (weights**2).sum())
    low, high = wilson(share * trials, trials)
    return share, low, high, len(kept)


def tabulate_strata(judged: Sequence[Judged]) -> Iterator[tuple[float, float, int, int]]:
    """(P from, P to, right, judged) of each stratum."""
    for low, high in pairwise(STRATA):
        own = [pair.same for pair in judged if low <= pair.p < high]
        yield low, min(high, 1.0), sum(own), len(own)


def as_columns(judged: Sequence[Judged]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """P, whether it is one picture, and the weight of each pair."""
    p = np.array([pair.p for pair in judged], np.float64)
    return p, np.array([pair.same for pair in judged], np.bool_), np.array([pair.weight for pair in judged], np.float64)
