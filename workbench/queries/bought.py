"""The verdicts between two versions, by the queue in which they were given."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from workbench.models import VERDICTS, Decision, Queue, Run


def list_verdicts(session: Session, *, dataset_id: int, after: int, up_to: int) -> list[Row[Any]]:
    """(image_id, action, queue_id) of the lines that settle an image, oldest first, undone ones too."""
    query = (
        select(Decision.image_id, Decision.action, Decision.queue_id)
        .where(Decision.dataset_id == dataset_id, Decision.id > after, Decision.id <= up_to)
        .where(Decision.kind.in_((*VERDICTS, "restore")))
    )
    return list(session.execute(query.order_by(Decision.id)))


def count_verdicts(session: Session, *, dataset_id: int, after: int) -> int:
    """Lines that settle an image since a version, undone ones too."""
    query = select(func.count()).where(
        Decision.dataset_id == dataset_id, Decision.id > after, Decision.kind.in_(VERDICTS)
    )
    return session.scalar(query) or 0


def list_titles(session: Session, queue_ids: Sequence[int]) -> dict[int, str]:
    """Queue id -> its title; queues that are gone are missing."""
    rows = session.execute(select(Queue.id, Queue.title).where(Queue.id.in_(queue_ids)))
    return {row.id: row.title for row in rows}


def find_run_before(session: Session, run: Run) -> Run | None:
    """The run whose labels were reviewed further before this one: of those that were promoted the last, else of all."""
    query = (
        select(Run)
        .where(Run.dataset_id == run.dataset_id, Run.status == "done", Run.id < run.id)
        .where(Run.decision_id < run.decision_id)
        .order_by(Run.promoted_at.is_(None), Run.id.desc())
        .limit(1)
    )
    return session.scalar(query)
