"""Small natural colour pictures out of large photographs, no two of which show the same."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.images import decode

Picture = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # left, top, right, bottom

_SMALLEST, _LARGEST = 96, 256  # longer side of a picture
_LARGEST_CELL = 1600  # pixels of the photograph that go into one picture, longer side
_MOST = 200  # pictures of one photograph, so that a large one does not outweigh the others
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def list_photographs(places: Sequence[Path]) -> list[Path]:
    """The photographs named, or found in the folders named, by path. Each must be there only once, in one size."""
    files = [file for place in places for file in (sorted(place.rglob("*")) if place.is_dir() else [place])]
    return [file for file in files if file.suffix.lower() in _SUFFIXES]


def cut_pictures(files: Sequence[Path], *, rng: np.random.Generator) -> list[Picture]:
    """Pictures of 96 to 256 pixels, uint8 (H, W, 3), out of photographs: windows that do not overlap, shrunk at random.

    One photograph gives close-ups and wide views, but no spot of it is in two pictures: a pair of pictures that a
    search calls the same is a copy that was planted, or wrong. Two patches of one sky are the hard part.
    """
    return [picture for file in files for picture in _cut(_read_colour(file), rng)]


def _read_colour(file: Path) -> Picture:
    pixels = decode(file.read_bytes())
    if pixels.ndim == 2:
        return np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, :3])


def _cut(photograph: Picture, rng: np.random.Generator) -> list[Picture]:
    height, width = photograph.shape[:2]
    cells = list(_split((0, 0, width, height), rng))
    chosen = rng.permutation(len(cells))[:_MOST]
    return [_shrink(photograph, cells[cell], rng) for cell in sorted(chosen)]


def _split(box: Box, rng: np.random.Generator) -> Iterator[Box]:
    """Cells of the box that do not overlap, of very different sizes, none narrower than 96 pixels."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    if min(width, height) < _SMALLEST:
        return
    limit = np.exp(rng.uniform(np.log(_SMALLEST * 1.2), np.log(_LARGEST_CELL)))
    is_oblong = max(width, height) > 1.5 * min(width, height)
    if (max(width, height) <= limit or max(width, height) < 2 * _SMALLEST) and not is_oblong:
        yield box
        return
    share = rng.uniform(0.4, 0.6)
    if width >= height:
        middle = left + round(width * share)
        yield from _split((left, top, middle, bottom), rng)
        yield from _split((middle, top, right, bottom), rng)
    else:
        middle = top + round(height * share)
        yield from _split((left, top, right, middle), rng)
        yield from _split((left, middle, right, bottom), rng)


def _shrink(photograph: Picture, box: Box, rng: np.random.Generator) -> Picture:
    left, top, right, bottom = box
    window = photograph[top:bottom, left:right]
    longer = max(window.shape[:2])
    factor = rng.integers(_SMALLEST, min(_LARGEST, longer), endpoint=True) / longer
    size = (max(1, round((right - left) * factor)), max(1, round((bottom - top) * factor)))
    return np.asarray(cv2.resize(window, size, interpolation=cv2.INTER_AREA), np.uint8)
