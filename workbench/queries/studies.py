"""Reading studies: the list of a data set, the runs of one, its job."""

from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from workbench.errors import NotFound
from workbench.models import Job, Run, Study, StudyRun


class Entry(NamedTuple):
    """One line of a study's table: what is asked for, and the run once there is one."""

    planned: StudyRun
    run: Run | None


def get_study(session: Session, study_id: int) -> Study:
    """By id; raises NotFound with the newest ones that exist."""
    found = session.get(Study, study_id)
    if found is None:
        newest = session.scalars(select(Study.id).order_by(Study.id.desc()).limit(10)).all()
        names = ", ".join(str(each) for each in sorted(newest)) or "none yet"
        raise NotFound(f"There is no study {study_id} (there is: {names}).")
    return found


def list_studies(session: Session, *, dataset_id: int, limit: int = 100) -> list[Study]:
    """Newest first."""
    query = select(Study).where(Study.dataset_id == dataset_id).order_by(Study.id.desc()).limit(limit)
    return list(session.scalars(query))


def list_open_studies(session: Session, *, dataset_id: int, name: str) -> list[Study]:
    """Those of that name that never came to an end, newest first."""
    query = select(Study).where(
        Study.dataset_id == dataset_id, Study.name == name, Study.status.in_(("queued", "running"))
    )
    return list(session.scalars(query.order_by(Study.id.desc())))


def list_entries(session: Session, *, study_id: int) -> list[Entry]:
    """In their order."""
    query = (
        select(StudyRun, Run)
        .outerjoin(Run, Run.id == StudyRun.run_id)
        .where(StudyRun.study_id == study_id)
        .order_by(StudyRun.number)
    )
    return [Entry(planned, run) for planned, run in session.execute(query)]


def get_entry(session: Session, study_id: int, number: int) -> StudyRun:
    return session.scalars(select(StudyRun).where(StudyRun.study_id == study_id, StudyRun.number == number)).one()


def count_ended(session: Session, study_ids: list[int]) -> dict[int, int]:
    """Study id -> how many of its runs came to an end, good or bad."""
    query = (
        select(StudyRun.study_id, func.count())
        .outerjoin(Run, Run.id == StudyRun.run_id)
        .where(StudyRun.study_id.in_(study_ids), (Run.status == "done") | StudyRun.stopped | (StudyRun.error != ""))
        .group_by(StudyRun.study_id)
    )
    return {row[0]: row[1] for row in session.execute(query)}


class Measured(NamedTuple):
    """What a run of a study came to, for lists."""

    study_id: int
    score: float | None
    accuracy: float
    low: float
    high: float
    n: int
    split: str


def list_measured(session: Session, study_ids: list[int]) -> list[Measured]:
    """Of the runs that are done and were measured on some image, in their order."""
    number = {key: Run.metrics[key].as_float() for key in ("accuracy", "low", "high")}
    query = (
        select(
            StudyRun.study_id, StudyRun.score, *number.values(), Run.metrics["n"].as_integer(),
            Run.metrics["split"].as_string(),
        )
        .join(Run, Run.id == StudyRun.run_id)
        .where(StudyRun.study_id.in_(study_ids), Run.status == "done", Run.metrics["n"].as_integer() > 0)
        .order_by(StudyRun.study_id, StudyRun.number)
    )  # fmt: skip
    return [Measured(*row) for row in session.execute(query)]


def find_study_of(session: Session, *, run_id: int) -> Study | None:
    """The study that a run belongs to."""
    query = select(Study).join(StudyRun, StudyRun.study_id == Study.id).where(StudyRun.run_id == run_id)
    return session.scalar(query.order_by(Study.id).limit(1))


def get_jobs(session: Session, study_ids: list[int], *, dataset_id: int) -> dict[int, Job]:
    """Study id -> its newest job; studies from the command line have none."""
    number = Job.params["study"].as_integer()
    query = select(Job).where(Job.dataset_id == dataset_id, Job.kind == "study", number.in_(study_ids))
    return {job.params["study"]: job for job in session.scalars(query.order_by(Job.id))}


def has_waiting_training(session: Session) -> bool:
    """Whether somebody asked for a training that no worker has begun."""
    query = select(Job.id).where(Job.kind == "train", Job.status == "queued", ~Job.cancel_requested)
    return session.scalar(query.limit(1)) is not None
