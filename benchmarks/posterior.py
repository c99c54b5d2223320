"""What posterior labels are worth: FER2013 with the given labels, with verdicts put right, and with the posterior.

  python -m benchmarks.posterior HOME VOTES.csv OUT [--run R] [--seeds 3] [--epochs 5] [--size 48] [--heads] [--arms A]

HOME holds FER2013 (train and validation) and a run with folds. The votes are the truth and the reviewers: an arm
draws so many training images at random, and each verdict is the votes' winner (`winner`; a tie is ambiguous, and an
image that no class wins is excluded) or one rater drawn from the votes (`single`). Arms, in the order of the table:

    given               the labels as they came
    right-NUMBER        NUMBER verdicts, put right, and nothing else
    winner-NUMBER       NUMBER verdicts put right; every other image teaches the posterior learned from them
    single-NUMBER       the same with single raters
    winner-NUMBER@S     with `keep_shares=S` instead of the product's own

All arms of a seed begin with the same weights and order and draw the same images. Measured on the validation images
that one class wins, against that class; differences to `given` are paired over images and seeds. Trained arms are
kept in OUT, so that the benchmark goes on where it was stopped. 5 epochs at 48 pixels: 3 minutes an arm on one core.
With --heads each arm fits a head on the features of the run's network instead (`--arch head`): seconds, so that many
draws of verdicts can be averaged; the network itself has then learned the labels as they came.
"""

import argparse
import csv
import functools
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from ml.configs import TrainConfig, make_config
from ml.heads import apply_head, fit_head
from ml.posteriors import keep_shares, learn_posterior
from ml.predict import load_model, predict
from ml.train import train
from ml.verdicts import AMBIGUOUS, UNUSABLE, learn_p_wrong
from workbench import storage
from workbench.config import Home
from workbench.db import open_database
from workbench.models import Class, Image
from workbench.services.data_steps import DataSteps
from workbench.services.predictions import load_predictions

OPTIONS = {
    "neutral": "neutral", "happiness": "happy", "surprise": "surprise", "sadness": "sad", "anger": "angry",
    "disgust": "disgust", "fear": "fear", "contempt": "", "unknown": "", "NF": "",
}  # fmt: skip
ARMS = ("given", "right-1000", "right-2000", "winner-1000", "winner-2000", "single-1000", "single-2000")
DRAWS = 2000  # of the bootstrap
SMOOTHING = TrainConfig().label_smoothing
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Faces:
    """The images of the home in the order of their ids, N of them, K classes."""

    images: NDArray[np.uint8]  # (N, 1, S, S)
    given: NDArray[np.int64]  # (N,)
    is_train: NDArray[np.bool_]  # (N,)
    votes: NDArray[np.int64]  # (N, options)
    columns: NDArray[np.int64]  # (options,) class of each option, UNUSABLE for what is none
    probs: NDArray[np.float32]  # (N, K) of the run
    judged: NDArray[np.bool_]  # (N,) whether it gives P(wrong)
    class_names: list[str]

    @property
    def winners(self) -> NDArray[np.int64]:
        """The class with most votes, AMBIGUOUS for a tie, UNUSABLE where something else wins."""
        most = self.votes.max(1)
        is_tied = (self.votes == most[:, None]).sum(1) > 1
        return np.where(is_tied, AMBIGUOUS, self.columns[self.votes.argmax(1)])


def load_faces(folder: Path, votes: Path, *, run: int, size: int) -> Faces:
    home = Home.at(folder)
    database = open_database(home)
    with votes.open(newline="") as file:
        counts = {f"{row['split']}/{row['label']}/{row['file']}": row for row in csv.DictReader(file)}
    with database.read() as session:
        found = [image for image in session.scalars(select(Image).order_by(Image.id)) if image.path in counts]
        classes = list(session.scalars(select(Class).order_by(Class.position)))
        pixels = np.stack([_read(home, image, size) for image in found])[:, None]
    database.close()
    said = load_predictions(home, run)
    rows = np.searchsorted(said.image_ids, [image.id for image in found])
    column = {class_id: index for index, class_id in enumerate(said.class_ids.tolist())}
    of_name = {cls.name: column[cls.id] for cls in classes if cls.id in column}
    return Faces(
        images=pixels,
        given=np.array([column[image.first_label_id or 0] for image in found]),
        is_train=np.array([image.split == "train" for image in found]),
        votes=np.array([[int(counts[image.path][option]) for option in OPTIONS] for image in found]),
        columns=np.array([of_name.get(name, UNUSABLE) for name in OPTIONS.values()]),
        probs=said.probs[rows].astype(np.float32),
        judged=np.isfinite(said.p_wrong[rows]),
        class_names=sorted(of_name, key=lambda name: of_name[name]),
    )


def _read(home: Home, image: Image, size: int) -> NDArray[np.uint8]:
    bytes_ = storage.read_bytes(home, image)
    grey = cv2.imdecode(np.frombuffer(bytes_, np.uint8), cv2.IMREAD_GRAYSCALE)
    return cv2.resize(grey, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8)


# --- one arm ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lesson:
    """What an arm trains on."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]  # (N,)
    targets: NDArray[np.float32]  # (N, K)
    weights: NDArray[np.float32]  # (N,)


def prepare(faces: Faces, arm: str, *, seed: int) -> Lesson:
    name, _, asked = arm.partition("@")
    kind, _, number = name.partition("-")
    training = np.flatnonzero(faces.is_train)
    rng = np.random.default_rng(seed)
    reviewed = rng.permutation(training)[: int(number or 0)]
    verdicts = _draw_raters(faces, reviewed, rng) if kind == "single" else faces.winners[reviewed]
    labels = faces.given.copy()
    labels[reviewed] = verdicts.clip(min=0)
    kept = np.setdiff1d(training, reviewed[verdicts < 0])
    hard = np.eye(faces.probs.shape[1], dtype=np.float32)[labels]
    if kind in ("given", "right"):
        return Lesson(kept, labels, hard, np.ones(len(labels), np.float32))
    soft = np.setdiff1d(kept, reviewed)
    targets = hard.copy()
    targets[soft] = _learn(faces, reviewed, verdicts)[soft]
    weights = np.ones(len(labels), np.float32)
    strength = float(asked) if asked else DataSteps().keep_shares
    targets[kept], weights[kept] = keep_shares(targets[kept], hard[kept], strength=strength)
    return Lesson(kept, labels, targets, weights)


def _draw_raters(faces: Faces, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    drawn = [rng.choice(len(faces.columns), p=faces.votes[row] / faces.votes[row].sum()) for row in rows]
    return faces.columns[drawn]


def _learn(faces: Faces, rows: NDArray[np.int64], verdicts: NDArray[np.int64]) -> NDArray[np.float32]:
    given = np.where(faces.judged & faces.is_train, faces.given, -1)
    asked = {"verdict_rows": rows, "verdict_classes": verdicts}
    learned = learn_p_wrong(faces.probs, given, **asked)
    return learn_posterior(faces.probs, given, p_wrong=learned.p_wrong, **asked)


def run_arm(faces: Faces, arm: str, *, seed: int, out: Path, fit: Callable[[Lesson, Path], Floats]) -> None:
    path = out / f"{arm}-seed{seed}.npy"
    if path.exists():
        return
    started_s = time.process_time()
    np.save(path, fit(prepare(faces, arm, seed=seed), out / path.stem))
    print(f"{path.stem}: {time.process_time() - started_s:.0f} CPU s", flush=True)


def fit_network(faces: Faces, lesson: Lesson, folder: Path, *, seed: int, epochs: int) -> Floats:
    """Probabilities of the validation images."""
    config = make_config("quick", epochs=epochs, image_size=faces.images.shape[2], seed=seed, threads=1)
    result = train(
        faces.images,
        lesson.labels,
        train_indices=lesson.rows,
        validation_indices=np.empty(0, np.int64),
        class_count=len(faces.class_names),
        config=config,
        folder=folder,
        targets=lesson.targets,
        weights=lesson.weights,
    )
    probs, _ = predict(load_model(result.checkpoint), faces.images[~faces.is_train])
    shutil.rmtree(folder)
    return probs


def fit_on_features(faces: Faces, features: Floats, lesson: Lesson, *, seed: int) -> Floats:
    """As `fit_network`, by a head alone."""
    rows = lesson.rows
    head, _ = fit_head(
        features[rows], lesson.targets[rows], weights=lesson.weights[rows], label_smoothing=SMOOTHING, seed=seed
    )
    return apply_head(head, features[~faces.is_train])


# --- the table --------------------------------------------------------------------------------------------------


def measure(right: NDArray[np.float64], truth: NDArray[np.int64]) -> tuple[float, float]:
    """Accuracy and balanced accuracy. right: (images,), the share of the seeds that are right."""
    recalls = [right[truth == label].mean() for label in np.unique(truth)]
    return float(right.mean()), float(np.mean(recalls))


def compare(faces: Faces, arms: list[str], *, seeds: int, out: Path) -> list[dict[str, Any]]:
    """One row for each arm, with the difference to `given` and its paired 95 % bootstrap interval over images."""
    truth = faces.winners[~faces.is_train]
    clear = truth >= 0
    truth = truth[clear]
    right = {arm: _read_right(arm, truth, clear, seeds=seeds, out=out) for arm in arms}
    rng = np.random.default_rng(0)
    draws = [_redraw(truth, rng) for _ in range(DRAWS)]
    rows = []
    for arm, each in right.items():
        accuracy, balanced = measure(each, truth)
        less = [
            np.subtract(measure(each[rows_], truth[rows_]), measure(right["given"][rows_], truth[rows_]))
            for rows_ in draws
        ]
        low, high = np.percentile(less, [2.5, 97.5], axis=0)
        recalls = {name: float(each[truth == place].mean()) for place, name in enumerate(faces.class_names)}
        found = {"arm": arm, "n": len(truth), "accuracy": accuracy, "balanced": balanced, "recalls": recalls}
        for place, name in enumerate(("accuracy", "balanced")):
            difference = found[name] - measure(right["given"], truth)[place]
            found[f"{name}_less_given"] = [difference, float(low[place]), float(high[place])]
        rows.append(found)
    return rows


def _redraw(truth: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Images drawn with replacement within their class, so that no rare class is ever empty."""
    own = [np.flatnonzero(truth == label) for label in np.unique(truth)]
    return np.concatenate([rng.choice(rows, len(rows)) for rows in own])


def _read_right(
    arm: str, truth: NDArray[np.int64], clear: NDArray[np.bool_], *, seeds: int, out: Path
) -> NDArray[np.float64]:
    answers = [np.load(out / f"{arm}-seed{seed}.npy")[clear].argmax(1) for seed in range(seeds)]
    return np.mean([each == truth for each in answers], axis=0)


def show(rows: list[dict[str, Any]]) -> None:
    print("| arm | accuracy | less given | balanced | less given | rarest classes' recall |\n|---|---|---|---|---|---|")
    for row in rows:
        cells = [f"{row['accuracy']:.3f}", _show_difference(row["accuracy_less_given"])]
        cells += [f"{row['balanced']:.3f}", _show_difference(row["balanced_less_given"])]
        recalls = ", ".join(f"{name} {row['recalls'][name]:.2f}" for name in ("disgust", "fear"))
        print(f"| {row['arm']} | {' | '.join(cells)} | {recalls} |")


def _show_difference(found: list[float]) -> str:
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * value for value in found))


def _look(folder: Path, run: int, faces: Faces) -> Floats:
    return predict(load_model(Home.at(folder).run_folder(run) / "checkpoint.pt"), faces.images)[1]


def _choose_fit(faces: Faces, features: Floats | None, *, seed: int, epochs: int) -> Callable[[Lesson, Path], Floats]:
    if features is None:
        return functools.partial(fit_network, faces, seed=seed, epochs=epochs)
    return lambda lesson, _folder: fit_on_features(faces, features, lesson, seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("votes", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--run", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--heads", action="store_true")
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    faces = load_faces(given.home, given.votes, run=given.run, size=given.size)
    features = _look(given.home, given.run, faces) if given.heads else None
    for seed in range(given.seeds):
        for arm in given.arms:
            fit = _choose_fit(faces, features, seed=seed, epochs=given.epochs)
            run_arm(faces, arm, seed=seed, out=given.out, fit=fit)
    rows = compare(faces, given.arms, seeds=given.seeds, out=given.out)
    show(rows)
    (given.out / "table.json").write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
