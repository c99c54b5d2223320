"""Which of the images that could teach do, with what weight and what targets, and the variants that join them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from ml.variants import make_variants, plan_variants
from workbench.config import Home
from workbench.errors import Invalid
from workbench.files import write_arrays
from workbench.models.states import follow_merges
from workbench.queries import datasets as dataset_queries
from workbench.queries import votes as vote_queries
from workbench.services.data_steps import DataSteps
from workbench.services.predictions import load_predictions
from workbench.services.runs import draw_lot
from workbench.services.versions import VersionRow
from workbench.worker.posterior_targets import Belief, read_belief, teach_belief

VOTES = "votes.npz"


@dataclass(frozen=True)
class Evidence:
    """What the data steps of a run need to know of its images beside their labels, by image id."""

    p_wrong: Mapping[int, float]  # of the run that flags
    votes: Mapping[int, NDArray[np.int64]]  # one count for each column; images without votes for any are left out
    belief: Belief | None = None  # the posterior, where it is what images teach


@dataclass(frozen=True)
class Chosen:
    """The rows that teach, and how many do not."""

    rows: NDArray[np.int64]
    dropped: int
    weighed: int  # less than one, of those that teach
    capped: int


# --- what is known ----------------------------------------------------------------------------------------------


def read_evidence(
    session: Session, home: Home, *, run_id: int, dataset_id: int, steps: DataSteps, class_ids: Sequence[int]
) -> Evidence:
    """From the predictions of the run that flags, and the votes as they stood when this run first asked."""
    p_wrong: dict[int, float] = {}
    if steps.flagged != "keep":
        said = load_predictions(home, steps.flagged_by)
        known = np.isfinite(said.p_wrong)
        p_wrong = dict(zip(said.image_ids[known].tolist(), said.p_wrong[known].tolist(), strict=True))
    votes: dict[int, NDArray[np.int64]] = {}
    if steps.targets == "votes":
        path = home.run_folder(run_id) / VOTES
        if not path.exists():
            _keep_votes(path, _count_votes(session, dataset_id=dataset_id, class_ids=class_ids))
        with np.load(path, allow_pickle=False) as stored:
            votes = dict(zip(stored["image_ids"].tolist(), stored["counts"], strict=True))
    belief = read_belief(session, home, run_id=run_id, dataset_id=dataset_id, steps=steps, class_ids=class_ids)
    return Evidence(p_wrong, votes, belief)


def _count_votes(session: Session, *, dataset_id: int, class_ids: Sequence[int]) -> dict[int, NDArray[np.int64]]:
    """Votes for merged classes count for what these became."""
    classes = dataset_queries.list_classes(session, dataset_id)
    roots = follow_merges({cls.id: cls.merged_into_id for cls in classes})
    column = {class_id: index for index, class_id in enumerate(class_ids)}
    found: dict[int, NDArray[np.int64]] = {}
    image_ids = vote_queries.list_voted(session, dataset_id)
    for image_id, class_id, count in vote_queries.list_counts(session, image_ids):
        index = column.get(roots.get(class_id, class_id))
        if index is not None:
            found.setdefault(image_id, np.zeros(len(class_ids), np.int64))[index] += count
    return found


def _keep_votes(path: Path, votes: Mapping[int, NDArray[np.int64]]) -> None:
    """Votes may change while a training is interrupted; what it learns may not."""
    counts = np.stack(list(votes.values())) if votes else np.zeros((0, 0), np.int64)
    write_arrays(path, image_ids=np.array(list(votes), np.int64), counts=counts)


# --- who teaches ------------------------------------------------------------------------------------------------


def choose(
    rows: Sequence[VersionRow],
    labels: NDArray[np.int64],
    *,
    teaching: Sequence[int],
    steps: DataSteps,
    evidence: Evidence,
    seed: int,
) -> Chosen:
    """The rows that teach after dropping what is flagged and capping the classes, in their order."""
    kept = [index for index in teaching if not _is_dropped(rows[index], steps, evidence)]
    chosen = _cap(rows, labels, kept, most=steps.max_per_class, seed=seed) if steps.max_per_class else kept
    weighed = sum(doubt(rows[index], evidence) > 0 for index in chosen) if steps.flagged == "weigh" else 0
    return Chosen(np.array(chosen, np.int64), len(teaching) - len(kept), weighed, len(kept) - len(chosen))


def _is_dropped(row: VersionRow, steps: DataSteps, evidence: Evidence) -> bool:
    return steps.flagged == "drop" and doubt(row, evidence) >= steps.flagged_from


def doubt(row: VersionRow, evidence: Evidence) -> float:
    """P(wrong) of its label, 0 where nobody says, or since a reviewer decided on it."""
    return 0.0 if row.source != "imported" else evidence.p_wrong.get(row.image_id, 0.0)


def _cap(
    rows: Sequence[VersionRow], labels: NDArray[np.int64], kept: Sequence[int], *, most: int, seed: int
) -> list[int]:
    """Up to `most` of each class by a lot of seed and pixels: other images that come or go change little."""
    drawn = sorted(kept, key=lambda index: draw_lot(f"{seed}:{rows[index].pixel_sha256}"))
    taken: dict[int, int] = {}
    chosen = []
    for index in drawn:
        label = int(labels[index])
        taken[label] = taken.get(label, 0) + 1
        if taken[label] <= most:
            chosen.append(index)
    return sorted(chosen)


# --- what they teach --------------------------------------------------------------------------------------------


def weigh(rows: Sequence[VersionRow], steps: DataSteps, evidence: Evidence) -> NDArray[np.float32] | None:
    """How much each image counts in the loss; none where all count the same."""
    if steps.flagged != "weigh":
        return None
    return np.array([1 - doubt(row, evidence) for row in rows], np.float32)


@dataclass(frozen=True)
class Aims:
    """What N images teach, and what of it is not their label."""

    targets: NDArray[np.float32] | None  # (N, K), none where these are the labels; rows of zeros teach nothing
    weights: NDArray[np.float32] | None  # (N,) times what they weigh otherwise
    counts: dict[str, int]  # of the images that teach, by what decides what they teach


def aim(
    rows: Sequence[VersionRow],
    labels: NDArray[np.int64],
    *,
    training: NDArray[np.int64],
    steps: DataSteps,
    evidence: Evidence,
    class_count: int,
) -> Aims:
    """What a reviewer decided stands above votes and posterior."""
    if steps.targets == "labels":
        return Aims(None, None, {"by_votes": 0})
    targets = np.zeros((len(rows), class_count), np.float32)
    known = np.flatnonzero(labels >= 0)
    targets[known, labels[known]] = 1
    if evidence.belief is not None:
        taught = teach_belief(rows, targets, evidence.belief, training=training, shares=steps.keep_shares)
        soft, kept = int(taught.is_soft.sum()), int(taught.is_kept.sum())
        counts = {"by_votes": 0, "by_posterior": soft, "kept_labels": kept, "verdicts": evidence.belief.verdicts}
        return Aims(taught.targets, taught.weights, counts)
    by_votes = _aim_at_votes(rows, targets, evidence)
    return Aims(targets, None, {"by_votes": int(by_votes[training].sum())})


def _aim_at_votes(rows: Sequence[VersionRow], targets: NDArray[np.float32], evidence: Evidence) -> NDArray[np.bool_]:
    """Put the shares of the votes into the targets, and say where."""
    by_votes = np.zeros(len(rows), np.bool_)
    for index, row in enumerate(rows):
        counts = evidence.votes.get(row.image_id)
        if counts is not None and row.source == "imported" and counts.sum():
            targets[index], by_votes[index] = counts / counts.sum(), True
    return by_votes


def fill(
    images: NDArray[np.uint8], labels: NDArray[np.int64], *, training: NDArray[np.int64], steps: DataSteps, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The variants that fill up rare classes, and the row of each one's parent; empty where that was not asked for."""
    if not steps.fill_per_class:
        return images[:0], np.empty(0, np.int64)
    if len(training) == 0:
        raise Invalid("There is no image to make variants of; ask for fewer data steps.")
    parents = plan_variants(labels, indices=training, per_class=steps.fill_per_class, seed=seed)
    return make_variants(images, parents=parents, seed=seed), parents
