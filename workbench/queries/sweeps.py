"""What the sweep grid shows: items that a queue believes to be of one class. Plain rows, few statements."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session, joinedload

from workbench.models import Decision, Image, Queue, QueueItem, User
from workbench.queries.image_lists import COUNT_UP_TO
from workbench.queries.queues import is_free, is_of

# open, and settled by one reviewer's word: neither groups nor items that ask for opinions
_SWEEPABLE = (QueueItem.done_action.is_(None), QueueItem.group_id.is_(None), QueueItem.wants == 1)
Rows = list[tuple[QueueItem, Image]]


def list_classes(session: Session, queue: Queue) -> list[tuple[int, int]]:
    """(class id, open items) of the classes that the queue believes its items are, the fullest first.

    Among the first COUNT_UP_TO open items: a page must not cost more the longer the queue is.
    """
    first = select(_believed().label("class_id")).where(*_sweepable(queue)).order_by(QueueItem.position)
    some = first.limit(COUNT_UP_TO).subquery()
    query = (
        select(some.c.class_id, func.count())
        .where(some.c.class_id.is_not(None))
        .group_by(some.c.class_id)
        .order_by(func.count().desc(), some.c.class_id)
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def list_free(
    session: Session, queue: Queue, *, class_id: int, after: int, user: User, now: datetime, limit: int
) -> Rows:
    """The first open items of one class after a position that nobody else holds, with their images."""
    query = (
        select(QueueItem, Image)
        .join(Image, Image.id == QueueItem.image_id)
        .where(
            *_sweepable(queue),
            QueueItem.position > after,
            _believed() == class_id,
            is_free(user_id=user.id, now=now),
        )
        .order_by(QueueItem.position)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def count_held(session: Session, queue: Queue, *, class_id: int, user: User, now: datetime) -> int:
    """Open items of one class that somebody else has on the screen."""
    query = select(func.count()).where(*_sweepable(queue), _believed() == class_id, ~is_free(user_id=user.id, now=now))
    return session.scalar(query) or 0


def list_items(session: Session, queue: Queue, item_ids: Sequence[int]) -> Rows:
    """These items of the queue with their images, in the queue's order."""
    query = (
        select(QueueItem, Image)
        .join(Image, Image.id == QueueItem.image_id)
        .where(is_of(queue.id), QueueItem.id.in_(item_ids))
        .order_by(QueueItem.position)
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def list_items_of_images(session: Session, queue: Queue, image_ids: Sequence[int]) -> Rows:
    """The open items of these images, in the queue's order."""
    query = (
        select(QueueItem, Image)
        .join(Image, Image.id == QueueItem.image_id)
        .where(*_sweepable(queue), QueueItem.image_id.in_(image_ids))
        .order_by(QueueItem.position)
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def lease_items(
    session: Session, queue: Queue, *, item_ids: Sequence[int], user: User, now: datetime, until: datetime
) -> list[int]:
    """Give these items to a user, as far as they are open and nobody else holds them; returns which."""
    session.execute(
        update(QueueItem)
        .where(
            QueueItem.id.in_(item_ids),
            is_of(queue.id),
            *_SWEEPABLE,
            is_free(user_id=user.id, now=now),
        )
        .values(lease_user_id=user.id, lease_until=until)
        .execution_options(synchronize_session=False)
    )
    held = select(QueueItem.id).where(
        QueueItem.id.in_(item_ids), is_of(queue.id), *_SWEEPABLE, QueueItem.lease_user_id == user.id
    )
    return list(session.scalars(held))


def get_newest_lines(session: Session, images: Sequence[Image]) -> dict[int, Decision]:
    """Image id -> the newest line about it, with who wrote it."""
    query = select(Decision).options(joinedload(Decision.user)).where(Decision.id.in_({one.revision for one in images}))
    return {line.image_id: line for line in session.scalars(query) if line.image_id is not None}


def _sweepable(queue: Queue) -> tuple[ColumnElement[bool], ...]:
    return QueueItem.queue_id == queue.id, *_SWEEPABLE


def _believed() -> ColumnElement[Any]:
    return func.coalesce(QueueItem.suggested_id, QueueItem.given_id)
