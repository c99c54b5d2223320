"""What the home page and the list of data sets show. Each function costs one statement, however much there is."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, Select, and_, case, func, or_, select
from sqlalchemy.orm import Session

from workbench.models import (
    VERDICTS,
    Class,
    Dataset,
    Decision,
    Image,
    Import,
    Queue,
    QueueItem,
    Run,
    User,
)
from workbench.queries.image_lists import IS_DISPUTED

_BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class DatasetRow:
    """A line of the list of data sets."""

    dataset: Dataset
    images: int
    reviewed: int
    classes: list[str]
    last_at: datetime | None
    run: Run | None


@dataclass(frozen=True)
class Yield:
    """How many verdicts a queue has had, and how many of them changed the image."""

    verdicts: int
    hits: int


def list_datasets(session: Session) -> list[DatasetRow]:
    """Every data set with what stands in it; counts are read from indexes alone."""
    images = select(func.count()).where(Image.dataset_id == Dataset.id).correlate(Dataset).scalar_subquery()
    reviewed = (
        select(func.count())
        .where(Image.dataset_id == Dataset.id, Image.decided_at > _BEFORE_ALL)
        .correlate(Dataset)
        .scalar_subquery()
    )
    newest = select(func.max(Decision.id)).where(Decision.dataset_id == Dataset.id).correlate(Dataset).scalar_subquery()
    last_at = select(Decision.at).where(Decision.id == newest).correlate(Dataset).scalar_subquery()
    query = (
        select(Dataset, images, reviewed, last_at, Run)
        .outerjoin(Run, Run.id == Dataset.promoted_run_id)
        .order_by(Dataset.name)
    )
    rows = list(session.execute(query))
    names = _list_class_names(session)
    return [DatasetRow(row[0], row[1], row[2], names[row[0].id], row[3] or row[0].created_at, row[4]) for row in rows]


def _list_class_names(session: Session) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    query = select(Class.dataset_id, Class.name).where(~Class.retired, Class.merged_into_id.is_(None))
    for dataset_id, name in session.execute(query.order_by(Class.position, Class.id)):
        found[dataset_id].append(name)
    return found


def count_reviewed(session: Session, dataset_id: int) -> int:
    """Images that a reviewer has settled."""
    query = select(func.count()).where(Image.dataset_id == dataset_id, Image.decided_at > _BEFORE_ALL)
    return session.scalar(query) or 0


def count_reviewed_since(session: Session, dataset_id: int, since: datetime) -> int:
    query = select(func.count()).where(Image.dataset_id == dataset_id, Image.decided_at > since)
    return session.scalar(query) or 0


def sum_imports(session: Session, dataset_id: int) -> Row[Any]:
    """(imports, found, imported, refused, known, dropped) over everything that was read into a data set."""
    columns = (Import.found, Import.imported, Import.refused, Import.known, Import.dropped)
    sums = [func.coalesce(func.sum(column), 0).label(column.key) for column in columns]
    query: Select[*tuple[Any, ...]] = select(func.count().label("imports"), *sums).where(
        Import.dataset_id == dataset_id
    )
    return session.execute(query).one()


def get_newest_import_id(session: Session, dataset_id: int) -> int | None:
    return session.scalar(select(func.max(Import.id)).where(Import.dataset_id == dataset_id))


def list_yields(session: Session, queue_ids: Sequence[int]) -> dict[int, Yield]:
    """Per queue what the verdicts given in it came to; duplicate groups are not counted. Costs as much as is done.

    A verdict given elsewhere, on a hundred chosen images at once perhaps, says nothing about what this queue's order
    brings; of a random sample it would make a sample that is not random.
    """
    if not queue_ids:
        return {}
    query = (
        select(QueueItem.queue_id, func.count(), func.sum(case((QueueItem.hit.is_(True), 1), else_=0)))
        .join(Decision, Decision.id == QueueItem.done_line)
        # what several reviewers differ on a lead settles on a page of its own
        .where(
            or_(
                Decision.queue_id == QueueItem.queue_id,
                and_(QueueItem.wants > 1, QueueItem.opinions >= QueueItem.wants),
            )
        )
        .where(QueueItem.queue_id.in_(queue_ids), QueueItem.group_id.is_(None))
        .group_by(QueueItem.queue_id)
    )
    return {row[0]: Yield(row[1], row[2]) for row in session.execute(query)}


def list_present(session: Session, dataset_id: int, *, now: datetime) -> dict[int, list[str]]:
    """Queue id -> who holds an item of it at this moment."""
    query = (
        select(QueueItem.queue_id, User.name)
        .distinct()
        .join(User, User.id == QueueItem.lease_user_id)
        .join(Queue, Queue.id == QueueItem.queue_id)
        .where(Queue.dataset_id == dataset_id, QueueItem.lease_user_id.is_not(None), QueueItem.lease_until > now)
        .order_by(User.name)
    )
    found: dict[int, list[str]] = defaultdict(list)
    for queue_id, name in session.execute(query):
        found[queue_id].append(name)
    return found


def count_disputed(session: Session, dataset_id: int) -> dict[int, int]:
    """Queue id -> its images about which reviewers contradict each other: they wait for a lead."""
    query = (
        select(QueueItem.queue_id, func.count())
        .select_from(Image)
        .join(QueueItem, QueueItem.image_id == Image.id)
        .where(Image.dataset_id == dataset_id, IS_DISPUTED, QueueItem.done_action.is_(None), QueueItem.wants > 1)
        .group_by(QueueItem.queue_id)
    )
    return {row[0]: row[1] for row in session.execute(query)}


def list_last_verdicts(session: Session, dataset_id: int, *, limit: int) -> list[Row[Any]]:
    """(action, user_id, at, kind, class_id, first_label_id, queue_id) of the newest verdicts, newest first."""
    query = (
        select(
            Decision.action, Decision.user_id, Decision.at, Decision.kind, Decision.class_id, Image.first_label_id,
            Decision.queue_id,
        )
        .join(Image, Image.id == Decision.image_id)
        .where(Decision.dataset_id == dataset_id, Decision.kind.in_(VERDICTS))
        .order_by(Decision.id.desc())
        .limit(limit)
    )  # fmt: skip
    return list(session.execute(query))


def list_finished_runs(session: Session, dataset_id: int, *, limit: int = 20) -> list[Run]:
    """The newest runs that came to their end, oldest first."""
    query = select(Run).where(Run.dataset_id == dataset_id, Run.status == "done").order_by(Run.id.desc()).limit(limit)
    return list(reversed(list(session.scalars(query))))
