"""What was planted in a data set (the attribute `planted`), and how much of it queues and reviewers have found.

The demo plants faults so that its pages can say how many of them were found. Nothing else reads that attribute.
"""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from workbench.models import Attribute, Image, Queue, QueueItem

ATTRIBUTE = "planted"
WRONG_LABEL = "wrong label"


@dataclass(frozen=True)
class Planted:
    """Wrong labels: how many were planted, how many stand among the first of the newest label-issue queue,
    how many reviewers have put right or excluded."""

    wrong_labels: int
    in_queue_top: int
    settled: int


def get_planted(session: Session, dataset_id: int) -> Planted | None:
    """None for a data set in which nothing was planted, found by one index look-up."""
    planted = (
        select(Image.id)
        .join(Attribute, Attribute.image_id == Image.id)
        .where(Image.dataset_id == dataset_id, Attribute.name == ATTRIBUTE, Attribute.value.startswith(WRONG_LABEL))
    )
    total = session.scalar(select(func.count()).select_from(planted.subquery())) or 0
    if total == 0:
        return None
    newest = (
        select(func.max(Queue.id))
        .where(Queue.dataset_id == dataset_id, Queue.recipe == "label_issues")
        .scalar_subquery()
    )
    ranked = (QueueItem.is_random, QueueItem.position)
    top = select(QueueItem.image_id).where(QueueItem.queue_id == newest).order_by(*ranked).limit(total)
    found = session.scalar(select(func.count()).where(Image.id.in_(top), Image.id.in_(planted)))
    settled = session.scalar(
        select(func.count()).where(
            Image.id.in_(planted),
            Image.label_source == "decision",
            (Image.label_id != Image.first_label_id) | (Image.status != "active"),
        )
    )
    return Planted(wrong_labels=total, in_queue_top=found or 0, settled=settled or 0)
