"""Rows of duplicate groups follow the log: what settles a group, which of its images are other pictures, its flags."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from workbench.models import Dataset, DuplicateGroup, DuplicateMember
from workbench.models.states import verdict_keys
from workbench.queries import decisions as log
from workbench.queries import duplicate_verdicts
from workbench.queries import duplicates as queries
from workbench.services.queue_marks import refresh_group_items

_CHUNK = 500
Details = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Standing:
    """The verdict that settles a group. apart: the ids of its images that are other pictures."""

    action: str
    verdict: str
    apart: frozenset[int]


def refresh_flags(session: Session, group_ids: Sequence[int]) -> None:
    """Bring what duplicate groups say about labels and splits to what their images say. 2 statements for 500 groups."""
    session.flush()
    flags = queries.list_flags(session, group_ids)
    for start in range(0, len(group_ids), _CHUNK):
        chunk = group_ids[start : start + _CHUNK]
        for group in session.scalars(select(DuplicateGroup).where(DuplicateGroup.id.in_(chunk))):
            found = flags[group.id]
            group.conflicting, group.spanning, group.rank = found.conflicting, found.spanning, found.rank
            group.remaining = found.remaining
    session.flush()


def mark_groups(session: Session, dataset: Dataset, details: Details, *, action: str) -> None:
    """A group carries the newest verdict on it that counts; groups that a later scan no longer forms are passed by.

    details: of the action's verdicts on groups.
    """
    details = list(details)
    if not details:
        return
    standing = _find_standing(session, dataset, details, action)
    keys = list(dict.fromkeys(key for detail in details for key in verdict_keys(detail)))
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        query = select(DuplicateGroup).where(DuplicateGroup.dataset_id == dataset.id, DuplicateGroup.key.in_(chunk))
        groups = list(session.scalars(query))
        for group in groups:
            found = standing.get(group.key)
            group.settled_action, group.verdict = (found.action, found.verdict) if found else (None, None)
        session.flush()
        _mark_apart(session, groups, standing)
        refresh_group_items(session, [group.id for group in groups])


def _find_standing(
    session: Session, dataset: Dataset, details: Sequence[Mapping[str, Any]], action: str
) -> dict[str, Standing]:
    if log.was_undone(session, action):  # it, or the verdict that it hides, may count again
        return {
            key: _read(line.action, line.detail or {})
            for key, line in duplicate_verdicts.list_verdicts(session, dataset.id).items()
        }
    return {key: _read(action, detail) for detail in details for key in verdict_keys(detail)}


def _read(action: str, detail: Mapping[str, Any]) -> Standing:
    return Standing(action, detail["verdict"], frozenset(detail.get("apart", ())))


def _mark_apart(session: Session, groups: Sequence[DuplicateGroup], standing: Mapping[str, Standing]) -> None:
    marked = queries.list_apart_members(session, [group.id for group in groups])
    for group in groups:
        found = standing.get(group.key)
        wanted = found.apart if found and found.apart else frozenset()
        if group.kind != "near" or (not wanted and group.id not in marked):
            continue
        for member in session.scalars(select(DuplicateMember).where(DuplicateMember.group_id == group.id)):
            member.apart = member.image_id in wanted
        session.flush()
        refresh_flags(session, [group.id])
        _place_exact_groups(session, group)


def _place_exact_groups(session: Session, near: DuplicateGroup) -> None:
    """A near group speaks for the exact groups inside it, but not for those of images that are other pictures."""
    speaks_for = set(queries.list_member_ids(session, near.id))
    for exact_id, image_ids in queries.list_exact_touching(session, near.id).items():
        session.get_one(DuplicateGroup, exact_id).within_id = near.id if speaks_for.issuperset(image_ids) else None
    session.flush()
