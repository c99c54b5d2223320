"""Consensus by majority and by reviewer quality, on simulated reviewers of differing skill over the votes of FER+.

    python benchmarks/consensus.py VOTES.csv [--probs predictions.npz --paths paths.npy] [--seeds 5]

Truth is the class that most of the ten FER+ raters chose, where that is one class with at least five votes. Each of
twenty simulated reviewers is one of these raters as a rule (a vote drawn from the image's ten) and, with a probability
of their own between 0 and 0.8, errs instead: a third of them always towards one class, a third at random, a third
within pairs of classes that they confuse. Each image is asked of K of them, drawn anew.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from cleanlab.multiannotator import get_label_quality_multiannotator
from numpy.typing import NDArray

from ml import consensus
from ml.consensus import Consensus

OPTIONS = {
    "anger": "angry", "disgust": "disgust", "fear": "fear", "happiness": "happy", "neutral": "neutral",
    "sadness": "sad", "surprise": "surprise",
}  # fmt: skip
REVIEWERS = 20


def read_votes(path: Path, *, split: str | None = None) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """File names, votes (N, 7) and truth (N,) of the images that have one."""
    table = pd.read_csv(path)
    if split:
        table = table[table["split"] == split]
    votes = table[list(OPTIONS)].to_numpy(np.int64)
    best = votes.max(1)
    kept = (best >= 5) & ((votes == best[:, None]).sum(1) == 1)
    return table["file"][kept].tolist(), votes[kept], votes[kept].argmax(1)


def simulate(votes: NDArray[np.int64], *, opinions: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """(N, 20): what each reviewer says, -1 where they are not asked."""
    count, classes = votes.shape
    errs = np.linspace(0, 0.8, REVIEWERS)
    said = np.full((count, REVIEWERS), -1, np.int16)
    asked = rng.permuted(np.tile(np.arange(REVIEWERS), (count, 1)), axis=1)[:, :opinions]
    cumulated = (votes / votes.sum(1, keepdims=True)).cumsum(1)
    for reviewer in range(REVIEWERS):
        rows = np.flatnonzero((asked == reviewer).any(1))
        drawn = np.minimum((rng.random(len(rows))[:, None] > cumulated[rows]).sum(1), classes - 1)
        wrong = _err(drawn, reviewer % 3, classes=classes, rng=rng)
        said[rows, reviewer] = np.where(rng.random(len(rows)) < errs[reviewer], wrong, drawn)
    return said


def _err(drawn: NDArray[np.int64], kind: int, *, classes: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if kind == 0:
        return np.full(len(drawn), rng.integers(classes))
    if kind == 1:
        return rng.integers(0, classes, len(drawn))
    partner = rng.permutation(classes)
    return partner[drawn]


def crowdlab(said: NDArray[np.int16], probs: NDArray[np.float64]) -> Consensus:
    """As cleanlab does it."""
    given = np.where(said >= 0, said, np.nan).astype(np.float64)
    labels = get_label_quality_multiannotator(given, probs, verbose=False, return_detailed_quality=False)[
        "label_quality"
    ]
    category = labels["consensus_label"].to_numpy(np.int64)
    return Consensus(category, labels["consensus_quality_score"].to_numpy(), np.full(said.shape[1], np.nan), "CROWDLAB")


def score(found: Consensus, truth: NDArray[np.int64]) -> dict[str, float]:
    settled = found.category >= 0
    sure = settled & (found.p >= 0.9)
    right = found.category == truth
    return {
        "right": float(right.mean()),  # of all images; a tie is not right
        "settled": float(settled.mean()),
        "sure": float(sure.mean()),
        "sure_right": float(right[sure].mean()) if sure.any() else float("nan"),
        "mean_p": float(found.p[settled].mean()),
        "settled_right": float(right[settled].mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("votes", type=Path)
    parser.add_argument("--probs", type=Path, help="out-of-sample probabilities (N, 7) in the order of --files")
    parser.add_argument("--files", type=Path, help="the file name of each row of --probs, one a line")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--split", default=None)
    wanted = parser.parse_args()
    files, votes, truth = read_votes(wanted.votes, split=wanted.split)
    probs = None
    if wanted.probs:
        rows = {name: row for row, name in enumerate(wanted.files.read_text().split())}
        kept = np.array([name in rows for name in files])
        probs = np.load(wanted.probs)[[rows[name] for name in files if name in rows]].astype(np.float64)
        votes, truth = votes[kept], truth[kept]
    print(f"{len(truth):,} images")
    for opinions in (2, 3, 5):
        rows_by_method: dict[str, list[dict[str, float]]] = {}
        for seed in range(wanted.seeds):
            rng = np.random.default_rng(seed)
            said = simulate(votes, opinions=opinions, rng=rng)
            methods = {"majority": consensus.majority(said, categories=7)}
            for pull in (0.0, 5.0, 10.0, 20.0):
                methods[f"Dawid-Skene, pull {pull:g}"] = consensus.dawid_skene(said, categories=7, pull=pull)
            if probs is not None:
                methods["CROWDLAB"] = crowdlab(said, probs)
                with_model = np.column_stack([said, probs.argmax(1)]).astype(np.int16)
                methods["Dawid-Skene with the model, pull 10"] = consensus.dawid_skene(with_model, categories=7)
            for name, found in methods.items():
                rows_by_method.setdefault(name, []).append(score(found, truth))
        for name, rows in rows_by_method.items():
            means = {key: np.mean([row[key] for row in rows]) for key in rows[0]}
            print(f"{opinions} opinions  {name:36}  " + "  ".join(f"{key} {value:.3f}" for key, value in means.items()))


if __name__ == "__main__":
    main()
