"""Reading jobs."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from workbench.models import Job

OPEN = ("queued", "running")


def list_jobs(session: Session, *, before: int | None = None, limit: int = 30) -> list[Job]:
    """The newest first; `before` is the id that the page before ended with."""
    query = select(Job).order_by(Job.id.desc()).limit(limit)
    return list(session.scalars(query.where(Job.id < before) if before else query))


def list_open_jobs(session: Session, *, dataset_id: int | None = None) -> list[Job]:
    query = select(Job).where(Job.status.in_(OPEN)).order_by(Job.id)
    return list(session.scalars(query if dataset_id is None else query.where(Job.dataset_id == dataset_id)))


def count_open_jobs(session: Session) -> int:
    return session.scalar(select(func.count()).where(Job.status.in_(OPEN))) or 0


def find_open_job(session: Session, *, kind: str, dataset_id: int | None) -> Job | None:
    query = select(Job).where(Job.kind == kind, Job.dataset_id == dataset_id, Job.status.in_(OPEN))
    return session.scalar(query.order_by(Job.id).limit(1))


def find_newest_job(session: Session, *, kind: str, dataset_id: int) -> Job | None:
    query = select(Job).where(Job.kind == kind, Job.dataset_id == dataset_id)
    return session.scalar(query.order_by(Job.id.desc()).limit(1))


def list_done_jobs(session: Session, *, kind: str, dataset_id: int, limit: int = 10) -> list[Job]:
    """The newest first."""
    query = select(Job).where(Job.kind == kind, Job.dataset_id == dataset_id, Job.status == "done")
    return list(session.scalars(query.order_by(Job.id.desc()).limit(limit)))
