"""Reading what posterior labels are about: the images that nobody has decided on."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from workbench.models import Image


class Undecided(NamedTuple):
    id: int
    label_id: int
    split: str | None
    keeps_label: bool


def list_undecided(session: Session, *, dataset_id: int, p_wrong_from: float | None) -> Sequence[Undecided]:
    """Active images that carry their label as it came, by id; all of them, or the doubtful ones by an index."""
    query = select(Image.id, Image.label_id, Image.split, Image.keeps_label).where(
        Image.dataset_id == dataset_id,
        Image.label_source == "imported",
        Image.status == "active",
        Image.label_id.is_not(None),
    )
    if p_wrong_from is not None:
        query = query.where(Image.p_wrong >= p_wrong_from)
    rows = session.execute(query).all()
    return sorted((Undecided._make(row) for row in rows), key=lambda row: row.id)
