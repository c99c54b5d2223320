"""What the duplicates pages show beside the groups: who settled them, raters' votes, the last scan."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from workbench.models import Decision, DuplicateGroup, DuplicateMember, Image, Vote

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


def list_votes(session: Session, image_ids: Sequence[int]) -> dict[int, list[Vote]]:
    """Image id -> its votes, the most chosen first. For the images of one group."""
    query = select(Vote).where(Vote.image_id.in_(image_ids), Vote.count > 0)
    found: dict[int, list[Vote]] = defaultdict(list)
    for vote in session.scalars(query.order_by(Vote.image_id, Vote.count.desc(), Vote.option)):
        found[vote.image_id].append(vote)
    return dict(found)


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
