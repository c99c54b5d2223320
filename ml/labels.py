"""Which labels are probably wrong, from out-of-sample probabilities."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from cleanlab.count import compute_confident_joint
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import rankdata
from sklearn.isotonic import isotonic_regression

Probs = NDArray[np.float64]

SUM_TOLERANCE = 0.02  # rows stored as float16 do not sum to 1 exactly
RANK_SHARE = 1e-3  # of P(wrong) that keeps apart what the isotonic fit ties


@dataclass(frozen=True)
class LabelIssues:
    """What a model that has not seen the images makes of their labels."""

    p_wrong: NDArray[np.float32]  # (N,) in 0..1, in the order of `score`; nan where there is no label
    suggested: NDArray[np.int64]  # (N,) the most probable class, which may be the label itself; ties to the lowest
    score: NDArray[np.float32]  # (N,) in 0..1: mean rank, the most suspicious highest; nan where there is no label
    noise_rate: float  # estimated fraction of wrong labels: the mean of `p_wrong`; nan without any label


def label_issues(probs: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> LabelIssues:
    """Rank labels by how probably they are wrong, and say how probably.

    probs: float (N, K), rows sum to 1, **out-of-sample**: of models that saw neither the image nor its copies.
    labels: int (N,) in 0..K-1, or -1 for none.

    `score` is the mean of two ranks, by 1 - p(given class) and by cleanlab's normalized margin (the best other class
    minus the given one): on three data sets within .01 average precision of the better of the two. `p_wrong` is
    p(other) / (p(other) + p(given)), made monotone in the score and shifted on the logit scale so that its
    mean is the share of wrong labels that confident learning counts. It is not calibrated by verdicts.
    Deterministic. Time O(N (K + log N)). Raises ValueError for a value that is no probability or an unknown class.
    Source: Northcutt et al. 2021, Confident Learning; Kuan & Mueller 2022, Model-agnostic label quality scoring.
    """
    probs = _check_probs(probs)
    count, class_count = probs.shape
    if labels.shape != (count,) or bool(((labels < -1) | (labels >= class_count)).any()):
        raise ValueError(f"labels must be {count} classes between 0 and {class_count - 1}, or -1 for none")
    p_wrong, score = np.full(count, np.nan, np.float32), np.full(count, np.nan, np.float32)
    suggested = probs.argmax(1).astype(np.int64)
    known = labels >= 0
    if not known.any():
        return LabelIssues(p_wrong, suggested, score, float("nan"))
    given = labels[known].astype(np.int64)
    ranks = _rank(probs[known], given)
    noise_rate = estimate_noise_rate(probs[known], given)
    score[known] = ranks
    p_wrong[known] = _to_probability(ranks, _odds_against(probs[known], given), noise_rate)
    return LabelIssues(p_wrong, suggested, score, noise_rate)


def _check_probs(probs: NDArray[np.floating[Any]]) -> Probs:
    if probs.ndim != 2 or probs.shape[1] < 1:
        raise ValueError(f"probs must be (N, K), not {probs.shape}")
    values = probs.astype(np.float64)
    sums = values.sum(1, keepdims=True)  # (N, 1)
    if not (np.isfinite(values).all() and (values >= 0).all() and (np.abs(sums - 1) <= SUM_TOLERANCE).all()):
        raise ValueError("probs must be finite, not negative, and each row must sum to 1")
    checked: Probs = values / sums
    return checked


def _rank(probs: Probs, given: NDArray[np.int64]) -> Probs:
    """Mean of the two ranks, each scaled to 0..1 with ties at their mean."""
    methods = ("self_confidence", "normalized_margin")
    ranks: list[Probs] = [rankdata(-_score(probs, given, method)) for method in methods]
    return (ranks[0] + ranks[1] - 1) / (2 * len(given))


def _score(probs: Probs, given: NDArray[np.int64], method: str) -> Probs:
    if probs.shape[1] == 1:
        return np.ones(len(given))  # one class leaves nothing to doubt, and cleanlab nothing to compare
    scores: Probs = get_label_quality_scores(given, probs, method=method)
    return scores


def _odds_against(probs: Probs, given: NDArray[np.int64]) -> Probs:
    """p(best other class) / (p(best other) + p(given)), in 0..1."""
    rows = np.arange(len(given))
    p_given = probs[rows, given]
    others = probs.copy()
    others[rows, given] = 0
    p_other = others.max(1)
    odds: Probs = p_other / np.maximum(p_other + p_given, 1e-12)
    return odds


def estimate_noise_rate(probs: NDArray[np.floating[Any]], given: NDArray[np.integer[Any]]) -> float:
    """Share of labels off the diagonal of cleanlab's calibrated confident joint. probs (N, K); given (N,), no -1.

    Kept within half a label and half of the labels, so that no P(wrong) is exactly 0 or 1 by estimate alone.
    """
    classes, dense = np.unique(given, return_inverse=True)  # cleanlab wants every class to have a label
    low, high = 0.5 / len(given), 0.5
    if len(classes) < 2:
        return low
    kept = probs[:, classes] + 1e-12
    joint = compute_confident_joint(dense, kept / kept.sum(1, keepdims=True), calibrate=True)
    return float(np.clip(1 - np.trace(joint) / joint.sum(), low, high))


def _to_probability(ranks: Probs, evidence: Probs, noise_rate: float) -> Probs:
    """Evidence made monotone in the rank, then shifted on the logit scale so that its mean is the noise rate."""
    order = np.argsort(ranks, kind="stable")
    monotone = np.empty_like(evidence)
    monotone[order] = isotonic_regression(evidence[order])
    scaled = logit(np.clip((1 - RANK_SHARE) * monotone + RANK_SHARE * ranks, 1e-6, 1 - 1e-6))
    shift = brentq(lambda offset: float(expit(scaled + offset).mean()) - noise_rate, -60.0, 60.0)
    return np.asarray(expit(scaled + shift))
