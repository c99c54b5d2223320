"""The log read action by action: a bulk action of a thousand lines is one row of a page."""

import functools
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, ScalarSelect, Select, bindparam, func, literal, select
from sqlalchemy.orm import Session, aliased, joinedload

from workbench.models import Dataset, Decision, Image, Import, Queue


def list_last_lines(
    session: Session,
    *,
    dataset_id: int,
    user_id: int | None = None,
    kinds: Sequence[str] = (),
    image_id: int | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Decision]:
    """The last line of each action, newest first; `before` is the line that the page before ended with.

    Hops from action to action by index, so that a bulk action costs no more than a single one.
    """
    statement = _last_lines(user_id is not None, tuple(kinds), image_id is not None, before is not None)
    given = {"dataset_id": dataset_id, "user_id": user_id, "image_id": image_id, "before": before, "most": limit}
    return list(session.scalars(statement, {name: value for name, value in given.items() if value is not None}))


@functools.lru_cache(maxsize=128)
def _last_lines(by_user: bool, kinds: tuple[str, ...], of_image: bool, continued: bool) -> Select[Any]:
    """Built once per combination of filters: building it costs more than running it."""
    line = aliased(Decision)
    wanted = [line.dataset_id == bindparam("dataset_id")]
    if by_user:
        wanted.append(line.user_id == bindparam("user_id"))
    if kinds:
        wanted.append(line.kind.in_(kinds))
    if of_image:
        wanted.append(line.image_id == bindparam("image_id"))
    start = _newest(line, [*wanted, line.id < _first_id(bindparam("before"))] if continued else wanted)
    hops = select(start.label("line_id"), literal(1).label("hop")).cte(recursive=True)
    following = _newest(line, [*wanted, line.id < _first_id(hops.c.line_id)])
    more = (hops.c.line_id.is_not(None), hops.c.hop < bindparam("most"))
    hops = hops.union_all(select(following, hops.c.hop + 1).where(*more))
    query = select(Decision).join(hops, hops.c.line_id == Decision.id).options(joinedload(Decision.user))
    return query.order_by(Decision.id.desc())


def _newest(line: Any, wanted: Sequence[ColumnElement[bool]]) -> ScalarSelect[Any]:
    return select(line.id).where(*wanted).order_by(line.id.desc()).limit(1).correlate_except(line).scalar_subquery()


def _first_id(line_id: ColumnElement[Any]) -> ScalarSelect[Any]:
    """The first line of the action that a line belongs to."""
    one, other = aliased(Decision), aliased(Decision)
    action = select(one.action).where(one.id == line_id).correlate_except(one).scalar_subquery()
    return select(func.min(other.id)).where(other.action == action).correlate_except(other).scalar_subquery()


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
