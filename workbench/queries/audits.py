"""Audits, their samples, and what the log says about the images in them."""

from collections import defaultdict
from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from workbench.errors import NotFound
from workbench.models import Audit, AuditItem, Decision, Image, QueueItem
from workbench.queries.versions import LINE


class Scores(NamedTuple):
    """What the promoted run says of an image, where it has not learnt from it."""

    p_wrong: float | None
    predicted_id: int | None
    confidence: float | None


class Drawn(NamedTuple):
    """An image of a sample as it was drawn."""

    image_id: int
    cell: int
    predicted_id: int | None
    given_id: int | None
    wants: int


def find_audit(session: Session, dataset_id: int, audit_id: int) -> Audit | None:
    audit = session.get(Audit, audit_id)
    return audit if audit is not None and audit.dataset_id == dataset_id else None


def get_audit(session: Session, dataset_id: int, audit_id: int) -> Audit:
    audit = find_audit(session, dataset_id, audit_id)
    if audit is None:
        raise NotFound(f"There is no audit {audit_id} in this data set.")
    return audit


def list_audits(session: Session, dataset_id: int) -> list[Audit]:
    """Newest first."""
    return list(session.scalars(select(Audit).where(Audit.dataset_id == dataset_id).order_by(Audit.id.desc())))


def list_scores(session: Session, dataset_id: int) -> dict[int, Scores]:
    query = select(Image.id, Image.p_wrong, Image.predicted_id, Image.confidence)
    return {row[0]: Scores(*row[1:]) for row in session.execute(query.where(Image.dataset_id == dataset_id))}


def list_drawn(session: Session, audit_ids: Collection[int]) -> dict[int, list[Drawn]]:
    """Audit -> its sample in the order in which its queue shows it. One statement."""
    query = (
        select(
            AuditItem.audit_id,
            AuditItem.image_id,
            AuditItem.cell,
            AuditItem.predicted_id,
            QueueItem.given_id,
            QueueItem.wants,
        )
        .join(Audit, Audit.id == AuditItem.audit_id)
        .join(QueueItem, (QueueItem.queue_id == Audit.queue_id) & (QueueItem.image_id == AuditItem.image_id))
        .where(AuditItem.audit_id.in_(audit_ids))
        .order_by(AuditItem.audit_id, QueueItem.position)
    )
    found: dict[int, list[Drawn]] = defaultdict(list)
    for row in session.execute(query):
        found[row[0]].append(Drawn(*row[1:]))
    return found


def list_first_states(session: Session, audit_ids: Collection[int]) -> dict[int, Row[*tuple[Any, ...]]]:
    """Image -> what its import said, for the images of these samples."""
    query = (
        select(
            Image.id,
            Image.path,
            Image.pixel_sha256,
            Image.first_label_id,
            Image.first_split,
            Image.first_status,
            Image.first_ambiguous_ids,
        )
        .join(AuditItem, AuditItem.image_id == Image.id)
        .where(AuditItem.audit_id.in_(audit_ids))
    )
    return {row.id: row for row in session.execute(query)}


def list_lines(session: Session, audit_ids: Collection[int]) -> dict[int, list[Row[Any]]]:
    """Image -> its lines of the log, oldest first, undone ones too, for the images of these samples."""
    sampled = select(AuditItem.image_id).where(AuditItem.audit_id.in_(audit_ids)).distinct().subquery()
    query = select(*LINE).join(sampled, sampled.c.image_id == Decision.image_id).order_by(Decision.id)
    found: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in session.execute(query):
        found[row.image_id].append(row)
    return found


def list_undos(session: Session, dataset_id: int) -> list[Row[Any]]:
    """(id, action, undoes) of every undo, oldest first."""
    query = select(Decision.id, Decision.action, Decision.undoes).where(
        Decision.dataset_id == dataset_id, Decision.kind == "undo", Decision.kind != ""
    )
    return list(session.execute(query.order_by(Decision.id)))


def list_stamps(session: Session, dataset_id: int) -> dict[int, tuple[int, int, int]]:
    """Audit -> (lines about its sample since it was drawn, the newest of them, the newest undo or change of a class):
    while they stay the same, so do its figures.
    """
    query = (
        select(Audit.id, func.count(Decision.id), func.max(Decision.id))
        .join(AuditItem, AuditItem.audit_id == Audit.id)
        .outerjoin(Decision, (Decision.image_id == AuditItem.image_id) & (Decision.id > Audit.decision_id))
        .where(Audit.dataset_id == dataset_id)
        .group_by(Audit.id)
    )
    newest = select(func.max(Decision.id)).where(
        Decision.dataset_id == dataset_id, Decision.kind.in_(("undo", "class_edit", "class_merge")), Decision.kind != ""
    )
    undone = session.scalar(newest) or 0
    return {row[0]: (row[1], row[2] or 0, undone) for row in session.execute(query)}
