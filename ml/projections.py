"""Features laid out in the plane, so that a data set can be looked at as a map, and the map cut into regions."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.dedup.index import build_index
from ml.neighbours import nearest_rows, project
from ml.progress import Ticker

METHODS = ("neighbours", "pca")
LANDMARKS = 50_000  # rows that are laid out among themselves; the others are placed beside those most like them
_NEIGHBOURS = 12
_EPOCHS = 150
_STRANGERS = 4  # rows from which each row is pushed away, for every neighbour that pulls it
_NEAR = 5  # landmarks between which another row is placed
_LONGEST_STEP = 4.0
_CHUNK = 65_536
_MOST_TO_CLUSTER = 50_000

Points = NDArray[np.float32]
Progress = Callable[[int, int], None]


def lay_out(
    features: NDArray[np.floating[Any]],
    *,
    method: str = "neighbours",
    seed: int = 0,
    neighbours: NDArray[np.int32] | None = None,
    on_progress: Progress | None = None,
) -> Points:
    """A place in the plane for each row, so that rows that are alike are near each other.

    features: float (N, D), finite, rows of length 1. neighbours: int32 (N, M), rows most like each as `nearest_rows`
    gives them, -1 for none, if they are known. Returns float32 (N, 2) in [0, 1]; the longer side is filled, the shape
    kept. "pca": the two main directions, a second for 100,000 rows. "neighbours": from there each row is pulled to its
    12 nearest and pushed from random others; 0.1 ms a row up to 50,000 where neighbours are known, else 0.3, and less
    for each beyond, which are placed between the landmarks most like them. Deterministic for a seed on one machine.
    Raises ValueError for a method that is not in METHODS, a wrong shape or values that are not finite.
    Source: McInnes et al. 2018, UMAP (with the kernel of t-SNE, as Böhm et al. 2022), by plain synchronous steps.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ValueError("features must be (N, D) and finite")
    if len(features) < 3 or features.shape[1] == 0:
        return _fit_square(np.pad(np.arange(len(features), dtype=np.float32)[:, None], ((0, 0), (0, 1))))
    flat = _flatten(features)
    if method == "pca":
        return _fit_square(flat)
    rng = np.random.default_rng(seed)
    if len(features) <= LANDMARKS:
        known = nearest_rows(features, k=_NEIGHBOURS) if neighbours is None else neighbours[:, :_NEIGHBOURS]
        return _fit_square(_pull_together(flat, known, rng=rng, on_progress=on_progress))
    chosen = np.sort(rng.choice(len(features), LANDMARKS, replace=False))
    near = nearest_rows(features[chosen], k=_NEIGHBOURS)
    landmarks = _pull_together(flat[chosen], near, rng=rng, on_progress=on_progress)
    return _fit_square(_place_between(features, chosen, landmarks, rng=rng))


def _flatten(features: NDArray[np.floating[Any]]) -> Points:
    """The two main directions, (N, D) -> (N, 2); a second column of zeros where there is only one."""
    flat = project(features, min(2, features.shape[1])).astype(np.float32)
    return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))


def _fit_square(points: Points) -> Points:
    """Into [0, 1], centred, both directions by the same factor; equal points end in the middle."""
    if not len(points):
        return points
    low, high = points.min(0), points.max(0)
    size = float((high - low).max()) or 1.0
    fitted: Points = ((points - (low + high) / 2) / size + 0.5).clip(0, 1).astype(np.float32)
    return fitted


def _pull_together(
    start: Points, near: NDArray[np.int32], *, rng: np.random.Generator, on_progress: Progress | None
) -> Points:
    """Steps of gradient descent on the cross-entropy between neighbourhoods there and here. near: (N, M)."""
    places = start / (float(np.abs(start).max()) or 1.0) * 10
    places = places + rng.normal(0, 1e-3, places.shape).astype(np.float32)  # equal rows have to part
    count, columns = len(near), near.shape[1]
    ticker = Ticker(on_progress, _EPOCHS)
    for epoch in range(_EPOCHS):
        rate = np.float32(1 - epoch / _EPOCHS)
        for column in rng.choice(columns, min(3, columns), replace=False):
            _pull(places, near[:, column], rate=rate)
            for _ in range(_STRANGERS):
                _push(places, rng.integers(0, count, size=count), rate=rate)
        ticker.tick(epoch + 1)
    return places


def _pull(places: Points, to: NDArray[np.int32], *, rate: np.float32) -> None:
    """Each row and one neighbour of it move towards each other."""
    rows = np.flatnonzero(to >= 0)
    to = to[rows]
    apart = places[rows] - places[to]  # (n, 2)
    step = _limit(-2 * apart / (1 + np.square(apart).sum(1, keepdims=True))) * rate
    places[rows] += step
    for axis in (0, 1):  # a row may be the neighbour of many
        places[:, axis] -= np.bincount(to, weights=step[:, axis], minlength=len(places)).astype(np.float32)


def _push(places: Points, others: NDArray[np.int64], *, rate: np.float32) -> None:
    apart = places - places[others]
    squared = np.square(apart).sum(1, keepdims=True)
    places += _limit(2 * apart / ((1e-3 + squared) * (1 + squared))) * rate


def _limit(step: Points) -> Points:
    return step.clip(-_LONGEST_STEP, _LONGEST_STEP)


def _place_between(
    features: NDArray[np.floating[Any]], chosen: NDArray[np.int64], landmarks: Points, *, rng: np.random.Generator
) -> Points:
    """Rows between the landmarks most like them; those keep their places. (N, D), (L,), (L, 2) -> (N, 2)."""
    unit = features[chosen].astype(np.float32)
    even = features.shape[1] % 2
    index = build_index(np.pad(unit, ((0, 0), (0, even))), lookups=len(features))
    if hasattr(index, "nprobe"):
        index.nprobe = 8
    points = np.empty((len(features), 2), np.float32)
    spread = float(landmarks.std()) / 300
    for start in range(0, len(features), _CHUNK):
        rows = np.pad(features[start : start + _CHUNK].astype(np.float32), ((0, 0), (0, even)))
        likeness, found = index.search(rows, _NEAR)
        weights = np.where(found >= 0, np.exp(8 * (likeness - likeness.max(1, keepdims=True))), 0)
        weights /= weights.sum(1, keepdims=True)
        points[start : start + _CHUNK] = np.einsum("nk,nkd->nd", weights, landmarks[found])
    points += rng.normal(0, spread, points.shape).astype(np.float32)  # alike ones do not cover each other
    points[chosen] = landmarks
    return points


def find_regions(points: Points, *, count: int, seed: int = 0) -> NDArray[np.int16]:
    """Cut a map into regions of points that lie together: k-means, learned from 50,000 points at most.

    points: float32 (N, 2). Returns int16 (N,), 0 to at most count - 1, the fullest region first. Deterministic.
    """
    from sklearn.cluster import KMeans

    seen = np.unique(points, axis=0)
    if len(seen) <= 1:
        return np.zeros(len(points), np.int16)
    some = points[:: max(1, len(points) // _MOST_TO_CLUSTER)]
    centres = min(count, len(np.unique(some, axis=0)))
    model = KMeans(centres, n_init=1, random_state=seed, max_iter=50).fit(some.astype(np.float64))
    found = model.predict(points.astype(np.float64))
    rank = np.argsort(np.argsort(-np.bincount(found, minlength=centres), kind="stable"), kind="stable")
    named: NDArray[np.int16] = rank[found].astype(np.int16)
    return named
