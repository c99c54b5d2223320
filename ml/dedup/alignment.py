"""Candidate pairs, compared on pixels: one brought over the other, and what then agrees and what does not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.dedup.candidates import Candidates
from ml.dedup.descriptors import PARTS, VIEWS, View, mirror_part
from ml.dedup.fingerprints import COLOUR_SIDE, SIDE, get_colour, get_grey

_FIRST_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 3, 1e-3)
_FURTHER_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 1e-3)
_PROMISING = 0.75  # correlation after the first steps; of true copies 1 in 1,000 has less, of the others half
_FITTING = 0.8  # after all steps; of true copies 1 in 1,000 has less, of the others 70 to 85 %
_SMOOTH = 3  # pixels, while aligning only
_NO_MASK: Any = None  # OpenCV takes it, its stubs do not say so
_COARSE, _FINE, _FINEST = 4.0, 2.0, 1.0  # pixels around which local contrast is taken: to align, to compare twice
_NOISE = 25.0  # grey levels squared; keeps the noise of an even background from being blown up
_BLOCK = 8
_FEWEST = 96  # pixels that both show; with fewer there is nothing to compare
_EMPTY = 0.15  # deviation of local contrast; a block with less on both sides says nothing
_EVEN = 3.0  # grey levels within a square of 5 pixels
_SQUARE, _AROUND = np.ones((5, 5), np.uint8), np.ones((9, 9), np.uint8)
_PALE = 4.0  # Lab units; colours that vary less are mostly noise
_BATCH = 256
FEATURES = ("detail", "grain", "shape", "blocks", "spread", "stretch", "turn", "contrast", "tint", "colours")


@dataclass(frozen=True)
class Alignments:
    """M candidate pairs, aligned.

    fits: bool (M,), whether there is a map by which they may be one picture; where not, the rest is 0.
    matrix: float32 (M, 2, 3), from places in `other` to places in `one` (flipped first, if mirrored), in pixels of 32.
    features: float32 (M, 10), columns as FEATURES.
    """

    fits: NDArray[np.bool_]
    matrix: NDArray[np.float32]
    features: NDArray[np.float32]


def align_pairs(
    fingerprints: NDArray[np.uint8],
    pairs: Candidates,
    *,
    thorough: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Alignments:
    """Bring `one` of each pair over `other` by an affine map, starting from the view that proposed it, and compare.

    fingerprints: uint8 (N, 36, 32). thorough: measure hopeless pairs too. on_progress: called with (done, in all).
    Features, all of what both show, even areas left out: detail and grain, correlations of fine and finest local
    contrast; shape, how far the detail runs in more than one direction; blocks, lower quartile of the correlations of
    8x8 blocks; spread, share of the area that carries the contrast; stretch and turn of the map, in logarithms and
    radians; contrast, logarithm of the ratio; tint, difference of the mean colour in Lab units; colours, correlation of
    the colours around it, 0 for grey.
    Deterministic, and the same whatever other pairs are compared with it. About 0.15 milliseconds for a pair that turns
    out hopeless, 0.3 for another. Source: Evangelidis and Psarakis 2008 (ECC), as OpenCV has it.
    """
    count = len(pairs.one)
    made = Alignments(
        np.zeros(count, np.bool_), np.zeros((count, 2, 3), np.float32), np.zeros((count, len(FEATURES)), np.float32)
    )
    for start in range(0, count, _BATCH):
        rows = np.arange(start, min(start + _BATCH, count))
        _align_batch(fingerprints, pairs, rows, made, thorough=thorough)
        if on_progress:
            on_progress(int(rows[-1]) + 1, count)
    return made


def _align_batch(
    fingerprints: NDArray[np.uint8], pairs: Candidates, rows: NDArray[np.int64], made: Alignments, *, thorough: bool
) -> None:
    flipped = pairs.mirrored[rows]
    ones, others = fingerprints[pairs.one[rows]], fingerprints[pairs.other[rows]]
    one_grey, other_grey = get_grey(ones).copy(), get_grey(others)
    one_grey[flipped] = one_grey[flipped, :, ::-1]
    fits: list[_Fit] = []
    kept: list[int] = []
    for place, (one, other) in enumerate(zip(one_grey, other_grey, strict=True)):
        window = (*VIEWS, *PARTS)[pairs.view[rows[place]]]
        fit = _fit(one, other, window=mirror_part(window) if flipped[place] else window, thorough=thorough)
        if fit is not None:
            fits.append(fit)
            kept.append(place)
    if not fits:
        return
    one_colour, other_colour = get_colour(ones[kept]), get_colour(others[kept])
    one_colour[flipped[kept]] = one_colour[flipped[kept], :, ::-1]
    for place, fit in enumerate(fits):
        one_colour[place] = _warp(one_colour[place], _scale(fit.matrix, COLOUR_SIDE / SIDE), COLOUR_SIDE)
    made.fits[rows[kept]] = True
    made.matrix[rows[kept]] = [fit.matrix for fit in fits]
    made.features[rows[kept]] = _measure(fits, other_grey[kept], one_colour, other_colour)


@dataclass(frozen=True)
class _Fit:
    """One pair, aligned. levels, fine: of `one` as `other` has it, (32, 32). both: what both hold of the picture.
    shown: where, besides, either has some detail."""

    matrix: NDArray[np.float32]
    levels: NDArray[np.float32]
    fine: NDArray[np.float32]
    other_fine: NDArray[np.float32]
    both: NDArray[np.bool_]
    shown: NDArray[np.bool_]


def _fit(one: NDArray[np.uint8], other: NDArray[np.uint8], *, window: View, thorough: bool) -> _Fit | None:
    """None if they do not fit."""
    held = _get_slices(window)
    start = _as_matrix(window) if window.part == "whole" else np.eye(2, 3, dtype=np.float32)
    matrix = _find_map(one[held], other[held], start=start, thorough=thorough)
    if matrix is None:
        return None
    if window.part != "whole":  # the map was found within the part
        corner = np.array([held[1].start, held[0].start], np.float32)
        matrix[:, 2] += corner - matrix[:, :2] @ corner
    both = np.zeros((SIDE, SIDE), np.bool_)
    both[held] = _warp(_ONES, matrix, SIDE, outside=cv2.BORDER_CONSTANT)[held] > 0.99
    levels = _warp(one.astype(np.float32), matrix, SIDE)
    shown = both & ~(_is_even(levels) & _is_even(other))
    if shown.sum() < _FEWEST and not thorough:
        return None
    return _Fit(matrix, levels, _local_contrast(levels, _FINE), _local_contrast(other, _FINE), both, shown)


_ONES = np.ones((SIDE, SIDE), np.float32)


def _get_slices(view: View) -> tuple[slice, slice]:
    """The rows and columns of a part; all of them for a window, whose place the map has."""
    if view.part == "whole":
        return slice(0, SIDE), slice(0, SIDE)
    top, left = round(view.top * SIDE), round(view.left * SIDE)
    return slice(top, top + round(view.height * SIDE)), slice(left, left + round(view.width * SIDE))


def _as_matrix(view: View) -> NDArray[np.float32]:
    """From places in a picture to places in another of which it is a window."""
    x, y = view.left * SIDE + (view.width - 1) / 2, view.top * SIDE + (view.height - 1) / 2
    return np.array([[view.width, 0, x], [0, view.height, y]], np.float32)


def _scale(matrix: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """The same map between pictures of another size."""
    scaled = matrix.copy()
    scaled[:, 2] = matrix[:, 2] * factor + (matrix[:, :2].sum(1) - 1) * (factor - 1) / 2
    return scaled


def _find_map(
    one: NDArray[np.uint8], other: NDArray[np.uint8], *, start: NDArray[np.float32], thorough: bool
) -> NDArray[np.float32] | None:
    """The affine map that fits best from `start` on; none if it fits badly."""
    held, sought = _local_contrast(other, _COARSE), _local_contrast(one, _COARSE)
    matrix: Any = start.copy()
    try:
        for steps, least in ((_FIRST_STEPS, _PROMISING), (_FURTHER_STEPS, _FITTING)):
            fit, matrix = cv2.findTransformECC(held, sought, matrix, cv2.MOTION_AFFINE, steps, _NO_MASK, _SMOOTH)
            if fit < least and not thorough:
                return None
    except cv2.error:  # nothing to compare, or no way from here to a fit
        return start.copy() if thorough else None
    return np.asarray(matrix, np.float32)


def _local_contrast(levels: NDArray[np.uint8] | NDArray[np.float32], around: float) -> NDArray[np.float32]:
    """Levels less their local mean over their local deviation: brightness, contrast and slow shading are gone."""
    values = levels.astype(np.float32)
    centred = values - cv2.GaussianBlur(values, (0, 0), around)
    spread = cv2.GaussianBlur(centred * centred, (0, 0), around)
    return np.asarray(centred / np.sqrt(spread + _NOISE), np.float32)


def _is_even(levels: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where a picture shows nothing, as under a bar that was laid over it, with the bar's edge: bool (32, 32)."""
    values = levels.astype(np.float32)
    low, high = cv2.erode(values, _SQUARE), cv2.dilate(values, _SQUARE)
    even = (high - low < _EVEN).astype(np.uint8)  # the middles of even squares
    return cv2.dilate(even, _AROUND) > 0


def _local_contrasts(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The finest, of each of (B, 32, 32)."""
    return np.stack([_local_contrast(values, _FINEST) for values in levels])


def _warp(
    picture: NDArray[np.float32], matrix: NDArray[np.float32], side: int, *, outside: int = cv2.BORDER_REPLICATE
) -> NDArray[np.float32]:
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, matrix, (side, side), flags=how, borderMode=outside), np.float32)


def _measure(
    fits: list[_Fit],
    other_grey: NDArray[np.uint8],
    one_colour: NDArray[np.float32],
    other_colour: NDArray[np.float32],
) -> NDArray[np.float32]:
    """float32 (B, 10), columns as FEATURES."""
    both, shown = np.stack([fit.both for fit in fits]), np.stack([fit.shown for fit in fits])
    levels, others = np.stack([fit.levels for fit in fits]), other_grey.astype(np.float32)
    fine, other_fine = np.stack([fit.fine for fit in fits]), np.stack([fit.other_fine for fit in fits])
    matrix = np.stack([fit.matrix for fit in fits])
    sizes = np.linalg.svd(matrix[:, :, :2].astype(np.float64), compute_uv=False).clip(1e-3)
    turn = np.arctan2(matrix[:, 1, 0] - matrix[:, 0, 1], matrix[:, 0, 0] + matrix[:, 1, 1])
    ratio = _deviation(levels, shown) / np.maximum(_deviation(others, shown), 1)
    coloured = both.reshape(len(both), COLOUR_SIDE, _STRIDE, COLOUR_SIDE, _STRIDE).mean((2, 4)) > 0.5
    tint, colours = _compare_colours(one_colour, other_colour, coloured)
    return np.stack(
        [
            _correlate(fine, other_fine, shown),
            _correlate(_local_contrasts(levels), _local_contrasts(others), shown),
            np.minimum(_two_ways(levels, shown), _two_ways(others, shown)),
            _correlate_blocks(fine, other_fine, shown),
            np.minimum(_share_used(fine, both), _share_used(other_fine, both)),
            np.log(sizes[:, 0] / sizes[:, 1]),
            np.abs(turn),
            np.abs(np.log(np.maximum(ratio, 0.05))),
            tint,
            colours,
        ],
        axis=1,
    ).astype(np.float32)


_STRIDE = SIDE // COLOUR_SIDE


def _deviation(values: NDArray[np.float32], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(B,) of (B, 32, 32), of the places named."""
    count = np.maximum(where.sum((1, 2)), 1)
    mean = (values * where).sum((1, 2)) / count
    return np.asarray(np.sqrt((((values - mean[:, None, None]) * where) ** 2).sum((1, 2)) / count), np.float64)


def _correlate(one: NDArray[np.float32], other: NDArray[np.float32], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Correlations over the last two axes, 0 where either side has no contrast: (...,)."""
    count = np.maximum(where.sum((-2, -1)), 1)
    left = (one - ((one * where).sum((-2, -1)) / count)[..., None, None]) * where
    right = (other - ((other * where).sum((-2, -1)) / count)[..., None, None]) * where
    size = np.sqrt((left * left).sum((-2, -1)) * (right * right).sum((-2, -1)))
    return np.asarray((left * right).sum((-2, -1)) / np.maximum(size, 1e-6), np.float64)


def _two_ways(levels: NDArray[np.float32], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """0 for a straight edge or stripes, which fit anywhere along them, 1 for detail in all directions: (B,)."""
    smooth = np.stack([cv2.GaussianBlur(values, (0, 0), 1.0) for values in levels])
    down, across = np.gradient(smooth, axis=(1, 2))
    tensor = [(one * other * where).sum((1, 2)) for one, other in ((down, down), (across, across), (down, across))]
    half, apart = (tensor[0] + tensor[1]) / 2, np.hypot((tensor[0] - tensor[1]) / 2, tensor[2])
    return np.asarray(np.maximum(half - apart, 0) / np.maximum(half + apart, 1e-6), np.float64)


def _as_blocks(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, 32, 32) -> (B, 16, 8, 8)."""
    grid = values.reshape(len(values), SIDE // _BLOCK, _BLOCK, SIDE // _BLOCK, _BLOCK)
    return grid.transpose(0, 1, 3, 2, 4).reshape(len(values), -1, _BLOCK, _BLOCK)


def _correlate_blocks(
    one: NDArray[np.float32], other: NDArray[np.float32], where: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The lower quartile over the blocks in which either side shows something, 0 where none does: (B,)."""
    left, right, held = _as_blocks(one), _as_blocks(other), _as_blocks(where.astype(np.float32)) > 0
    found = _correlate(left, right, held)
    count = held.sum((2, 3))
    power = np.maximum((left * left * held).sum((2, 3)), (right * right * held).sum((2, 3)))
    used = (count >= _BLOCK * _BLOCK // 2) & (power > _EMPTY**2 * count)
    found = np.where(used, found, np.inf)
    found.sort(axis=1)
    number = used.sum(1)
    place = np.maximum((number - 1) // 4, 0)
    return np.where(number > 0, found[np.arange(len(found)), place], 0.0)


def _share_used(contrast: NDArray[np.float32], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Participation ratio of the smoothed power: 1 if the contrast is spread evenly, near 0 for a dot on a plain."""
    power = np.stack([cv2.GaussianBlur(values * values, (0, 0), 2.0) for values in contrast]) * where
    count = np.maximum(where.sum((1, 2)), 1)
    square = np.maximum((power * power).sum((1, 2)) * count, 1e-9)
    return np.asarray(power.sum((1, 2)) ** 2 / square, np.float64)


def _compare_colours(
    one: NDArray[np.float32], other: NDArray[np.float32], where: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far the mean colours lie apart, and the correlation of the colours around it, damped where they are pale."""
    count = np.maximum(where.sum((1, 2)), 1)[:, None]
    shown = where[..., None]
    means = [(colour * shown).sum((1, 2)) / count for colour in (one, other)]
    left, right = ((colour - mean[:, None, None]) * shown for colour, mean in zip((one, other), means, strict=True))
    size = np.sqrt((left * left).sum((1, 2, 3)) * (right * right).sum((1, 2, 3))) + _PALE**2 * count[:, 0]
    return np.abs(means[0] - means[1]).max(1), (left * right).sum((1, 2, 3)) / size
