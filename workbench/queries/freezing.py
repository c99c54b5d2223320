"""What freezing a split reads of the log, and what it takes out of queues."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.orm import Session

from workbench.models import VERDICTS, Decision, Image, Queue, QueueItem

FREEZE_KINDS = ("freeze", "unfreeze")
_CHUNK = 500


def list_in_split(session: Session, image_ids: Sequence[int], *, split: str) -> set[int]:
    """Those of the images that stand in a split now."""
    found: set[int] = set()
    for start in range(0, len(image_ids), _CHUNK):
        chunk = image_ids[start : start + _CHUNK]
        found.update(session.scalars(select(Image.id).where(Image.id.in_(chunk), Image.split == split)))
    return found


def list_freezes(session: Session, dataset_id: int) -> list[Decision]:
    """The lines that froze and unfroze, oldest first. Reads the kinds of the whole log."""
    query = select(Decision).where(Decision.dataset_id == dataset_id, Decision.kind.in_(FREEZE_KINDS))
    return list(session.scalars(query.order_by(Decision.id)))


def list_forced(session: Session, dataset_id: int) -> list[Row[Any]]:
    """(id, action, image_id, detail) of every verdict that was forced on a frozen split, undone ones too."""
    query = select(Decision.id, Decision.action, Decision.image_id, Decision.detail).where(
        Decision.dataset_id == dataset_id,
        Decision.kind.in_((*VERDICTS, "restore", "opinion")),
        Decision.detail["forced"].as_string().is_not(None),
    )
    return list(session.execute(query.order_by(Decision.id)))


def count_in_split(session: Session, dataset_id: int, split: str) -> int:
    """Images of a split that are not excluded."""
    query = select(func.count()).where(Image.dataset_id == dataset_id, Image.split == split, Image.status != "excluded")
    return session.scalar(query) or 0


def list_drawn(session: Session, dataset_id: int, image_ids: Sequence[int]) -> set[int]:
    """Those of the images that a random queue or an audit drew, open or closed: judged because chance chose them."""
    found: set[int] = set()
    for start in range(0, len(image_ids), _CHUNK):
        query = (
            select(QueueItem.image_id)
            .join(Queue, Queue.id == QueueItem.queue_id)
            .where(
                Queue.dataset_id == dataset_id,
                Queue.recipe.in_(("random", "audit")),
                QueueItem.image_id.in_(image_ids[start : start + _CHUNK]),
            )
        )
        found.update(session.scalars(query))
    return found


def list_open_queues(session: Session, dataset_id: int) -> list[Queue]:
    return list(session.scalars(select(Queue).where(Queue.dataset_id == dataset_id, Queue.closed_at.is_(None))))


def drop_open_items(session: Session, dataset_id: int, *, split: str, queue_ids: Sequence[int]) -> int:
    """Take the images of a split that wait out of these queues; returns how many items went."""
    of_split = select(Image.id).where(Image.dataset_id == dataset_id, Image.split == split)
    gone = session.execute(
        delete(QueueItem)
        .where(QueueItem.queue_id.in_(queue_ids), QueueItem.done_action.is_(None), QueueItem.image_id.in_(of_split))
        .execution_options(synchronize_session=False)
    )
    left = (
        select(func.count())
        .where(QueueItem.queue_id == Queue.id, QueueItem.wants != 0)
        .correlate(Queue)
        .scalar_subquery()
    )
    session.execute(
        update(Queue)
        .where(Queue.id.in_(queue_ids))
        .values(size=left, expected_hits=Queue.expected_hits * left / func.max(Queue.size, 1))
        .execution_options(synchronize_session="fetch")
    )
    return int(getattr(gone, "rowcount", 0))
