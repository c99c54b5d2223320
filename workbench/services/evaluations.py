"""What predictions are worth: every number with its n, an interval and the baseline beside it. No torch, no sklearn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Invalid, NotFound
from workbench.models import Dataset, Run
from workbench.models.states import merge_roots
from workbench.queries import datasets as dataset_queries
from workbench.queries import runs as queries
from workbench.queries.runs import Labelled
from workbench.services.predictions import Predictions, load_predictions
from workbench.services.protection import is_marked
from workbench.services.runs import HELD_OUT, is_held_out
from workbench.services.training_sets import load_training_set

Z95 = float(ndtri(0.975))
BINS = 15
MOST_CONFUSED = 10


def wilson(right: int, count: int, *, z: float = Z95) -> tuple[float, float]:
    """The Wilson interval of a rate: 95 % by default; (0, 1) when nothing was counted."""
    if count == 0:
        return 0.0, 1.0
    rate = right / count
    centre = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return (0.0 if right == 0 else centre - half), (1.0 if right == count else centre + half)


def evaluate(
    probs: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], *, class_names: Sequence[str]
) -> dict[str, Any]:
    """Everything a run page says about predictions of N images, JSON-able; what cannot be said is None.

    probs: float (N, K), labels: int (N,) in 0..K-1. Rows are normalised first: half precision does not sum to 1.
    Ties between classes go to the first. Macro F1 is the mean over the classes that occur among labels or predictions.
    """
    count, class_count = len(labels), len(class_names)
    values = _normalise(probs, class_count)
    truth = np.asarray(labels, np.int64)
    predicted = values.argmax(1) if count else np.empty(0, np.int64)
    confusion = np.bincount(truth * class_count + predicted, minlength=class_count**2).reshape(class_count, class_count)
    per_class = _measure_classes(confusion, class_names)
    right = int(np.trace(confusion))
    low, high = wilson(right, count)
    seen = [row for row in per_class if row["support"] + row["predicted"]]
    return {
        "n": count,
        "right": right,
        "accuracy": _ratio(right, count),
        "low": low,
        "high": high,
        "baseline": _measure_baseline(confusion, class_names),
        "macro_f1": _mean([row["f1"] or 0.0 for row in seen]),
        "weighted_f1": _ratio(sum((row["f1"] or 0.0) * row["support"] for row in seen), count),
        "log_loss": measure_log_loss(values, truth),
        "ece": measure_calibration(values, truth),
        "top2": _measure_top2(values, truth),
        "classes": list(class_names),
        "confusion": confusion.tolist(),
        "per_class": per_class,
        "most_confused": list_most_confused(confusion, class_names),
    }


def _normalise(probs: NDArray[np.floating[Any]], class_count: int) -> NDArray[np.float64]:
    values = np.asarray(probs, np.float64).reshape(-1, class_count)
    return values / values.sum(1, keepdims=True) if len(values) else values


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _measure_classes(confusion: NDArray[np.int64], class_names: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for index, name in enumerate(class_names):
        right, support, predicted = (
            int(n) for n in (confusion[index, index], confusion[index].sum(), confusion[:, index].sum())
        )
        low, high = wilson(right, support)
        rows.append(
            {
                "name": name,
                "support": support,
                "predicted": predicted,
                "right": right,
                "precision": _ratio(right, predicted),
                "recall": _ratio(right, support),
                "recall_low": low,
                "recall_high": high,
                "f1": _ratio(2 * right, support + predicted),
            }
        )
    return rows


def _measure_baseline(confusion: NDArray[np.int64], class_names: Sequence[str]) -> dict[str, Any]:
    """How often the most frequent class is the answer: what a model must beat to have learnt anything."""
    supports = confusion.sum(1)
    if supports.sum() == 0:
        return {"class": None, "accuracy": None}
    best = int(supports.argmax())
    return {"class": class_names[best], "accuracy": float(supports[best] / supports.sum())}


def measure_log_loss(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> float | None:
    """Mean cross-entropy in nats; a probability of 0 counts as the smallest half-precision number, about 6e-8."""
    if len(labels) == 0:
        return None
    given = np.maximum(probs[np.arange(len(labels)), labels], float(np.finfo(np.float16).smallest_subnormal))
    return float(-np.log(given).mean())


def measure_calibration(probs: NDArray[np.float64], labels: NDArray[np.int64], *, bins: int = BINS) -> float | None:
    """Expected calibration error: |accuracy - confidence| over equal bins of confidence, weighted by their images."""
    if len(labels) == 0:
        return None
    confidence, right = probs.max(1), (probs.argmax(1) == labels).astype(np.float64)
    chosen = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)  # bins are open below, closed above
    gaps = np.bincount(chosen, right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def _measure_top2(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> float | None:
    """How often the label is among the two most probable classes; ties go to the first."""
    if len(labels) == 0:
        return None
    best = np.argsort(-probs, axis=1, kind="stable")[:, :2]
    return float((best == labels[:, None]).any(1).mean())


def list_most_confused(confusion: NDArray[np.int64], class_names: Sequence[str]) -> list[dict[str, Any]]:
    """The cells off the diagonal that hold most images, with their share of the true class."""
    cells = [
        (int(confusion[true, predicted]), true, predicted)
        for true in range(len(class_names))
        for predicted in range(len(class_names))
        if true != predicted and confusion[true, predicted]
    ]
    cells.sort(key=lambda cell: (-cell[0], cell[1], cell[2]))
    return [
        {
            "true": class_names[true],
            "predicted": class_names[predicted],
            "n": n,
            "share": n / int(confusion[true].sum()),
        }
        for n, true, predicted in cells[:MOST_CONFUSED]
    ]


# --- judging by the newest labels -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """What a run said about images that it had not seen, beside the newest labels. Columns are `class_ids`."""

    split: str
    image_ids: NDArray[np.int64]  # (N,), ascending
    probs: NDArray[np.float64]  # (N, K)
    labels: NDArray[np.int64]  # (N,) columns
    class_ids: tuple[int, ...]
    class_names: tuple[str, ...]

    def take(self, kept: NDArray[np.bool_]) -> "Judged":
        return Judged(
            self.split, self.image_ids[kept], self.probs[kept], self.labels[kept], self.class_ids, self.class_names
        )


def judge(
    session: Session, home: Home, run: Run, *, split: str | None = None, image_ids: Sequence[int] | None = None
) -> Judged:
    """Join the run's out-of-sample predictions of a split (none: the one it was measured on) with the newest labels.

    image_ids: these images instead of those that stand in the split now.

    Classes merged since count as one; a class that came since has probability 0. Labels of closed classes are left out.
    """
    if run.status != "done":
        raise Invalid(f"Run {run.id} is {run.status}; only a run that is done can be evaluated.")
    dataset = session.get_one(Dataset, run.dataset_id)
    split = split or run.config["evaluation"]["split"]
    said = load_predictions(home, run.id)
    classes = dataset_queries.list_classes(session, dataset.id)
    open_ids = [cls.id for cls in classes if cls.is_open]
    rows = (
        _list_labelled(session, dataset, open_ids, split=split)
        if image_ids is None
        else queries.list_labelled_by_ids(session, image_ids, class_ids=open_ids)
    )
    places = np.array([_or_minus_one(said.find(row.image_id)) for row in rows], np.int64)
    counted = _list_measured_anyway(home, run, split=split)
    kept = [
        index
        for index, place in enumerate(places.tolist())
        if place >= 0 and (said.out_of_sample[place] or rows[index].image_id in counted)
    ]
    carried = {rows[index].class_id for index in kept}
    columns = [class_id for class_id in open_ids if class_id in carried or class_id in set(said.class_ids.tolist())]
    names = {cls.id: cls.name for cls in classes}
    return Judged(
        split=split,
        image_ids=np.array([rows[index].image_id for index in kept], np.int64),
        probs=_to_columns(said, places[kept], columns, merge_roots(classes)),
        labels=np.array([columns.index(rows[index].class_id) for index in kept], np.int64),
        class_ids=tuple(columns),
        class_names=tuple(names[class_id] for class_id in columns),
    )


def _list_measured_anyway(home: Home, run: Run, *, split: str) -> set[int]:
    """The images that count although a copy of them taught: those of a run that was told to leave no copy out."""
    if run.config.get("leave_out") != "none" or split != run.config["evaluation"]["split"]:
        return set()
    found = load_training_set(home, run.id)
    return set(found.measured.tolist()) if found else set()


def _list_labelled(session: Session, dataset: Dataset, class_ids: Sequence[int], *, split: str) -> list[Labelled]:
    """The images of a split as they stand now, without a look at those of the others: pages wait for this."""
    in_database = None if split == HELD_OUT else split
    rows = queries.list_labelled(session, dataset_id=dataset.id, class_ids=class_ids, split=in_database)
    return [row for row in rows if split != HELD_OUT or is_held_out(row.pixel_sha256)]


def _or_minus_one(place: int | None) -> int:
    return -1 if place is None else place


def _to_columns(
    said: Predictions, places: NDArray[np.int64], columns: Sequence[int], roots: dict[int, int]
) -> NDArray[np.float64]:
    """Probabilities over `columns`; what was said of a class that was retired since is shared out in proportion."""
    probs = np.zeros((len(places), len(columns)))
    for index, class_id in enumerate(said.class_ids.tolist()):
        root = roots.get(class_id, class_id)
        if root in columns:
            probs[:, columns.index(root)] += said.probs[places, index]
    return np.where(probs.sum(1, keepdims=True) > 0, probs, 1.0)


def evaluate_run(session: Session, home: Home, run: Run, *, split: str | None = None) -> dict[str, Any]:
    """The run measured on the newest labels of a split, as `evaluations.evaluate` says it, with run and split."""
    judged = judge(session, home, run, split=split)
    if len(judged.image_ids) == 0:
        raise NotFound(f"Run {run.id} has no unseen labelled images in the split “{judged.split}”.")
    measured = evaluate(judged.probs, judged.labels, class_names=judged.class_names)
    dataset = session.get_one(Dataset, run.dataset_id)
    marked = is_marked(dataset, judged.split)
    return {"run": run.id, "split": judged.split, "cleaned_with_own_flags": marked, **measured}
