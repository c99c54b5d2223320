"""What the estimates of what is left rest on: items with P(wrong) and verdict, in one statement each."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from workbench.models import Decision, Image, Queue, QueueItem
from workbench.queries.learning import IS_DRAWN

_BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)


def list_trails(session: Session, queue_ids: Sequence[int]) -> list[Row[Any]]:
    """What the items of these queues say, by position; hidden gold items are left out. One statement.

    P(wrong) as it stands now, of decided images too. is_own: of a decided item, whether it was decided in this queue.
    """
    query = _items().where(QueueItem.queue_id.in_(queue_ids))
    return list(session.execute(query.order_by(QueueItem.queue_id, QueueItem.position)))


def list_part(session: Session, queue_id: int, *, most: int) -> list[Row[Any]]:
    """As `list_trails`, by position: so many of the open items, evenly over the queue, and the newest decided ones.

    For a queue that is too long to be read: costs the same at any length.
    """
    here = QueueItem.queue_id == queue_id
    last = session.scalar(select(func.max(QueueItem.position)).where(here)) or 0
    places = sorted({place * last // most for place in range(most)})
    is_open = _items().where(here, QueueItem.position.in_(places), QueueItem.done_line.is_(None))
    is_done = _items().where(here, QueueItem.done_line.is_not(None)).order_by(QueueItem.done_line.desc()).limit(most)
    rows = [*session.execute(is_open), *session.execute(is_done)]
    return sorted(rows, key=lambda row: row.position)


def _items() -> Select[*tuple[Any, ...]]:
    return (
        select(
            QueueItem.queue_id,
            QueueItem.position,
            func.coalesce(Image.p_wrong, QueueItem.p_wrong).label("p_wrong"),
            QueueItem.is_random,
            QueueItem.given_id,
            QueueItem.suggested_id,
            QueueItem.done_line,
            QueueItem.hit,
            _is_own().label("is_own"),
        )
        .join(Image, Image.id == QueueItem.image_id)
        .outerjoin(Decision, Decision.id == QueueItem.done_line)
        .where(QueueItem.wants > 0)
    )


def _is_own() -> ColumnElement[bool]:
    """What several reviewers differ on a lead settles on a page of its own."""
    return or_(
        Decision.queue_id == QueueItem.queue_id, and_(QueueItem.wants > 1, QueueItem.opinions >= QueueItem.wants)
    )


def list_drawn(session: Session, dataset_id: int) -> list[Row[Any]]:
    """(p_wrong, hit) of the images that chance alone chose and that were decided where it chose them."""
    query = (
        select(Image.p_wrong, QueueItem.hit)
        .select_from(QueueItem)
        .join(Queue, Queue.id == QueueItem.queue_id)
        .join(Image, Image.id == QueueItem.image_id)
        .join(Decision, Decision.id == QueueItem.done_line)
        .where(
            Queue.dataset_id == dataset_id,
            IS_DRAWN,
            QueueItem.wants > 0,
            QueueItem.done_line > 0,  # by the index of what is done, or all items of long queues are read
            _is_own(),
        )
    )
    return list(session.execute(query))


def list_decided(session: Session, dataset_id: int) -> Sequence[int]:
    """The images that somebody has settled, from an index alone."""
    query = select(Image.id).where(Image.dataset_id == dataset_id, Image.decided_at > _BEFORE_ALL)
    return session.scalars(query).all()


def count_labelled(session: Session, dataset_id: int) -> int:
    """Images that carry a label as it was imported; indexes tell, but for images without a label."""
    imported = select(func.count()).where(Image.dataset_id == dataset_id, Image.label_source == "imported")
    bare = select(func.count()).where(
        Image.dataset_id == dataset_id, Image.label_id.is_(None), Image.label_source == "imported"
    )
    return (session.scalar(imported) or 0) - (session.scalar(bare) or 0)
