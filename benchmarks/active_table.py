"""The table of docs/active.md, from what benchmarks/active.py left: `python -m benchmarks.active_table TREE VOTES OUT`.

Intervals are 95 %, from a bootstrap that draws seeds and test images together, the same for every strategy. The labels
that a strategy needs are where its mean curve, made monotone, first reaches what random reaches with all labels.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import isotonic_regression

from benchmarks.active import CLASSES, GOAL, MOST, ROUND, Data, read_data
from ml.active.strategies import STRATEGIES

DRAWS = 1000
RARE = ("fear", "disgust")
Floats = NDArray[np.float64]
Curves = dict[str, tuple[Floats, Floats]]
Runs = dict[int, NDArray[np.bool_]]  # seed -> whether each test image was right after each round


def read_right(out: Path, data: Data) -> dict[str, Runs]:
    """Strategy -> seed -> whether each test image was right after each round, (rounds, images); finished ones only."""
    truth, rounds = data.truth[data.test], MOST // ROUND
    found: dict[str, Runs] = {}
    for strategy in STRATEGIES:
        for place in sorted(out.glob(f"{strategy}-[0-9]*.npz")):
            with np.load(place) as stored:
                said = stored["said"]
            if len(said) == rounds:
                found.setdefault(strategy, {})[int(place.stem.rpartition("-")[2])] = said == truth
    return found


def labels_needed(curve: Floats, wanted: float) -> float:
    """Where the curve over 1,000, 2,000 ... labels first reaches a value; infinite if it never does."""
    steady = isotonic_regression(curve)
    above = np.flatnonzero(steady >= wanted)
    if not len(above):
        return float("inf")
    last = int(above[0])
    if last == 0:
        return float(ROUND)
    share = (wanted - steady[last - 1]) / (steady[last] - steady[last - 1])
    return float(ROUND * (last + share))


def resample(right: dict[str, Runs]) -> Iterator[Curves]:
    """Strategy -> (its mean curve, random's over the same seeds), images and seeds drawn; the first is no draw."""
    rng = np.random.default_rng(0)
    chance = right["random"]
    count = next(iter(chance.values())).shape[1]
    yield {name: _average(runs, chance, [*runs], np.full(count, 1 / count)) for name, runs in right.items()}
    for _ in range(DRAWS):
        weights = np.bincount(rng.integers(0, count, count), minlength=count) / count
        draws = rng.random(len(chance))
        yield {
            name: _average(runs, chance, [[*runs][int(draw * len(runs))] for draw in draws[: len(runs)]], weights)
            for name, runs in right.items()
        }


def _average(runs: Runs, chance: Runs, seeds: list[int], weights: Floats) -> tuple[Floats, Floats]:
    return np.mean([runs[seed] @ weights for seed in seeds], 0), np.mean([chance[seed] @ weights for seed in seeds], 0)


def tell_interval(values: Floats, scale: float = 1, digits: int = 1) -> str:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return f"[{scale * low:.{digits}f}, {scale * high:.{digits}f}]"


def tell_labels(needed: Floats) -> str:
    first = "more" if np.isinf(needed[0]) else f"{needed[0]:,.0f}"
    low, high = (
        f"{value:,.0f}" if value <= MOST else "more"
        for value in np.percentile(needed[1:], [2.5, 97.5], method="nearest")
    )
    return f"{first} [{low}, {high}]"


def balance(right: NDArray[np.bool_], truth: NDArray[np.int64]) -> Floats:
    """Recall of each class after the last round."""
    return np.array([right[-1][truth == column].mean() for column in range(len(CLASSES))])


def count_asked(out: Path, data: Data, strategy: str) -> tuple[str, str]:
    """Labels of the rare classes among all that were asked for, mean over the seeds; CPU seconds of a pick."""
    counts, seconds = [], []
    for place in out.glob(f"{strategy}-[0-9]*.npz"):
        with np.load(place) as stored:
            if len(stored["said"]) == MOST // ROUND:
                counts.append(np.bincount(data.truth[stored["chosen"]], minlength=len(CLASSES)))
                seconds.extend(stored["seconds"][1:].tolist())
    asked = np.mean(counts, axis=0)
    told = f"{np.mean(seconds):.1f} ({np.max(seconds):.1f})"
    return ", ".join(f"{asked[CLASSES[each]]:.0f}" for each in RARE), told


def tell_curve(name: str, runs: Runs, curves: list[Curves]) -> str:
    """A line of the first table: accuracy after each round, and by how much the last is above random's."""
    gains = np.array([each[name][0][-1] - each[name][1][-1] for each in curves])
    means = " | ".join(f"{100 * value:.1f}" for value in curves[0][name][0][1:])
    return f"| {name} | {len(runs)} | {means} | {100 * gains[0]:+.1f} {tell_interval(gains[1:], 100)} |"


def tell_rest(name: str, runs: Runs, curves: list[Curves], *, out: Path, data: Data) -> str:
    """A line of the second table: labels needed, in the mean and by seed; the classes; the cost."""
    needed = np.array([labels_needed(each[name][0], float(each[name][1][-1])) for each in curves])
    recalls = np.array([balance(each, data.truth[data.test]) for each in runs.values()])
    by_seed = ", ".join(f"{100 * each:.1f}" for each in recalls.mean(1))
    rare = ", ".join(f"{100 * recalls.mean(0)[CLASSES[each]]:.0f} %" for each in RARE)
    asked, seconds = count_asked(out, data, name)
    balanced = f"{100 * recalls.mean():.1f} ({by_seed})"
    return f"| {name} | {tell_labels(needed)} | {balanced} | {rare} | {asked} | {seconds} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("tree", "votes", "out"):
        parser.add_argument(name, type=Path)
    wanted = parser.parse_args()
    data = read_data(wanted.tree, wanted.votes)
    right = read_right(wanted.out, data)
    curves = list(resample(right))
    order = sorted(right, key=lambda name: -float((curves[0][name][0] - curves[0][name][1])[2:].mean()))
    print(f"{len(data.pool):,} images to choose from, {len(data.test):,} to test on; goal {GOAL:,} labels\n")
    points = " | ".join(f"{n:,}" for n in range(2 * ROUND, MOST + 1, ROUND))
    print(f"| strategy | seeds | {points} | above random |\n" + "|---" * (MOST // ROUND + 2) + "|")
    for name in order:
        print(tell_curve(name, right[name], curves))
    print(
        f"\n| strategy | labels for random's {MOST:,} | balanced (by seed) | {', '.join(RARE)} right | asked | CPU s |"
    )
    print("|---" * 6 + "|")
    for name in order:
        print(tell_rest(name, right[name], curves, out=wanted.out, data=data))


if __name__ == "__main__":
    main()
