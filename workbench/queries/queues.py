"""Queues, their items, who holds which, and how far they are."""

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, func, or_, select
from sqlalchemy.orm import Session, joinedload

from workbench.errors import NotFound
from workbench.models import Dataset, Decision, Image, Opinion, Queue, QueueItem, Run

LEASE = timedelta(minutes=10)
RECENT = 50  # the decisions from which the present hit rate is told
_MOMENT = QueueItem.lease_until.type


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
    query = select(Queue).where(Queue.dataset_id == dataset_id).order_by(Queue.id.desc())
    if not closed:
        query = query.where(Queue.closed_at.is_(None))
    return [QueueRow(queue, queue.done) for queue in session.scalars(query)]


def list_automatic(session: Session, dataset_id: int) -> list[Queue]:
    """The open queues that were built by themselves, oldest first."""
    query = select(Queue).where(Queue.dataset_id == dataset_id, Queue.automatic, Queue.closed_at.is_(None))
    return list(session.scalars(query.order_by(Queue.id)))


def list_automatic_of(session: Session, dataset_id: int, *, run_id: int) -> list[Queue]:
    """What a run opened by itself, closed or not, oldest first."""
    query = select(Queue).where(Queue.dataset_id == dataset_id, Queue.automatic, Queue.run_id == run_id)
    return list(session.scalars(query.order_by(Queue.id)))


def list_superseded(session: Session, *, now: datetime) -> list[Queue]:
    """Open queues that another run than the promoted one opened by itself, and on which nobody is."""
    query = (
        select(Queue)
        .join(Dataset, Dataset.id == Queue.dataset_id)
        .where(
            Queue.automatic,
            Queue.closed_at.is_(None),
            Queue.run_id.is_distinct_from(Dataset.promoted_run_id),
            ~_is_held(now),
        )
    )
    return list(session.scalars(query))


def _is_held(now: datetime) -> ColumnElement[bool]:
    """Whether somebody has an item of the queue on the screen."""
    held = select(QueueItem.id).where(
        QueueItem.queue_id == Queue.id,
        QueueItem.lease_user_id.is_not(None),
        QueueItem.lease_until > now,
        QueueItem.lease_until <= now + 2 * LEASE,
        QueueItem.done_action.is_(None),
    )
    return held.exists()


def list_settled_since(session: Session, dataset_id: int, *, after_line: int) -> set[int]:
    """Images that a line after that one concerns and that are settled or excluded now."""
    query = (
        select(Image.id)
        .join(Decision, Decision.image_id == Image.id)
        .where(
            Decision.dataset_id == dataset_id,
            Decision.id > after_line,
            or_(Image.label_source != "imported", Image.status == "excluded"),
        )
    )
    return set(session.scalars(query))


def list_items(
    session: Session, queue_id: int, *, is_open: bool | None = None, after: int = -1, limit: int | None = 50
) -> list[QueueItem]:
    """Items in their order from position `after` on, with image, label and suggestion. One statement."""
    query = select(QueueItem).where(QueueItem.queue_id == queue_id, QueueItem.position > after)
    if is_open is not None:
        query = query.where(QueueItem.done_action.is_(None) if is_open else QueueItem.done_action.is_not(None))
    return list(session.scalars(query.options(*_WITH_IMAGE).order_by(QueueItem.position).limit(limit)))


def list_ranked(session: Session, queue_id: int, *, limit: int | None) -> list[QueueItem]:
    """What the recipe chose, in its order, then what chance chose; with image, label and suggestion. One statement."""
    query = select(QueueItem).where(QueueItem.queue_id == queue_id)
    ranked = query.order_by(QueueItem.is_random, QueueItem.position).limit(limit)
    return list(session.scalars(ranked.options(*_WITH_IMAGE)))


_WITH_IMAGE = (
    joinedload(QueueItem.image).joinedload(Image.label),
    joinedload(QueueItem.given),
    joinedload(QueueItem.suggested),
)


def is_begun(session: Session, queue_id: int) -> bool:
    """Whether a verdict was given in it; one that was given elsewhere settles its items too."""
    given = (
        select(Decision.id)
        .join(QueueItem, QueueItem.done_line == Decision.id)
        .where(QueueItem.queue_id == queue_id, QueueItem.done_line.is_not(None), Decision.queue_id == queue_id)
    )
    return bool(session.scalar(select(given.exists())))


class Waiting(NamedTuple):
    """An item that nobody has answered. lease_until: when a reviewer's hold on it ends or ended, none if nobody's."""

    id: int
    image_id: int
    is_random: bool
    lease_until: datetime | None


def list_waiting(session: Session, queue_id: int) -> list[Waiting]:
    """The open items in their order, gold left out; light rows, however long the queue is."""
    query = (
        select(QueueItem.id, QueueItem.image_id, QueueItem.is_random, QueueItem.lease_until)
        .where(QueueItem.queue_id == queue_id, QueueItem.done_action.is_(None), QueueItem.wants != 0)
        .order_by(QueueItem.position)
    )
    return [Waiting(*row) for row in session.execute(query)]


def list_item_images(session: Session, queue_id: int) -> dict[int, bool]:
    """Image id -> whether chance chose it, of all items."""
    query = select(QueueItem.image_id, QueueItem.is_random).where(QueueItem.queue_id == queue_id)
    return {row[0]: row[1] for row in session.execute(query)}


def get_last_position(session: Session, queue_id: int) -> int:
    return session.scalar(select(func.max(QueueItem.position)).where(QueueItem.queue_id == queue_id)) or 0


def list_free_items(
    session: Session,
    queue_id: int,
    *,
    user_id: int,
    now: datetime,
    after: int = -1,
    limit: int = 1,
    with_held: bool = True,
) -> list[QueueItem]:
    """The first items after a position that this user may answer. Costs the same at any length of the queue.

    with_held: those too that the user holds already, on this page or another of theirs.
    """
    given = {
        "queue_id": queue_id,
        "user_id": user_id,
        "after": after,
        "now": now,
        "far": now + 2 * LEASE,
        "most": limit,
        "with_held": with_held,
    }
    return list(session.scalars(_free_items(), given))


def list_holdable(
    session: Session, queue_id: int, *, item_ids: Sequence[int], user_id: int, now: datetime
) -> list[QueueItem]:
    """Those of these items that this user may answer now. Read by their ids, however many wait in the queue."""
    given = {"item_ids": item_ids, "queue_id": queue_id, "user_id": user_id, "now": now, "far": now + 2 * LEASE}
    return list(session.scalars(_holdable(), given))


@functools.cache
def _holdable() -> Select[Any]:
    """Built once: asked with every decision."""
    user_id: ColumnElement[int] = bindparam("user_id", type_=QueueItem.id.type)
    return select(QueueItem).where(
        QueueItem.id.in_(bindparam("item_ids", expanding=True)),
        is_of(bindparam("queue_id")),
        QueueItem.done_action.is_(None),
        _is_unheld(user_id, bindparam("now", type_=_MOMENT), bindparam("far", type_=_MOMENT)),
        asks(user_id),
    )


def list_gold(session: Session, dataset_id: int, *, but: Collection[int]) -> list[tuple[int, int | None, int | None]]:
    """(image id, label at import, predicted class) of the gold images, those named left out."""
    query = select(Image.id, Image.first_label_id, Image.predicted_id).where(
        Image.dataset_id == dataset_id, Image.gold_id.is_not(None), Image.status != "excluded"
    )
    return [(row[0], row[1], row[2]) for row in session.execute(query.order_by(Image.id)) if row[0] not in but]


@functools.cache
def _free_items() -> Select[Any]:
    """Built once: asked after every decision."""
    user_id: ColumnElement[int] = bindparam("user_id")
    return (
        select(QueueItem)
        .where(
            QueueItem.queue_id == bindparam("queue_id"),
            QueueItem.done_action.is_(None),
            QueueItem.position > bindparam("after"),
            _is_unheld(user_id, bindparam("now", type_=_MOMENT), bindparam("far", type_=_MOMENT)),
            or_(
                bindparam("with_held", type_=QueueItem.hit.type),
                QueueItem.lease_user_id.is_distinct_from(user_id),
                QueueItem.lease_until <= bindparam("now", type_=_MOMENT),
            ),
            asks(user_id),
        )
        .order_by(QueueItem.position)
        .limit(bindparam("most"))
    )


def is_of(queue_id: Any) -> ColumnElement[bool]:
    """For items that are named by their ids: by no index, or SQLite reads all items of the queue to find them."""
    found: ColumnElement[bool] = QueueItem.queue_id + 0 == queue_id
    return found


def asks(user_id: Any) -> ColumnElement[bool]:
    """Whether an undone item still wants this user's word: ordinary ones anybody's, the others each user's once."""
    has_said = (
        select(Opinion.user_id)
        .where(
            Opinion.image_id == QueueItem.image_id,
            Opinion.queue_id == QueueItem.queue_id,
            Opinion.user_id == user_id,
        )
        .exists()
    )
    is_short = or_(QueueItem.wants == 0, QueueItem.opinions < QueueItem.wants)
    return or_(QueueItem.wants == 1, and_(is_short, ~has_said))


def is_free(*, user_id: int, now: datetime) -> ColumnElement[bool]:
    """Whether nobody else holds an item. A lease that ends too far off was given before the clock was put back."""
    return _is_unheld(user_id, now, now + 2 * LEASE)  # twice: requests read the clock before they wait for their turn


def _is_unheld(user_id: Any, now: Any, far: Any) -> ColumnElement[bool]:
    return or_(
        QueueItem.lease_user_id.is_(None),
        QueueItem.lease_user_id == user_id,
        QueueItem.lease_until <= now,
        QueueItem.lease_until > far,
    )


def find_item(session: Session, queue_id: int, item_id: int) -> QueueItem | None:
    """An item of this queue with its image, which whoever answers asks for next. One statement."""
    return session.scalar(_ITEM, {"item_id": item_id, "queue_id": queue_id})


def get_item_of_image(session: Session, queue_id: int, image_id: int) -> QueueItem | None:
    query = select(QueueItem).where(QueueItem.image_id == image_id, QueueItem.queue_id == queue_id)
    return session.scalar(query.options(*_WITH_IMAGE).order_by(QueueItem.position).limit(1))


def count_waiting(session: Session, queue: Queue, *, user_id: int) -> tuple[int, int]:
    """Undone items whose opinions differ, and those on which this user has spoken and others have not."""
    is_full = QueueItem.opinions >= QueueItem.wants
    query = select(
        func.sum(case((is_full, 1), else_=0)), func.sum(case((and_(~is_full, ~asks(user_id)), 1), else_=0))
    ).where(QueueItem.queue_id == queue.id, QueueItem.done_action.is_(None), QueueItem.wants > 1)
    row = session.execute(query).one()
    return row[0] or 0, row[1] or 0


def get_progress(session: Session, queue: Queue) -> Progress:
    """Costs the same whatever the queue's length: the queue counts, and the newest fifty are read by index."""
    recent, hits = session.execute(_RECENT, {"queue_id": queue.id}).one()
    return Progress(size=queue.size, done=queue.done, hits=queue.hits, recent=recent, recent_hits=hits)


_item = QueueItem.__table__.c
_ITEM = (
    select(QueueItem)
    .options(joinedload(QueueItem.image))
    .where(QueueItem.id == bindparam("item_id"), QueueItem.queue_id == bindparam("queue_id"))
)
_HITS = (
    select(_item.hit)
    .where(_item.queue_id == bindparam("queue_id"), _item.done_line.is_not(None))
    .order_by(_item.done_line.desc())
    .limit(RECENT)
    .subquery()
)
_RECENT = select(func.count(), func.count(case((_HITS.c.hit, 1)))).select_from(_HITS)


def list_pool(
    session: Session, dataset_id: int, *, split: str | None, with_reviewed: bool, without: str | None = None
) -> Sequence[Any]:
    """(id, label_id, is_settled, is_disputed, P(wrong)) of the images that a recipe chooses from, by id.

    Not excluded, and not decided on unless asked. is_settled: reviewers said of which one class it is. P(wrong): as the
    pages show it, none for an image that was decided on.

    without: a split whose images are left out.
    """
    is_settled = and_(Image.label_source != "imported", Image.status == "active")
    p_wrong = case((Image.label_source == "imported", Image.p_wrong))
    columns = (Image.id, Image.label_id, is_settled, Image.disputed, p_wrong)
    query = select(*columns).where(Image.dataset_id == dataset_id, Image.status != "excluded")
    if split is not None:
        query = query.where(Image.split == split)
    if without is not None:
        query = query.where(Image.split.is_distinct_from(without))
    if not with_reviewed:
        query = query.where(Image.label_source == "imported")
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


def find_other_run(session: Session, run: Run) -> int | None:
    """The newest finished run of the same data set besides this one."""
    others = (Run.dataset_id == run.dataset_id, Run.status == "done", Run.id != run.id)
    return session.scalar(select(func.max(Run.id)).where(*others))
