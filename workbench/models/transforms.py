"""What changes one image of a pair into the other, in words and in kinds. Pure: pages, commands and queries share it.

A transform is the JSON of `DuplicatePair.transform`, `ml.dedup.transforms.Transform`; every key of it may be missing.
It speaks of the second image as against the first: zoom 1.1 says that the second shows the picture 10 % larger.
"""

from collections.abc import Iterator, Mapping
from typing import Any

KINDS = ("mirrored", "cropped", "turned", "relit", "part")  # what a list of groups can be filtered by
# From here on a change is worth a word; below it is what recompression and rounding do.
ZOOM, ASPECT, SHIFT = 0.02, 0.02, 0.02
DEGREES = 0.8
GAIN, GREY_LEVELS = 0.06, 5.0
_PARTS = {"top": "upper", "bottom": "lower", "left": "left", "right": "right"}

Transform = Mapping[str, Any]


def describe(transform: Transform | None) -> str:
    """“mirrored, shown 10 % larger, brighter”; “same framing and light” if all is known and nothing differs.

    Empty where nothing but the mirror is known and the pair is not mirrored.
    """
    words = ", ".join(_words(transform or {}))
    if words or not transform or "zoom" not in transform:
        return words
    return "same framing and light"


def _words(transform: Transform) -> Iterator[str]:
    if transform.get("mirrored"):
        yield "mirrored"
    yield from _words_of_framing(transform)
    yield from _words_of_light(transform)
    part = transform.get("part", "whole")
    if part in _PARTS:
        yield f"only the {_PARTS[part]} part is the same"


def _words_of_framing(transform: Transform) -> Iterator[str]:
    zoom, aspect = _ratio(transform, "zoom"), _ratio(transform, "aspect")
    if abs(zoom - 1) >= ZOOM:
        yield f"shown {_percent(zoom)} {'larger' if zoom > 1 else 'smaller'}"
    if abs(aspect - 1) >= ASPECT:
        yield f"{_percent(aspect)} {'wider' if aspect > 1 else 'narrower'}"
    degrees = float(transform.get("rotation") or 0.0)
    if abs(degrees) >= DEGREES:
        yield f"turned by {abs(degrees):.0f}°"
    # what the second image shows lies the other way than the second image lies within the first
    right, down = (-float(share) for share in transform.get("shift") or (0.0, 0.0))
    moved = [
        f"{_percent(1 + abs(share))} {forth if share > 0 else back}"
        for share, forth, back in ((right, "right", "left"), (down, "down", "up"))
        if abs(share) >= SHIFT
    ]
    if moved:
        yield f"moved {' and '.join(moved)}"


def _words_of_light(transform: Transform) -> Iterator[str]:
    offset, gain = float(transform.get("offset") or 0.0), _ratio(transform, "gain")
    if abs(offset) >= GREY_LEVELS:
        yield "brighter" if offset > 0 else "darker"
    if abs(gain - 1) >= GAIN:
        yield "more contrast" if gain > 1 else "less contrast"


def _ratio(transform: Transform, key: str) -> float:
    return float(transform.get(key) or 1.0)


def _percent(ratio: float) -> str:
    """0.9 and 1.1 -> “10 %”."""
    return f"{abs(ratio - 1):.0%}".replace("%", " %")
