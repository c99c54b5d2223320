"""P(same picture): what a comparison says, weighed by what is usual in the data set and by reviewers' verdicts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Logistic regression on some 400 pairs of faces and of small colour photographs that were looked at, nearly all of
# them hard to tell, 6,000 planted copies and 20,000 pairs of pictures that are not one, some of them hardest to tell of
# all: two windows of one sky, two faces under one mask. docs/duplicates.md. Columns as _bend has them.
_WEIGHTS = np.array([1.76, 3.47, -0.9, 1.22, -1.77, -4.46, -8.54, -3.04, -0.84, 5.17, 0.6, 4.34, 0.58, -3.97])
_BIAS = -5.84  # half a unit below what was fitted, by the photographs of a seed that the fit had not seen
NONE = -20.0  # the evidence of a pair that does not fit at all
_SUREST = 40.0
_HIGHEST = 0.9999  # only equal pixels are certain, and those are never compared
_USUAL = 3.0  # where the tail of unlike pairs of photographs ends, by `learn_background`
_KINDS = 1.3  # pictures of one kind are more alike than the tail of pairs of all kinds shows; by scikit-learn's digits
_SAMPLE = 1000  # pairs drawn to learn how alike unlike pictures are
_FEWEST = 40_000  # pairs to draw from; among fewer, a handful of copies would pass for the usual likeness
_PRIOR = 100  # copies are expected to be as many as one in (100 x pictures) of the unlike pairs
_FEWEST_VERDICTS = 30
_SLIPS = 0.003  # verdicts that went to the wrong key
_FIRM = 10.0  # verdicts that the general model counts as when it is fitted to a reviewer's


def weigh(features: NDArray[np.float32], *, fits: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The log-odds that pairs are one picture, as a rule: float32 (M,), -20 to 40.

    features: float32 (M, 10), columns as alignment.FEATURES. fits: bool (M,); a pair that does not fit gets -20.
    """
    odds = _bend(features.astype(np.float64)) @ _WEIGHTS + _BIAS
    return np.where(fits, np.clip(odds, NONE, _SUREST), NONE).astype(np.float32)


def _bend(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, 14): correlations stretched near 1, where their differences count; differences damped where they are large;
    and how much agreement counts by how much there is to agree on."""
    bent = features.copy()
    bent[:, :2] = np.arctanh(np.clip(features[:, :2], -0.95, 0.9998))
    bent[:, 2] = np.log(features[:, 2] + 0.02)
    bent[:, 6] = np.minimum(features[:, 6], 0.5)
    bent[:, 8] = np.log1p(features[:, 8])
    detail, grain, shape, spread, stretch = (bent[:, column] for column in (0, 1, 2, 4, 5))
    return np.column_stack([bent, grain * shape, grain * spread, detail * shape, grain * stretch])


@dataclass(frozen=True)
class Calibration:
    """P = logistic(slope * (evidence - background) + bias).

    background: how much more alike unlike pictures are here than photographs usually are. verdicts: how many it was
    fitted to.
    """

    background: float = 0.0
    slope: float = 1.0
    bias: float = 0.0
    verdicts: int = 0


def probability(evidence: NDArray[np.float32], *, calibration: Calibration) -> NDArray[np.float32]:
    """P(same picture): float32 in [0, 0.9999], of the same shape, rising with the evidence."""
    odds = calibration.slope * (evidence.astype(np.float64) - calibration.background) + calibration.bias
    p = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
    return np.minimum(p, _HIGHEST).astype(np.float32)


def draw_pairs(count: int, *, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of different rows out of `count`, drawn at random for `learn_background`: int64 (M,) twice, lower row
    first; M = 0 where there are few rows. Deterministic for a generator."""
    pairs = _SAMPLE if count * (count - 1) // 2 >= _FEWEST else 0
    one = rng.integers(0, max(count, 1), pairs)
    other = rng.integers(0, max(count - 1, 1), pairs)
    other += other >= one  # skips itself
    return np.minimum(one, other), np.maximum(one, other)


def learn_background(evidence: NDArray[np.float32], *, count: int) -> float:
    """How much evidence means nothing here: digits of one kind resemble each other more than photographs do.

    evidence: float32 (M,) of pairs drawn at random from the `count` pictures of a data set and aligned thoroughly,
    hence of unlike pictures but for a few. Their tail, taken as exponential from the 98th to the 99.5th percentile, is
    drawn out to where as many unlike pairs are expected as copies; what that lies above the usual is returned, 0 or
    more. 0 without pairs. Deterministic.
    """
    if not len(evidence):
        return 0.0
    high, higher = np.quantile(evidence, [0.98, 0.995])
    decades = np.log10(_PRIOR * count) - np.log10(1 / 0.005)
    end = higher + decades * (higher - high) / np.log10(0.02 / 0.005)
    return float(max(0.0, _KINDS * (end - _USUAL)))


def refit(evidence: NDArray[np.float32], same: NDArray[np.bool_], *, background: float) -> Calibration:
    """The calibration after verdicts: slope and bias of greatest posterior, given the general model as the prior.

    evidence: float32 (M,) of pairs that reviewers judged. same: bool (M,). M may be 0. Verdicts come from the pairs
    that were put before reviewers, mostly likely ones; that is why they move slope and bias and nothing else. Fewer
    than 30 change nothing, and a slip of the key costs little: the two answers are not taken for certain.
    Deterministic. Source: Platt 1999, with a Gaussian prior on both.
    """
    if len(evidence) < _FEWEST_VERDICTS:
        return Calibration(background, verdicts=len(evidence))
    from scipy.optimize import minimize

    values = evidence.astype(np.float64) - background
    truth = np.where(same, 1 - _SLIPS, _SLIPS)

    def loss(point: NDArray[np.float64]) -> float:
        odds = np.exp(point[0]) * values + point[1]
        seen = np.logaddexp(0, odds).sum() - (truth * odds).sum()
        return float(seen + _FIRM * (point**2).sum() / 8)

    found = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-6}).x
    return Calibration(background, float(np.exp(found[0])), float(found[1]), verdicts=len(evidence))
