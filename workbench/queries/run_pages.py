"""What the pages about runs show beside the run: its job, its queues, images by id, who started it."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from workbench.models import Image, Job, Queue, QueueItem, Run, User


def list_page(session: Session, *, dataset_id: int, before: int | None = None, limit: int = 30) -> list[Run]:
    """Newest first; `before` is the id that the page before ended with."""
    query = select(Run).where(Run.dataset_id == dataset_id).order_by(Run.id.desc()).limit(limit)
    return list(session.scalars(query.where(Run.id < before) if before else query))


def get_jobs(session: Session, run_ids: Sequence[int], *, dataset_id: int) -> dict[int, Job]:
    """Run id -> its newest job; runs from the command line have none."""
    number = Job.params["run"].as_integer()
    query = select(Job).where(Job.dataset_id == dataset_id, Job.kind == "train", number.in_(run_ids))
    return {job.params["run"]: job for job in session.scalars(query.order_by(Job.id))}


def list_queues(session: Session, *, run_id: int) -> list[Queue]:
    """The open queues built from a run, those with most expected hits first."""
    query = select(Queue).where(Queue.run_id == run_id, Queue.closed_at.is_(None))
    return list(session.scalars(query.order_by(Queue.expected_hits.desc().nulls_last(), Queue.id)))


def count_promised(session: Session, *, run_id: int) -> tuple[int, float | None]:
    """The different images in the open queues of a run, and how many of their labels are expected to be wrong."""
    each = (
        select(func.max(QueueItem.p_wrong).label("p_wrong"))
        .join(Queue, Queue.id == QueueItem.queue_id)
        .where(Queue.run_id == run_id, Queue.closed_at.is_(None), QueueItem.done_action.is_(None))
        .group_by(QueueItem.image_id)
        .subquery()
    )
    images, wrong = session.execute(select(func.count(), func.sum(each.c.p_wrong)).select_from(each)).one()
    return images, wrong


def get_images(session: Session, image_ids: Sequence[int]) -> dict[int, Image]:
    """With their labels. For a page of thumbnails."""
    query = select(Image).options(joinedload(Image.label)).where(Image.id.in_(image_ids))
    return {image.id: image for image in session.scalars(query)}


def get_user_name(session: Session, user_id: int | None) -> str | None:
    return session.scalar(select(User.name).where(User.id == user_id)) if user_id else None
