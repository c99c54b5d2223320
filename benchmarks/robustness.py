"""Data that a search may choke on: time and memory of each, and that it ends.

python -m benchmarks.robustness CASE
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.processes import get_reason, measure

Picture = NDArray[np.uint8]

_MANY = 10_000


def draw(count: int, *, side: int = 48, seed: int = 0) -> list[Picture]:
    """Soft random blobs, uint8 (side, side): pictures as far as a search can tell."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 1, (count, side, side)).astype(np.float32)
    soft = [cv2.GaussianBlur(one, (0, 0), side / 16) for one in noise]
    return [np.clip(128 + 50 * one / one.std(), 0, 255).astype(np.uint8) for one in soft]


def make_noisy(count: int) -> list[Picture]:
    rng = np.random.default_rng(1)
    base = draw(1)[0]
    return [np.clip(np.rint(base + rng.normal(0, 1, base.shape)), 0, 255).astype(np.uint8) for _ in range(count)]


def make_dark(count: int) -> list[Picture]:
    """No picture at all, but the noise of a camera with its cap on."""
    return [np.abs(np.rint(noise)).astype(np.uint8) for noise in np.random.default_rng(2).normal(0, 1, (count, 48, 48))]


CASES: Mapping[str, Callable[[], list[Picture]]] = {
    "nothing": list,
    "one picture": lambda: draw(1),
    "10,000 different": lambda: draw(_MANY),
    "10,000 equal": lambda: draw(1) * _MANY,
    "10,000 nearly equal (noise 1)": lambda: make_noisy(_MANY),
    "10,000 dark (noise 1)": lambda: make_dark(_MANY),
    "one black among 1,000": lambda: [*draw(999), np.zeros((48, 48), np.uint8)],
    "1,000 black of 1,000 sizes": lambda: [np.zeros((1 + row, 48), np.uint8) for row in range(1000)],
    "256 of 1x1 pixels among 1,000": lambda: [*draw(744), *np.arange(256, dtype=np.uint8).reshape(256, 1, 1)],
    "1x2,000 and 2,000x1 pixels": lambda: [*draw(98), draw(1, side=2000)[0][:1], draw(1, side=2000)[0][:, :1]],
    "10,000 x 10,000 pixels among 100": lambda: [*draw(99), np.tile(draw(1, side=100)[0], (100, 100))],
    "10,000 x 10,000 in colour": lambda: [*draw(99), np.tile(draw(1, side=100)[0][:, :, np.newaxis], (100, 100, 3))],
}


def run(cases: Sequence[str]) -> None:
    print(f"{'case':<36}{'pictures':>9}{'pairs':>9}{'P >= .5':>9}{'groups':>8}{'CPU s':>8}{'peak MiB':>10}")
    for case in cases:
        try:
            print(measure_case(case))
        except subprocess.CalledProcessError as error:
            print(f"{case:<36}  ended with: {get_reason(error)}")


def measure_case(case: str) -> str:
    """One line of the table."""
    cpu_s, peak_mib, printed = measure([sys.executable, "-m", "benchmarks.robustness", case])
    done = json.loads(printed)
    counts = f"{done['pictures']:>9,}{done['pairs']:>9,}{done['sure']:>9,}{done['groups']:>8,}"
    return f"{case:<36}{counts}{cpu_s:>8.1f}{peak_mib:>10,.0f}"


def main() -> None:
    from benchmarks.engine import MIN_P, scan

    pictures = CASES[sys.argv[1]]()
    found = scan(pictures)
    sure = int((found.p >= MIN_P).sum())
    print(json.dumps({"pictures": len(pictures), "pairs": len(found.a), "sure": sure, "groups": len(found.groups)}))


if __name__ == "__main__":
    main()
