"""Whether two pictures are one: correlation of their local contrast where they fit best."""

from collections.abc import Callable

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
# P = 1 / (1 + exp(-(score - CENTRE) / WIDTH)), set on FER2013: of the pairs within the hash radius hardly any of unlike
# pictures scores above 0.75, and copies with another crop, shift, light, noise or compression score above 0.85.
CENTRE = 0.80
WIDTH = 0.03


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


def probability(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """P(same picture) of scores, float32 in [0, 1] of the same shape: a logistic curve through CENTRE."""
    p: NDArray[np.float32] = (1 / (1 + np.exp(-(scores.astype(np.float64) - CENTRE) / WIDTH))).astype(np.float32)
    return p
