"""Which images a run was trained on and which it is measured on: a file in its folder, or its version replayed."""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import NotFound
from workbench.files import write_arrays
from workbench.models import Dataset, Run
from workbench.queries import splits as queries
from workbench.services import runs
from workbench.services.versions import VersionRow, states_at

FILE = "images.npz"


@dataclass(frozen=True)
class TrainingSet:
    """Image ids, ascending. left_out: of the train split, but copies of images measured on.

    parents: the image that each augmented variant was made of, in the order in which the variants were trained on.
    """

    trained: NDArray[np.int64]
    measured: NDArray[np.int64]
    left_out: NDArray[np.int64]
    parents: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


def save_training_set(home: Home, run_id: int, found: TrainingSet) -> None:
    arrays = {"trained": found.trained, "measured": found.measured, "left_out": found.left_out}
    write_arrays(home.run_folder(run_id) / FILE, **arrays, parents=found.parents)


def load_training_set(home: Home, run_id: int) -> TrainingSet | None:
    """None for a run from before the file was kept."""
    try:
        with np.load(home.run_folder(run_id) / FILE, allow_pickle=False) as stored:
            known = {each.name: stored[each.name] for each in fields(TrainingSet) if each.name in stored}
            return TrainingSet(**known)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile):
        raise NotFound(f"The list of images of run {run_id} is damaged: train again.") from None


def find_training_set(session: Session, home: Home, run: Run) -> TrainingSet:
    """From the file, else from the version that the run was trained on, which may cost a replay of the log."""
    return load_training_set(home, run.id) or _replay(session, run)


def _replay(session: Session, run: Run) -> TrainingSet:
    """For a run from before its images were listed: what it left out were exact copies."""
    rows = states_at(session, session.get_one(Dataset, run.dataset_id), run.decision_id)
    class_ids = {int(cls["id"]) for cls in run.config["classes"]}
    usable = [row for row in rows if runs.is_trainable(row, class_ids)]
    measured = [row for row in usable if runs.in_split(row, run.config["evaluation"]["split"])]
    has_train = runs.rows_have_train(rows)
    teaching = [row for row in usable if runs.in_training(row, has_train)]
    pixels, own = {row.pixel_sha256 for row in measured}, {row.image_id for row in measured}
    return TrainingSet(
        trained=_ids(row for row in teaching if row.pixel_sha256 not in pixels),
        measured=_ids(measured),
        left_out=_ids(row for row in teaching if row.pixel_sha256 in pixels and row.image_id not in own),
    )


def _ids(rows: Iterable[VersionRow]) -> NDArray[np.int64]:
    return np.array(sorted(row.image_id for row in rows), np.int64)


def list_taught(session: Session, home: Home, run: Run) -> dict[int, str]:
    """Image id -> its pixels, of the images that a finished run was trained on."""
    return queries.get_pixels(session, find_training_set(session, home, run).trained.tolist())
