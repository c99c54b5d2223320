"""How unsure a model is of each image, and how much two models disagree. All are float32 (N,), higher = less sure."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax, xlogy

Probs = NDArray[np.floating[Any]]


def entropy(probs: Probs) -> NDArray[np.float32]:
    """Entropy of each row over that of a uniform one: 0 (sure) to 1 (every class alike), whatever the class count.

    probs: float (N, K), rows sum to 1. Returns float32 (N,); zeros if K is 1. Deterministic, O(N K).
    Raises ValueError if a value is not finite, is negative or above 1. Source: Shannon 1948; Settles 2009, section 3.1.
    """
    values = _check(probs)
    most = np.log(max(values.shape[1], 2))
    return _to_unit(-xlogy(values, values).sum(1) / most)


def margin(probs: Probs) -> NDArray[np.float32]:
    """One minus the lead of the first class over the second: 0 (sure) to 1 (a tie).

    probs: float (N, K), rows sum to 1. Returns float32 (N,); zeros if K is 1. Deterministic, O(N K).
    Raises ValueError if a value is not finite, is negative or above 1. Source: Scheffer et al. 2001.
    """
    values = _check(probs)
    if values.shape[1] == 1:
        return np.zeros(len(values), np.float32)
    top = np.partition(values, -2, axis=1)[:, -2:]  # (N, 2) second, first
    return _to_unit(1 - (top[:, 1] - top[:, 0]))


def least_confidence(probs: Probs) -> NDArray[np.float32]:
    """One minus the probability of the first class: 0 (sure) to 1 - 1/K.

    probs: float (N, K), rows sum to 1. Returns float32 (N,). Deterministic, O(N K).
    Raises ValueError if a value is not finite, is negative or above 1. Source: Lewis & Gale 1994.
    """
    return _to_unit(1 - _check(probs).max(1))


def disagreement(probs_a: Probs, probs_b: Probs) -> NDArray[np.float32]:
    """Jensen-Shannon divergence of two models in bits: 0 (alike) to 1 (they share no class). Symmetric.

    probs_a, probs_b: float (N, K), rows sum to 1. Returns float32 (N,). Deterministic, O(N K).
    Raises ValueError if the shapes differ or a value is not finite, is negative or above 1. Source: Lin 1991.
    """
    first, second = _check(probs_a), _check(probs_b)
    if first.shape != second.shape:
        raise ValueError(f"two models must have probabilities of one shape, not {first.shape} and {second.shape}")
    middle = (first + second) / 2
    gain = _bits(first).sum(1) / 2 + _bits(second).sum(1) / 2 - _bits(middle).sum(1)
    return _to_unit(gain)


def bald(
    probs: Probs, embeddings: Probs, *, labelled: NDArray[np.int64], rng: np.random.Generator, draws: int = 16
) -> NDArray[np.float32]:
    """What an image's label would tell about the head, in bits: 0 (nothing) up. Doubt that more labels cannot lift,
    because the picture itself is ambiguous, does not count.

    probs: float (N, K), rows sum to 1. embeddings: float (N, D). labelled: int64 (M,) rows whose labels are known.
    The head's weights are taken to lie around the trained ones as a Laplace approximation says, class by class; its
    outputs are drawn `draws` times. Returns float32 (N,). Random by `rng` alone.
    Time O(N K (D + draws) + K D^3): 1 CPU s for 27,000 x 64 and 7 classes.
    Raises ValueError if a value is not finite or no probability, or the rows differ.
    Source: Houlsby et al. 2011 (BALD); Kristiadi et al. 2020 (Laplace approximation of the last layer).
    """
    values = _check(probs)
    if len(embeddings) != len(values) or not np.isfinite(embeddings).all():
        raise ValueError("embeddings must be one finite row for each image")
    spread = _spread_of_logits(values, embeddings.astype(np.float64), labelled)
    logits = np.log(np.maximum(values, 1e-6))
    mean, within = np.zeros_like(values), np.zeros(len(values))
    for _ in range(draws):
        drawn = softmax(logits + spread * rng.standard_normal(values.shape), axis=1)
        mean += drawn / draws
        within -= _bits(drawn).sum(1) / draws
    gain: NDArray[np.float32] = np.maximum(-_bits(mean).sum(1) - within, 0).astype(np.float32)
    return gain


def _spread_of_logits(probs: Probs, embeddings: Probs, labelled: NDArray[np.int64]) -> NDArray[np.float64]:
    """Standard deviation of each logit, (N, K): wide where few labelled images lie near."""
    points = np.c_[embeddings, np.ones(len(embeddings))]  # (N, D + 1)
    known, size = points[labelled], points.shape[1]
    spread = np.empty(probs.shape)
    for column in range(probs.shape[1]):
        share = probs[labelled, column]
        precision = (known * (share * (1 - share))[:, None]).T @ known + np.eye(size)
        spread[:, column] = np.sqrt(np.einsum("nd,nd->n", points @ np.linalg.inv(precision), points))
    return spread


def _bits(values: NDArray[np.float64]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = xlogy(values, values) / np.log(2)
    return out


def _check(probs: Probs) -> NDArray[np.float64]:
    if probs.ndim != 2 or probs.shape[1] < 1:
        raise ValueError(f"probs must be (N, K), not {probs.shape}")
    values = probs.astype(np.float64)
    if not (np.isfinite(values).all() and (values >= 0).all() and (values <= 1 + 1e-3).all()):
        raise ValueError("probs must be finite and between 0 and 1")
    return values


def _to_unit(scores: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.clip(scores, 0, 1).astype(np.float32)  # rounding may leave -1e-17
