"""The queues that a promoted run opens by itself: where it expects the most wrong labels, and where it hesitates."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.models import Dataset, Queue, Run, utc_now
from workbench.queries import decisions as log
from workbench.queries import queues as queries
from workbench.services.queue_plans import RANDOM_SHARE, QueuePlan, choose, plan_of
from workbench.services.queue_pools import load_pool
from workbench.services.queues import close_queue, open_queue
from workbench.services.recipes import RECIPES, confusion
from workbench.services.recipes.pool import Pool, believe_wrong

CELLS = 3
LIMITS = {"label_issues": 1000, "confusion": 200, "uncertain": 200}


def rebuild_automatic(session: Session, home: Home, *, dataset: Dataset, run: Run) -> list[Queue]:
    """Close the queues that earlier runs opened by themselves and open those of this run."""
    plans = plan_automatic(session, home, dataset=dataset, run=run)
    return replace_automatic(session, plans=plans, now=utc_now())


def plan_automatic(session: Session, home: Home, *, dataset: Dataset, run: Run) -> list[QueuePlan]:
    """Label issues, the confusion cells with the most wrong labels, the uncertain images; those that hold anything."""
    pool = load_pool(session, home, dataset, RECIPES["confusion"], run=run, without=dataset.frozen_split)
    read_to = log.get_last_id(session, dataset_id=dataset.id)
    plans = [plan_one(pool, dataset, recipe, params, read_to=read_to) for recipe, params in list_wanted(pool)]
    return [plan for plan in plans if plan.rows]


def list_wanted(pool: Pool) -> list[tuple[str, dict[str, Any]]]:
    """(recipe, params) of what a run should open; one that can judge no label only tells where it hesitates."""
    if pool.predictions is None or np.isnan(believe_wrong(pool)).all():
        return [("uncertain", {})]
    cells = [("confusion", {"cell": cell}) for cell in confusion.worst_cells(pool, count=CELLS)]
    return [("label_issues", {}), *cells, ("uncertain", {})]


def plan_one(
    pool: Pool,
    dataset: Dataset,
    recipe: str,
    params: dict[str, Any],
    *,
    read_to: int,
    limit: int | None = None,
    percent: float = RANDOM_SHARE,
) -> QueuePlan:
    made = RECIPES[recipe]
    found = choose(made, pool, params, limit=LIMITS[recipe] if limit is None else limit, percent=percent)
    title = made.title(pool, **params)
    plan = plan_of(pool, dataset, recipe, found, params=params, title=title, read_to=read_to)
    return replace(plan, automatic=True, without=dataset.frozen_split)


def replace_automatic(session: Session, *, plans: Sequence[QueuePlan], now: datetime) -> list[Queue]:
    """Open a run's queues in place of an earlier run's. Those that somebody is working on stay open until they leave.

    Call it when the run is the promoted one: what another run opened is superseded then.
    """
    close_superseded(session, now=now)
    return [open_queue(session, plan) for plan in plans if not _is_open(session, plan)]


def _is_open(session: Session, plan: QueuePlan) -> bool:
    """Whether the run is promoted again, and somebody is still working on what it had opened."""
    before = queries.list_automatic_of(session, plan.dataset_id, run_id=plan.run_id or 0)
    return any((queue.recipe, queue.params) == (plan.recipe, plan.params) for queue in before if not queue.closed_at)


def close_superseded(session: Session, *, now: datetime) -> int:
    """Close what earlier runs opened by themselves, as soon as nobody is on it. Returns how many were closed."""
    queues = queries.list_superseded(session, now=now)
    for queue in queues:
        close_queue(session, queue)
    return len(queues)


def is_superseded(queue: Queue, dataset: Dataset) -> bool:
    """Whether an earlier run opened it by itself: it closes when nobody is on it any more."""
    return queue.automatic and queue.run_id != dataset.promoted_run_id
