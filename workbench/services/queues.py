"""Queues: opened from a plan, closed; `leases` gives their items to reviewers.

Building has two halves, so that no transaction is open while a recipe computes: `queue_plans.plan_queue` reads and
computes, `open_queue` writes. `build_queue` does both in one session, for callers to whom a second does not matter.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.models import Dataset, Queue, QueueItem, utc_now
from workbench.queries import decisions as log
from workbench.queries import queues as queries
from workbench.services.queue_plans import QueuePlan, plan_queue


def build_queue(session: Session, home: Home, *, dataset: Dataset, recipe: str, **asked: Any) -> Queue:
    """Plan and open a queue in one session. asked: as for `plan_queue`."""
    return open_queue(session, plan_queue(session, home, dataset=dataset, recipe=recipe, **asked))


def open_queue(session: Session, plan: QueuePlan) -> Queue:
    """Write a planned queue with its items, but for images that were decided on while it was planned."""
    plan = without(plan, settled_since(session, plan))
    queue = Queue(
        dataset_id=plan.dataset_id,
        recipe=plan.recipe,
        title=plan.title,
        params=plan.params,
        run_id=plan.run_id,
        automatic=plan.automatic,
        size=plan.size,
        expected_hits=plan.expected_hits,
        opinions=plan.opinions,
        blind=plan.blind,
        after_line=log.get_last_id(session, dataset_id=plan.dataset_id),
    )
    session.add(queue)
    session.flush()
    if plan.rows:
        session.execute(insert(QueueItem).values(queue_id=queue.id), plan.rows)
    return queue


def describe_built(queue: Queue, plan: QueuePlan) -> dict[str, Any]:
    """What `queue build --json` answers."""
    return {
        "queue": queue.id,
        "recipe": queue.recipe,
        "size": queue.size - plan.drawn,
        "random": plan.drawn,
        "expected_hits": queue.expected_hits,
        "without": plan.without,
    }


def settled_since(session: Session, plan: QueuePlan) -> set[int]:
    """Images of the plan that somebody decided on after it was made."""
    if plan.keeps_reviewed:
        return set()
    return queries.list_settled_since(session, plan.dataset_id, after_line=plan.read_to).intersection(plan.image_ids)


def without(plan: QueuePlan, image_ids: Collection[int]) -> QueuePlan:
    """The plan without some images; they were the few that changed while it was made."""
    if not image_ids:
        return plan
    rows = [row for row in plan.rows if row["image_id"] not in image_ids]
    return replace(plan, rows=rows, size=sum(row["wants"] != 0 for row in rows))


def close_queue(session: Session, queue: Queue) -> None:
    """Take a queue off the list; what was decided in it stays. Closing twice does nothing."""
    if queue.closed_at is None:
        queue.closed_at = utc_now()
    session.flush()
