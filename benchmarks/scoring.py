"""What a search found against what was planted: recall, precision, intervals, calibration."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Found:
    """M proposed pairs of rows, a < b. score: the higher the surer. p: P(same picture), NaN where a method has none."""

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    score: NDArray[np.float32]
    p: NDArray[np.float32]
    group: NDArray[np.int64]  # (N,) number of the group that a row is in, -1 for none

    def keys(self) -> NDArray[np.int64]:
        return self.a * len(self.group) + self.b


@dataclass(frozen=True)
class Truth:
    """K planted pairs: rows of original and copy, original < copy, and the name of the family; N rows in all."""

    originals: NDArray[np.int64]
    copies: NDArray[np.int64]
    families: Sequence[str]
    count: int

    def keys(self) -> NDArray[np.int64]:
        return self.originals * self.count + self.copies


def wilson(hits: float, trials: float) -> tuple[float, float]:
    """The 95 % interval of a share; (0, 1) of nothing."""
    if trials <= 0:
        return 0.0, 1.0
    share, spread = hits / trials, Z * Z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = Z * np.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def count_recalled(truth: Truth, keys: Collection[int]) -> dict[str, tuple[int, int]]:
    """Of each family and of "all": planted pairs among `keys`, planted pairs."""
    known = set(keys)
    hits = [key in known for key in truth.keys().tolist()]
    counts = {"all": (sum(hits), len(hits))}
    for family in dict.fromkeys(truth.families):
        own = [hit for hit, name in zip(hits, truth.families, strict=True) if name == family]
        counts[family] = (sum(own), len(own))
    return counts


def count_grouped(truth: Truth, found: Found) -> int:
    """Planted pairs that ended in one group."""
    left, right = found.group[truth.originals], found.group[truth.copies]
    return int(((left == right) & (left >= 0)).sum())


def choose_threshold(found: Found, right: Collection[int], *, precision: float = 0.99) -> float:
    """The lowest score from which on at least `precision` of the pairs are in `right`; the highest if there is none."""
    if not len(found.score):
        return float("inf")
    order = np.argsort(-found.score, kind="stable")
    scores = found.score[order]
    hits = np.isin(found.keys()[order], np.fromiter(right, np.int64))
    share = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    last_of_equals = np.append(scores[1:] != scores[:-1], True)
    good = np.flatnonzero(last_of_equals & (share >= precision))
    return float(scores[good[-1]] if len(good) else scores[0])


@dataclass(frozen=True)
class Bin:
    """One row of a reliability table: `weight` pairs with P in [low, high), their mean P, the share that is right."""

    low: float
    high: float
    weight: float
    mean_p: float
    share: float


def tabulate_reliability(
    p: NDArray[np.floating], right: NDArray[np.bool_], weights: NDArray[np.floating] | None = None, *, bins: int = 10
) -> list[Bin]:
    """Bins of equal width that hold something. p: (M,) in [0, 1]. weights: pairs that each one stands for, else 1."""
    weights = np.ones(len(p)) if weights is None else weights
    place = np.minimum((p * bins).astype(int), bins - 1)
    table = []
    for number in np.unique(place):
        own = place == number
        total = float(weights[own].sum())
        mean_p = float((p[own] * weights[own]).sum() / total)
        share = float((right[own] * weights[own]).sum() / total)
        table.append(Bin(number / bins, (number + 1) / bins, total, mean_p, share))
    return table


def calibration_error(table: Sequence[Bin]) -> float:
    """ECE: how far P lies from the share that is right, weighted by the pairs; 0 for no pairs."""
    total = sum(row.weight for row in table)
    return sum(row.weight * abs(row.mean_p - row.share) for row in table) / total if total else 0.0


def fit_exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The power of the size that the time grows with: slope of a line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(seconds, 1e-6)), 1)[0])


def format_recall(counts: Mapping[str, tuple[int, int]]) -> list[str]:
    return [f"{hits / trials:.3f}" if trials else "-" for hits, trials in counts.values()]
