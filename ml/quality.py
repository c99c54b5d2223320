"""How well a picture can be seen: light, contrast, sharpness, shape; measured alone, judged among its data set."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

LONGEST = 256  # pixels of the longer side at which light and sharpness are measured; larger pictures are shrunk to it
MEASURES = ("darkest", "dark", "middle", "light", "lightest", "sharpness", "width", "height")
_QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)


def measure(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What one picture is like, as `MEASURES` names it.

    pixels: uint8 (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, which is laid over white; at least one pixel.
    Returns float32 (8,): the 1st, 5th, 50th, 95th and 99th percentile of the grey values (0 to 255); sharpness (0 to
    1, see `_sharpness`); width and height in pixels of the picture as it is.
    Deterministic. About 90 microseconds for 48 x 48, 600 for 256 x 256. Raises ValueError for an empty picture.
    """
    if not pixels.size:
        raise ValueError("a picture has at least one pixel")
    height, width = pixels.shape[:2]
    grey = _shrink(_to_grey(pixels))
    levels = np.cumsum(np.bincount(grey.ravel(), minlength=256))
    quantiles = np.searchsorted(levels, np.multiply(_QUANTILES, grey.size), side="left")
    return np.array([*quantiles, _sharpness(grey), width, height], np.float32)


def _to_grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:].astype(np.float32) / 255
        pixels = (pixels[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)  # (H, W, 3)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def _shrink(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = LONGEST / max(grey.shape)
    if factor >= 1:
        return grey
    height, width = (max(1, round(side * factor)) for side in grey.shape)
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _sharpness(grey: NDArray[np.uint8]) -> float:
    """How much a grey picture changes between its steps, relative to the steps: 0 for even ramps, 3 for noise.

    The energy of the second differences over that of the first ones. Contrast cancels out; a Gaussian blur of
    standard deviation s pixels leaves about 1 / (2 s squared) at most. Of six measures that were tried it tells blurred
    pictures from the same ones unblurred best (docs/quality.md).
    """
    values = grey.astype(np.float32)
    first, second = 0.0, 0.0
    for axis in (0, 1):
        steps = np.diff(values, axis=axis)
        turns = np.diff(steps, axis=axis)
        first += float((steps * steps).mean()) if steps.size else 0.0
        second += float((turns * turns).mean()) if turns.size else 0.0
    return second / (first + 1)


BLANK = 12.0  # grey levels between the 1st and the 99th percentile: no more than this shows nothing
_SPREADS = 4.0  # robust standard deviations below the median of the data set
# Lower is worse. What lies below the limit of its data set is found; the limit follows the data set between these
# bounds, below which a picture is always bad and above which it never is (docs/quality.md says how they were chosen).
_BOUNDS = {"dark": (40.0, 80.0), "bright": (40.0, 85.0), "low_contrast": (30.0, 60.0), "blurred": (0.35, 0.8)}
_LEAST_ODD = {"odd_size": np.log(2.0), "odd_shape": np.log(1.5)}


@dataclass(frozen=True)
class Judged:
    """The pictures of which one thing is said. rows: int64 (M,) ascending. scores: float32 (M,), 0.5 at the limit to 1.

    values: float32 (M,), in the unit of the limit: grey levels, sharpness, pixels of side, width over height.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """From where on something is said. low: of the kinds where less is worse. usual, factor: of size and shape."""

    low: Mapping[str, float]
    usual: Mapping[str, float]
    factor: Mapping[str, float]


def choose_limits(measures: NDArray[np.float32]) -> Limits:
    """The limits for one data set: four robust standard deviations from its median, within fixed bounds.

    measures: float32 (N, 8), finite, as `measure` gives them; N = 0 gives the stricter bounds. Deterministic.
    """
    values = _values(measures)
    low = {kind: float(np.clip(_far_below(values[kind]), *bounds)) for kind, bounds in _BOUNDS.items()}
    usual, factor = {}, {}
    for kind, least in _LEAST_ODD.items():
        middle, spread = _spread(np.log(values[kind]))
        usual[kind] = float(np.exp(middle))
        factor[kind] = float(np.exp(max(least, _SPREADS * spread)))
    return Limits(low, usual, factor)


def judge(measures: NDArray[np.float32], *, limits: Limits) -> dict[str, Judged]:
    """What is said about which pictures. Of a blank one nothing is said about its light, contrast and sharpness.

    measures: float32 (N, 8), finite. Returns kind -> Judged, kinds without pictures too. Deterministic, O(N).
    """
    values = _values(measures)
    spans = values["blank"]
    blank = spans <= BLANK
    found = {"blank": _pick(blank, 1 - 0.5 * spans / BLANK, spans)}
    for kind, limit in limits.low.items():
        below = (values[kind] < limit) & ~blank
        shown = 255 - values[kind] if kind == "bright" else values[kind]
        found[kind] = _pick(below, 1 - 0.5 * values[kind] / limit, shown)
    for kind, factor in limits.factor.items():
        away = np.abs(np.log(values[kind] / limits.usual[kind]))
        beyond = away > np.log(factor)
        found[kind] = _pick(beyond, 1 - 0.5 * np.log(factor) / np.maximum(away, 1e-9), values[kind])
    return found


def _values(measures: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """What each kind is judged by, (N,) each."""
    column = dict(zip(MEASURES, measures.reshape(-1, len(MEASURES)).T, strict=True))
    return {
        "blank": column["lightest"] - column["darkest"],
        "dark": column["lightest"],
        "bright": 255 - column["dark"],
        "low_contrast": column["light"] - column["dark"],
        "blurred": column["sharpness"],
        "odd_size": np.sqrt(column["width"] * column["height"]),
        "odd_shape": column["width"] / column["height"],
    }


def _far_below(values: NDArray[np.float32]) -> float:
    middle, spread = _spread(np.log(np.maximum(values, 1e-3)))
    return float(np.exp(middle - _SPREADS * spread))


def _spread(values: NDArray[np.float32]) -> tuple[float, float]:
    """Median and robust standard deviation (median absolute deviation, scaled as for a normal distribution)."""
    if not len(values):
        return 0.0, 0.0
    middle = float(np.median(values))
    return middle, 1.4826 * float(np.median(np.abs(values - middle)))


def _pick(wanted: NDArray[np.bool_], scores: NDArray[np.floating[Any]], values: NDArray[np.float32]) -> Judged:
    rows = np.flatnonzero(wanted)
    return Judged(rows, scores[rows].clip(0.5, 1).astype(np.float32), values[rows])
