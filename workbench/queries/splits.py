"""What the split builder reads."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from workbench.models import Image
from workbench.queries import duplicates


def list_images(session: Session, dataset_id: int) -> Sequence[Any]:
    """(id, label_id, pixel_sha256, split) of every image, by id."""
    query = select(Image.id, Image.label_id, Image.pixel_sha256, Image.split).where(Image.dataset_id == dataset_id)
    return session.execute(query.order_by(Image.id)).all()


def list_near_members(session: Session, dataset_id: int) -> dict[int, list[int]]:
    """The images of the near groups that no reviewer rejected."""
    return duplicates.list_members(session, dataset_id, kind="near")
