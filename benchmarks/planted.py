"""Altered copies of pictures, planted among them: what a search for near copies is measured with.

Ten families (`FAMILIES`) are for building; those in `HELD_OUT` and `HELD_OUT_COLOUR` are looked at only when it is
done. Development uses seeds 0 to 9, acceptance seeds from 1000 on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (H, W) or (H, W, 3)
Family = Callable[[Picture, np.random.Generator], Picture]

ACCEPTANCE_SEED = 1000
_LEAST_DETAIL = 6.0  # grey levels; of a picture with less, a bit of clear sky, there is nothing to recognise
_SIDE = 48  # sizes in pixels are meant at this side and grow with the picture


def _warp(picture: Picture, matrix: NDArray[np.float64]) -> Picture:
    """The picture moved by `matrix`, float64 (2, 2) or (2, 3), about its centre; the edge is drawn out."""
    height, width = picture.shape[:2]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    linear = matrix[:, :2]
    moved = matrix[:, 2] if matrix.shape[1] == 3 else np.zeros(2)
    whole = np.column_stack([linear, centre - linear @ centre + moved])  # (2, 3)
    size = (width, height)
    return _to_uint8(cv2.warpAffine(picture, whole, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _to_uint8(levels: NDArray[np.integer | np.floating] | cv2.typing.MatLike) -> Picture:
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def _side(picture: Picture) -> int:
    return int(min(picture.shape[:2]))


def zoom(picture: Picture, rng: np.random.Generator, *, factor: float) -> Picture:
    """The middle 1 / factor of the picture, enlarged back."""
    del rng
    return _warp(picture, np.eye(2) * factor)


def stretch(picture: Picture, rng: np.random.Generator) -> Picture:
    """8 % wider or 8 % higher, what sticks out cut off."""
    return _warp(picture, np.diag([1.08, 1.0] if rng.random() < 0.5 else [1.0, 1.08]))


def shift(picture: Picture, rng: np.random.Generator) -> Picture:
    """2 of 48 pixels to one of eight sides."""
    steps = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y]
    pixels = max(1, round(_side(picture) * 2 / _SIDE))
    moved = np.array(steps[rng.integers(len(steps))]) * pixels
    return _warp(picture, np.column_stack([np.eye(2), moved]))


def rotate(picture: Picture, rng: np.random.Generator) -> Picture:
    """3 degrees to the left or to the right."""
    angle = np.radians(3) * rng.choice([-1, 1])
    return _warp(picture, np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))


def relight(picture: Picture, rng: np.random.Generator) -> Picture:
    """Brightness (about black) or contrast (about the mean) times 1.2 or divided by it."""
    gain = rng.choice([1.2, 1 / 1.2])
    pivot = picture.mean() if rng.random() < 0.5 else 0.0
    return _to_uint8((picture - pivot) * gain + pivot)


def add_noise(picture: Picture, rng: np.random.Generator) -> Picture:
    """Normal noise of 4 grey levels."""
    return _to_uint8(picture + rng.normal(0, 4, picture.shape))


def recompress(picture: Picture, rng: np.random.Generator) -> Picture:
    """Through JPEG of quality 40."""
    del rng
    _, packed = cv2.imencode(
        ".jpg", picture[..., ::-1] if picture.ndim == 3 else picture, [cv2.IMWRITE_JPEG_QUALITY, 40]
    )
    unpacked = _to_uint8(np.asarray(cv2.imdecode(packed, cv2.IMREAD_UNCHANGED)))
    return np.ascontiguousarray(unpacked[..., ::-1]) if picture.ndim == 3 else unpacked


def mirror(picture: Picture, rng: np.random.Generator) -> Picture:
    del rng
    return np.ascontiguousarray(picture[:, ::-1])


def mask_lower_face(picture: Picture, rng: np.random.Generator) -> Picture:
    """A face mask: all or the middle of what lies below the upper 58 %, black or of one random shade."""
    height, width = picture.shape[:2]
    edges = (
        (0.0, 1.0, 1.0) if rng.random() < 0.5 else (rng.uniform(0.1, 0.2), rng.uniform(0.8, 0.9), rng.uniform(0.9, 1))
    )
    left, right, bottom = round(edges[0] * width), round(edges[1] * width), round(edges[2] * height)
    masked = picture.copy()
    masked[round(0.58 * height) : bottom, left:right] = 0 if rng.random() < 0.5 else _draw_shade(picture, rng)
    return masked


def _draw_shade(picture: Picture, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One colour in the picture's own mode: uint8 () or (3,)."""
    return rng.integers(0, 256, picture.shape[2:], np.uint8)


FAMILIES: Mapping[str, Family] = {
    "zoom 5 %": partial(zoom, factor=1.05),
    "zoom 10 %": partial(zoom, factor=1.10),
    "aspect 8 %": stretch,
    "shift 2 px": shift,
    "rotation 3 deg": rotate,
    "light x1.2": relight,
    "noise 4": add_noise,
    "jpeg q40": recompress,
    "mirror": mirror,
    "lower-face mask": mask_lower_face,
}


def write_over(picture: Picture, rng: np.random.Generator) -> Picture:
    """A photo agency's watermark: its name, half seen, across the picture at some height."""
    side = _side(picture)
    scale, thickness = side / 60, max(1, round(side / 48))
    written = picture.copy()
    word = ["STOCK", "photo", "(c) AFP", "sample"][rng.integers(4)]
    shade = int(rng.choice([0, 255]))
    colour = (shade, shade, shade)
    place = (round(side * rng.uniform(0, 0.2)), round(picture.shape[0] * rng.uniform(0.35, 0.95)))
    cv2.putText(written, word, place, cv2.FONT_HERSHEY_SIMPLEX, scale * 0.6, colour, thickness, cv2.LINE_AA)
    return _to_uint8(cv2.addWeighted(picture, 0.4, written, 0.6, 0))


def bend_levels(picture: Picture, rng: np.random.Generator) -> Picture:
    """Gamma 0.6 or 1.7."""
    return _to_uint8(255 * (picture / 255) ** rng.choice([0.6, 1.7]))


def blur(picture: Picture, rng: np.random.Generator) -> Picture:
    """Out of focus by 0.8 to 1.2 of 48 pixels."""
    return _to_uint8(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.8, 1.2) * _side(picture) / _SIDE))


def cut_off_centre(picture: Picture, rng: np.random.Generator) -> Picture:
    """A window of 88 % of the width and height from a random corner, enlarged back."""
    factor = 1 / 0.88
    room = np.array(picture.shape[1::-1]) * (factor - 1) / 2
    return _warp(picture, np.column_stack([np.eye(2) * factor, room * rng.choice([-1, 1], 2)]))


def darken_corners(picture: Picture, rng: np.random.Generator) -> Picture:
    """A vignette: the corners at 25 to 50 % of their brightness."""
    height, width = picture.shape[:2]
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 - rng.uniform(0.5, 0.75) * (x * x + y * y) / 2  # (H, W)
    return _to_uint8(picture * light.reshape(light.shape + (1,) * (picture.ndim - 2)))


def cover(picture: Picture, rng: np.random.Generator) -> Picture:
    """A box of one shade over 30 x 30 % of the picture, anywhere: a sticker, a hand, a censor's bar."""
    height, width = picture.shape[:2]
    top, left = round(rng.uniform(0, 0.7) * height), round(rng.uniform(0, 0.7) * width)
    covered = picture.copy()
    covered[top : top + round(0.3 * height), left : left + round(0.3 * width)] = _draw_shade(picture, rng)
    return covered


def put_in_frame(picture: Picture, rng: np.random.Generator) -> Picture:
    """The whole picture at 86 % of its size within a black or white frame."""
    height, width = picture.shape[:2]
    inner_height, inner_width = round(0.86 * height), round(0.86 * width)
    framed = np.full_like(picture, rng.choice([0, 255]))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    small = cv2.resize(picture, (inner_width, inner_height), interpolation=cv2.INTER_AREA)
    framed[top : top + inner_height, left : left + inner_width] = small
    return framed


def lose_resolution(picture: Picture, rng: np.random.Generator) -> Picture:
    """Shrunk to half its size and enlarged back: a thumbnail that someone blew up."""
    del rng
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
    return _to_uint8(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def publish_again(picture: Picture, rng: np.random.Generator) -> Picture:
    """What an editor does at once: a zoom of 6 %, other light, half of them mirrored, saved as JPEG."""
    changed = recompress(relight(zoom(picture, rng, factor=1.06), rng), rng)
    return mirror(changed, rng) if rng.random() < 0.5 else changed


HELD_OUT: Mapping[str, Family] = {
    "watermark": write_over,
    "gamma": bend_levels,
    "blur": blur,
    "off-centre crop": cut_off_centre,
    "vignette": darken_corners,
    "covering box": cover,
    "frame": put_in_frame,
    "half resolution": lose_resolution,
    "published again": publish_again,
}


def tint(picture: Picture, rng: np.random.Generator) -> Picture:
    """A colour cast: one channel up by a fifth, another down."""
    gains = np.array([1.2, 1.0, 1 / 1.2])
    return _to_uint8(picture * rng.permutation(gains))


def fade_colour(picture: Picture, rng: np.random.Generator) -> Picture:
    """A black and white print, stored as colour."""
    del rng
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return np.repeat(_to_uint8(grey)[:, :, np.newaxis], 3, axis=2)


HELD_OUT_COLOUR: Mapping[str, Family] = {"colour cast": tint, "black and white": fade_colour}


def has_detail(picture: Picture) -> bool:
    """Whether anything is left of the picture, brought to 32x32, once its slow shading is taken off."""
    small = cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    return bool((small - cv2.GaussianBlur(small, (0, 0), 4)).std() >= _LEAST_DETAIL)


@dataclass(frozen=True)
class Planted:
    """Altered copies: of each its pixels, the row of its original and the name of its family."""

    pictures: list[Picture]
    rows: NDArray[np.int64]
    families: list[str]


def plant(
    pictures: Sequence[Picture], families: Mapping[str, Family], *, count: int, rng: np.random.Generator
) -> Planted:
    """`count` altered copies of as many originals, the families by turns.

    pictures: uint8 (H, W) or (H, W, 3) each. No original is used twice, and none without detail: whether such a one was
    copied nobody could say. The same for the same generator state.
    Raises ValueError if fewer than `count` pictures are left to choose from.
    """
    rows = rng.permutation([row for row, picture in enumerate(pictures) if has_detail(picture)])[:count]
    if len(rows) < count:
        raise ValueError(f"{count} copies need as many pictures with detail, here are {len(rows)}")
    names = [list(families)[place % len(families)] for place in range(count)]
    copies = [families[name](pictures[row], rng) for row, name in zip(rows, names, strict=True)]
    return Planted(pictures=copies, rows=rows.astype(np.int64), families=names)


def list_seeds(text: str) -> list[int]:
    """Seeds as a command line names them: "0", "0,3" or "1000-1004"."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds
