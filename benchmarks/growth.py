"""How the search for candidates grows: CPU time and memory over ever more planted pictures.

python -m benchmarks.growth THUMBNAILS.npy [--new N]
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.engine import SIDE, find_candidates
from benchmarks.processes import measure
from benchmarks.scoring import fit_exponent

Picture = NDArray[np.uint8]

SIZES = (7_000, 28_000, 100_000, 1_000_000)
INCREMENT = (100_000, 100)  # known pictures, new ones
_COMPONENTS = 256  # of 1,024: 99 % of what makes one thumbnail differ from another
_COPIES = 100  # one picture in so many is a copy of another, so that what is found can be counted
_ROWS = 20_000


def plant_thumbnails(pictures: Sequence[Picture], *, count: int, seed: int) -> tuple[Picture, NDArray[np.int64]]:
    """`count` made-up thumbnails with the mean and the covariance of real ones, and (K, 2) rows of copies among them.

    pictures: uint8 (H, W) each. Returns uint8 (count, 32, 32). The last hundredth are copies of rows before them with
    noise of 4 grey levels, every other one mirrored. Deterministic; about 40 microseconds each.
    """
    rng = np.random.default_rng(seed)
    sample = pictures[:: max(1, len(pictures) // 10_000)]
    real = np.stack([cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for picture in sample])
    flat = real.reshape(len(real), -1).astype(np.float32)  # (N, 1024)
    mean = flat.mean(0)
    values, vectors = np.linalg.eigh(np.cov((flat - mean).T))
    scaled = (vectors[:, -_COMPONENTS:] * np.sqrt(np.maximum(values[-_COMPONENTS:], 0))).T.astype(np.float32)
    made = np.empty((count, *real.shape[1:]), np.uint8)
    for start in range(0, count, _ROWS):
        size = min(_ROWS, count - start)
        drawn = mean + rng.standard_normal((size, _COMPONENTS), np.float32) @ scaled
        made[start : start + size] = np.clip(np.rint(drawn), 0, 255).reshape(size, *real.shape[1:])
    copies = count // _COPIES
    rows = rng.permutation(count - copies)[:copies]
    for copy, row in enumerate(rows, count - copies):
        source = made[row, :, ::-1] if copy % 2 else made[row]
        made[copy] = np.clip(np.rint(source + rng.normal(0, 4, source.shape)), 0, 255)
    return made, np.column_stack([rows, np.arange(count - copies, count)])


def search(file: Path, *, new: int) -> dict[str, float]:
    """Look for candidates among stored thumbnails; with `new`, only for those of the last so many."""
    thumbnails = np.load(file)
    count = len(thumbnails)
    a, b = find_candidates(thumbnails, new_from=count - new if new else 0)
    copies = np.load(file.with_suffix(".copies.npy"))
    copies = copies[copies[:, 1] >= count - new] if new else copies
    hits = np.isin(copies[:, 0] * count + copies[:, 1], a * count + b)
    return {"pairs": len(a), "hits": int(hits.sum()), "copies": len(copies)}


def measure_search(pictures: Sequence[Picture], *, count: int, new: int = 0) -> float:
    """Print one line of the table; returns CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "thumbnails.npy"
        made, copies = plant_thumbnails(pictures, count=count, seed=0)
        np.save(file, made)
        np.save(file.with_suffix(".copies.npy"), copies)
        del made
        arguments = [sys.executable, "-m", "benchmarks.growth", str(file), "--new", str(new)]
        cpu_s, peak_mib, printed = measure(arguments)
    done = json.loads(printed)
    title = f"{count - new:,} + {new:,} new" if new else f"{count:,}"
    recall = done["hits"] / max(done["copies"], 1)
    print(f"{title:<22}{cpu_s:>9.1f}{1e6 * cpu_s / count:>9.0f}{peak_mib:>10,.0f}{done['pairs']:>13,}{recall:>9.4f}")
    return cpu_s


def run(pictures: Sequence[Picture], sizes: Sequence[int]) -> None:
    print(f"{'pictures':<22}{'CPU s':>9}{'us each':>9}{'peak MiB':>10}{'candidates':>13}{'recall':>9}")
    seconds = [measure_search(pictures, count=size) for size in sizes]
    if len(sizes) > 1:
        print(f"CPU time grows with the number of pictures to the power of {fit_exponent(sizes, seconds):.2f}")
    known, new = INCREMENT
    measure_search(pictures, count=known + new, new=new)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--new", type=int, default=0)
    arguments = parser.parse_args()
    print(json.dumps(search(arguments.file, new=arguments.new)))


if __name__ == "__main__":
    main()
