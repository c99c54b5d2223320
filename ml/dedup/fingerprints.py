"""What a scan keeps of each picture: 1,152 bytes from which candidates are found and compared.

A fingerprint is uint8 (36, 32): 32 rows of grey levels and, in the last four, the colour as 8x8 values of each of CIE
Lab's a and b. The sides of the picture are brought to one length.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 32
COLOUR_SIDE = 8
SHAPE = (SIDE + 2 * COLOUR_SIDE**2 // SIDE, SIDE)
BYTES = SHAPE[0] * SHAPE[1]
_FLAT_STD = 2.0  # grey levels; a picture with less has noise for a shape and would match anything flat
_NEUTRAL = 128
_HUGE = 1 << 24  # values; a larger picture is brought to 1024x1024 before it is laid over white in floats


def fingerprint(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The fingerprint of one picture.

    pixels: uint8 (H, W), (H, W, 3) RGB or (H, W, 4) with straight alpha, laid over white; any size from 1x1 on.
    Returns uint8 (36, 32). Deterministic. About 10 microseconds for a grey picture of 48x48; a large one takes as long
    as its pixels take to be read once. Raises ValueError for another shape.
    """
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise ValueError(f"a picture is (H, W), (H, W, 3) or (H, W, 4), not {pixels.shape}")
    small = _shrink(pixels)
    made = np.full(SHAPE, _NEUTRAL, np.uint8)
    if small.ndim == 2:
        made[:SIDE] = small
        return made
    made[:SIDE] = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)[:, :, 1:]
    colour = cv2.resize(lab, (COLOUR_SIDE, COLOUR_SIDE), interpolation=cv2.INTER_AREA)
    made[SIDE:] = colour.transpose(2, 0, 1).reshape(-1, SIDE)
    return made


def _shrink(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """32x32, grey or RGB."""
    how = cv2.INTER_AREA if min(pixels.shape[:2]) >= SIDE else cv2.INTER_LINEAR
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        if pixels.size > _HUGE:
            pixels = np.asarray(cv2.resize(pixels, (1024, 1024), interpolation=cv2.INTER_AREA), np.uint8)
        levels = pixels.astype(np.float32)
        share = levels[:, :, 3:] / 255
        pixels = np.rint(levels[:, :, :3] * share + 255 * (1 - share)).astype(np.uint8)
    return np.asarray(cv2.resize(np.ascontiguousarray(pixels), (SIDE, SIDE), interpolation=how), np.uint8)


def fingerprint_all(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """uint8 (N, 36, 32) of N pictures as `fingerprint` takes them; N may be 0."""
    return np.stack([fingerprint(picture) for picture in pictures]) if pictures else np.zeros((0, *SHAPE), np.uint8)


def is_flat(made: NDArray[np.uint8]) -> bool:
    """Whether a fingerprint, uint8 (36, 32), shows too little to tell one picture from another."""
    return float(made[:SIDE].std()) < _FLAT_STD


def get_grey(made: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The grey levels: uint8 (..., 32, 32)."""
    return made[..., :SIDE, :]


def get_colour(made: NDArray[np.uint8]) -> NDArray[np.float32]:
    """CIE Lab's a and b, 0 for grey: float32 (..., 8, 8, 2), -128 to 127."""
    values = made[..., SIDE:, :].reshape(*made.shape[:-2], 2, COLOUR_SIDE, COLOUR_SIDE).astype(np.float32) - _NEUTRAL
    return np.moveaxis(values, -3, -1)
