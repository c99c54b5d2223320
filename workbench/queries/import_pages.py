"""What the report of an import shows."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from workbench.models import Import, Refusal


def list_imports(session: Session, dataset_id: int) -> list[Import]:
    """Newest first."""
    return list(session.scalars(select(Import).where(Import.dataset_id == dataset_id).order_by(Import.id.desc())))


def list_refusals(session: Session, import_id: int, *, after: int = 0, limit: int = 100) -> Sequence[Refusal]:
    """By id, from the one after `after`."""
    query = select(Refusal).where(Refusal.import_id == import_id, Refusal.id > after)
    return session.scalars(query.order_by(Refusal.id).limit(limit)).all()


def count_reasons(session: Session, import_id: int, *, limit: int = 12) -> list[tuple[str, int]]:
    """Why files were refused and how many, most first."""
    query = select(Refusal.reason, func.count()).where(Refusal.import_id == import_id).group_by(Refusal.reason)
    rows = session.execute(query.order_by(func.count().desc(), Refusal.reason).limit(limit))
    return [(row[0], row[1]) for row in rows]
