"""Runs whose predictions were made elsewhere: no model is here, but they are measured and checked like ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from workbench.errors import Invalid
from workbench.models import SPLITS, Dataset, Run, User
from workbench.queries import datasets as dataset_queries
from workbench.queries import decisions as log
from workbench.services import runs
from workbench.services.importers.path_index import PathIndex, list_shared_names
from workbench.services.importers.votes import match_options
from workbench.services.prediction_files import PredictionFile
from workbench.services.protection import is_marked
from workbench.services.run_checks.facts import EXTERNAL
from workbench.services.training_sets import TrainingSet
from workbench.services.versions import VersionRow, hash_rows, states_at


@dataclass(frozen=True)
class Matched:
    """The images of the version that the file predicts, by id. places: their rows in the file. probs: (N, K)."""

    run: Run
    rows: list[VersionRow]
    places: list[int]
    probs: NDArray[np.float64]
    labels: NDArray[np.int64]  # columns, -1 for none
    unseen: NDArray[np.bool_]
    images: TrainingSet
    unknown: list[str]  # paths of the file that the data set does not have

    @property
    def class_ids(self) -> list[int]:
        return [int(cls["id"]) for cls in self.run.config["classes"]]

    @property
    def class_names(self) -> list[str]:
        return [str(cls["name"]) for cls in self.run.config["classes"]]


def match_predictions(
    session: Session,
    *,
    dataset: Dataset,
    user: User,
    given: PredictionFile,
    source: Path,
    split: str | None,
    unseen: bool,
    claims: dict[str, Any],
) -> Matched:
    """A run on the present version for what a file predicts; the row is not added to the session.

    split: what it is measured on; none for what runs of our own would be. unseen: no image was predicted by a model
    that had been trained on it, as after cross-validation; else those of train were.
    """
    version = states_at(session, dataset)
    split = _choose_split(version, split)
    columns, strange = _match_columns(session, dataset, given)
    rows, places, unknown = _match_rows(version, given)
    column_of = {class_id: index for index, class_id in enumerate(columns)}
    labels = np.array([_column(row, column_of) for row in rows], np.int64)
    measured = np.array([runs.in_split(row, split) and row.status == "active" for row in rows], np.bool_)
    if not (measured & (labels >= 0)).any():
        raise Invalid(f"None of the {len(given.paths):,} images of “{source.name}” is a labelled one of {split}.")
    has_train = runs.rows_have_train(version)
    taught = [row for row in version if row.status == "active" and row.class_id and runs.in_training(row, has_train)]
    taught_ids = {row.image_id for row in taught} - {row.image_id for row in rows if runs.in_split(row, split)}
    images = TrainingSet(
        trained=np.array(sorted(taught_ids), np.int64),
        measured=np.array([row.image_id for row, kept in zip(rows, measured & (labels >= 0), strict=True) if kept]),
        left_out=np.empty(0, np.int64),
    )
    seen_in_file = _compare_words(given, rows, places, columns, session, dataset)
    config = _describe(session, dataset, columns, split=split) | {
        "claims": claims,
        "import": {"file": source.name, "other_columns": strange, **_measure_values(given, columns), **seen_in_file},
        "last_image": max(row.image_id for row in version),
        "counts": _count(version, images, set(columns)),
    }
    return Matched(
        run=_make_run(session, dataset, user, config, version),
        rows=rows,
        places=places,
        probs=given.normalise(list(columns.values()))[places],
        labels=labels,
        unseen=np.array([unseen or row.image_id not in taught_ids for row in rows], np.bool_),
        images=images,
        unknown=unknown,
    )


def _choose_split(version: Sequence[VersionRow], split: str | None) -> str:
    if split is not None and split not in SPLITS:
        raise Invalid(f"“{split}” is no split; use {', '.join(SPLITS)}.")
    return split or runs.choose_split(version)


def _column(row: VersionRow, columns: dict[int, int]) -> int:
    return columns.get(row.class_id or 0, -1) if row.status == "active" else -1


def _match_columns(session: Session, dataset: Dataset, given: PredictionFile) -> tuple[dict[int, int], list[str]]:
    """Class id -> its column in the file, in the order of the classes; and the columns that are of no class."""
    classes = dataset_queries.list_open_classes(session, dataset.id)
    meant = match_options(given.names, {cls.name: cls.id for cls in classes}, maps={})
    column_of = {class_id: given.names.index(name) for name, class_id in meant.items() if class_id is not None}
    columns = {cls.id: column_of[cls.id] for cls in classes if cls.id in column_of}
    if len(columns) < 2:
        names = ", ".join(cls.name for cls in classes)
        raise Invalid(f"The file needs a column for each class, called by its name ({names}); it has {given.names}.")
    return columns, [name for name in given.names if meant[name] is None]


def _match_rows(version: Sequence[VersionRow], given: PredictionFile) -> tuple[list[VersionRow], list[int], list[str]]:
    index: PathIndex[int] = PathIndex()
    for number, path in enumerate(given.paths):
        index.add(path.replace("\\", "/"), number)
    shared = list_shared_names(row.path for row in version)
    rows, places = [], []
    for row in version:
        place = index.find(row.path, has_unique_name=row.path.rpartition("/")[2] not in shared)
        if place is not None:
            rows.append(row)
            places.append(place)
    if not rows:
        raise Invalid(f"No path of the file is one of the data set's, such as {given.paths[0]}.")
    used = set(places)
    return rows, places, [path for number, path in enumerate(given.paths) if number not in used]


def _measure_values(given: PredictionFile, columns: dict[int, int]) -> dict[str, Any]:
    """Of the file as it stands, before rows were made to sum to 1."""
    values = given.values[:, list(columns.values())]
    totals = values.sum(1)
    return {
        "rows": len(given.paths),
        "sums": [float(totals.min()), float(totals.max())],
        "values": [float(values.min()), float(values.max())],
    }


def _compare_words(
    given: PredictionFile,
    rows: Sequence[VersionRow],
    places: Sequence[int],
    columns: dict[int, int],
    session: Session,
    dataset: Dataset,
) -> dict[str, int]:
    """How often the file's own words for label and prediction differ from the data set's labels, and its largest
    probability."""
    classes = {cls.name: cls.id for cls in dataset_queries.list_open_classes(session, dataset.id)}
    found = {"with_labels": 0, "other_labels": 0, "with_predictions": 0, "other_predictions": 0}
    ids = list(columns)
    largest = given.values[:, list(columns.values())].argmax(1)
    words = match_options({*given.labels, *given.predicted}, classes, maps={})
    for row, place in zip(rows, places, strict=True):
        label = words.get(given.labels[place]) if given.labels else None
        if label is not None and row.class_id:
            found["with_labels"] += 1
            found["other_labels"] += label != row.class_id
        said = words.get(given.predicted[place]) if given.predicted else None
        if said is not None:
            found["with_predictions"] += 1
            found["other_predictions"] += said != ids[largest[place]]
    return found


def _describe(session: Session, dataset: Dataset, columns: dict[int, int], *, split: str) -> dict[str, Any]:
    names = {cls.id: cls.name for cls in dataset_queries.list_open_classes(session, dataset.id)}
    return {
        "overrides": {},
        "folds": 0,
        "seed": 0,
        "promote": False,
        "leave_out": "none",
        "training": {},
        "classes": [{"id": class_id, "name": names[class_id]} for class_id in columns],
        "evaluation": {
            "split": split,
            "frozen": dataset.frozen_split == split,
            "cleaned_with_own_flags": is_marked(dataset, split),
        },
    }


def _count(version: Sequence[VersionRow], images: TrainingSet, class_ids: set[int]) -> dict[str, Any]:
    """As a training says it. Whatever has a label and no prediction is in none of these."""
    return {
        "images": len(version),
        "unreadable": 0,
        "unreadable_paths": [],
        "not_usable": sum(not runs.is_trainable(row, class_ids) for row in version),
        "leaked": 0,
        "inherited": 0,
        "trained": len(images.trained),
        "validation": 0,
        "evaluated": len(images.measured),
    }


def _make_run(
    session: Session, dataset: Dataset, user: User, config: dict[str, Any], version: Sequence[VersionRow]
) -> Run:
    return Run(
        dataset_id=dataset.id,
        arch=EXTERNAL,
        preset="imported",
        config=config,
        status="running",
        decision_id=log.get_last_id(session, dataset_id=dataset.id),
        content_hash=hash_rows(version),
        created_by_id=user.id,
    )
