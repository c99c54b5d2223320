"""Queues whose images are compared with each other: what would teach a model most, or what to label first of all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from ml.active import strategies
from ml.active.strategies import Picks, pick, pick_within, share_out
from ml.dedup import descriptors
from workbench.errors import Invalid, NothingToReview
from workbench.models import Class, Dataset, Queue, Run, User
from workbench.models.states import merge_roots
from workbench.queries import datasets
from workbench.queries import queues as queries
from workbench.services import activities, queue_plans, queues, users
from workbench.services.predictions import Predictions, load_predictions
from workbench.services.queue_plans import RANDOM_SHARE, QueuePlan
from workbench.services.recipes import RECIPES, active, read_recipe
from workbench.services.recipes.pool import Picked
from workbench.worker.context import Context
from workbench.worker.fingerprints import read_pictures

SEED = 0
COLD = "typical"
_WITHOUT_FEATURES = ("entropy", "margin")


@dataclass(frozen=True)
class _Material:
    """What is chosen from. open_ids: int64 (N,). known: image id -> class id of the images whose labels are known."""

    dataset_id: int
    run: Run | None
    open_ids: NDArray[np.int64]
    known: Mapping[int, int]
    classes: Sequence[Class]
    roots: Mapping[int, int]


def choose_queue(context: Context, *, dataset: str, recipe: str, **asked: Any) -> dict[str, Any]:
    """Choose, then open the queue; returns what `queue build --json` answers. asked: as for `plan_queue`, a run's id.

    Killed before its end, it begins again: it takes seconds. Asked twice for the same, it opens it once.
    """
    plan = plan_chosen(context, dataset=dataset, recipe=recipe, **asked)
    with context.database.write() as session:
        queue = _find_same(session, plan)
        if queue is None:
            queue = queues.open_queue(session, plan)
            user = session.get_one(User, context.user_id) if context.user_id else users.ensure_admin(session)
            found = session.get_one(Dataset, plan.dataset_id)
            activities.record(session, user=user, kind="queue_built", dataset=found, title=queue.title, size=queue.size)
        return queues.describe_built(queue, plan)


def _find_same(session: Session, plan: QueuePlan) -> Queue | None:
    """A queue that was opened from such a plan, and that nobody has begun."""
    wanted = (plan.recipe, plan.run_id, plan.params, plan.title, plan.size, 0, plan.read_to)
    for row in queries.list_queues(session, plan.dataset_id):
        queue = row.queue
        known = (queue.recipe, queue.run_id, queue.params, queue.title, queue.size, queue.done, queue.after_line)
        if known == wanted:
            return queue
    return None


def plan_chosen(
    context: Context,
    *,
    dataset: str,
    recipe: str,
    run: int | None = None,
    limit: int | None = None,
    random: float = RANDOM_SHARE,
    force: bool = False,
    **asked: Any,
) -> QueuePlan:
    """What `plan_queue` makes of the images that are picked here, with no transaction open while they are compared."""
    name = read_recipe(recipe)
    made = RECIPES[name]
    own = {key: value for key, value in asked.items() if key in (*made.params, "split")}
    with context.database.read() as session:
        found = datasets.get_dataset(session, dataset)
        split, params = queue_plans.read_asked(
            session, dataset=found, recipe=name, run=run, params=own, limit=limit, force=force
        )
        without = found.frozen_split if made.needs_run and not force else None
        chosen_run = queries.get_run(session, found, run) if made.needs_run else None
        among = params.get("among")
        material = _read(session, found, chosen_run, split=split, without=without, among=among)
    most = limit or made.default_limit or len(material.open_ids)
    most += round(most * random / 100)  # chance may draw some of them too
    picked = _pick(context, material, params, limit=most)
    with context.database.read() as session:
        return queue_plans.plan_queue(
            session,
            context.home,
            dataset=datasets.get_dataset(session, dataset),
            recipe=name,
            run=None if chosen_run is None else session.get_one(Run, chosen_run.id),
            limit=limit,
            random=random,
            force=force,
            picked=picked,
            **asked,
        )


def _read(
    session: Session, dataset: Dataset, run: Run | None, *, split: str | None, without: str | None, among: str | None
) -> _Material:
    """Unlabelled images while there are any, else those that nobody has decided on; what is known is the rest."""
    undecided = queries.list_pool(session, dataset.id, split=split, with_reviewed=False, without=without)
    everywhere = (
        undecided
        if split is None and without is None
        else queries.list_pool(session, dataset.id, split=None, with_reviewed=False)
    )
    everything = queries.list_pool(session, dataset.id, split=None, with_reviewed=True)
    unlabelled = [row[0] for row in undecided if row[1] is None]
    is_unlabelled = among == "unlabelled" or (among is None and bool(unlabelled))
    open_ids = unlabelled if is_unlabelled else [row[0] for row in undecided]
    waiting = set(open_ids) if is_unlabelled else {row[0] for row in everywhere}
    classes = datasets.list_classes(session, dataset.id)
    return _Material(
        dataset_id=dataset.id,
        run=run,
        open_ids=np.array(open_ids, np.int64),
        known={row[0]: row[1] for row in everything if row[1] is not None and row[0] not in waiting},
        classes=[cls for cls in classes if cls.merged_into_id is None],
        roots=merge_roots(classes),
    )


def _pick(context: Context, material: _Material, params: Mapping[str, Any], *, limit: int) -> Picked:
    seed = params.get("seed", SEED)
    if not len(material.open_ids):
        raise NothingToReview("There is nothing to choose from: every image that fits is labelled or decided already.")
    if material.run is None:
        ids, pool = _describe_pictures(context, material)
        context.progress(0, 1, "Comparing the images")
        found = pick(pool, strategy=COLD, k=limit, seed=seed)
        return Picked(ids[found.rows], found.scores)
    said = load_predictions(context.home, material.run.id)
    strategy = params.get("strategy", active.STRATEGY)
    _check_features(said, strategy, run_id=material.run.id)
    ids, pool = _see(said, material)
    context.progress(0, 1, "Comparing the images")
    words = params.get("per_class")
    if words is None:
        found = pick(pool, strategy=strategy, k=limit, seed=seed)
    else:
        budget = active.read_budget(words, material.classes)
        found = _pick_within(pool, material, said, strategy=strategy, budget=budget, limit=limit, seed=seed)
    return Picked(ids[found.rows], found.scores)


def _check_features(said: Predictions, strategy: str, *, run_id: int) -> None:
    if strategy not in _WITHOUT_FEATURES and not said.features.any():
        usable = " or ".join(_WITHOUT_FEATURES)
        raise Invalid(f"Run {run_id} came without features, so images cannot be compared: take the strategy {usable}.")


def _see(said: Predictions, material: _Material) -> tuple[NDArray[np.int64], strategies.Pool]:
    """Ids and rows of the images to choose from and of those with known labels, as far as the run says anything."""
    columns = {material.roots.get(int(cls), int(cls)): column for column, cls in enumerate(said.class_ids)}
    is_open = np.isin(said.image_ids, material.open_ids)
    labels = np.array([columns.get(material.known.get(image_id, 0), -1) for image_id in said.image_ids.tolist()])
    rows = np.flatnonzero(is_open | (labels >= 0))
    if not is_open.any():
        raise Invalid("The run says nothing about these images: they were imported after it was trained. Train again.")
    return said.image_ids[rows], strategies.Pool(
        probs=said.probs[rows].astype(np.float32),
        embeddings=said.features[rows].astype(np.float32),
        labels=np.where(is_open, -1, labels)[rows].astype(np.int64),
    )


def _pick_within(
    pool: strategies.Pool,
    material: _Material,
    said: Predictions,
    *,
    strategy: str,
    budget: Mapping[int, int] | None,
    limit: int,
    seed: int,
) -> Picks:
    """By the class that the run predicts: so many of each, or the limit dealt evenly."""
    predicted = pool.probs[pool.open_rows].argmax(1)
    available = np.bincount(predicted, minlength=len(said.class_ids))
    if budget is None:
        budgets = dict(enumerate(share_out(available, k=limit).tolist()))
    else:
        column = {material.roots.get(int(cls), int(cls)): place for place, cls in enumerate(said.class_ids)}
        budgets = {column[cls]: count for cls, count in budget.items() if cls in column}
    return pick_within(pool, strategy=strategy, budgets=budgets, seed=seed)


def _describe_pictures(context: Context, material: _Material) -> tuple[NDArray[np.int64], strategies.Pool]:
    """The first image of each picture that may be asked about, by its fingerprint; even pictures are left out."""
    pictures = read_pictures(context, material.dataset_id)
    rows = np.flatnonzero(np.isin(pictures.image_ids, material.open_ids))
    if not len(rows):
        raise Invalid("None of the images that are left can be compared: they are unreadable, or one even colour.")
    prints = pictures.fingerprints[rows]
    view = descriptors.VIEWS[descriptors.WHOLE]
    metric = descriptors.learn_metrics(prints)[view.part]
    points = descriptors.describe(descriptors.transform(prints, views=(view,))[0], metric=metric)
    no_probs = np.zeros((len(rows), 0), np.float32)
    return pictures.image_ids[rows], strategies.Pool(no_probs, points, np.full(len(rows), -1, np.int64))
