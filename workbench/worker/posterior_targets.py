"""What images teach where the posterior is asked for: what verdicts on other images say of those nobody decided on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from ml.posteriors import keep_shares
from workbench.config import Home
from workbench.errors import Conflict, Invalid
from workbench.files import write_arrays
from workbench.models import Dataset
from workbench.models.states import merge_roots
from workbench.queries import datasets as dataset_queries
from workbench.queries import learning as queries
from workbench.queries import runs as run_queries
from workbench.services.data_steps import DataSteps, steps_of
from workbench.services.posteriors import Posteriors, find_posteriors
from workbench.services.versions import VersionRow
from workbench.worker.context import Context
from workbench.worker.learning import learn

FILE = "posterior.npz"


@dataclass(frozen=True)
class Belief:
    """What M images are believed to show, K columns of the run that learns it; ids ascend."""

    image_ids: NDArray[np.int64]  # (M,)
    probs: NDArray[np.float32]  # (M, K), rows sum to 1
    verdicts: int  # that it was learned from


def prepare_belief(context: Context, run_id: int) -> None:
    """Learn from the newest verdicts before a run that is to be taught the posterior reads it for the first time."""
    with context.database.read() as session:
        run = run_queries.get_run(session, run_id)
        steps, dataset = steps_of(run), session.get_one(Dataset, run.dataset_id)
        if steps.targets != "posterior" or (context.home.run_folder(run_id) / FILE).exists():
            return
        learned = find_posteriors(context.home, steps.posterior_by)
        after = learned.decision_id if learned else 0
        is_behind = queries.count_verdicts(session, dataset_id=dataset.id, after=after, enough=1) > 0
        is_promoted = dataset.promoted_run_id == steps.posterior_by
    if is_promoted and is_behind:
        try:
            learn(context, dataset=dataset.name)
        except Conflict:  # somebody is learning just now: what was learned before serves
            if learned is None:
                raise
    elif learned is None:
        raise Invalid(f"Nothing was learned about run {steps.posterior_by} yet: promote it, or name the promoted run.")


def read_belief(
    session: Session, home: Home, *, run_id: int, dataset_id: int, steps: DataSteps, class_ids: Sequence[int]
) -> Belief | None:
    """As it stood when this run first asked: what is learned while a training is interrupted does not change it."""
    if steps.targets != "posterior":
        return None
    path = home.run_folder(run_id) / FILE
    if not path.exists():
        learned = find_posteriors(home, steps.posterior_by)
        if learned is None:
            raise Invalid(f"The posterior of run {steps.posterior_by} is gone: run `workbench learn` first.")
        roots = merge_roots(dataset_queries.list_classes(session, dataset_id))
        columns = {class_id: index for index, class_id in enumerate(class_ids)}
        targets = [columns.get(roots.get(class_id, class_id), -1) for class_id in learned.class_ids.tolist()]
        _keep(home, run_id, _map_belief(learned, np.array(targets, np.int64), len(class_ids)))
    with np.load(path, allow_pickle=False) as stored:
        return Belief(stored["image_ids"], stored["probs"], int(stored["verdicts"]))


def _map_belief(learned: Posteriors, columns: NDArray[np.int64], class_count: int) -> Belief:
    """The rows whose label was judged, with the classes that the run knows; what was merged is added up."""
    judged = np.flatnonzero(np.isfinite(learned.p_wrong))
    probs = np.zeros((len(judged), class_count), np.float32)
    for index, column in enumerate(columns.tolist()):
        if column >= 0:
            probs[:, column] += learned.probs[judged, index].astype(np.float32)
    sums = probs.sum(1)
    some = sums > 0
    return Belief(learned.image_ids[judged][some], probs[some] / sums[some, None], learned.verdicts)


def _keep(home: Home, run_id: int, belief: Belief) -> None:
    path = home.run_folder(run_id) / FILE
    write_arrays(path, image_ids=belief.image_ids, probs=belief.probs, verdicts=np.array(belief.verdicts))


@dataclass(frozen=True)
class Taught:
    """What N images teach: their label or the posterior."""

    targets: NDArray[np.float32]  # (N, K)
    weights: NDArray[np.float32]  # (N,)
    is_soft: NDArray[np.bool_]  # (N,) whether it is the posterior
    is_kept: NDArray[np.bool_]  # (N,) whether a lead kept its label from it


def teach_belief(
    rows: Sequence[VersionRow],
    targets: NDArray[np.float32],
    belief: Belief,
    *,
    training: NDArray[np.int64],
    shares: float,
) -> Taught:
    """The posterior for images of `training` that nobody has decided on and no lead has kept from it.

    targets: (N, K) the labels, rows of zeros where there is none. shares: as `DataSteps.keep_shares`.
    """
    ids = np.array([row.image_id for row in rows], np.int64)
    places = np.searchsorted(belief.image_ids, ids).clip(max=max(0, len(belief.image_ids) - 1))
    teaches = np.zeros(len(rows), np.bool_)
    teaches[training] = True
    open_rows = np.array([row.source == "imported" for row in rows], np.bool_) & teaches
    if len(belief.image_ids):
        open_rows &= belief.image_ids[places] == ids
    kept = open_rows & np.array([row.keeps_label for row in rows], np.bool_)
    soft = open_rows & ~kept if len(belief.image_ids) else np.zeros(len(rows), np.bool_)
    wanted = targets.copy()
    wanted[soft] = belief.probs[places[soft]]
    weights = np.ones(len(rows), np.float32)
    wanted[training], weights[training] = keep_shares(wanted[training], targets[training], strength=shares)
    return Taught(wanted, weights, soft, kept)
