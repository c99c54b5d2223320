"""What explaining a run asks the database: the images that wait in queues, the run's newest job of a kind."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from workbench.models import Job, Queue, QueueItem


def list_waiting_images(session: Session, *, dataset_id: int) -> list[int]:
    """Images that wait in the data set's open queues, each once, by the place where it stands first."""
    query = (
        select(QueueItem.image_id)
        .join(Queue, Queue.id == QueueItem.queue_id)
        .where(Queue.dataset_id == dataset_id, Queue.closed_at.is_(None), QueueItem.done_action.is_(None))
        .group_by(QueueItem.image_id)
        .order_by(func.min(QueueItem.position), QueueItem.image_id)
    )
    return list(session.scalars(query))


def find_job(session: Session, *, kind: str, dataset_id: int, run_id: int) -> Job | None:
    """The newest job of this kind on a run, whatever became of it."""
    number = Job.params["run"].as_integer()
    query = select(Job).where(Job.dataset_id == dataset_id, Job.kind == kind, number == run_id)
    return session.scalar(query.order_by(Job.id.desc()).limit(1))
