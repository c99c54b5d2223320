"""Short descriptors of pictures and of windows of them: low DCT coefficients, each in units of its own spread."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ml.dedup.fingerprints import SIDE, get_grey

_FREQUENCIES = 8  # per axis
LENGTH = _FREQUENCIES**2 - 1  # the mean brightness is left out
COARSE = 32  # the lowest frequencies, enough to look pictures up by
_ROWS = 2048  # pictures at a time, which bounds the memory
_SAMPLE = 20_000  # pictures that metrics are learned from
_PRIOR = 200  # pictures that the usual falling spectrum counts as, beside those that were seen
_SPREAD = 600.0  # of the lowest coefficients of photographs, grey levels; falls with the frequency


@dataclass(frozen=True)
class View:
    """A window of a picture, in shares of its sides; what lies outside repeats the edge.

    part: what is compared when only this part is the same.
    """

    left: float
    top: float
    width: float
    height: float
    part: str = "whole"


def _windows(size: float) -> list[View]:
    """The middle and the four corners."""
    rest = 1 - size
    return [View(x * rest, y * rest, size, size) for x, y in ((0.5, 0.5), (0, 0), (1, 0), (0, 1), (1, 1))]


WHOLE = 0  # the row of VIEWS that is the picture itself
_SHIFT = 0.045
_SHIFTS = (View(_SHIFT, 0, 1, 1), View(-_SHIFT, 0, 1, 1), View(0, _SHIFT, 1, 1), View(0, -_SHIFT, 1, 1))
VIEWS = (View(0, 0, 1, 1), *_windows(0.9), *_windows(0.8), *_windows(0.68), *_SHIFTS)
PARTS = (
    View(0, 0, 1, 0.52, "top"),
    View(0, 0.48, 1, 0.52, "bottom"),
    View(0, 0, 0.52, 1, "left"),
    View(0.48, 0, 0.52, 1, "right"),
)
HELD = {view.part: view for view in (VIEWS[WHOLE], *PARTS)}  # what is looked up, by part


def mirror_part(view: View) -> View:
    """Where a view lies once the picture is flipped left to right."""
    part = {"left": "right", "right": "left"}.get(view.part, view.part)
    return View(1 - view.left - view.width, view.top, view.width, view.height, part)


@dataclass(frozen=True)
class Metric:
    """How each coefficient of a view lies in a data set and its mirror image. mean, spread: float32 (63,)."""

    mean: NDArray[np.float32]
    spread: NDArray[np.float32]


def learn_metric(coefficients: NDArray[np.float32]) -> Metric:
    """The metric of one view in a data set, from (N, 63) coefficients; N may be 0.

    Few pictures are helped out by what photographs look like: a spread that falls with the frequency. Deterministic.
    """
    usual = _SPREAD / np.maximum(_frequency(), 1)
    seen, total = len(coefficients), len(coefficients) + _PRIOR
    mean = coefficients.mean(0, dtype=np.float64) * (seen / total) if seen else np.zeros(LENGTH)
    square = coefficients.var(0, dtype=np.float64) if seen else np.zeros(LENGTH)
    spread = np.sqrt((seen * square + _PRIOR * usual**2) / total)
    return Metric(mean.astype(np.float32), spread.astype(np.float32))


def learn_metrics(fingerprints: NDArray[np.uint8]) -> dict[str, Metric]:
    """The metrics of whole pictures and of each part, from a sample spread evenly over uint8 (N, 36, 32).

    Mirror images count as much as pictures, so that describing one and flipping comes to flipping and describing.
    """
    sample = fingerprints[:: max(1, len(fingerprints) // _SAMPLE)]
    plain = dict(zip(HELD, transform(sample, views=tuple(HELD.values())), strict=True))
    flipped = {mirror_part(view).part: mirror(plain[part]) for part, view in HELD.items()}
    return {part: learn_metric(np.concatenate([plain[part], flipped[part]])) for part in HELD}


def describe(coefficients: NDArray[np.float32], *, metric: Metric) -> NDArray[np.float32]:
    """Unit vectors whose inner product says how alike two pictures are. (N, 63) -> float32 (N, 63), lowest first."""
    return to_unit(((coefficients - metric.mean) / metric.spread)[:, _low_first()])


def mirror_described(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The descriptors of the same views flipped left to right. (N, 63), lowest first."""
    return vectors * _mirror_signs()[_low_first()]


def to_unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-6), np.float32)


def transform(fingerprints: NDArray[np.uint8], *, views: tuple[View, ...]) -> NDArray[np.float32]:
    """The coefficients of views. fingerprints: uint8 (N, 36, 32). Returns float32 (V, N, 63).

    Rows first, once for all views of one height, then columns. About 0.5 microseconds for each view of a picture.
    Deterministic on one machine.
    """
    made = np.empty((len(views), len(fingerprints), LENGTH), np.float32)
    for start in range(0, len(fingerprints), _ROWS):
        chunk = get_grey(fingerprints[start : start + _ROWS]).astype(np.float32)
        made[:, start : start + len(chunk)] = _transform_chunk(chunk, views)
    return made


def _transform_chunk(grey: NDArray[np.float32], views: tuple[View, ...]) -> NDArray[np.float32]:
    """float32 (V, N, 63) of float32 (N, 32, 32)."""
    count = len(grey)
    by_column = np.ascontiguousarray(grey.transpose(0, 2, 1)).reshape(count * SIDE, SIDE)
    down = {
        height: (by_column @ _axis(*height).T).reshape(count, SIDE, _FREQUENCIES).transpose(0, 2, 1)
        for height in {(view.top, view.height) for view in views}
    }
    rows = {height: np.ascontiguousarray(half).reshape(count * _FREQUENCIES, SIDE) for height, half in down.items()}
    return np.stack(
        [
            (rows[view.top, view.height] @ _axis(view.left, view.width).T).reshape(count, LENGTH + 1)[:, 1:]
            for view in views
        ]
    )


def mirror(coefficients: NDArray[np.float32]) -> NDArray[np.float32]:
    """The coefficients of the same views flipped left to right: odd horizontal frequencies change sign."""
    return coefficients * _mirror_signs()


@cache
def _axis(start: float, length: float) -> NDArray[np.float32]:
    """(8, 32): from 32 pixels, linearly resampled within the window, to 8 coefficients."""
    place = np.clip((start + (np.arange(SIDE) + 0.5) / SIDE * length) * SIDE - 0.5, 0, SIDE - 1)
    low = np.minimum(place.astype(np.int64), SIDE - 2)
    share = place - low
    resample = np.zeros((SIDE, SIDE))
    resample[np.arange(SIDE), low] = 1 - share
    resample[np.arange(SIDE), low + 1] += share
    basis = np.cos(np.pi * np.outer(np.arange(_FREQUENCIES), 2 * np.arange(SIDE) + 1) / (2 * SIDE))
    basis *= np.sqrt(2 / SIDE)
    basis[0] /= np.sqrt(2)
    return (basis @ resample).astype(np.float32)


@cache
def _frequency() -> NDArray[np.float64]:
    down, across = np.divmod(np.arange(_FREQUENCIES**2), _FREQUENCIES)
    radius: NDArray[np.float64] = np.hypot(down, across)[1:]
    return radius


@cache
def _low_first() -> NDArray[np.int64]:
    return np.argsort(_frequency(), kind="stable")


@cache
def _mirror_signs() -> NDArray[np.float32]:
    signs = np.where(np.arange(_FREQUENCIES) % 2, -1, 1)
    return np.tile(signs, _FREQUENCIES)[1:].astype(np.float32)
