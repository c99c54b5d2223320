"""Images that differ from each other and from those that are known, picked over embeddings."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.floating[Any]]
Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

ROUNDS = 8  # of Lloyd's algorithm: what later ones change is no image anybody would miss
_CHUNK = 4096


def k_center_greedy(embeddings: Embeddings, *, labelled: Rows, k: int, rng: np.random.Generator) -> Rows:
    """Pick k rows that cover the pool: always the row farthest from everything chosen so far.

    embeddings: float (N, D). labelled: int64 (M,) rows that count as chosen, may be empty.
    Returns int64 (k,) rows in pick order, none of them in `labelled`. Deterministic, ties to the lowest row; `rng`
    only picks the first row if `labelled` is empty. Time O(N (M + k) D): 1.5 CPU s for 1,000 of 27,000 x 64.
    Raises ValueError if k > N - M or a value is not finite.
    Source: Sener & Savarese 2018, Core-Set, algorithm 1.
    """
    points = _check(embeddings, k + len(labelled))
    squares = _squares(points)
    far = np.full(len(points), np.inf, np.float32)
    for rows in _chunks(len(points)):
        if len(labelled):
            far[rows] = _distances(points[rows], points[labelled]).min(1)
    far[labelled] = -1
    picked = np.empty(k, np.int64)
    for place in range(k):
        first = place == 0 and not len(labelled)
        row = int(rng.integers(len(points))) if first else int(far.argmax())
        picked[place] = row
        np.minimum(far, squares + squares[row] - 2 * (points @ points[row]), out=far)
        far[picked[: place + 1]] = -1
    return picked


def badge(probs: Embeddings, embeddings: Embeddings, *, k: int, rng: np.random.Generator) -> Rows:
    """Pick k rows whose gradients are large and point apart: k-means++ over what each image would change in the head.

    probs: float (N, K). embeddings: float (N, D). The gradient of the head, if the predicted class were the true one,
    is the outer product of (probs - predicted) and the embedding; it is never written out.
    Returns int64 (k,) rows in pick order. Random by `rng` alone. Time O(N k (K + D)): 3 CPU s for 1,000 of 27,000.
    Raises ValueError if k > N or a value is not finite.
    Source: Ash et al. 2020, Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds.
    """
    points = _check(embeddings, k)
    slopes = np.array(_check(probs, k))
    slopes[np.arange(len(slopes)), slopes.argmax(1)] -= 1
    squares = _squares(points) * _squares(slopes)
    far = squares.copy()  # no change at all counts as picked: no row is drawn that teaches nothing
    picked = np.empty(k, np.int64)
    for place in range(k):
        row = _draw(far, picked[:place], rng)
        picked[place] = row
        product = (points @ points[row]) * (slopes @ slopes[row])
        far = np.minimum(far, np.maximum(squares + squares[row] - 2 * product, 0))
    return picked


def cover(embeddings: Embeddings, *, weights: Floats, k: int, rng: np.random.Generator) -> Rows:
    """Pick the row nearest to each of k centres of weighted k-means: one of each kind, more kinds where weight lies.

    embeddings: float (N, D). weights: float32 (N,), not negative: how much each row pulls.
    Returns int64 (k,) distinct rows, ascending. Random by `rng` alone (k-means++ draws where the centres begin).
    Time O(N k D): 2 CPU s for 1,000 of 10,000 x 64. Raises ValueError if k > N or a value is not finite.
    Source: Zhdanov 2019, Diverse mini-batch Active Learning; Arthur & Vassilvitskii 2007, k-means++.
    """
    points = _check(embeddings, k)
    pull = np.maximum(np.asarray(weights, np.float32), 1e-6)
    if pull.shape != (len(points),) or not np.isfinite(pull).all():
        raise ValueError(f"weights must be {len(points)} finite numbers")
    if k == len(points):
        return np.arange(k)
    centres = points[_spread(points, pull, k, rng)]
    for _ in range(ROUNDS):
        nearest, _ = _assign(points, centres)
        totals = np.bincount(nearest, pull, minlength=k)
        for dimension in range(points.shape[1]):
            sums = np.bincount(nearest, pull * points[:, dimension], minlength=k)
            centres[:, dimension] = np.where(totals > 0, sums / np.maximum(totals, 1e-12), centres[:, dimension])
    return _one_of_each(*_assign(points, centres), pull, k)


def _one_of_each(nearest: Rows, distance: Floats, pull: Floats, k: int) -> Rows:
    """The row nearest to its centre of each group; where groups are empty, the heaviest rows that are left."""
    order = np.lexsort((distance, nearest))
    first = np.r_[True, nearest[order][1:] != nearest[order][:-1]]
    picked = order[first]
    if len(picked) < k:
        left = np.setdiff1d(np.arange(len(nearest)), picked)
        picked = np.r_[picked, left[np.argsort(-pull[left], kind="stable")[: k - len(picked)]]]
    return np.sort(picked).astype(np.int64)


def _spread(points: Floats, pull: Floats, k: int, rng: np.random.Generator) -> Rows:
    """Rows where k-means begins: each drawn by its weight and its squared distance to those drawn before."""
    squares = _squares(points)
    picked = np.empty(k, np.int64)
    picked[0] = _draw(pull, picked[:0], rng)
    far = np.full(len(points), np.inf, np.float32)
    for place in range(1, k):
        before = picked[place - 1]
        np.minimum(far, squares + squares[before] - 2 * (points @ points[before]), out=far)
        picked[place] = _draw(np.maximum(far, 0) * pull, picked[:place], rng)
    return picked


def _draw(shares: Floats, taken: Rows, rng: np.random.Generator) -> int:
    """A row by its share, none that is taken; any other where all shares are gone."""
    left = shares.astype(np.float64)
    left[taken] = 0
    total = np.cumsum(left)
    if total[-1] <= 0:
        return int(rng.choice(np.setdiff1d(np.arange(len(shares)), taken)))
    return min(int(np.searchsorted(total, rng.random() * total[-1], side="right")), len(shares) - 1)


def _assign(points: Floats, centres: Floats) -> tuple[Rows, Floats]:
    """The nearest centre of each row and the squared distance to it."""
    nearest, distance = np.empty(len(points), np.int64), np.empty(len(points), np.float32)
    for rows in _chunks(len(points)):
        apart = _distances(points[rows], centres)
        nearest[rows] = apart.argmin(1)
        distance[rows] = apart.min(1)
    return nearest, distance


def _distances(some: Floats, others: Floats) -> Floats:
    """Squared distances, (N, M)."""
    apart: Floats = _squares(some)[:, None] + _squares(others)[None, :] - 2 * (some @ others.T)
    return apart


def _squares(points: Floats) -> Floats:
    found: Floats = np.einsum("nd,nd->n", points, points)
    return found


def _chunks(count: int) -> Iterator[slice]:
    for start in range(0, count, _CHUNK):
        yield slice(start, min(start + _CHUNK, count))


def _check(values: Embeddings, k: int) -> Floats:
    if values.ndim != 2:
        raise ValueError(f"rows must be (N, D), not {values.shape}")
    if k > len(values):
        raise ValueError(f"{k} rows cannot be picked from {len(values)}")
    points = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(points).all():
        raise ValueError("rows must be finite")
    return points
