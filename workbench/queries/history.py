"""The log read action by action: a bulk action of a thousand lines is one row of a page."""

from collections.abc import Sequence

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session, joinedload

from workbench.models import Dataset, Decision, Image, Import, Queue


def get_lines(session: Session, line_ids: Sequence[int]) -> list[Decision]:
    """Newest first, with who wrote them."""
    if not line_ids:
        return []
    query = select(Decision).options(joinedload(Decision.user)).where(Decision.id.in_(line_ids))
    return list(session.scalars(query.order_by(Decision.id.desc())))


def count_lines(session: Session, actions: Sequence[str]) -> dict[str, int]:
    query = select(Decision.action, func.count()).where(Decision.action.in_(actions)).group_by(Decision.action)
    return {row[0]: row[1] for row in session.execute(query)}


def tally_lines(session: Session, actions: Sequence[str]) -> list[Row[str, str, int | None, int]]:
    """(action, kind, class, lines) of bulk actions, the largest share first."""
    query = (
        select(Decision.action, Decision.kind, Decision.class_id, func.count().label("lines"))
        .where(Decision.action.in_(actions))
        .group_by(Decision.action, Decision.kind, Decision.class_id)
        .order_by(func.count().desc(), Decision.kind, Decision.class_id)
    )
    return list(session.execute(query))


def list_undos(session: Session, actions: Sequence[str]) -> list[Decision]:
    """The lines that undo these actions, the lines that undo those, and so on, oldest first, with who wrote them."""
    found: list[Decision] = []
    frontier = list(actions)
    while frontier:
        query = select(Decision).options(joinedload(Decision.user)).where(Decision.undoes.in_(frontier))
        lines = list(session.scalars(query))
        found += lines
        frontier = [line.action for line in lines]
    return sorted(found, key=lambda line: line.id)


def get_first_lines(session: Session, actions: Sequence[str]) -> dict[str, Decision]:
    if not actions:
        return {}
    first = select(func.min(Decision.id)).where(Decision.action.in_(actions)).group_by(Decision.action)
    query = select(Decision).options(joinedload(Decision.user)).where(Decision.id.in_(first))
    return {line.action: line for line in session.scalars(query)}


def get_images(session: Session, image_ids: Sequence[int]) -> dict[int, Image]:
    if not image_ids:
        return {}
    return {image.id: image for image in session.scalars(select(Image).where(Image.id.in_(image_ids)))}


def get_queue_titles(session: Session, dataset: Dataset) -> dict[int, str]:
    """Of all queues of the data set, closed ones too: a log line names its queue by id alone."""
    return {
        row.id: row.title
        for row in session.execute(select(Queue.id, Queue.title).where(Queue.dataset_id == dataset.id))
    }


def get_imports(session: Session, import_ids: Sequence[int]) -> dict[int, Import]:
    if not import_ids:
        return {}
    return {found.id: found for found in session.scalars(select(Import).where(Import.id.in_(import_ids)))}
