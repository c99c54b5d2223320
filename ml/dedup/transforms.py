"""What turns one picture of a pair into the other, read off their alignment."""

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.dedup.fingerprints import SIDE, get_grey


@dataclass(frozen=True)
class Transform:
    """How b differs from a.

    mirrored: flipped left to right. zoom: how much larger b shows the picture. aspect: how much wider against its
    height. rotation: degrees. shift: of b's middle within a, in shares of a's sides. gain: ratio of the contrasts.
    offset: difference of the mean brightness, grey levels. part: of b that is the same, or whole.
    """

    mirrored: bool
    zoom: float
    aspect: float
    rotation: float
    shift: tuple[float, float]
    gain: float
    offset: float
    part: str

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "shift": list(self.shift)}


def read_transform(
    a: NDArray[np.uint8], b: NDArray[np.uint8], matrix: NDArray[np.float32], *, mirrored: bool, part: str, swapped: bool
) -> Transform:
    """a, b: fingerprints, uint8 (36, 32). matrix: float32 (2, 3), from places in b to places in a (flipped first, if
    mirrored), or, if swapped, from places in a to places in (the flipped) b; part: of the picture it starts from."""
    full: NDArray[Any] = np.vstack([matrix, [0, 0, 1]]).astype(np.float64)
    if swapped:
        full = np.linalg.inv(full)
        if mirrored:  # flipping b first and mapping is mapping and flipping a first
            full = _FLIP @ full @ _FLIP
            part = {"left": "right", "right": "left"}.get(part, part)
    one = get_grey(a).astype(np.float32)
    one = np.ascontiguousarray(one[:, ::-1]) if mirrored else one
    seen = cv2.warpAffine(one, full[:2], (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=-1.0)
    both = _within(seen >= 0, part)
    before, after = seen[both], get_grey(b)[both].astype(np.float32)
    across, down = float(np.linalg.norm(full[:2, 0])), float(np.linalg.norm(full[:2, 1]))
    middle = np.array([(SIDE - 1) / 2, (SIDE - 1) / 2])
    moved = (full[:2, :2] @ middle + full[:2, 2] - middle) / SIDE
    return Transform(
        mirrored=mirrored,
        zoom=round(float(1 / np.sqrt(max(across * down, 1e-6))), 3),
        aspect=round(float(down / max(across, 1e-6)), 3),
        rotation=round(float(np.degrees(np.arctan2(full[1, 0] - full[0, 1], full[0, 0] + full[1, 1]))), 1),
        shift=(round(float(moved[0]), 3), round(float(moved[1]), 3)),
        gain=round(float(after.std() / max(before.std(), 1.0)), 3) if before.size else 1.0,
        offset=round(float(after.mean() - before.mean()), 1) if before.size else 0.0,
        part=part,
    )


_FLIP = np.array([[-1.0, 0, SIDE - 1], [0, 1, 0], [0, 0, 1]])


def _within(shown: NDArray[np.bool_], part: str) -> NDArray[np.bool_]:
    half = SIDE // 2
    rows = {"top": slice(half), "bottom": slice(half, None)}.get(part, slice(None))
    columns = {"left": slice(half), "right": slice(half, None)}.get(part, slice(None))
    held = np.zeros_like(shown)
    held[rows, columns] = shown[rows, columns]
    return held
