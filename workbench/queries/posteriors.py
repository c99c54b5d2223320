"""Reading what posterior labels are about: the images that nobody has decided on."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from workbench.models import VERDICTS, Decision, Image, Run


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


def list_settled_ids(session: Session, dataset_id: int) -> list[int]:
    """The images that reviewers have decided on."""
    query = select(Image.id).where(Image.dataset_id == dataset_id, Image.label_source.in_(("decision", "consensus")))
    return list(session.scalars(query))


def get_first_version(session: Session, dataset_id: int) -> int:
    """The newest line before anybody decided on an image: the labels as they came."""
    first = select(func.min(Decision.id)).where(Decision.dataset_id == dataset_id, Decision.kind.in_(VERDICTS))
    query = select(func.max(Decision.id)).where(
        Decision.dataset_id == dataset_id, Decision.id < func.coalesce(first.scalar_subquery(), 2**62)
    )
    return session.scalar(query) or 0


def list_runs(session: Session, dataset_id: int) -> list[Run]:
    """All runs of the data set, newest first."""
    return list(session.scalars(select(Run).where(Run.dataset_id == dataset_id).order_by(Run.id.desc())))
