"""Votes of many images."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from workbench.models import DuplicateMember, Image, Vote

_CHUNK = 500  # bound variables per statement


def list_votes_by_image(session: Session, image_ids: Sequence[int]) -> dict[int, list[Vote]]:
    """Image id -> its votes, the most chosen first."""
    found: dict[int, list[Vote]] = defaultdict(list)
    for start in range(0, len(image_ids), _CHUNK):
        query = select(Vote).where(Vote.image_id.in_(image_ids[start : start + _CHUNK]))
        for vote in session.scalars(query.order_by(Vote.image_id, Vote.count.desc(), Vote.option)):
            found[vote.image_id].append(vote)
    return dict(found)


def list_counts(session: Session, image_ids: Sequence[int]) -> list[tuple[int, int, int]]:
    """(image id, class id, votes) of these images, without the votes for options that are no class."""
    found = []
    for start in range(0, len(image_ids), _CHUNK):
        query = select(Vote.image_id, Vote.class_id, Vote.count).where(
            Vote.image_id.in_(image_ids[start : start + _CHUNK]), Vote.class_id.is_not(None), Vote.count > 0
        )
        found += [(row[0], row[1] or 0, row[2]) for row in session.execute(query)]
    return found


def list_voted(session: Session, dataset_id: int) -> list[int]:
    """The images of a data set that have votes."""
    query = select(Vote.image_id).join(Image, Image.id == Vote.image_id).where(Image.dataset_id == dataset_id)
    return list(session.scalars(query.distinct().order_by(Vote.image_id)))


def sum_group_votes(session: Session, group_id: int) -> Counter[int]:
    """Class id -> how many votes the images of a group have for it. One statement, however many images."""
    query = (
        select(Vote.class_id, func.sum(Vote.count))
        .join(DuplicateMember, DuplicateMember.image_id == Vote.image_id)
        .where(DuplicateMember.group_id == group_id, Vote.class_id.is_not(None))
        .group_by(Vote.class_id)
    )
    return Counter({class_id: number for class_id, number in session.execute(query) if class_id is not None})


def list_sums(session: Session, *, dataset_id: int, image_ids: Sequence[int]) -> list[Vote]:
    """The votes that are more or less than an import said, and all votes of these images."""
    found: dict[tuple[int, str], Vote] = {}
    differing = (
        select(Vote)
        .join(Image, Image.id == Vote.image_id)
        .where(Image.dataset_id == dataset_id, Vote.count != Vote.first_count)
    )
    for vote in session.scalars(differing):
        found[vote.image_id, vote.option] = vote
    for votes in list_votes_by_image(session, image_ids).values():
        found.update({(vote.image_id, vote.option): vote for vote in votes})
    return [found[key] for key in sorted(found)]


def has_votes(session: Session, dataset_id: int) -> bool:
    """Whether any image of the data set has one."""
    query = select(Vote.image_id).join(Image, Image.id == Vote.image_id).where(Image.dataset_id == dataset_id)
    return session.scalar(query.limit(1)) is not None
