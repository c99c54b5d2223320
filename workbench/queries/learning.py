"""What the log says about labels that a model judged: the verdicts to learn from."""

from typing import NamedTuple

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from workbench.models import VERDICTS, Decision, Image, Queue, QueueItem

# audits that a run's P(wrong) helped to draw hold more doubtful images than chance would
IS_DRAWN = or_(QueueItem.is_random, Queue.recipe == "random", and_(Queue.recipe == "audit", Queue.run_id.is_(None)))


class Settled(NamedTuple):
    """An image that reviewers settled: its label as it came, and what they made of it."""

    image_id: int
    first_label_id: int | None
    label_id: int | None
    status: str
    ambiguous_ids: list[int] | None


def list_settled(session: Session, dataset_id: int) -> list[Settled]:
    """By id."""
    query = (
        select(Image.id, Image.first_label_id, Image.label_id, Image.status, Image.ambiguous_ids)
        .where(Image.dataset_id == dataset_id, Image.label_source.in_(("decision", "consensus")))
        .order_by(Image.id)
    )
    return [Settled(*row) for row in session.execute(query)]


def list_drawn(session: Session, dataset_id: int) -> set[int]:
    """The images that were settled in a queue for which chance alone chose them."""
    query = (
        select(QueueItem.image_id)
        .join(Queue, Queue.id == QueueItem.queue_id)
        .where(
            Queue.dataset_id == dataset_id,
            IS_DRAWN,
            QueueItem.done_line.is_not(None),
        )
    )
    return set(session.scalars(query))


def list_excluded_copies(session: Session, dataset_id: int) -> set[int]:
    """The images that were excluded for being copies, which says nothing about their labels."""
    verdict = aliased(Decision)
    query = (
        select(Decision.image_id)
        .join(verdict, verdict.action == Decision.action)
        .where(Decision.dataset_id == dataset_id, Decision.kind == "exclude", verdict.kind == "duplicates")
    )
    return {image_id for image_id in session.scalars(query) if image_id is not None}


def list_labels(session: Session, dataset_id: int) -> dict[int, tuple[int | None, int | None]]:
    """Image id -> its label as it came, and its label now."""
    query = select(Image.id, Image.first_label_id, Image.label_id).where(Image.dataset_id == dataset_id)
    return {row.id: (row.first_label_id, row.label_id) for row in session.execute(query)}


def count_verdicts(session: Session, *, dataset_id: int, after: int, enough: int) -> int:
    """Lines that settle an image after a line of the log, undone or not; counts no further than `enough`."""
    newer = (
        select(Decision.id)
        .where(Decision.dataset_id == dataset_id, Decision.id > after, Decision.kind.in_(VERDICTS))
        .limit(enough)
    )
    return session.scalar(select(func.count()).select_from(newer.subquery())) or 0
