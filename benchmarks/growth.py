"""How the search for candidates grows: CPU time and memory over ever more planted pictures.

python -m benchmarks.growth FINGERPRINTS.npy [--new N]
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.processes import measure
from benchmarks.scoring import fit_exponent
from ml.dedup.fingerprints import fingerprint_all, get_grey

Picture = NDArray[np.uint8]

SIZES = (7_000, 28_000, 100_000, 1_000_000)
INCREMENT = (100_000, 100)  # known pictures, new ones
_COMPONENTS = 256  # of 1,024: 99 % of what makes one thumbnail differ from another
_COPIES = 100  # one picture in so many is a copy of another, so that what is found can be counted
_ROWS = 20_000
_NEUTRAL = 128  # no colour


def plant_fingerprints(pictures: Sequence[Picture], *, count: int, seed: int) -> tuple[Picture, NDArray[np.int64]]:
    """`count` made-up fingerprints with the mean and the covariance of real ones, and (K, 2) rows of copies in them.

    pictures: uint8 (H, W) or (H, W, 3) each. Returns uint8 (count, 36, 32), colourless. The last hundredth are copies
    of rows before them with noise of 4 grey levels, every other one mirrored. Deterministic; 40 microseconds each.
    """
    rng = np.random.default_rng(seed)
    real = fingerprint_all(pictures[:: max(1, len(pictures) // 10_000)])
    made = np.full((count, *real.shape[1:]), _NEUTRAL, np.uint8)
    grey = get_grey(made)  # (count, 32, 32), the same memory
    draw = _learn_look(get_grey(real), rng)
    for start in range(0, count, _ROWS):
        grey[start : start + _ROWS] = draw(min(_ROWS, count - start))
    copies = count // _COPIES
    rows = rng.permutation(count - copies)[:copies]
    for copy, row in enumerate(rows, count - copies):
        source = grey[row, :, ::-1] if copy % 2 else grey[row]
        grey[copy] = np.clip(np.rint(source + rng.normal(0, 4, source.shape)), 0, 255)
    return made, np.column_stack([rows, np.arange(count - copies, count)])


def _learn_look(grey: Picture, rng: np.random.Generator) -> Callable[[int], Picture]:
    """A function that draws so many new pictures, uint8 (n, 32, 32), normal with the mean and covariance of these."""
    flat = grey.reshape(len(grey), -1).astype(np.float32)  # (N, 1024)
    mean = flat.mean(0)
    values, vectors = np.linalg.eigh(np.cov((flat - mean).T))
    scaled = (vectors[:, -_COMPONENTS:] * np.sqrt(np.maximum(values[-_COMPONENTS:], 0))).T.astype(np.float32)

    def draw(count: int) -> Picture:
        levels = mean + rng.standard_normal((count, _COMPONENTS), np.float32) @ scaled
        made: Picture = np.clip(np.rint(levels), 0, 255).astype(np.uint8).reshape(count, *grey.shape[1:])
        return made

    return draw


def search(file: Path, *, new: int) -> dict[str, float]:
    """Look for candidates among stored fingerprints; with `new`, only for those of the last so many."""
    from ml.dedup.candidates import find_candidates

    fingerprints = np.load(file)
    count = len(fingerprints)
    found = find_candidates(fingerprints, new=np.arange(count) >= count - new if new else None)
    keys = np.minimum(found.one, found.other) * count + np.maximum(found.one, found.other)
    copies = np.load(file.with_suffix(".copies.npy"))
    copies = copies[copies[:, 1] >= count - new] if new else copies
    hits = np.isin(copies[:, 0] * count + copies[:, 1], keys)
    return {"pairs": len(np.unique(keys)), "hits": int(hits.sum()), "copies": len(copies)}


def measure_search(pictures: Sequence[Picture], *, count: int, new: int = 0) -> float:
    """Print one line of the table; returns CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fingerprints.npy"
        made, copies = plant_fingerprints(pictures, count=count, seed=0)
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
