"""Candidate pairs: pictures whose hashes differ in few bits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RADIUS = 90  # of 256 bits; beyond it unlike pictures outnumber copies by a thousand to one
NEAREST = 64  # candidates kept per picture, so that ten thousand almost equal ones stay linear
_QUERIES = 1024  # per search, which bounds the memory that the answers take


@dataclass(frozen=True)
class Candidates:
    """M pairs of rows with a < b, each pair once per way, sorted by (a, b, mirrored).

    mirrored: whether b resembles a flipped left to right. distance: differing bits.
    """

    a: NDArray[np.int64]  # (M,)
    b: NDArray[np.int64]  # (M,)
    mirrored: NDArray[np.bool_]  # (M,)
    distance: NDArray[np.int32]  # (M,)


def find_candidates(
    hashes: NDArray[np.uint8],
    mirrored: NDArray[np.uint8],
    *,
    radius: int = RADIUS,
    nearest: int = NEAREST,
    on_progress: Callable[[int, int], None] | None = None,
) -> Candidates:
    """Every pair of pictures whose hashes, or the hash of one and the mirrored hash of the other, are close.

    hashes, mirrored: uint8 (N, B), bits packed, of the same pictures. radius: the largest Hamming distance that counts.
    nearest: at most so many neighbours of each picture are kept, the closest; with fewer within the radius the search
    is exhaustive. Of equally close ones beyond the last place faiss chooses, the same ones each time.
    on_progress: called with (queries done, queries in all).
    Deterministic. Time O(N^2) at about 0.01 microseconds a comparison, memory O(N B + N nearest).
    Raises ValueError if the shapes differ. Source: faiss IndexBinaryFlat.
    """
    if hashes.shape != mirrored.shape:
        raise ValueError(f"hashes {hashes.shape} and mirrored {mirrored.shape} differ in shape")
    if len(hashes) < 2:
        nothing = np.zeros(0, np.int64)
        return Candidates(nothing, nothing, np.zeros(0, np.bool_), np.zeros(0, np.int32))
    import faiss

    index = faiss.IndexBinaryFlat(hashes.shape[1] * 8)
    index.add(np.ascontiguousarray(hashes))
    total = 2 * len(hashes)
    parts = []
    for flipped, queries in enumerate((hashes, mirrored)):
        for start in range(0, len(queries), _QUERIES):
            found = _search(index, queries[start : start + _QUERIES], start, radius=radius, nearest=nearest)
            parts.append(np.column_stack([found, np.full(len(found), flipped)]))  # (m, 4): a, b, distance, flipped
            if on_progress:
                on_progress(flipped * len(hashes) + min(start + _QUERIES, len(hashes)), total)
    table = np.concatenate(parts)[:, [0, 1, 3, 2]]
    table = table[np.lexsort(table.T[::-1])]  # by a, b, flipped, distance
    first = np.ones(len(table), np.bool_)  # of the two queries that find a pair, the closer
    first[1:] = (table[1:, :3] != table[:-1, :3]).any(1)
    table = table[first]
    return Candidates(table[:, 0], table[:, 1], table[:, 2].astype(np.bool_), table[:, 3].astype(np.int32))


def _search(index: Any, queries: NDArray[np.uint8], start: int, *, radius: int, nearest: int) -> NDArray[np.int64]:
    """(m, 3) of lower row, higher row, distance for the queries that begin at row `start`."""
    distances, labels = index.search(
        np.ascontiguousarray(queries), min(nearest + 1, index.ntotal)
    )  # (q, k), itself too
    rows = np.repeat(np.arange(len(queries), dtype=np.int64) + start, labels.shape[1])
    table = np.column_stack([rows, labels.ravel(), distances.ravel().astype(np.int64)])
    table = table[
        (table[:, 2] <= radius) & (table[:, 0] != table[:, 1])
    ]  # a symmetric one is near its own mirror image
    return np.column_stack([table[:, :2].min(1), table[:, :2].max(1), table[:, 2]])
