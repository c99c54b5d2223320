"""Whether two pictures are one: correlation of their local contrast where they fit best."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 32
_PATCH = 26  # the middle of one picture, moved over the other: up to 3 of 32 pixels each way
_BLUR = 4.0  # pixels; coarser light and shade is left out, so that a lamp or a face's round shape counts for nothing
_NOISE = 25.0  # grey levels squared; keeps the noise of an even background from being blown up
_UNIT = 40  # a thumbnail's grey levels per local deviation
_FLOOR = 2.0  # a patch whose deviation is below this holds nothing to compare
_SIZES = (23, 24, 26, 28, 30)  # patches brought to 26 where the plain fit is worth it: crops and zooms
_WORTH = 0.6
_SAMPLE = 5000  # pairs drawn to learn how alike unlike pictures are
_FEWEST = 40_000  # pairs to draw from; among fewer, a handful of copies would pass for the usual likeness
_PRIOR = 100  # at the centre one in (100 x pictures) unlike pairs passes: for FER2013 about 150 of 470 million
# Of FER2013's candidate pairs looked at by eye, 14 at each level, the same picture were: 0 at scores .72-.76, 1 at
# .76-.80, 5 at .80-.83, 13 at .83-.87; above that all.
_CENTRE = 0.825
_SUREST = 0.999
_HIGHEST = 0.985  # recompressed and noisy copies still score as much where the pictures are crisp


def make_thumbnail(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture as `compare` takes it: its local contrast at 32x32.

    picture: uint8 (H, W), grey. Returns uint8 (32, 32): grey levels less their local mean over their local deviation,
    40 per deviation around 128. Brightness, contrast and slow shading are gone. Deterministic, about 40 microseconds.
    """
    shrinks = min(picture.shape) >= SIDE
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    levels = small.astype(np.float32)
    centred = levels - cv2.GaussianBlur(levels, (0, 0), _BLUR)
    spread = cv2.GaussianBlur(centred * centred, (0, 0), _BLUR)
    contrast = centred / np.sqrt(spread + _NOISE)
    thumbnail: NDArray[np.uint8] = np.clip(np.rint(contrast * _UNIT + 128), 0, 255).astype(np.uint8)
    return thumbnail


def compare(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """How alike two thumbnails are: the best normalised correlation over shifts and, if worth it, scales.

    one, other: uint8 (32, 32) from `make_thumbnail`. Returns -1 to 1, 1 for the same picture; 0 where either has no
    contrast. Deterministic. About 20 microseconds for unlike pictures, 200 for like ones.
    """
    best = _correlate(one, other, _PATCH)
    if best < _WORTH:
        return best
    for size in _SIZES:
        best = max(best, _correlate(one, other, size), _correlate(other, one, size))
    return best


def _correlate(one: NDArray[np.uint8], other: NDArray[np.uint8], size: int) -> float:
    """The middle `size` pixels of one, brought to the patch's size, where they fit other best."""
    edge = (SIDE - size) // 2
    patch = one[edge : edge + size, edge : edge + size]
    if size != _PATCH:
        patch = np.asarray(cv2.resize(patch, (_PATCH, _PATCH), interpolation=cv2.INTER_LINEAR), np.uint8)
    if patch.std() < _FLOOR:  # OpenCV calls a flat patch a perfect match for everything
        return 0.0
    return float(cv2.matchTemplate(other, patch, cv2.TM_CCOEFF_NORMED).max())


def verify_pairs(
    thumbnails: NDArray[np.uint8],
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    mirrored: NDArray[np.bool_],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """The score of M pairs of rows.

    thumbnails: uint8 (N, 32, 32). a, b: int64 (M,) rows. mirrored: bool (M,) whether a is flipped first.
    Returns float32 (M,) as `compare` gives. Deterministic. on_progress: called with (pairs done, pairs in all).
    """
    scores = np.zeros(len(a), np.float32)
    for pair in range(len(a)):
        one = thumbnails[a[pair]]
        scores[pair] = compare(np.ascontiguousarray(one[:, ::-1]) if mirrored[pair] else one, thumbnails[b[pair]])
        if on_progress and (pair % 1000 == 999 or pair + 1 == len(a)):
            on_progress(pair + 1, len(a))
    return scores


@dataclass(frozen=True)
class Scale:
    """P(same picture) = 1 / (1 + exp(-(atanh(score) - centre) / width))."""

    centre: float = float(np.arctanh(_CENTRE))
    width: float = 0.05


def draw_pairs(count: int, *, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of different rows out of `count`, drawn at random for `learn_scale`: int64 (M,) twice, M = 0 for few rows.

    Deterministic for a generator.
    """
    pairs = _SAMPLE if count * (count - 1) // 2 >= _FEWEST else 0
    a = rng.integers(0, max(count, 1), pairs)
    b = rng.integers(0, max(count - 1, 1), pairs)
    return a, b + (b >= a)  # skips a itself


def learn_scale(scores: NDArray[np.float32], *, count: int) -> Scale:
    """How high a score must be here: digits of one kind resemble each other more than faces do.

    scores: float32 (M,) of pairs drawn at random from the `count` pictures of a data set, hence of unlike pictures but
    for a few. Their tail, taken as exponential in atanh(score) from the 99th to the 99.9th percentile, is drawn out
    to where as many unlike pairs are expected as copies; that is the centre, within [0.825, 0.985] as a score, and the
    tail's own steepness is the width. Without scores (fewer than 284 pictures) the centre is 0.825. Deterministic.
    """
    if not len(scores):
        return Scale()
    high, higher = np.quantile(_stretch(scores), [0.99, 0.999])
    decades = np.log10(_PRIOR * count) - 3
    centre = np.clip(higher + decades * (higher - high), np.arctanh(_CENTRE), np.arctanh(_HIGHEST))
    return Scale(centre=float(centre), width=float(np.clip((higher - high) / np.log(10), 0.03, 0.1)))


def probability(scores: NDArray[np.float32], *, scale: Scale) -> NDArray[np.float32]:
    """P(same picture) of scores: float32 in [0, 0.999], of the same shape, rising with the score.

    Only equal pixels make it certain, and those are never compared.
    """
    p = 1 / (1 + np.exp(-(_stretch(scores) - scale.centre) / scale.width))
    return np.minimum(p, _SUREST).astype(np.float32)


def _stretch(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    stretched: NDArray[np.float64] = np.arctanh(np.clip(scores.astype(np.float64), -0.9999, 0.9999))
    return stretched
