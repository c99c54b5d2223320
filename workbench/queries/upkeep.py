"""Reading how an installation stands: is its file whole, what does it hold, what is running."""

from collections.abc import Sequence

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from workbench.models import Decision, Image, Job, Queue, Run


def list_faults(session: Session) -> list[str]:
    """What SQLite finds wrong with its file, and rows that point at rows which are not there. Reads the whole file."""
    faults = [str(row[0]) for row in session.execute(text("PRAGMA quick_check")) if row[0] != "ok"]
    for table, rowid, parent, _ in session.execute(text("PRAGMA foreign_key_check")):
        faults.append(f"row {rowid} of {table} points at a row of {parent} that is not there")
    return faults


def count_decisions(session: Session, *, dataset_id: int) -> int:
    return session.scalar(select(func.count()).where(Decision.dataset_id == dataset_id)) or 0


def count_images(session: Session) -> dict[int, int]:
    """Images of each data set."""
    return {
        row[0]: row[1] for row in session.execute(select(Image.dataset_id, func.count()).group_by(Image.dataset_id))
    }


def list_queue_counts(session: Session, *, dataset_id: int) -> list[tuple[int, str, str, int, int]]:
    """(queue, recipe, title, open items, done items) of the data set's queues that are not closed."""
    query = select(Queue).where(Queue.dataset_id == dataset_id, Queue.closed_at.is_(None)).order_by(Queue.id)
    return [
        (queue.id, queue.recipe, queue.title, queue.size - queue.done, queue.done) for queue in session.scalars(query)
    ]


def list_unfinished_jobs(session: Session) -> Sequence[Job]:
    return session.scalars(select(Job).where(Job.status.in_(("queued", "running"))).order_by(Job.id)).all()


def list_unfinished_runs(session: Session) -> Sequence[Run]:
    return session.scalars(select(Run).where(Run.status.in_(("queued", "running"))).order_by(Run.id)).all()


def requeue_running_jobs(session: Session) -> None:
    """Jobs that ran when a backup was made are given to a worker again; they go on where they were."""
    session.execute(update(Job).where(Job.status == "running").values(status="queued"))
