"""Wrong labels of FER2013, before any verdict and after 200, 400 and 1,000; and what learning costs elsewhere.

    python benchmarks/label_issues.py VOTES.csv --home HOME --dataset NAME [--run RUN] [--more RUN] [--seeds 5]
        [--noisy ARRAYS.npz]

Truth are the votes of FER+, which no method sees: a label is wrong when another option has at least 70 % of the votes,
right when it has them itself; the rest is ambiguous and only P(ambiguous) is measured on it. Images are those of the
split train. Verdicts are drawn from images at random, ambiguous ones too, each as one rater of the ten ("single") or as
the winner of the votes; options outside the classes exclude the image. "folds" judges by the run's folds, "judging" as
the workbench does, also by what the model said while it learned, "two runs" by the mean of that and of run --more.

ARRAYS.npz of another data set: probs (N, K) out-of-sample, given (N,), truth (N,): errors that do not follow classes.
"""

import argparse
import csv
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from ml.labels import label_issues
from ml.verdicts import UNUSABLE, learn_p_wrong
from workbench.config import Home
from workbench.services.predictions import Predictions, load_predictions

OPTIONS = {
    "anger": "angry", "disgust": "disgust", "fear": "fear", "happiness": "happy", "neutral": "neutral",
    "sadness": "sad", "surprise": "surprise", "contempt": "", "unknown": "", "NF": "",
}  # fmt: skip
SURE = 0.7
COUNTS = (200, 400, 1000)
BINS = 10

Draw = Callable[[int, np.random.Generator], tuple[NDArray[np.int64], NDArray[np.int64]]]
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Truth:
    """N images: what they are labelled, and what is so."""

    given: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    right: NDArray[np.bool_]
    draw: dict[str, Draw]  # kind of verdicts -> how to draw some: rows and classes


# --- FER2013 ------------------------------------------------------------------------------------------------------


def read_fer(votes: Path, home: Home, dataset: str, said: Predictions) -> tuple[NDArray[np.intp], Truth]:
    """Rows of the predictions that belong to train and carry a label, and their truth."""
    with sqlite3.connect(home.database) as database:
        query = (
            "SELECT i.id, i.path, i.first_label_id FROM images i JOIN datasets d ON d.id = i.dataset_id "
            "WHERE d.name = ? AND i.first_split = 'train'"
        )
        images = {image_id: (path, label) for image_id, path, label in database.execute(query, (dataset,))}
        names = dict(database.execute("SELECT id, name FROM classes"))
    column = {class_id: index for index, class_id in enumerate(said.class_ids.tolist())}
    options = [
        column.get({name: key for key, name in names.items()}.get(each, 0), UNUSABLE) for each in OPTIONS.values()
    ]
    table = {f"{row['split']}/{row['label']}/{row['file']}": row for row in csv.DictReader(votes.open())}
    rows = np.array([row for row, each in enumerate(said.image_ids.tolist()) if each in images])
    kept = [images[each] for each in said.image_ids[rows].tolist()]
    counts = np.array([[float(table[path][option]) for option in OPTIONS] for path, _ in kept])
    given = np.array([column[label] for _, label in kept])
    return rows, judge(given, counts / counts.sum(1, keepdims=True), np.array(options))


def judge(given: NDArray[np.int64], shares: Floats, options: NDArray[np.int64]) -> Truth:
    winner, is_sure = options[shares.argmax(1)], shares.max(1) >= SURE
    cumulated = shares.cumsum(1)

    def ask_single(count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = rng.permutation(len(given))[:count]
        drawn = (rng.random(count)[:, None] > cumulated[rows]).sum(1)
        return rows, options[np.minimum(drawn, len(options) - 1)]

    def ask_winner(count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = rng.permutation(len(given))[:count]
        return rows, winner[rows]

    return Truth(
        given, is_sure & (winner != given), is_sure & (winner == given), {"single": ask_single, "winner": ask_winner}
    )


# --- another data set ---------------------------------------------------------------------------------------------


def read_noisy(path: Path) -> tuple[Floats, Truth]:
    with np.load(path) as stored:
        probs, given, truth = stored["probs"], stored["given"], stored["truth"]

    def ask(count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = rng.permutation(len(given))[:count]
        return rows, truth[rows]

    def ask_mistaken(count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows, classes = ask(count, rng)
        return rows, np.where(rng.random(count) < 0.12, rng.integers(0, probs.shape[1], count), classes)

    return probs, Truth(given, given != truth, given == truth, {"exact": ask, "12 % mistaken": ask_mistaken})


# --- measuring ----------------------------------------------------------------------------------------------------


def measure_calibration(p: Floats, wrong: NDArray[np.bool_]) -> float:
    """Expected calibration error over ten bins of equal width."""
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    return float(sum(abs(p[bins == k].mean() - wrong[bins == k].mean()) * (bins == k).mean() for k in np.unique(bins)))


def measure(truth: Truth, score: Floats, p_wrong: Floats | None = None) -> dict[str, float]:
    sure = truth.wrong | truth.right
    wrong, ranked = truth.wrong[sure], np.argsort(-score[sure], kind="stable")
    found = {
        "AP": float(average_precision_score(wrong, score[sure])),
        "P@100": float(wrong[ranked[:100]].mean()),
        "P@1000": float(wrong[ranked[:1000]].mean()),
        "R@10%": float(wrong[ranked[: len(wrong) // 10]].sum() / wrong.sum()),
    }
    if p_wrong is None:
        return found
    each = _calibrate_classes(truth, p_wrong)
    sizes = np.array([size for size, _ in each.values()])
    errors = np.array([error for _, error in each.values()])
    return found | {
        "ECE": measure_calibration(p_wrong[sure], wrong),
        "ECE classes": float((sizes * errors).sum() / sizes.sum()),
        "worst class": float(errors.max()),
    }


def _calibrate_classes(truth: Truth, p_wrong: Floats) -> dict[int, tuple[int, float]]:
    """Class -> its sure images, and the calibration error on them."""
    found = {}
    for cls in np.unique(truth.given).tolist():
        rows = (truth.wrong | truth.right) & (truth.given == cls)
        if rows.any():
            found[cls] = (int(rows.sum()), measure_calibration(p_wrong[rows], truth.wrong[rows]))
    return found


def measure_learned(
    probs: Floats, truth: Truth, *, kind: str, count: int, seeds: int, plain: Floats | None = None
) -> list[dict[str, float]]:
    found = []
    for seed in range(seeds):
        rows, classes = truth.draw[kind](count, np.random.default_rng(seed))
        learned = learn_p_wrong(probs, truth.given, plain=plain, verdict_rows=rows, verdict_classes=classes)
        line = measure(truth, learned.score, learned.p_wrong)
        ambiguous = ~(truth.wrong | truth.right)
        line["ambiguous AUROC"] = float(roc_auc_score(ambiguous, learned.p_ambiguous)) if ambiguous.any() else np.nan
        found.append({**line, "shrinkage": learned.shrinkage})
    return found


def tell(name: str, lines: list[dict[str, float]]) -> None:
    """Means, and with several seeds the half width of their 95 % interval."""
    parts = []
    for key in lines[0]:
        values = np.array([line[key] for line in lines])
        half = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
        parts.append(f"{key} {values.mean():.3f}" + (f"±{half:.3f}" if half else ""))
    print(f"{name:34s}", "  ".join(parts), flush=True)


def compare(probs: dict[str, Floats], truth: Truth, *, seeds: int) -> None:
    used, first = next(iter(probs.items()))
    for method in ("self_confidence", "normalized_margin"):
        lines = [measure(truth, -get_label_quality_scores(truth.given, first, method=method))]
        tell(f"cleanlab {method}, {used}", lines)
    plain = {name: label_issues(each, truth.given) for name, each in probs.items()}
    for name, found in plain.items():
        tell(f"no verdict, {name}", [measure(truth, found.score, found.p_wrong)])
    for name, each in probs.items():
        for kind in truth.draw:
            for count in COUNTS:
                lines = measure_learned(each, truth, kind=kind, count=count, seeds=seeds)
                before = float(average_precision_score(*_sure(truth, plain[name].score)))
                tell(f"{count} {kind}, {name}", [{**line, "gain": line["AP"] - before} for line in lines])


def _sure(truth: Truth, score: Floats) -> tuple[NDArray[np.bool_], Floats]:
    sure = truth.wrong | truth.right
    return truth.wrong[sure], score[sure]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("votes", type=Path)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--dataset", default="fer2013")
    parser.add_argument("--run", type=int, default=1)
    parser.add_argument("--more", type=int, help="A second run, to be averaged with.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--noisy", type=Path)
    args = parser.parse_args()
    if args.home:
        home = Home.at(args.home)
        said = load_predictions(home, args.run)
        rows, truth = read_fer(args.votes, home, args.dataset, said)
        print(f"{len(rows):,} images, {truth.wrong.mean():.1%} wrong, {truth.right.mean():.1%} right")
        probs = {"folds": said.probs} if said.out_of_sample[rows].all() else {}
        probs["judging"] = said.judging
        if args.more:
            probs["two runs"] = (said.judging.astype(np.float32) + load_predictions(home, args.more).judging) / 2
        compare({name: each[rows].astype(np.float32) for name, each in probs.items()}, truth, seeds=args.seeds)
    if args.noisy:
        each, truth = read_noisy(args.noisy)
        print(f"{args.noisy.name}: {len(each):,} images, {truth.wrong.mean():.1%} wrong")
        compare({"folds": each}, truth, seeds=args.seeds)


if __name__ == "__main__":
    main()
