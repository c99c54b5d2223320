"""The search as it stands, behind the interface that the benchmark is written against."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.dedup.groups import group_pairs
from ml.dedup.hashes import hash_pictures, to_grey
from ml.dedup.search import find_candidates as find_near_hashes
from ml.dedup.verify import draw_pairs, learn_scale, make_thumbnail, probability, verify_pairs

__all__ = ["SIDE", "find_candidates", "find_pairs", "group_pairs"]

SIDE = 32  # of the thumbnails that candidates are searched from


@dataclass(frozen=True)
class Pairs:
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    score: NDArray[np.float32]
    p: NDArray[np.float32]


def find_pairs(pictures: Sequence[NDArray[np.uint8]]) -> Pairs:
    greys = [to_grey(picture) for picture in pictures]
    hashes = hash_pictures(greys)
    rows = np.flatnonzero(~hashes.flat)
    found = find_near_hashes(hashes.plain[rows], hashes.mirrored[rows])
    a, b = rows[found.a], rows[found.b]
    thumbnails = np.stack([make_thumbnail(grey) for grey in greys])
    left, right = draw_pairs(len(greys), rng=np.random.default_rng(0))
    scale = learn_scale(verify_pairs(thumbnails, left, right, np.zeros(len(left), np.bool_)), count=len(greys))
    scores = verify_pairs(thumbnails, a, b, found.mirrored)
    order = np.lexsort((-scores, b, a))
    a, b, scores = a[order], b[order], scores[order]
    first = np.ones(len(a), np.bool_)
    first[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    a, b, scores = a[first], b[first], scores[first]
    return Pairs(a, b, scores, probability(scores, scale=scale))


def find_candidates(thumbnails: NDArray[np.uint8], *, new_from: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    hashes = hash_pictures(list(thumbnails))
    found = find_near_hashes(hashes.plain, hashes.mirrored)
    kept = found.b >= new_from
    return found.a[kept], found.b[kept]
