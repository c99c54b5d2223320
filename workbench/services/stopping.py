"""How many wrong labels are left in a queue, and when the next hundred images are not worth their time.

P(wrong) of each item is taken as a forecast that may be off. Its logit is corrected by a logistic regression that the
verdicts on the queue's own items teach: by a level, a slope, and smooth bends along P(wrong) and along the queue, each
with a prior that says how far off forecasts are found to be (docs/stopping.md). What is left is drawn from the
posterior of that correction: the interval covers both what is not known of the rate and chance. Plain numpy, some
milliseconds for a queue of a thousand, so that the web does it itself.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

Floats = NDArray[np.float64]

LEVEL = 0.9
AHEAD = 100  # images whose yield is told beforehand
RECENT = 50  # verdicts from which the present hit rate is told
UNKNOWN_P = 0.15  # the share of wrong labels where nobody knows anything
_DRAWS = 500
_CELLS = 96  # open items are put together into about so many
_BENDS = 5  # bumps along P(wrong), and as many along the queue
_MOST_ROUNDS = 30

# standard deviations of the correction, on the logit scale
_LEVEL_SD = 0.8
_LEVEL_SD_LEARNED = 0.6
_LEARNED_HALF = 50  # verdicts after which half of what P(wrong) can be off is learned
_GIVEN_SD = 0.9  # of a class whose labels are wrong more often, or less, than P(wrong) knows
_GIVEN_SD_LEARNED = 0.4
_GIVEN_LEARNED_HALF = 200
_SUGGESTED_SD = 0.5
_MOST_CLASSES = 12  # that have a level of their own, the most frequent ones
_SLOPE_SD = 0.45
_BEND_SD = 0.45
_DRIFT_SD = 0.5
_DRIFT_BEND_SD = 0.3
_RANDOM_SD = 0.4
_BLIND_LEVEL_SD = 1.2  # of items without P(wrong)


@dataclass(frozen=True, eq=False)
class Trail:
    """The items of a queue in their order, as far as they were decided. All (N,)."""

    p_wrong: Floats  # NaN where nobody knows it
    is_done: NDArray[np.bool_]
    is_hit: NDArray[np.bool_]  # the verdict changed what the image was; false for open items
    is_random: NDArray[np.bool_]  # drawn from all images, not chosen by the recipe
    given: NDArray[np.int64]  # id of the class that it carries, 0 for unknown
    suggested: NDArray[np.int64]  # id of the class that it rather shows, 0 for unknown
    counts: Floats  # how many items each stands for; 1 unless a long queue was thinned out

    def take(self, kept: NDArray[np.bool_]) -> "Trail":
        return Trail(*(getattr(self, each.name)[kept] for each in fields(self)))


@dataclass(frozen=True)
class Range:
    """How many wrong labels are expected among so many images, with the interval of LEVEL."""

    expected: float
    low: int
    high: int
    of: int

    @property
    def rate(self) -> float:
        return self.expected / self.of if self.of else 0.0


@dataclass(frozen=True)
class Outlook:
    """What is left in a queue. `smoothed`: the hit rate over the newest verdicts with what their neighbours say."""

    left: Range
    ahead: Range  # the next AHEAD open items, fewer near the end
    smoothed: float | None


def look_ahead(trail: Trail, *, learned: int = 0, seed: int = 0) -> Outlook:
    """What the open items hold, from P(wrong) and the verdicts on the others.

    learned: verdicts that P(wrong) was learned from, which make its level surer. Deterministic for a seed. Costs about
    2 ms for a thousand items.
    """
    offsets, features, scales = _describe(trail, learned=learned)
    done = trail.is_done
    mean, spread = _fit(offsets[done], features[done], trail.is_hit[done].astype(float), scales)
    rows = np.flatnonzero(~done)
    rng = np.random.default_rng(seed)
    weights = mean + rng.standard_normal((_DRAWS, len(mean))) @ spread.T  # (draws, D)
    ahead = rows[: np.searchsorted(np.cumsum(trail.counts[rows]), AHEAD) + 1]
    decided = np.flatnonzero(done)[-RECENT:]
    return Outlook(
        left=_count(rows, trail, offsets, features, weights, rng),
        ahead=_count(ahead, trail, offsets, features, weights, rng),
        smoothed=float(expit(offsets[decided] + features[decided] @ mean).mean()) if len(decided) else None,
    )


def _describe(trail: Trail, *, learned: int) -> tuple[Floats, Floats, Floats]:
    """Logit of P(wrong) (N,), what the correction is made of (N, D), and the prior's deviations (D,)."""
    known = ~np.isnan(trail.p_wrong)
    usual = float(np.clip(trail.p_wrong[known].mean(), 0.02, 0.9)) if known.any() else UNKNOWN_P
    offsets = logit(np.clip(np.where(known, trail.p_wrong, usual), 0.005, 0.995))
    place = np.linspace(-1, 1, len(offsets)) if len(offsets) else offsets
    own = ~trail.is_random
    parts = [
        (np.ones((len(offsets), 1)), _narrow(_LEVEL_SD, _LEVEL_SD_LEARNED, learned / _LEARNED_HALF)),
        (_indicate(trail.given), _narrow(_GIVEN_SD, _GIVEN_SD_LEARNED, learned / _GIVEN_LEARNED_HALF)),
        (_indicate(trail.suggested), _SUGGESTED_SD),
        ((offsets - offsets.mean() if len(offsets) else offsets)[:, None], _SLOPE_SD),
        (_bumps(offsets, width=1.0), _BEND_SD),
        ((~known)[:, None], _BLIND_LEVEL_SD),
        ((place * own)[:, None], _DRIFT_SD),
        (_bumps(place, width=0.4) * own[:, None], _DRIFT_BEND_SD),
        (trail.is_random[:, None], _RANDOM_SD),
    ]
    scales = np.concatenate([np.full(part.shape[1], sd) for part, sd in parts])
    return offsets, np.concatenate([part for part, _ in parts], axis=1, dtype=float), scales


def _narrow(sd: float, learned_sd: float, halves: float) -> float:
    """A deviation that what was learned takes away, but for a rest."""
    return float(np.hypot(learned_sd, sd * np.sqrt(1 / (1 + halves))))


def _indicate(classes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the most frequent classes each has, (N, at most _MOST_CLASSES); 0 is none."""
    found, counts = np.unique(classes[classes != 0], return_counts=True)
    return np.asarray(classes[:, None] == found[np.argsort(-counts, kind="stable")[:_MOST_CLASSES]])


def _bumps(values: Floats, *, width: float) -> Floats:
    """Smooth functions (N, _BENDS) of a value, each high in its own part of the range; none moves the level."""
    if not len(values):
        return np.empty((0, _BENDS))
    centres = np.linspace(values.min(), values.max(), _BENDS)
    wide = max(width, float(values.max() - values.min()) / (_BENDS - 1))
    bumps = np.exp(-0.5 * ((values[:, None] - centres) / wide) ** 2)
    return np.asarray(bumps - bumps.mean(0))


def _fit(offsets: Floats, features: Floats, hits: Floats, scales: Floats) -> tuple[Floats, Floats]:
    """The most probable weights (D,), and a root of their covariance (D, D), by Newton's method."""
    precision = np.diag(scales**-2.0)
    weights = np.zeros(len(scales))
    for _ in range(_MOST_ROUNDS):
        rate = expit(offsets + features @ weights)
        curvature = (features * (rate * (1 - rate))[:, None]).T @ features + precision
        step = np.linalg.solve(curvature, features.T @ (hits - rate) - weights * scales**-2.0)
        weights = weights + step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-6:
            break
    rate = expit(offsets + features @ weights)
    curvature = (features * (rate * (1 - rate))[:, None]).T @ features + precision
    root: Floats = np.linalg.inv(np.linalg.cholesky(curvature)).T
    return weights, root


def _count(
    rows: NDArray[np.intp], trail: Trail, offsets: Floats, features: Floats, weights: Floats, rng: np.random.Generator
) -> Range:
    """Wrong labels among these items, drawn for each draw of the weights."""
    counts = trail.counts[rows]
    total = round(float(counts.sum()))
    if not total:
        return Range(0.0, 0, 0, 0)
    members, offsets, features = _gather(counts, offsets[rows], features[rows])
    rates = expit(offsets + weights @ features.T) @ members / members.sum()  # (draws,)
    drawn = rng.binomial(total, np.clip(rates, 0, 1))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    return Range(float(rates.mean() * total), int(low), int(high), total)


def _gather(counts: Floats, offsets: Floats, features: Floats) -> tuple[Floats, Floats, Floats]:
    """Neighbouring items of like P(wrong) as one: how many each is, their mean logit and mean features."""
    if len(offsets) <= _CELLS:
        return counts, offsets, features
    strips = int(np.sqrt(_CELLS))
    by_rank = np.argsort(np.argsort(offsets, kind="stable"), kind="stable") * strips // len(offsets)
    cells = np.arange(len(offsets)) * strips // len(offsets) * strips + by_rank
    _, cells = np.unique(cells, return_inverse=True)
    members = np.asarray(np.bincount(cells, counts), np.float64)
    sums = np.zeros((len(members), features.shape[1]))
    np.add.at(sums, cells, features * counts[:, None])
    means: Floats = np.bincount(cells, counts * offsets) / members
    return members, means, sums / members[:, None]
