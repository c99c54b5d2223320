"""The demo's data: scikit-learn's handwritten digits with a stated number of planted faults."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

SIZE_PX = 32
WRONG_LABELS = 90  # 5 % of the 1,797
EXACT_COPIES = 40
ALTERED_COPIES = 40
COPIES_WITH_ANOTHER_LABEL = 10  # of the exact copies
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Digit:
    """One image. planted: "", "wrong label", "exact copy" or "altered copy"; truth: the digit that it really shows."""

    name: str
    pixels: Pixels  # (32, 32)
    label: int
    truth: int
    split: str
    planted: str


def make_digits(*, seed: int = 0) -> list[Digit]:
    """The 1,797 digits at 32 x 32 with 90 wrong labels, 40 exact and 40 altered copies; the same for the same seed.

    Splits are 70 % train, 10 % validation, 20 % test by chance; faults fall on all of them, as they do in real data.
    Source: scikit-learn's copy of the UCI optical recognition of handwritten digits (8 x 8, 17 grey levels), enlarged.
    """
    rng = np.random.default_rng(seed)
    digits = list(_originals(rng))
    wrong = rng.choice(len(digits), WRONG_LABELS, replace=False)
    for index in wrong:
        digits[index] = _mislabel(digits[index], rng)
    sources = rng.choice(np.setdiff1d(np.arange(len(digits)), wrong), EXACT_COPIES + ALTERED_COPIES, replace=False)
    for number, index in enumerate(sources):
        digits.append(_copy(digits[index], number, rng))
    return digits


def _originals(rng: np.random.Generator) -> Iterator[Digit]:
    data = load_digits()
    splits = rng.choice(["train", "validation", "test"], size=len(data.target), p=[0.7, 0.1, 0.2])
    for number, (image, target) in enumerate(zip(data.images, data.target, strict=True)):
        grey = np.round(255 - image * 255 / 16).astype(np.uint8)  # (8, 8), dark ink on light paper
        pixels = cv2.resize(grey, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_CUBIC)  # (32, 32)
        label = int(target)
        yield Digit(f"digit{number:04d}.png", np.asarray(pixels, np.uint8), label, label, str(splits[number]), "")


def _mislabel(digit: Digit, rng: np.random.Generator) -> Digit:
    label = int((digit.label + rng.integers(1, 10)) % 10)
    return Digit(digit.name, digit.pixels, label, digit.truth, digit.split, "wrong label")


def _copy(digit: Digit, number: int, rng: np.random.Generator) -> Digit:
    """The first copies are exact, the first of those under another label; the rest are altered. Any split."""
    split = str(rng.choice(["train", "validation", "test"], p=[0.6, 0.1, 0.3]))
    exact = number < EXACT_COPIES
    label = int((digit.label + rng.integers(1, 10)) % 10) if number < COPIES_WITH_ANOTHER_LABEL else digit.label
    pixels = digit.pixels if exact else _alter(digit.pixels, number, rng)
    return Digit(
        f"copy{number:02d}-of-{digit.name}",
        pixels,
        label,
        digit.truth,
        split,
        "exact copy" if exact else "altered copy",
    )


def _alter(pixels: Pixels, number: int, rng: np.random.Generator) -> Pixels:
    """In turn: brighter, noisier, recompressed, enlarged by 5 %."""
    match number % 4:
        case 0:
            return np.asarray(np.clip(pixels * 0.85 + 25, 0, 255), np.uint8)
        case 1:
            return np.asarray(np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255), np.uint8)
        case 2:
            coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
            return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8)
        case _:
            larger = cv2.resize(pixels, None, fx=1.07, fy=1.07, interpolation=cv2.INTER_CUBIC)
            return np.asarray(larger[1 : SIZE_PX + 1, 1 : SIZE_PX + 1], np.uint8)
