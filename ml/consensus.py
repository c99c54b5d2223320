"""What several reviewers come to: by majority, and by how reliable each of them is.

Our own, because crowd-kit brings transformers along and CROWDLAB did worse (docs/agreement.md). Categories are
numbered 0 to K-1; -1 stands for an image that a reviewer said nothing about.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

Said = NDArray[np.integer[Any]]  # (N, R)
Probs = NDArray[np.float64]
TIE = 1e-9  # P that differ by less are equal


@dataclass(frozen=True)
class Consensus:
    """What N images are, and how good R reviewers are. Arrays are rows of the inputs."""

    category: NDArray[np.int64]  # (N,) the most probable; -1 where nobody spoke or two are equally probable
    p: Probs  # (N,) how probable it is that this is right, 0..1; 0 where nobody spoke
    quality: Probs  # (R,) the share of a reviewer's opinions that is right, by this estimate; nan without any
    method: str  # majority, dawid_skene


def majority(said: Said, *, categories: int) -> Consensus:
    """The category that most reviewers said; a tie is no consensus.

    said: int (N, R) in -1..K-1. `p` is the share of opinions for it, `quality` the share of a reviewer's opinions that
    agree with the majority, over images that have one. Deterministic. Time O(N (R + K)).
    """
    counts = _count(said, categories)
    totals = counts.sum(1)
    category = _pick(counts.astype(np.float64))
    p = np.where(totals > 0, counts.max(1, initial=0) / np.maximum(totals, 1), 0.0)
    return Consensus(category, p, _measure_agreement(said, category), "majority")


def dawid_skene(
    said: Said,
    *,
    categories: int,
    known: NDArray[np.integer[Any]] | None = None,
    pull: float = 10.0,
    iterations: int = 200,
    tolerance: float = 1e-7,
) -> Consensus:
    """Weigh each reviewer by what they confuse with what, estimated from all opinions together.

    said: int (N, R) in -1..K-1; a model's out-of-sample predictions may be one more column. known: int (N,), the
    category of images whose class is known, or -1. pull: how many
    opinions on each category the reviewers' common confusion counts for in the estimate of each of them, so that three
    opinions make nobody a genius or a fool; 0 is the method as published.
    `p` is the posterior probability; `quality` the expected share of right opinions of a reviewer. Deterministic.
    Expectation maximisation from vote shares: ends when no probability moves by more than `tolerance`, or after
    `iterations`. Time O(iterations N R K), memory O(N K + R K^2).
    Source: Dawid & Skene 1979, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm.
    """
    probs = _maximise(said, categories=categories, known=known, pull=pull, iterations=iterations, tolerance=tolerance)
    spoken = (said >= 0).any(1)
    category = np.where(spoken, _pick(probs), -1)
    return Consensus(category, np.where(spoken, probs.max(1, initial=0), 0.0), _expect(said, probs), "dawid_skene")


def _maximise(
    said: Said,
    *,
    categories: int,
    known: NDArray[np.integer[Any]] | None,
    pull: float,
    iterations: int,
    tolerance: float,
) -> Probs:
    """The posterior (N, K)."""
    counts = _count(said, categories)
    probs = _fix(counts / np.maximum(counts.sum(1, keepdims=True), 1), known)
    for _ in range(iterations):
        priors = probs.sum(0) / max(probs.sum(), 1)
        confusion = _estimate_confusion(said, probs, pull=pull)
        before, probs = probs, _fix(_weigh(said, priors, confusion), known)
        if np.abs(probs - before).max(initial=0) < tolerance:
            break
    return probs


def _estimate_confusion(said: Said, probs: Probs, *, pull: float) -> Probs:
    """(R, K, K): reviewer, what it is, what they say."""
    counts = np.zeros((said.shape[1], probs.shape[1], probs.shape[1]))  # (R, K, K)
    for reviewer, column in enumerate(said.T):
        for category in range(probs.shape[1]):
            counts[reviewer, :, category] = probs[column == category].sum(0)
    pooled = counts.sum(0)  # (K, K)
    pooled = (pooled + 1e-10) / (pooled + 1e-10).sum(1, keepdims=True)
    counts = np.maximum(counts + pull * pooled, 1e-10)
    shares: Probs = counts / counts.sum(2, keepdims=True)
    return shares


def _weigh(said: Said, priors: Probs, confusion: Probs) -> Probs:
    logs = np.broadcast_to(np.log(np.maximum(priors, 1e-10)), (len(said), len(priors))).copy()  # (N, K)
    for reviewer, column in enumerate(said.T):
        spoken = np.flatnonzero(column >= 0)
        logs[spoken] += np.log(confusion[reviewer])[:, column[spoken]].T
    weighed: Probs = softmax(logs, axis=1)
    return weighed


def _fix(probs: Probs, known: NDArray[np.integer[Any]] | None) -> Probs:
    """What is known is certain."""
    if known is None:
        return probs
    rows = np.flatnonzero(known >= 0)
    probs = probs.copy()
    probs[rows] = 0
    probs[rows, known[rows]] = 1
    return probs


def _count(said: Said, categories: int) -> NDArray[np.int64]:
    """(N, K): how many said each."""
    counts = np.zeros((len(said), categories), np.int64)
    for column in said.T:
        spoken = np.flatnonzero(column >= 0)
        counts[spoken, column[spoken]] += 1
    return counts


def _pick(scores: Probs) -> NDArray[np.int64]:
    """(N,): the column with the highest score, -1 where the two highest are equal."""
    if not len(scores):
        return np.empty(0, np.int64)
    best = scores.max(1)
    tied = (scores >= best[:, None] - TIE).sum(1) > 1
    return np.where(tied, -1, scores.argmax(1))


def _measure_agreement(said: Said, category: NDArray[np.int64]) -> Probs:
    counted = (said >= 0) & (category >= 0)[:, None]
    right = (said == category[:, None]) & counted
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counted.any(0), right.sum(0) / counted.sum(0), np.nan)


def _expect(said: Said, probs: Probs) -> Probs:
    """The mean probability of what each reviewer said."""
    found = np.full(said.shape[1], np.nan)
    for reviewer, column in enumerate(said.T):
        spoken = np.flatnonzero(column >= 0)
        if len(spoken):
            found[reviewer] = probs[spoken, column[spoken]].mean()
    return found
