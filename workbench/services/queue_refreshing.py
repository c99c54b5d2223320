"""Open queues follow what verdicts teach: those that a run opened by itself are chosen anew, others told P(wrong).

Two halves, so that no transaction is open while the recipes compute: `plan_refresh` reads, `refresh` writes. A reviewer
is not disturbed: what is decided, and what somebody has or lately had on the screen, stays where it is.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, insert, update
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.models import Dataset, Queue, QueueItem
from workbench.queries import decisions as log
from workbench.queries import queues as queries
from workbench.queries.queues import Waiting
from workbench.services import automatic_queues
from workbench.services.automatic_queues import LIMITS
from workbench.services.queue_mixing import expect_hits, foresee, mix, place
from workbench.services.queue_plans import QueuePlan
from workbench.services.queue_pools import load_pool
from workbench.services.queues import close_queue, open_queue, settled_since, without
from workbench.services.recipes import RECIPES
from workbench.services.recipes.pool import Pool, read_predictions

KEPT = timedelta(days=1)  # a browser that was cut off still sends its answers, long after its leases ran out
_CHUNK = 500


@dataclass(frozen=True)
class Belief:
    """What is believed now about the images that nobody has decided on, ascending by id."""

    image_ids: NDArray[np.int64]
    p_wrong: NDArray[np.float32]
    p_hit: NDArray[np.float32]  # what each counts in a queue's promise
    suggested_ids: NDArray[np.int64]

    def find(self, image_id: int) -> int | None:
        """The image's row, none if nothing is believed of it."""
        row = int(np.searchsorted(self.image_ids, image_id))
        return row if row < len(self.image_ids) and self.image_ids[row] == image_id else None

    def tell(self, row: int, *, with_suggestion: bool) -> dict[str, float | int | None]:
        """As an item of a queue says it."""
        p = float(self.p_wrong[row])
        told: dict[str, float | int | None] = {"p_wrong": None if math.isnan(p) else p}
        return told | ({"suggested_id": int(self.suggested_ids[row]) or None} if with_suggestion else {})


@dataclass(frozen=True)
class RefreshPlan:
    """What `refresh` writes. chosen: automatic queue -> its items as the recipe chooses them now."""

    dataset_id: int
    run_id: int
    chosen: Mapping[int, QueuePlan]
    opened: Sequence[QueuePlan]
    closed: Sequence[int]  # automatic queues that nobody has begun and that are no longer worth opening
    belief: Belief


@dataclass(frozen=True)
class Refreshed:
    """What became of the queues of a data set."""

    refreshed: int
    opened: int
    closed: int


def plan_refresh(session: Session, home: Home, *, dataset: Dataset) -> RefreshPlan | None:
    """What the queues of the promoted run should hold by what is believed now; none without such a run. Seconds."""
    if dataset.promoted_run_id is None:
        return None
    run = queries.get_run(session, dataset, dataset.promoted_run_id)
    pool = load_pool(session, home, dataset, RECIPES["confusion"], run=run, without=dataset.frozen_split)
    read_to = log.get_last_id(session, dataset_id=dataset.id)
    wanted = automatic_queues.list_wanted(pool)
    before = queries.list_automatic_of(session, dataset.id, run_id=run.id)
    unwanted = [queue for queue in before if queue.closed_at is None and _key(queue) not in wanted]
    stale = [queue for queue in unwanted if not queries.is_begun(session, queue.id)]
    chosen = {
        queue.id: automatic_queues.plan_one(pool, dataset, queue.recipe, queue.params, read_to=read_to, percent=0)
        for queue in before
        if queue.closed_at is None and queue not in stale
    }
    known = [_key(queue) for queue in before]  # closed by hand: it does not come back
    plans = [
        automatic_queues.plan_one(pool, dataset, recipe, params, read_to=read_to)
        for recipe, params in wanted
        if (recipe, params) not in known
    ]
    opened = [plan for plan in plans if plan.rows]
    return RefreshPlan(dataset.id, run.id, chosen, opened, [queue.id for queue in stale], _believe(pool))


def _key(queue: Queue) -> tuple[str, dict[str, object]]:
    return queue.recipe, queue.params


def _believe(pool: Pool) -> Belief:
    said = read_predictions(pool)
    return Belief(pool.image_ids, said.p_wrong, foresee(said.p_wrong, pool.p_hit), said.suggested_ids)


def refresh(session: Session, plan: RefreshPlan | None, *, now: datetime) -> Refreshed:
    """Write what was planned, as far as nobody decided otherwise or took an item since. One short transaction."""
    if plan is None or session.get_one(Dataset, plan.dataset_id).promoted_run_id != plan.run_id:
        return Refreshed(0, 0, 0)
    rows = queries.list_queues(session, plan.dataset_id)
    queues = {row.queue.id: row.queue for row in rows if row.queue.run_id == plan.run_id}
    closed = automatic_queues.close_superseded(session, now=now)
    for queue_id in plan.closed:
        queue = queues.pop(queue_id, None)
        if queue is not None and not _is_begun(session, queue, now=now):
            close_queue(session, queue)
            closed += 1
    for queue in queues.values():
        waiting = queries.list_waiting(session, queue.id)
        if queue.id in plan.chosen:
            _choose_anew(session, queue, plan.chosen[queue.id], plan.belief, waiting=waiting, now=now)
        else:
            _tell(session, [item for item in waiting if not _is_kept(item, now=now)], plan.belief)
        queue.expected_hits = _expect(queue, queries.list_waiting(session, queue.id), plan.belief)
    for each in plan.opened:
        open_queue(session, each)
    session.flush()
    return Refreshed(len(queues), len(plan.opened), closed)


def _is_begun(session: Session, queue: Queue, *, now: datetime) -> bool:
    if queries.is_begun(session, queue.id):
        return True
    return any(_is_kept(item, now=now) for item in queries.list_waiting(session, queue.id))


def _is_kept(item: Waiting, *, now: datetime) -> bool:
    """Whether somebody has it on the screen, or had it there when the connection broke."""
    return item.lease_until is not None and item.lease_until > now - KEPT


def _choose_anew(
    session: Session, queue: Queue, plan: QueuePlan, belief: Belief, *, waiting: Sequence[Waiting], now: datetime
) -> None:
    """New items in place of those that wait. Those drawn at random stay, at new places, or they were no sample."""
    free = [item for item in waiting if not _is_kept(item, now=now)]
    drawn, dropped = [item for item in free if item.is_random], [item for item in free if not item.is_random]
    start = queries.get_last_position(session, queue.id) + 1
    _delete(session, [item.id for item in dropped])
    staying = queries.list_item_images(session, queue.id)
    room = max(0, LIMITS[queue.recipe] - sum(not is_random for is_random in staying.values()))
    rows = without(plan, settled_since(session, plan) | staying.keys()).rows[:room]
    places = np.sort(np.random.default_rng(start).integers(0, len(rows) + 1, len(drawn))).tolist()
    mixed = place(mix(rows, [{"id": item.id} for item in drawn], places=places), start=start)
    moved, fresh = [row for row in mixed if "id" in row], [row for row in mixed if "id" not in row]
    if moved:
        session.execute(update(QueueItem), moved)
    if fresh:
        session.execute(insert(QueueItem).values(queue_id=queue.id), fresh)
    _tell(session, drawn, belief, with_suggestion=True)
    queue.size = len(staying) + len(fresh)


def _delete(session: Session, item_ids: Sequence[int]) -> None:
    for start in range(0, len(item_ids), _CHUNK):
        query = delete(QueueItem).where(QueueItem.id.in_(item_ids[start : start + _CHUNK]))
        session.execute(query.execution_options(synchronize_session="fetch"))


def _tell(session: Session, items: Sequence[Waiting], belief: Belief, *, with_suggestion: bool = False) -> None:
    """P(wrong) as it is believed now; the suggestion too where the reason does not name another."""
    found = [(item.id, belief.find(item.image_id)) for item in items]
    rows = [
        {"id": item_id, **belief.tell(row, with_suggestion=with_suggestion)}
        for item_id, row in found
        if row is not None
    ]
    if rows:
        session.execute(update(QueueItem), rows)


def _expect(queue: Queue, waiting: Sequence[Waiting], belief: Belief) -> float | None:
    """The hits so far and those to be expected of what waits."""
    rows = [row for item in waiting if (row := belief.find(item.image_id)) is not None]
    if not waiting:
        return float(queue.hits)
    expected = expect_hits(belief.p_hit[rows])
    return None if expected is None else queue.hits + expected / len(rows) * len(waiting)
