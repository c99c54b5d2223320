"""Queues, their items, who holds which, and how far they are."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, func, or_, select
from sqlalchemy.orm import Session, aliased, joinedload

from workbench.errors import NotFound
from workbench.models import VERDICTS, Dataset, Decision, DuplicateGroup, Image, Queue, QueueItem, Run

LEASE = timedelta(minutes=10)
RECENT = 50  # the decisions from which the present hit rate is told
_BY_IMAGE = "INDEXED BY ix_decisions_image_id_id"  # a bulk action has as many lines as images: never join on it


@dataclass(frozen=True)
class QueueRow:
    """A queue and how much of it is done."""

    queue: Queue
    done: int

    @property
    def open(self) -> int:
        return self.queue.size - self.done


@dataclass(frozen=True)
class Progress:
    """How far a queue is. A hit is a verdict that changed what the image was when the queue was built."""

    size: int
    done: int
    mine: int
    hits: int
    recent: int
    recent_hits: int

    @property
    def open(self) -> int:
        return self.size - self.done

    @property
    def hit_rate(self) -> float | None:
        return self.hits / self.done if self.done else None

    @property
    def recent_hit_rate(self) -> float | None:
        return self.recent_hits / self.recent if self.recent else None


def get_queue(session: Session, queue_id: int) -> Queue:
    queue = session.get(Queue, queue_id)
    if queue is None:
        raise NotFound(f"There is no queue {queue_id}; list them with: workbench queue list --dataset NAME")
    return queue


def list_queues(session: Session, dataset_id: int, *, closed: bool = False) -> list[QueueRow]:
    """The open queues, newest first; with `closed` those that were closed too. One statement."""
    done = (
        select(func.count())
        .where(QueueItem.queue_id == Queue.id, QueueItem.done_action.is_not(None))
        .correlate(Queue)
        .scalar_subquery()
    )
    query = select(Queue, done).where(Queue.dataset_id == dataset_id).order_by(Queue.id.desc())
    if not closed:
        query = query.where(Queue.closed_at.is_(None))
    return [QueueRow(row[0], row[1]) for row in session.execute(query)]


def list_automatic(session: Session, dataset_id: int) -> list[Queue]:
    """The open queues that were built by themselves."""
    query = select(Queue).where(Queue.dataset_id == dataset_id, Queue.automatic, Queue.closed_at.is_(None))
    return list(session.scalars(query))


def list_items(
    session: Session, queue_id: int, *, is_open: bool | None = None, after: int = -1, limit: int | None = 50
) -> list[QueueItem]:
    """Items in their order from position `after` on, with image, label and suggestion. One statement."""
    query = select(QueueItem).where(QueueItem.queue_id == queue_id, QueueItem.position > after)
    if is_open is not None:
        query = query.where(QueueItem.done_action.is_(None) if is_open else QueueItem.done_action.is_not(None))
    return list(session.scalars(query.options(*_WITH_IMAGE).order_by(QueueItem.position).limit(limit)))


_WITH_IMAGE = (
    joinedload(QueueItem.image).joinedload(Image.label),
    joinedload(QueueItem.given),
    joinedload(QueueItem.suggested),
)


def list_free_items(
    session: Session, queue_id: int, *, user_id: int, now: datetime, after: int = -1, limit: int = 1
) -> list[QueueItem]:
    """The first open items after a position that nobody else holds. Costs the same at any length of the queue."""
    query = (
        select(QueueItem)
        .where(
            QueueItem.queue_id == queue_id,
            QueueItem.done_action.is_(None),
            QueueItem.position > after,
            is_free(user_id=user_id, now=now),
        )
        .options(*_WITH_IMAGE)
        .order_by(QueueItem.position)
        .limit(limit)
    )
    return list(session.scalars(query))


def is_free(*, user_id: int, now: datetime) -> ColumnElement[bool]:
    """Whether nobody else holds an item. A lease that ends too far off was given before the clock was put back."""
    return or_(
        QueueItem.lease_user_id.is_(None),
        QueueItem.lease_user_id == user_id,
        QueueItem.lease_until <= now,
        QueueItem.lease_until > now + 2 * LEASE,  # twice: requests read the clock before they wait for their turn
    )


def get_item(session: Session, queue_id: int, position: int) -> QueueItem:
    query = select(QueueItem).where(QueueItem.queue_id == queue_id, QueueItem.position == position)
    item = session.scalar(query.options(*_WITH_IMAGE))
    if item is None:
        raise NotFound("This queue has no such item.")
    return item


def get_item_of_image(session: Session, queue_id: int, image_id: int) -> QueueItem | None:
    query = select(QueueItem).where(QueueItem.image_id == image_id, QueueItem.queue_id == queue_id)
    return session.scalar(query.options(*_WITH_IMAGE).order_by(QueueItem.position).limit(1))


def get_neighbour(session: Session, item: QueueItem, *, step: int, is_open: bool = False) -> QueueItem | None:
    """The item before (step -1) or after (step 1), done or not; with `is_open` only those that wait."""
    query = select(QueueItem).where(QueueItem.queue_id == item.queue_id).options(*_WITH_IMAGE).limit(1)
    if is_open:
        query = query.where(QueueItem.done_action.is_(None))
    if step > 0:
        query = query.where(QueueItem.position > item.position).order_by(QueueItem.position)
    else:
        query = query.where(QueueItem.position < item.position).order_by(QueueItem.position.desc())
    return session.scalar(query)


def get_progress(session: Session, queue: Queue, *, user_id: int | None = None) -> Progress:
    """Costs as many index reads as the queue has items done, not as it has items. One statement."""
    row = session.execute(_count_progress(), {"queue_id": queue.id, "user_id": user_id or 0}).one()
    return Progress(
        size=queue.size,
        done=row.done,
        mine=int(row.mine or 0),
        hits=int(row.hits or 0),
        recent=row.recent,
        recent_hits=int(row.recent_hits or 0),
    )


@functools.cache
def _count_progress() -> Select[Any]:
    """Built once: a page after every decision asks for it, and building it costs more than running it."""
    is_done = and_(QueueItem.queue_id == bindparam("queue_id"), QueueItem.done_action.is_not(None))
    line = aliased(Decision)
    by_me = select(line.id).where(line.action == QueueItem.done_action, line.user_id == bindparam("user_id")).exists()
    verdicts = (
        select(
            QueueItem.id,
            func.max(func.coalesce(Decision.id, 0)).label("at"),
            func.max(_is_hit()).label("hit"),
            func.max(case((by_me, 1), else_=0)).label("mine"),
        )
        .with_hint(Decision, _BY_IMAGE, "sqlite")
        .outerjoin(DuplicateGroup, DuplicateGroup.id == QueueItem.group_id)
        .outerjoin(
            Decision,
            and_(
                Decision.image_id == QueueItem.image_id,
                Decision.action == QueueItem.done_action,
                Decision.kind.in_(VERDICTS),
            ),
        )
        .where(is_done)
        .group_by(QueueItem.id)
    ).cte()
    newest = select(verdicts.c.hit).order_by(verdicts.c.at.desc(), verdicts.c.id.desc()).limit(RECENT).subquery()
    return select(
        func.count().label("done"),
        func.sum(verdicts.c.hit).label("hits"),
        func.sum(verdicts.c.mine).label("mine"),
        select(func.count()).select_from(newest).scalar_subquery().label("recent"),
        select(func.sum(newest.c.hit)).scalar_subquery().label("recent_hits"),
    ).select_from(verdicts)


def _is_hit() -> ColumnElement[Any]:
    """1 if the verdict changed the image, or says that the group's images are the same picture."""
    relabelled = and_(Decision.kind == "relabel", Decision.class_id.is_distinct_from(QueueItem.given_id))
    return case(
        (QueueItem.group_id.is_not(None), case((DuplicateGroup.verdict != "not_duplicates", 1), else_=0)),
        (Decision.kind.in_(("exclude", "ambiguous")), 1),
        (relabelled, 1),
        else_=0,
    )


def list_pool(
    session: Session, dataset_id: int, *, split: str | None, with_reviewed: bool, without: str | None = None
) -> Sequence[Any]:
    """(id, label_id) of the images that a recipe chooses from, by id: not excluded, and not decided on unless asked.

    without: a split whose images are left out.
    """
    query = select(Image.id, Image.label_id).where(Image.dataset_id == dataset_id, Image.status != "excluded")
    if split is not None:
        query = query.where(Image.split == split)
    if without is not None:
        query = query.where(Image.split.is_distinct_from(without))
    if not with_reviewed:
        query = query.where(Image.label_source != "decision")
    return session.execute(query.order_by(Image.id)).all()


def get_run(session: Session, dataset: Dataset, run_id: int | None) -> Run:
    """The run of that id, else the promoted one, else the newest that is done."""
    if run_id is None:
        run_id = dataset.promoted_run_id or session.scalar(
            select(func.max(Run.id)).where(Run.dataset_id == dataset.id, Run.status == "done")
        )
    if run_id is None:
        raise NotFound(
            f"{dataset.name} has no finished run yet; make one with: workbench train --dataset {dataset.name}"
        )
    run = session.get(Run, run_id)
    if run is None or run.dataset_id != dataset.id:
        raise NotFound(f"{dataset.name} has no run {run_id}.")
    return run
