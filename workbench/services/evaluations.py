"""What a run said about images it had not seen, beside the newest labels, and what that is worth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Invalid, NotFound
from workbench.models import Dataset, Run
from workbench.models.states import merge_roots
from workbench.queries import datasets as dataset_queries
from workbench.queries import runs as queries
from workbench.queries.runs import Labelled
from workbench.services.measures import evaluate
from workbench.services.predictions import Predictions, load_predictions
from workbench.services.protection import is_marked
from workbench.services.runs import HELD_OUT, is_held_out
from workbench.services.training_sets import load_training_set


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
    """The run measured on the newest labels of a split, as `measures.evaluate` says it, with run and split."""
    return evaluate_judged(session, run, judge(session, home, run, split=split))


def evaluate_judged(session: Session, run: Run, judged: Judged) -> dict[str, Any]:
    if len(judged.image_ids) == 0:
        raise NotFound(f"Run {run.id} has no unseen labelled images in the split “{judged.split}”.")
    measured = evaluate(judged.probs, judged.labels, class_names=judged.class_names)
    dataset = session.get_one(Dataset, run.dataset_id)
    marked = is_marked(dataset, judged.split)
    return {"run": run.id, "split": judged.split, "cleaned_with_own_flags": marked, **measured}
