"""How far reviewers agree, beyond chance: figures from arrays, each with its n and a 95 % interval. No session.

Categories are numbered 0 to K-1; -1 stands for an image that a reviewer said nothing about. What cannot be said is
none, with the reason, never 1.0 or NaN: two reviewers who used one category alone agreed by necessity.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.services.measures import Z95, wilson

Said = NDArray[np.integer[Any]]  # (N, R): what each of R reviewers said of each of N images
Counts = NDArray[np.int64]  # (N, K): how many reviewers said each category of each image

RESAMPLES = 1000
SEED = 20_040  # of the bootstrap: the same opinions give the same interval
NO_OVERLAP = "no image has two opinions"
ONE_CATEGORY = "only one class was ever said"
_CHUNK = 100  # resamples at once


@dataclass(frozen=True)
class Figure:
    """A number with its 95 % interval, over `n` images; `why` says what is missing where it is none."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    why: str = ""


def cross_table(one: Said, other: Said, *, categories: int) -> NDArray[np.int64]:
    """(K, K): how often one reviewer said the row where the other said the column."""
    both = (one >= 0) & (other >= 0)
    cells = one[both].astype(np.int64) * categories + other[both]
    return np.bincount(cells, minlength=categories**2).reshape(categories, categories)


def one_against_rest(table: NDArray[np.int64], category: int) -> NDArray[np.int64]:
    """The (2, 2) table of one category and all others."""
    inside = table[category, category]
    row, column = table[category].sum() - inside, table[:, category].sum() - inside
    return np.array([[inside, row], [column, table.sum() - inside - row - column]], np.int64)


def measure_observed(table: NDArray[np.int64]) -> Figure:
    """The share of images of which two reviewers said the same. Wilson interval."""
    n, same = int(table.sum()), int(np.trace(table))
    if n == 0:
        return Figure(None, None, None, 0, NO_OVERLAP)
    return Figure(same / n, *wilson(same, n), n)


def measure_kappa(table: NDArray[np.int64]) -> Figure:
    """Cohen's kappa of two reviewers, from their cross table.

    The interval is asymptotic (Fleiss, Cohen & Everitt 1969). Where they never differed that has no width; there the
    lower end is what the Wilson interval of the observed agreement leaves. Nobody can say how sure the 0 is of somebody
    who always says the same.
    """
    n = int(table.sum())
    if n == 0:
        return Figure(None, None, None, 0, NO_OVERLAP)
    shares = table / n
    rows, columns = shares.sum(1), shares.sum(0)
    chance = float(rows @ columns)
    if np.count_nonzero(table.sum(1) + table.sum(0)) == 1:
        return Figure(None, None, None, n, ONE_CATEGORY)
    kappa = (float(np.trace(shares)) - chance) / (1 - chance)
    if np.trace(table) == n:
        return Figure(1.0, _floor_of_perfect(n, chance), 1.0, n)
    if n in (table.sum(1).max(), table.sum(0).max()):  # then kappa is 0 whatever the other says, and its variance too
        return Figure(kappa, None, None, n)
    half = Z95 * float(np.sqrt(kappa_variance(table)))
    return Figure(kappa, max(kappa - half, -1.0), min(kappa + half, 1.0), n)


def kappa_variance(table: NDArray[np.int64]) -> float:
    """The large-sample variance of Cohen's kappa where it is not 0 (Fleiss, Cohen & Everitt 1969, equation 13)."""
    n = table.sum()
    shares = table / n
    rows, columns = shares.sum(1), shares.sum(0)
    observed, chance = float(np.trace(shares)), float(rows @ columns)
    kappa = (observed - chance) / (1 - chance)
    agreeing = float((np.diag(shares) * (1 - (rows + columns) * (1 - kappa)) ** 2).sum())
    crossed = shares * (columns[:, None] + rows[None, :]) ** 2  # (K, K): share of i, j times (column i + row j) squared
    differing = (1 - kappa) ** 2 * float(crossed.sum() - np.trace(crossed))
    return max(agreeing + differing - (kappa - chance * (1 - kappa)) ** 2, 0.0) / float((1 - chance) ** 2 * n)


def _floor_of_perfect(n: int, chance: float) -> float:
    return max((wilson(n, n)[0] - chance) / (1 - chance), -1.0)


def count_categories(said: Said, *, categories: int) -> Counts:
    """(N, K): how many reviewers said each category of each image."""
    counts = np.zeros((len(said), categories), np.int64)
    for column in said.T:
        spoken = np.flatnonzero(column >= 0)
        counts[spoken, column[spoken]] += 1  # a reviewer speaks once of an image: no row stands here twice
    return counts


def measure_alpha(counts: Counts, *, seed: int = SEED, resamples: int = RESAMPLES) -> Figure:
    """Krippendorff's alpha for nominal categories; images with fewer than two opinions do not count.

    The interval is the percentile bootstrap over images, with a fixed seed; where nobody ever differed it has no width,
    and the lower end is what the Wilson interval of "all of n images agree" leaves.
    Source: Krippendorff 2011, Computing Krippendorff's Alpha-Reliability.
    """
    paired = counts[counts.sum(1) >= 2]
    if not len(paired):
        return Figure(None, None, None, 0, NO_OVERLAP)
    patterns, times = _gather(paired)
    value = float(_alphas(patterns, times[None, :])[0])
    if np.isnan(value):
        return Figure(None, None, None, len(paired), ONE_CATEGORY)
    low, high = _bootstrap(patterns, times, _alphas, seed=seed, resamples=resamples)
    if not _differing(patterns).any():
        totals = times @ patterns
        low = max(1 - (1 - wilson(len(paired), len(paired))[0]) / float(_expected(totals[None, :])[0]), -1.0)
    return Figure(value, low, high, len(paired))


def measure_shared(counts: Counts, *, seed: int = SEED, resamples: int = RESAMPLES) -> Figure:
    """How often two opinions on an image are the same, each opinion counting once. Interval as for alpha."""
    paired = counts[counts.sum(1) >= 2]
    if not len(paired):
        return Figure(None, None, None, 0, NO_OVERLAP)
    patterns, times = _gather(paired)
    value = float(_shared(patterns, times[None, :])[0])
    low, high = _bootstrap(patterns, times, _shared, seed=seed, resamples=resamples)
    return Figure(value, wilson(len(paired), len(paired))[0] if value == 1 else low, high, len(paired))


def measure_fleiss(counts: Counts, *, seed: int = SEED, resamples: int = RESAMPLES) -> tuple[Figure, int]:
    """Fleiss' kappa over the images with the most usual number of opinions, and that number (0 where there is none).

    Interval as for alpha, but from chance as this kappa counts it.
    """
    totals = counts.sum(1)
    usual = np.bincount(totals[totals >= 2])
    if not usual.any():
        return Figure(None, None, None, 0, NO_OVERLAP), 0
    opinions = len(usual) - 1 - int(usual[::-1].argmax())  # ties to the larger number
    chosen = counts[totals == opinions]
    patterns, times = _gather(chosen)
    value = float(_fleiss(patterns, times[None, :])[0])
    if np.isnan(value):
        return Figure(None, None, None, len(chosen), ONE_CATEGORY), opinions
    low, high = _bootstrap(patterns, times, _fleiss, seed=seed, resamples=resamples)
    if not _differing(patterns).any():
        shares = times @ patterns / (times @ patterns).sum()
        low = _floor_of_perfect(len(chosen), float((shares**2).sum()))
    return Figure(value, low, high, len(chosen)), opinions


def measure_specific(counts: Counts, category: int) -> tuple[float | None, int, int]:
    """How often another reviewer says a category too where one says it (none if nobody else spoke); images, times said.

    The specific agreement of Fleiss 1981, over all pairs of opinions on an image.
    """
    paired = counts[counts.sum(1) >= 2]
    said = paired[:, category]
    times = int(said.sum())
    if not times:
        return None, 0, 0
    same = float((said * (said - 1) / (paired.sum(1) - 1)).sum())
    return same / times, int(np.count_nonzero(said)), times


def count_confused(counts: Counts) -> NDArray[np.int64]:
    """(K, K), symmetric: images of which somebody said the row and somebody the column; the diagonal is 0."""
    spoken = (counts > 0).astype(np.int64)
    together = spoken.T @ spoken
    np.fill_diagonal(together, 0)
    return together


# --- resampling ---------------------------------------------------------------------------------------------------


def _gather(counts: Counts) -> tuple[Counts, NDArray[np.int64]]:
    """The different rows and how often each occurs: a resample of the images is a draw of numbers of these."""
    base = int(counts.max()) + 1
    if base ** counts.shape[1] < 2**62:  # a row as one number sorts ten times as fast
        codes = counts @ (base ** np.arange(counts.shape[1], dtype=np.int64))
        _, first, times = np.unique(codes, return_index=True, return_counts=True)
        return counts[first], times.astype(np.int64)
    patterns, times = np.unique(counts, axis=0, return_counts=True)
    return patterns, times.astype(np.int64)


def _differing(patterns: Counts) -> NDArray[np.float64]:
    """(P,): ordered pairs of opinions that differ, over the opinions less one, as Krippendorff weighs an image."""
    opinions = patterns.sum(1)
    pairs: NDArray[np.float64] = (opinions**2 - (patterns**2).sum(1)) / (opinions - 1)
    return pairs


def _expected(totals: NDArray[Any]) -> NDArray[np.float64]:
    """(B,): the chance that two opinions differ, drawn without putting back. totals: (B, K); nan for one category."""
    n = totals.sum(1).astype(np.float64)
    different = n**2 - (totals.astype(np.float64) ** 2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(different > 0, different / (n * (n - 1)), np.nan)


def _shared(patterns: Counts, times: NDArray[np.int64]) -> NDArray[np.float64]:
    """(B,) for each row of times (B, P)."""
    shared: NDArray[np.float64] = 1 - (times @ _differing(patterns)) / (times @ patterns.sum(1))
    return shared


def _alphas(patterns: Counts, times: NDArray[np.int64]) -> NDArray[np.float64]:
    """(B,) for each row of times (B, P)."""
    totals = times @ patterns  # (B, K)
    observed = (times @ _differing(patterns)) / np.maximum(totals.sum(1), 1)
    alphas: NDArray[np.float64] = 1 - observed / _expected(totals)
    return alphas


def _fleiss(patterns: Counts, times: NDArray[np.int64]) -> NDArray[np.float64]:
    """(B,) for each row of times (B, P); all patterns hold the same number of opinions."""
    opinions = int(patterns[0].sum())
    same = 1 - _differing(patterns) / opinions  # (P,)
    observed = (times @ same) / times.sum(1)
    totals = times @ patterns
    shares = totals / totals.sum(1, keepdims=True)
    chance = (shares**2).sum(1)
    one_category = (totals > 0).sum(1) == 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(one_category, np.nan, (observed - chance) / (1 - chance))


def _bootstrap(
    patterns: Counts, times: NDArray[np.int64], measure: Any, *, seed: int, resamples: int
) -> tuple[float | None, float | None]:
    """The 2.5th and 97.5th percentile; none where most resamples hold a single category and so say nothing."""
    rng = np.random.default_rng(seed)
    n, shares = int(times.sum()), times / times.sum()
    found = [
        measure(patterns, rng.multinomial(n, shares, size=min(_CHUNK, resamples - start)))
        for start in range(0, resamples, _CHUNK)
    ]
    values = np.concatenate(found)
    known = values[~np.isnan(values)]
    if 2 * len(known) < len(values):
        return None, None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
