"""Duplicate groups with their images, and what is counted about them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, func, or_, select, tuple_
from sqlalchemy.orm import Session, aliased, joinedload

from workbench.errors import Invalid, NotFound
from workbench.models import NOTHING_LEFT, Decision, DuplicateGroup, DuplicateMember, Image, ImageHash
from workbench.queries import decisions as log

STATES = ("open", "settled", "all")
_CHUNK = 500  # bound variables per statement

Cursor = tuple[int, int]


@dataclass(frozen=True)
class GroupImages:
    """A group with its images: copies of one picture stand together, in the order of their ids."""

    group: DuplicateGroup
    images: list[Image]

    @property
    def pictures(self) -> int:
        """How many different pictures, pixel by pixel, it holds; 1 for an exact group."""
        return len({image.pixel_sha256 for image in self.images})

    @property
    def cursor(self) -> Cursor:
        """Where a list goes on after this group."""
        return self.group.rank, self.group.id


@dataclass(frozen=True)
class GroupCounts:
    """redundant: the images that could go if one per group stayed."""

    groups: int
    images: int
    conflicting: int
    spanning: int
    open: int

    @property
    def redundant(self) -> int:
        return self.images - self.groups

    @property
    def settled(self) -> int:
        return self.groups - self.open


@dataclass(frozen=True)
class Flags:
    """What a group's images that are not excluded say about it."""

    conflicting: bool
    spanning: bool
    remaining: int

    @property
    def rank(self) -> int:
        return NOTHING_LEFT if self.remaining < 2 else 3 - 2 * self.conflicting - self.spanning


def list_groups(
    session: Session,
    dataset_id: int,
    *,
    kind: str | None = None,
    state: str = "open",
    conflicting: bool | None = None,
    spanning: bool | None = None,
    min_p: float = 0.0,
    after: Cursor | None = None,
    limit: int | None = 20,
) -> list[GroupImages]:
    """Conflicting groups first, then spanning ones. kind: exact, near, or none for each picture in one group only.

    after: the cursor of the last group of the page before. Two statements, however many groups.
    """
    query = _filter(dataset_id, kind=kind, state=state, min_p=min_p)
    if conflicting is not None:
        query = query.where(DuplicateGroup.conflicting.is_(conflicting))
    if spanning is not None:
        query = query.where(DuplicateGroup.spanning.is_(spanning))
    if after is not None:
        query = query.where(tuple_(DuplicateGroup.rank, DuplicateGroup.id) > after)
    query = query.order_by(DuplicateGroup.rank, DuplicateGroup.id).limit(limit)
    return _with_images(session, list(session.scalars(query)))


def _filter(dataset_id: int, *, kind: str | None, state: str, min_p: float = 0.0) -> Select[DuplicateGroup]:
    if state not in STATES:
        raise Invalid(f"“{state}” is not a state of a group; use {', '.join(STATES)}.")
    query = select(DuplicateGroup).where(DuplicateGroup.dataset_id == dataset_id)
    if state != "all":
        query = query.where(is_open() if state == "open" else ~is_open())
    if min_p > 0:
        query = query.where(DuplicateGroup.p >= min_p)
    if kind is not None:
        return query.where(DuplicateGroup.kind == kind)
    return query.where(_stands_alone())


def is_open() -> ColumnElement[bool]:
    """Whether a group waits for a verdict: none yet, and two or more of its images are not excluded."""
    return DuplicateGroup.settled_action.is_(None) & (DuplicateGroup.rank < NOTHING_LEFT)


def _stands_alone() -> ColumnElement[bool]:
    """Whether no near group speaks for this one; a near group judged not to be duplicates speaks for none."""
    near = aliased(DuplicateGroup)
    rejected = select(near.id).where(near.id == DuplicateGroup.within_id, near.verdict == "not_duplicates").exists()
    return or_(DuplicateGroup.within_id.is_(None), rejected)


def next_open_group(
    session: Session, dataset_id: int, *, kind: str | None = None, after: Cursor | None = None
) -> GroupImages | None:
    """The first group that waits for a verdict, after the one given."""
    return next(iter(list_groups(session, dataset_id, kind=kind, after=after, limit=1)), None)


def get_group(session: Session, dataset_id: int, group_id: int) -> GroupImages:
    group = session.get(DuplicateGroup, group_id)
    if group is None or group.dataset_id != dataset_id:
        raise NotFound("There is no such duplicate group; a new scan may have formed others.")
    return _with_images(session, [group])[0]


def list_groups_of_image(session: Session, image_id: int) -> list[GroupImages]:
    """The groups that hold an image, the near one first."""
    query = (
        select(DuplicateGroup)
        .join(DuplicateMember, DuplicateMember.group_id == DuplicateGroup.id)
        .where(DuplicateMember.image_id == image_id)
        .order_by(DuplicateGroup.kind.desc(), DuplicateGroup.id)
    )
    return _with_images(session, list(session.scalars(query)))


def _with_images(session: Session, groups: Sequence[DuplicateGroup]) -> list[GroupImages]:
    members: dict[int, list[Image]] = defaultdict(list)
    for chunk in _chunks([group.id for group in groups]):
        query = (
            select(DuplicateMember.group_id, Image)
            .join(Image, Image.id == DuplicateMember.image_id)
            .options(joinedload(Image.label), joinedload(Image.predicted))
            .where(DuplicateMember.group_id.in_(chunk))
            .order_by(Image.id)
        )
        for group_id, image in session.execute(query):
            members[group_id].append(image)
    return [GroupImages(group, _copies_together(members[group.id])) for group in groups]


def _copies_together(images: list[Image]) -> list[Image]:
    first: dict[str, int] = {}
    for image in images:
        first.setdefault(image.pixel_sha256, image.id)
    return sorted(images, key=lambda image: (first[image.pixel_sha256], image.id))


def count_groups(
    session: Session, dataset_id: int, *, kind: str | None = None, state: str = "all", min_p: float = 0.0
) -> GroupCounts:
    found = _filter(dataset_id, kind=kind, state=state, min_p=min_p)
    columns = (
        func.count(),
        func.coalesce(func.sum(DuplicateGroup.size), 0),
        func.count().filter(DuplicateGroup.conflicting),
        func.count().filter(DuplicateGroup.spanning),
        func.count().filter(is_open()),
    )
    row = session.execute(found.with_only_columns(*columns)).one()
    return GroupCounts(groups=row[0], images=row[1], conflicting=row[2], spanning=row[3], open=row[4])


def list_exact_copies(session: Session, dataset_id: int) -> list[list[int]]:
    """The ids of the images that share their pixels with another, group by group, the lowest first."""
    shared = (
        select(Image.pixel_sha256)
        .where(Image.dataset_id == dataset_id)
        .group_by(Image.pixel_sha256)
        .having(func.count() > 1)
    )
    query = (
        select(Image.pixel_sha256, Image.id)
        .where(Image.dataset_id == dataset_id, Image.pixel_sha256.in_(shared))
        .order_by(Image.pixel_sha256, Image.id)
    )
    groups: dict[str, list[int]] = defaultdict(list)
    for pixel_sha256, image_id in session.execute(query):
        groups[pixel_sha256].append(image_id)
    return sorted(groups.values())


def list_open_exact(session: Session, dataset_id: int) -> list[GroupImages]:
    """The exact groups without conflicting labels that wait for a verdict."""
    return list_groups(session, dataset_id, kind="exact", conflicting=False, limit=None)


def list_stored(session: Session, dataset_id: int, *, kind: str) -> dict[str, DuplicateGroup]:
    """The groups of a kind by key."""
    query = select(DuplicateGroup).where(DuplicateGroup.dataset_id == dataset_id, DuplicateGroup.kind == kind)
    return {group.key: group for group in session.scalars(query)}


def list_group_ids(session: Session, *, dataset_id: int) -> list[int]:
    return list(session.scalars(select(DuplicateGroup.id).where(DuplicateGroup.dataset_id == dataset_id)))


def list_groups_holding(session: Session, image_ids: Sequence[int]) -> list[int]:
    """The ids of the groups that hold any of the images."""
    found: set[int] = set()
    for chunk in _chunks(image_ids):
        found.update(session.scalars(select(DuplicateMember.group_id).where(DuplicateMember.image_id.in_(chunk))))
    return sorted(found)


def list_flags(session: Session, group_ids: Sequence[int]) -> dict[int, Flags]:
    """What the images say about each group now; one statement for 500 groups."""
    found = {group_id: Flags(conflicting=False, spanning=False, remaining=0) for group_id in group_ids}
    for chunk in _chunks(group_ids):
        query = (
            select(
                DuplicateMember.group_id,
                func.count(Image.label_id.distinct()),
                func.count(Image.split.distinct()),
                func.count(),
            )
            .join(Image, Image.id == DuplicateMember.image_id)
            .where(DuplicateMember.group_id.in_(chunk), Image.status != "excluded")
            .group_by(DuplicateMember.group_id)
        )
        for group_id, labels, splits, remaining in session.execute(query):
            found[group_id] = Flags(conflicting=labels > 1, spanning=splits > 1, remaining=remaining)
    return found


def list_members(session: Session, dataset_id: int, *, kind: str) -> dict[int, list[int]]:
    """Group id -> the ids of its images, ascending. Groups that a reviewer rejected are left out."""
    query = (
        select(DuplicateMember.group_id, DuplicateMember.image_id)
        .join(DuplicateGroup, DuplicateGroup.id == DuplicateMember.group_id)
        .where(
            DuplicateGroup.dataset_id == dataset_id,
            DuplicateGroup.kind == kind,
            DuplicateGroup.verdict.is_distinct_from("not_duplicates"),
        )
        .order_by(DuplicateMember.group_id, DuplicateMember.image_id)
    )
    found: dict[int, list[int]] = defaultdict(list)
    for group_id, image_id in session.execute(query):
        found[group_id].append(image_id)
    return found


def list_verdicts(session: Session, dataset_id: int) -> dict[str, Decision]:
    """Group key -> the newest verdict on it that counts. One read of the data set's log."""
    undone = log.get_undone(session, dataset_id=dataset_id)
    query = select(Decision).where(Decision.dataset_id == dataset_id, Decision.kind == "duplicates")
    found = {}
    for line in session.scalars(query.order_by(Decision.id)):
        if line.action not in undone and line.detail is not None:
            found[str(line.detail["group"])] = line
    return found


def list_rejected(session: Session, dataset_id: int) -> list[list[int]]:
    """The ids of images that a reviewer said are not the same picture, verdict by verdict."""
    lines = list_verdicts(session, dataset_id).values()
    return [line.detail["images"] for line in lines if line.detail and line.detail["verdict"] == "not_duplicates"]


def list_pictures(session: Session, dataset_id: int) -> list[tuple[str, int]]:
    """Each distinct picture of a data set: its pixel hash and its first image, in the order of the images."""
    query = (
        select(Image.pixel_sha256, func.min(Image.id).label("first_id"))
        .where(Image.dataset_id == dataset_id)
        .group_by(Image.pixel_sha256)
        .order_by("first_id")
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def get_hashes(session: Session, pixel_hashes: Sequence[str], *, algorithm: str) -> dict[str, bytes]:
    found = {}
    for chunk in _chunks(pixel_hashes):
        query = select(ImageHash.pixel_sha256, ImageHash.value).where(
            ImageHash.algorithm == algorithm, ImageHash.pixel_sha256.in_(chunk)
        )
        found.update({row[0]: row[1] for row in session.execute(query)})
    return found


def list_images(session: Session, image_ids: Sequence[int]) -> list[Image]:
    """The images in the order of the ids given."""
    found = {}
    for chunk in _chunks(image_ids):
        found.update({image.id: image for image in session.scalars(select(Image).where(Image.id.in_(chunk)))})
    return [found[image_id] for image_id in image_ids]


def _chunks(ids: Sequence[int] | Sequence[str]) -> Iterator[Sequence[int] | Sequence[str]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]
