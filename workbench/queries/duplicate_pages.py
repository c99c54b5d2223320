"""What the duplicates pages show beside the groups: who settled them, pairs, attributes, where images came from."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased, joinedload

from workbench.models import (
    Attribute,
    Decision,
    DuplicateGroup,
    DuplicateMember,
    DuplicatePair,
    Image,
    Import,
)

_CHUNK = 500  # bound variables per statement
_LOOK_BACK = 2_000  # lines of the log: one bulk action may have written them all


def get_settling(session: Session, actions: Sequence[str]) -> dict[str, Decision]:
    """Action -> its first line, with the user. For one page of groups."""
    first = (
        select(func.min(Decision.id))
        .where(Decision.action.in_(actions), Decision.kind == "duplicates")
        .group_by(Decision.action)
    )
    query = select(Decision).options(joinedload(Decision.user)).where(Decision.id.in_(first))
    return {line.action: line for line in session.scalars(query)}


def count_settled(session: Session, actions: Sequence[str]) -> dict[str, int]:
    """Action -> how many groups it has settled. For one page of groups."""
    query = (
        select(DuplicateGroup.settled_action, func.count())
        .where(DuplicateGroup.settled_action.in_(actions))
        .group_by(DuplicateGroup.settled_action)
    )
    return {action: count for action, count in session.execute(query) if action is not None}


def list_pairs(session: Session, group_id: int, *, limit: int) -> list[DuplicatePair]:
    """The scan's pairs inside a group, weakest first."""
    a, b = aliased(DuplicateMember), aliased(DuplicateMember)
    query = (
        select(DuplicatePair)
        .join(a, a.image_id == DuplicatePair.a_id)
        .join(b, (b.image_id == DuplicatePair.b_id) & (b.group_id == a.group_id))
        .where(a.group_id == group_id)
        .order_by(DuplicatePair.p, DuplicatePair.id)
        .limit(limit)
    )
    return list(session.scalars(query))


def list_pairs_by_group(session: Session, group_ids: Sequence[int]) -> dict[int, list[DuplicatePair]]:
    """Group id -> the scan's pairs inside it, weakest first."""
    a, b = aliased(DuplicateMember), aliased(DuplicateMember)
    found: dict[int, list[DuplicatePair]] = defaultdict(list)
    for start in range(0, len(group_ids), _CHUNK):
        query = (
            select(a.group_id, DuplicatePair)
            .join_from(DuplicatePair, a, a.image_id == DuplicatePair.a_id)
            .join(b, (b.image_id == DuplicatePair.b_id) & (b.group_id == a.group_id))
            .where(a.group_id.in_(group_ids[start : start + _CHUNK]))
            .order_by(DuplicatePair.p, DuplicatePair.id)
        )
        for group_id, pair in session.execute(query):
            found[group_id].append(pair)
    return dict(found)


def list_shown_images(session: Session, image_ids: Sequence[int]) -> list[Image]:
    """The images with label and prediction, in the order given. For one page."""
    query = select(Image).options(joinedload(Image.label), joinedload(Image.predicted)).where(Image.id.in_(image_ids))
    found = {image.id: image for image in session.scalars(query)}
    return [found[image_id] for image_id in image_ids]


def list_attributes(session: Session, image_ids: Sequence[int]) -> dict[int, dict[str, str]]:
    """Image id -> its attributes by name. For one page."""
    query = select(Attribute).where(Attribute.image_id.in_(image_ids)).order_by(Attribute.name)
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for attribute in session.scalars(query):
        found[attribute.image_id][attribute.name] = attribute.value
    return dict(found)


def get_sources(session: Session, import_ids: Sequence[int]) -> dict[int, str]:
    """Import id -> what was imported. For one page."""
    query = select(Import.id, Import.source).where(Import.id.in_(import_ids))
    return {row.id: row.source for row in session.execute(query)}


@dataclass(frozen=True)
class Settled:
    """A group that somebody settled, shown by its first image."""

    group: DuplicateGroup
    image: Image


def list_last_settled(session: Session, *, dataset_id: int, user_id: int, limit: int = 5) -> list[Settled]:
    """The groups that a user settled last and that are settled still, newest first; one group for a bulk action."""
    newest = (
        select(Decision.action, Decision.id)
        .where(Decision.dataset_id == dataset_id, Decision.user_id == user_id, Decision.kind == "duplicates")
        .order_by(Decision.id.desc())
        .limit(_LOOK_BACK)
        .subquery()
    )
    actions = (
        select(func.min(DuplicateGroup.id).label("group_id"), func.max(newest.c.id).label("decision_id"))
        .join(newest, newest.c.action == DuplicateGroup.settled_action)
        .where(DuplicateGroup.dataset_id == dataset_id)
        .group_by(newest.c.action)
        .order_by(func.max(newest.c.id).desc())
        .limit(limit)
        .subquery()
    )
    first = (
        select(func.min(DuplicateMember.image_id))
        .where(DuplicateMember.group_id == DuplicateGroup.id)
        .scalar_subquery()
    )
    query = (
        select(DuplicateGroup, Image)
        .join(actions, actions.c.group_id == DuplicateGroup.id)
        .join(Image, Image.id == first)
        .order_by(actions.c.decision_id.desc())
    )
    return [Settled(group, image) for group, image in session.execute(query)]
