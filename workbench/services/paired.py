"""Two answers to the same questions: differences with their intervals and tests. Arrays in, numbers out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import binomtest

DRAWS = 10_000
FEW_DRAWS = 2_000  # for what must be worked out anew from every draw
ALPHA = 0.05
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Difference:
    """A paired difference in accuracy with its 95 % bootstrap interval. p: McNemar's exact test."""

    difference: float
    low: float
    high: float
    p: float
    gained: int
    lost: int

    def report(self) -> dict[str, float]:
        return {"difference": self.difference, "low": self.low, "high": self.high, "p": self.p}


def compare_right(a: NDArray[np.bool_], b: NDArray[np.bool_], *, seed: int = 0) -> Difference:
    """How much more often b is right than a. a, b: bool (N,), the same N questions. Deterministic for a seed."""
    gained, lost = int((b & ~a).sum()), int((a & ~b).sum())
    low, high = bootstrap_difference(gained, lost, len(a), seed=seed)
    return Difference((gained - lost) / len(a), low, high, mcnemar_p(gained, lost), gained, lost)


def bootstrap_difference(
    gained: int, lost: int, count: int, *, seed: int = 0, draws: int = DRAWS
) -> tuple[float, float]:
    """The 95 % percentile interval of the difference in accuracy over resampled images.

    Each image adds +1, 0 or -1, so that drawing N images with replacement is one multinomial draw of three numbers.
    """
    shares = np.array([gained, lost, count - gained - lost]) / count
    drawn = np.random.default_rng(seed).multinomial(count, shares, size=draws)
    return _take_interval((drawn[:, 0] - drawn[:, 1]) / count)


def _take_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


def mcnemar_p(gained: int, lost: int) -> float:
    """How often chance alone makes a split at least as uneven as this among the images where only one is right."""
    return float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def correct_holm(p_values: Sequence[float]) -> list[float]:
    """p values of one family of questions, corrected by Holm 1979: each at most as small as before, order kept."""
    order = np.argsort(p_values, kind="stable")
    steps = np.array(p_values, float)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(p) for p in corrected]


# --- what every class counts alike in ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Measure:
    """One number of a and of b, and the difference with its 95 % bootstrap interval."""

    a: float
    b: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        return self.b - self.a

    def report(self) -> dict[str, float]:
        return {"a": self.a, "b": self.b, "difference": self.difference, "low": self.low, "high": self.high}


def measure_balance(
    a: NDArray[np.integer], b: NDArray[np.integer], labels: NDArray[np.integer], *, class_count: int, seed: int = 0
) -> dict[str, Measure]:
    """`balanced_accuracy`, the mean recall of the classes that occur, and `macro_f1`, both answers beside each other.

    a, b, labels: int (N,) in 0..class_count-1. Images are resampled FEW_DRAWS times, as counts of what can happen to
    one: (label, a, b). Deterministic for a seed.
    """
    events, counts = np.unique(np.stack([labels, a, b]), axis=1, return_counts=True)
    truth, *answers = (_indicate(row, class_count) for row in events)
    right = [_indicate(row, class_count, kept=row == events[0]) for row in events[1:]]
    drawn = np.concatenate([counts[None], _draw(counts, seed=seed)])
    found = []
    for answer, hit in zip(answers, right, strict=True):
        parts = [_measure_draws(block @ truth, block @ answer, block @ hit) for block in _cut(drawn)]
        found.append(np.concatenate(parts, axis=1))
    measures = {}
    for row, name in enumerate(("balanced_accuracy", "macro_f1")):
        first, second = found[0][row], found[1][row]
        measures[name] = Measure(float(first[0]), float(second[0]), *_take_interval(second[1:] - first[1:]))
    return measures


def _indicate(columns: NDArray[np.integer], class_count: int, *, kept: NDArray[np.bool_] | None = None) -> csr_array:
    """Which class an event counts for. Returns float (events, classes), sparse."""
    rows = np.arange(len(columns)) if kept is None else np.flatnonzero(kept)
    return csr_array((np.ones(len(rows)), (rows, columns[rows])), shape=(len(columns), class_count))


def _draw(counts: NDArray[np.integer], *, seed: int) -> NDArray[np.int64]:
    total = int(counts.sum())
    drawn: NDArray[np.int64] = np.random.default_rng(seed).multinomial(total, counts / total, size=FEW_DRAWS)
    return drawn


def _cut(drawn: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Blocks of draws that fit into memory however many different events there are."""
    step = max(1, _CELLS_AT_ONCE // drawn.shape[1])
    return [drawn[start : start + step] for start in range(0, len(drawn), step)]


def _measure_draws(
    support: NDArray[np.float64], predicted: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean recall and macro F1 of each draw. All (draws, classes); returns (2, draws)."""
    occurs, seen = support > 0, support + predicted > 0
    recall = np.divide(right, support, out=np.zeros_like(right), where=occurs)
    f1 = np.divide(2 * right, support + predicted, out=np.zeros_like(right), where=seen)
    return np.stack([recall.sum(1) / occurs.sum(1), f1.sum(1) / seen.sum(1)])
