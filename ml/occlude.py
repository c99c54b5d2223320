"""Hiding a region of every image: what a model can do without it, and what it needs.

The regions are bands over the whole width, as fractions of the height, so that no landmark has to be found. For faces
that are cropped alike they hold the forehead, the eyes, and nose with mouth: the bands of the reference study that
trained on 128 px faces (top quarter, second quarter, lower half).
"""

import re

import torch
from torch import Tensor

NONE = "none"
REGIONS: dict[str, tuple[float, float]] = {  # name -> from and to, fractions of the height from above
    "top": (0.0, 0.25),
    "eyes": (0.25, 0.5),
    "lower": (0.5, 1.0),
}
BANDS = tuple(f"rows:{100 * n / 8:g}-{100 * (n + 1) / 8:g}" for n in range(8))  # of equal height: no face needed


def parse_region(mask: str) -> tuple[float, float]:
    """Where a region begins and ends, as fractions of the height; "none" is empty.

    mask: "none", a name in REGIONS, or "rows:A-B" in percent of the height from above, such as "rows:25-37.5".
    Raises ValueError in one sentence for anything else.
    """
    if mask == NONE:
        return 0.0, 0.0
    if mask in REGIONS:
        return REGIONS[mask]
    found = re.fullmatch(r"rows:(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)", mask)
    low, high = (float(number) / 100 for number in found.groups()) if found else (1.0, 0.0)
    if not 0 <= low < high <= 1:
        raise ValueError(f"mask must be none, {', '.join(REGIONS)} or rows:A-B in percent, not {mask!r}")
    return low, high


def hide_region(images: Tensor, mask: str, *, fill: Tensor | None = None) -> Tensor:
    """Return the images with one region replaced by `fill`; the images themselves where the mask is "none".

    images: uint8 or float (N, C, H, W), on any device; never changed. fill: (C,) values, black without it.
    Hiding twice is hiding once, and two masks never add up: each call begins from what it is given.
    Deterministic. Cost: one copy. Raises ValueError like `parse_region`.
    """
    rows = _find_rows(images.shape[2], mask)
    if rows.start == rows.stop:
        return images
    out = images.clone()
    value = torch.zeros(images.shape[1]) if fill is None else fill.round() if images.dtype == torch.uint8 else fill
    out[:, :, rows] = value.to(images.device, images.dtype).view(1, -1, 1, 1)
    return out


def _find_rows(height: int, mask: str) -> slice:
    low, high = parse_region(mask)
    return slice(round(low * height), round(high * height))


def measure_share(mask: str) -> float:
    """How much of the image a mask hides, 0 to 1."""
    low, high = parse_region(mask)
    return high - low
