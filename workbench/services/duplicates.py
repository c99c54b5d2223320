"""Duplicate groups: formed from equal pixels and from a scan's pairs. Reviewers settle them: `services/settling.py`.

An image stands in at most one exact and one near group. A near group holds every exact copy of its pictures, so
settling it settles them all; the exact groups inside it wait in the background (`within_id`) and come forward only if
a reviewer says that the near group's pictures are not the same.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from workbench.models import Dataset, DuplicateGroup, DuplicateMember, DuplicatePair, ImageHash
from workbench.queries import duplicate_verdicts
from workbench.queries import duplicates as queries
from workbench.services.group_marks import refresh_flags
from workbench.services.queue_marks import drop_group_items

_CHUNK = 500


@dataclass(frozen=True)
class FoundGroup:
    """A group before it is stored. score: of its weakest link; p: that its images are the same picture."""

    image_ids: Sequence[int]
    score: float = 1.0
    p: float = 1.0


@dataclass(frozen=True)
class FoundPair:
    """Two images that a scan holds for the same picture. how: what proposed the pair, "hashes" or "features"."""

    a_id: int
    b_id: int
    how: str
    score: float
    p: float
    transform: dict[str, Any] | None
    evidence: float


def group_key(image_ids: Iterable[int]) -> str:
    """Names a group by its members: another member makes it another group, which is open again."""
    return hashlib.sha256(",".join(map(str, sorted(image_ids))).encode()).hexdigest()


def refresh_exact_groups(session: Session, dataset: Dataset) -> int:
    """Form the groups of equal pixels anew; returns how many there are. Verdicts on unchanged groups stand."""
    found = [FoundGroup(ids) for ids in queries.list_exact_copies(session, dataset.id)]
    _store_groups(session, dataset, found, kind="exact")
    return len(found)


def refresh_near_groups(session: Session, dataset: Dataset, found: Sequence[FoundGroup]) -> int:
    """Replace the near groups by those of a scan; returns how many there are. Verdicts on unchanged groups stand."""
    _store_groups(session, dataset, found, kind="near")
    return len(found)


def _store_groups(session: Session, dataset: Dataset, found: Sequence[FoundGroup], *, kind: str) -> None:
    by_key = {group_key(group.image_ids): group for group in found}
    stored = queries.list_stored(session, dataset.id, kind=kind)
    gone = [group for key, group in stored.items() if key not in by_key and group.verdict != "not_duplicates"]
    _delete_groups(session, gone)
    for key, group in stored.items():
        if key in by_key:
            group.score, group.p = by_key[key].score, by_key[key].p
    session.flush()
    _add_groups(session, dataset, {key: group for key, group in by_key.items() if key not in stored}, kind=kind)
    refresh_flags(session, queries.list_group_ids(session, dataset_id=dataset.id))
    _place_exact_groups(session, dataset)


def _delete_groups(session: Session, groups: Sequence[DuplicateGroup]) -> None:
    for group in groups:
        session.expunge(group)
    for start in range(0, len(groups), _CHUNK):
        ids = [group.id for group in groups[start : start + _CHUNK]]
        drop_group_items(session, ids)
        session.execute(delete(DuplicateGroup).where(DuplicateGroup.id.in_(ids)))


def _add_groups(session: Session, dataset: Dataset, found: dict[str, FoundGroup], *, kind: str) -> None:
    if not found:
        return
    verdicts = duplicate_verdicts.list_verdicts(session, dataset.id)
    apart = {key: set(line.detail["apart"]) for key, line in verdicts.items() if line.detail and "apart" in line.detail}
    rows = []
    for key, group in found.items():
        line = verdicts.get(key)
        rows.append(
            {
                "dataset_id": dataset.id,
                "key": key,
                "kind": kind,
                "score": group.score,
                "p": group.p,
                "size": len(group.image_ids),
                "conflicting": False,
                "spanning": False,
                "rank": 0,
                "settled_action": line.action if line else None,
                "verdict": line.detail["verdict"] if line and line.detail else None,
            }
        )
    session.execute(insert(DuplicateGroup), rows)
    stored = queries.list_stored(session, dataset.id, kind=kind)
    members = [
        {"group_id": stored[key].id, "image_id": image_id, "apart": image_id in apart.get(key, ())}
        for key, group in found.items()
        for image_id in group.image_ids
    ]
    session.execute(insert(DuplicateMember), members)


def _place_exact_groups(session: Session, dataset: Dataset) -> None:
    """Say of each exact group which near group holds all of its images."""
    near_of: dict[int, int] = {}
    for group_id, image_ids in queries.list_members(session, dataset.id, kind="near").items():
        near_of.update(dict.fromkeys(image_ids, group_id))
    exact = {group.id: group for group in queries.list_stored(session, dataset.id, kind="exact").values()}
    for group_id, image_ids in queries.list_members(session, dataset.id, kind="exact").items():
        holders = {near_of.get(image_id) for image_id in image_ids}
        exact[group_id].within_id = holders.pop() if len(holders) == 1 else None
    session.flush()


def store_hashes(session: Session, hashes: dict[str, bytes], *, algorithm: str) -> None:
    """Keep fingerprints by pixel hash. The caller gives only those that are not there yet."""
    rows = [{"pixel_sha256": key, "algorithm": algorithm, "value": value} for key, value in hashes.items()]
    if rows:
        session.execute(insert(ImageHash), rows)


def replace_pairs(session: Session, dataset: Dataset, pairs: Sequence[FoundPair]) -> None:
    """Keep these pairs of the data set and no others."""
    session.execute(delete(DuplicatePair).where(DuplicatePair.dataset_id == dataset.id))
    rows = [{"dataset_id": dataset.id, **vars(pair)} for pair in pairs]
    if rows:
        session.execute(insert(DuplicatePair), rows)
