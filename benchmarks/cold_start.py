"""The first labels on FER2013: one of each kind of picture, as the recipe cold-start chooses, against random ones.

    python -m benchmarks.cold_start TREE VOTES [--seeds 0,1,2] [--sizes 200,1000]

No model is asked: pictures are compared by the fingerprints of the duplicate scan. The net and the oracle are those of
benchmarks/active.py.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.active import CLASSES, Data, fit, look, read_data
from ml.active.strategies import Pool, pick
from ml.dedup import descriptors
from ml.dedup.fingerprints import fingerprint

STRATEGIES = ("random", "typical")


def describe(data: Data) -> NDArray[np.float32]:
    prints = np.stack([fingerprint(pixels[0]) for pixels in data.images[data.pool].numpy()])
    view = descriptors.VIEWS[descriptors.WHOLE]
    metric = descriptors.learn_metrics(prints)[view.part]
    return descriptors.describe(descriptors.transform(prints, views=(view,))[0], metric=metric)


def measure(data: Data, rows: NDArray[np.int64], *, seed: int) -> tuple[float, float]:
    """Accuracy and balanced accuracy after training on these rows."""
    said = look(fit(data, rows, seed=seed, before=None), data, data.test)[0].argmax(1)
    right, truth = said == data.truth[data.test], data.truth[data.test]
    return float(right.mean()), float(np.mean([right[truth == column].mean() for column in range(len(CLASSES))]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tree", type=Path)
    parser.add_argument("votes", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--sizes", default="200,1000")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    data = read_data(wanted.tree, wanted.votes)
    points = describe(data)
    pool = Pool(np.zeros((len(points), 0), np.float32), points, np.full(len(points), -1))
    seeds = [int(seed) for seed in wanted.seeds.split(",")]
    for size in map(int, wanted.sizes.split(",")):
        for strategy in STRATEGIES:
            found = []
            for seed in seeds:
                began_s = time.process_time()
                rows = data.pool[pick(pool, strategy=strategy, k=size, seed=seed).rows]
                spent_s = time.process_time() - began_s
                found.append((*measure(data, rows, seed=seed), np.unique(data.truth[rows]).size, spent_s))
            told = "; ".join(f"{100 * a:.1f} %, balanced {100 * b:.1f}, {n} classes" for a, b, n, _ in found)
            print(
                f"{size:,} {strategy}, {np.mean([each[3] for each in found]):.1f} CPU s to choose: {told}", flush=True
            )


if __name__ == "__main__":
    main()
