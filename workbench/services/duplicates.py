"""Duplicate groups: formed from equal pixels and from a scan's pairs, settled by reviewers.

An image stands in at most one exact and one near group. A near group holds every exact copy of its pictures, so
settling it settles them all; the exact groups inside it wait in the background (`within_id`) and come forward only if
a reviewer says that the near group's pictures are not the same.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from workbench.errors import Conflict, Invalid
from workbench.models import Dataset, DuplicateGroup, DuplicateMember, DuplicatePair, Image, ImageHash, User
from workbench.queries import decisions as log
from workbench.queries import duplicates as queries
from workbench.queries.duplicates import GroupImages
from workbench.services import decisions
from workbench.services.decisions import Line

VERDICTS = ("keep_best", "keep_all", "not_duplicates", "merge_labels")
_CHUNK = 500
# Of copies in several splits the test one stays, so that the split on which runs are compared does not change.
_SPLIT_ORDER = {"test": 0, "validation": 1, "train": 2, None: 3}


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
    transform: dict[str, Any]
    evidence: float


@dataclass(frozen=True)
class BulkPreview:
    """What `settle_exact_in_bulk` would do."""

    groups: int
    kept: int
    excluded: int


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
    decisions.refresh_flags(session, queries.list_group_ids(session, dataset_id=dataset.id))
    _place_exact_groups(session, dataset)


def _delete_groups(session: Session, groups: Sequence[DuplicateGroup]) -> None:
    for group in groups:
        session.expunge(group)
    for start in range(0, len(groups), _CHUNK):
        ids = [group.id for group in groups[start : start + _CHUNK]]
        session.execute(delete(DuplicateGroup).where(DuplicateGroup.id.in_(ids)))


def _add_groups(session: Session, dataset: Dataset, found: dict[str, FoundGroup], *, kind: str) -> None:
    if not found:
        return
    verdicts = queries.list_verdicts(session, dataset.id)
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
        {"group_id": stored[key].id, "image_id": image_id}
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
    """Keep perceptual hashes by pixel hash. The caller gives only those that are not there yet."""
    rows = [{"pixel_sha256": key, "algorithm": algorithm, "value": value} for key, value in hashes.items()]
    if rows:
        session.execute(insert(ImageHash), rows)


def clear_pairs(session: Session, dataset: Dataset) -> None:
    session.execute(delete(DuplicatePair).where(DuplicatePair.dataset_id == dataset.id))


def store_pairs(session: Session, dataset: Dataset, pairs: Sequence[FoundPair]) -> None:
    rows = [{"dataset_id": dataset.id, **asdict(pair)} for pair in pairs]
    if rows:
        session.execute(insert(DuplicatePair), rows)


def settle(
    session: Session,
    *,
    dataset: Dataset,
    user: User,
    group: DuplicateGroup,
    verdict: str,
    keep_id: int | None = None,
    class_id: int | None = None,
    action: str | None = None,
    queue_id: int | None = None,
) -> str:
    """A reviewer's verdict on a group, as one action; returns its id, which one undo takes back.

    keep_best: `keep_id`, else the best image, stays and the others are excluded. merge_labels: the same, and the one
    that stays is relabelled to `class_id`. keep_all: the same picture, nothing is excluded. not_duplicates: near
    copies only; these images never form a group again.
    """
    if action and log.has_action(session, action):
        return action
    found = queries.get_group(session, dataset.id, group.id)
    _check_verdict(found, verdict=verdict, keep_id=keep_id, class_id=class_id)
    lines = _verdict_lines(found, verdict=verdict, keep_id=keep_id, class_id=class_id)
    return decisions.submit(session, dataset=dataset, user=user, lines=lines, action=action, queue_id=queue_id)


def _check_verdict(found: GroupImages, *, verdict: str, keep_id: int | None, class_id: int | None) -> None:
    if verdict not in VERDICTS:
        raise Invalid(f"“{verdict}” is not a verdict on duplicates; use {', '.join(VERDICTS)}.")
    if found.group.settled_action is not None:
        raise Conflict("Somebody settled this group meanwhile; undo that verdict first.")
    if verdict == "not_duplicates" and found.group.kind == "exact":
        raise Invalid("These images are equal pixel by pixel; keep all of them instead.")
    if keep_id is not None and keep_id not in {image.id for image in found.images}:
        raise Invalid("The image to keep is not in this group.")
    if verdict == "merge_labels" and class_id is None:
        raise Invalid("Choose the class that all of these images show.")


def _verdict_lines(found: GroupImages, *, verdict: str, keep_id: int | None, class_id: int | None) -> list[Line]:
    ids = sorted(image.id for image in found.images)
    lines = [Line("duplicates", detail={"group": found.group.key, "verdict": verdict, "images": ids})]
    if verdict in ("keep_all", "not_duplicates"):
        return lines
    best = choose_best(found.images) if keep_id is None else next(i for i in found.images if i.id == keep_id)
    if verdict == "merge_labels":
        lines += [_label_line(image, class_id) for image in found.images]
    elif best.status == "excluded":
        lines.append(Line("restore", best.id))
    return lines + [
        Line("exclude", image.id)
        for image in found.images
        if image is not best and (image.status != "excluded" or verdict == "merge_labels")
    ]


def _label_line(image: Image, class_id: int | None) -> Line:
    agrees = image.label_id == class_id and image.status == "active"
    return Line("confirm" if agrees else "relabel", image.id, class_id)


def choose_best(images: Sequence[Image]) -> Image:
    """The image to keep: not excluded, labelled, decided by a reviewer, larger, in test before train, oldest."""
    return min(images, key=_preference)


def _preference(image: Image) -> tuple[bool, bool, bool, int, int, int]:
    return (
        image.status == "excluded",
        image.label_id is None,
        image.label_source != "decision",
        -image.width * image.height,
        _SPLIT_ORDER[image.split],
        image.id,
    )


def preview_bulk(session: Session, dataset: Dataset) -> BulkPreview:
    groups = queries.list_open_exact(session, dataset.id)
    excluded = sum(line.kind == "exclude" for found in groups for line in _bulk_lines(found))
    return BulkPreview(groups=len(groups), kept=len(groups), excluded=excluded)


def settle_exact_in_bulk(session: Session, dataset: Dataset, user: User, *, action: str | None = None) -> str:
    """Keep the best of every exact group without conflicting labels: one action, taken back by one undo."""
    if action and log.has_action(session, action):
        return action
    groups = queries.list_open_exact(session, dataset.id)
    if not groups:
        raise Invalid("There is no open group of exact copies whose labels agree.")
    lines = [line for found in groups for line in _bulk_lines(found)]
    return decisions.submit(session, dataset=dataset, user=user, lines=lines, action=action)


def _bulk_lines(found: GroupImages) -> list[Line]:
    return _verdict_lines(found, verdict="keep_best", keep_id=None, class_id=None)
