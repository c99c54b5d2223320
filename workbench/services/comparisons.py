"""Two runs on the same images and the same labels: is the second better, by how much, on which images."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Invalid
from workbench.models import Dataset, Run
from workbench.services.evaluations import Judged, judge
from workbench.services.measures import wilson
from workbench.services.paired import ALPHA, Difference, compare_right, correct_holm, measure_balance
from workbench.services.predictions import load_predictions
from workbench.services.protection import is_marked


@dataclass(frozen=True, eq=False)
class Pair:
    """What two runs said about the same images, which neither had seen, beside the newest labels."""

    run_a: Run
    run_b: Run
    a: Judged
    b: Judged

    @property
    def split(self) -> str:
        return self.a.split

    @property
    def image_ids(self) -> NDArray[np.int64]:
        return self.a.image_ids

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) class ids, because two runs may have different columns."""
        given: NDArray[np.int64] = np.array(self.a.class_ids, np.int64)[self.a.labels]
        return given

    @property
    def answers(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(N,) class ids that A gives, and B."""
        return answers_of(self.a), answers_of(self.b)


def answers_of(judged: Judged) -> NDArray[np.int64]:
    """(N,) class ids of what the run says."""
    chosen: NDArray[np.int64] = np.array(judged.class_ids, np.int64)[judged.probs.argmax(1)]
    return chosen


def judge_pair(session: Session, home: Home, *, run_a: Run, run_b: Run, split: str | None = None) -> Pair:
    """split: none for the one that run A was measured on. Raises Invalid where they have no image in common."""
    if run_a.dataset_id != run_b.dataset_id:
        raise Invalid(f"Run {run_a.id} and run {run_b.id} belong to two data sets; compare runs of one.")
    first = judge_unseen(session, home, run_a, split=split)
    second = judge_unseen(session, home, run_b, split=first.split)
    both = np.intersect1d(first.image_ids, second.image_ids)
    if len(both) == 0:
        raise Invalid(
            f"Run {run_a.id} and run {run_b.id} have no image of the split “{first.split}” in common that neither saw."
        )
    return Pair(run_a, run_b, *(judged.take(np.isin(judged.image_ids, both)) for judged in (first, second)))


def judge_unseen(session: Session, home: Home, run: Run, *, split: str | None = None) -> Judged:
    """As `judge`, without the images that a run was measured on although it had learned from their copies."""
    judged = judge(session, home, run, split=split)
    said = load_predictions(home, run.id)
    unseen: NDArray[np.bool_] = said.out_of_sample[np.searchsorted(said.image_ids, judged.image_ids)]
    return judged.take(unseen)


def compare(
    session: Session, home: Home, *, run_a: Run, run_b: Run, split: str | None = None, seed: int = 0
) -> dict[str, Any]:
    """Compare on the images of a split that both runs predicted and neither had seen, by the newest labels.

    split: none for the one that run A was measured on. JSON-able; positive differences speak for run B.
    """
    pair = judge_pair(session, home, run_a=run_a, run_b=run_b, split=split)
    return compare_pair(session, pair, seed=seed)


def compare_pair(session: Session, pair: Pair, *, seed: int = 0) -> dict[str, Any]:
    """What `compare` says, JSON-able."""
    a, b, split = pair.run_a, pair.run_b, pair.split
    found = compare_answers(*pair.answers, pair.labels, image_ids=pair.image_ids, seed=seed)
    return {
        "a": a.id,
        "b": b.id,
        "split": split,
        "cleaned_with_own_flags": is_marked(session.get_one(Dataset, a.dataset_id), split),
        **found,
        "per_class": _compare_classes(pair, seed=seed),
        "sentence": make_sentence(found, a=a.id, b=b.id, split=split),
    }


def compare_answers(
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    labels: NDArray[np.int64],
    *,
    image_ids: NDArray[np.int64],
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracies, their difference with a paired bootstrap interval, McNemar's exact test, and what flipped.

    a, b, labels: int (N,) classes. Deterministic for a seed. `verdict` is better, worse or tie, for b.
    """
    a_right, b_right = a == labels, b == labels
    found = compare_right(a_right, b_right, seed=seed)
    classes, columns = np.unique(np.concatenate([labels, a, b]), return_inverse=True)
    balance = measure_balance(*columns.reshape(3, -1)[[1, 2, 0]], class_count=len(classes), seed=seed)
    return {
        "n": len(labels),
        "a_accuracy": rate(a_right),
        "b_accuracy": rate(b_right),
        **found.report(),
        "verdict": say_verdict(found),
        **{name: measure.report() for name, measure in balance.items()},
        "flipped": {
            "a_right": image_ids[a_right & ~b_right].tolist(),
            "b_right": image_ids[b_right & ~a_right].tolist(),
            "both_wrong": image_ids[~a_right & ~b_right & (a != b)].tolist(),
        },
    }


def rate(right: NDArray[np.bool_]) -> dict[str, float]:
    """The share that is right, with its 95 % interval."""
    low, high = wilson(int(right.sum()), len(right))
    return {"accuracy": float(right.mean()), "low": low, "high": high}


def say_verdict(found: Difference) -> str:
    """Whether b is better or worse by more than chance would make, or neither: a tie."""
    if found.p >= ALPHA:
        return "tie"
    return "better" if found.difference > 0 else "worse"


def make_sentence(found: dict[str, Any], *, a: int, b: int, split: str) -> str:
    """Whether the difference is more than chance, for people."""
    rates = (
        f"On {found['n']:,} images ({split}) run {b} gets {found['b_accuracy']['accuracy']:.1%} right "
        f"and run {a} {found['a_accuracy']['accuracy']:.1%}"
    )
    interval = f"{show_points(found['difference'])} points, 95 % interval {show_interval(found)}"
    if found["p"] >= ALPHA:
        return f"{rates}: {interval}. That is no more than chance would make (p = {show_p(found['p'])})."
    better = b if found["difference"] > 0 else a
    return f"{rates}: {interval}. Run {better} is better by more than chance (p = {show_p(found['p'])})."


def show_points(share: float) -> str:
    return f"{100 * share:+.1f}"


def show_interval(found: dict[str, Any]) -> str:
    return f"{show_points(found['low'])} to {show_points(found['high'])}"


def show_p(p: float) -> str:
    return f"{p:.2f}" if p >= 0.1 else f"{p:.1g}" if p >= 1e-4 else f"1e{math.floor(math.log10(max(p, 1e-300)))}"


def _compare_classes(pair: Pair, *, seed: int) -> list[dict[str, Any]]:
    """Recall of each class in both runs, in the order of the first; classes that only one knows come after.

    p is corrected for there being several classes (Holm).
    """
    names = dict(zip(pair.a.class_ids + pair.b.class_ids, pair.a.class_names + pair.b.class_names, strict=True))
    labels, (a, b) = pair.labels, pair.answers
    members = {class_id: labels == class_id for class_id in names}
    found = {
        class_id: compare_right(a[kept] == class_id, b[kept] == class_id, seed=seed)
        for class_id, kept in members.items()
        if kept.any()
    }
    corrected = dict(zip(found, correct_holm([each.p for each in found.values()]), strict=True))
    return [
        {
            "class": names[class_id],
            "n": int(kept.sum()),
            "a_recall": _recall(a, kept, class_id),
            "b_recall": _recall(b, kept, class_id),
            **{key: getattr(found.get(class_id), key, None) for key in ("difference", "low", "high")},
            "p": corrected.get(class_id),
        }
        for class_id, kept in members.items()
    ]


def _recall(answers: NDArray[np.int64], kept: NDArray[np.bool_], class_id: int) -> float | None:
    return float((answers[kept] == class_id).mean()) if kept.any() else None
