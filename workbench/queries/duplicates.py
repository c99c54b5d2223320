"""Duplicate groups with their images, and what is counted about them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypedDict, Unpack

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, or_, select, tuple_
from sqlalchemy.orm import Session, aliased, joinedload

from workbench.errors import Invalid, NotFound
from workbench.models import NOTHING_LEFT, DuplicateGroup, DuplicateMember, DuplicatePair, Image
from workbench.models import transforms as words

STATES = ("open", "settled", "all")
_CHUNK = 500  # bound variables per statement

Cursor = tuple[int, int]


class MemberRow(NamedTuple):
    """What a verdict needs to know of an image of a group."""

    group_id: int
    id: int
    status: str
    label_id: int | None
    label_source: str
    split: str | None
    width: int
    height: int
    pixel_sha256: str
    file_sha256: str


class Wanted(TypedDict, total=False):
    """Which groups. kind: exact, near, or none for each picture in one group only. state: "open" if it is not said."""

    kind: str | None
    state: str
    conflicting: bool
    spanning: bool
    min_p: float
    below_p: float
    transform: str | None  # one of models.transforms.KINDS: a pair of the group is of it


@dataclass(frozen=True)
class Bulk:
    """The groups that are settled at once: open ones without conflicting labels.

    exact: those of equal pixels. min_p: near ones from this P on, with the exact ones inside them; none for no near.
    """

    exact: bool = True
    min_p: float | None = None


@dataclass(frozen=True)
class GroupImages:
    """A group with its images: copies of one picture stand together, in the order of their ids.

    images: all of them, or the first few where only those were asked for; `group.size` says how many there are.
    """

    group: DuplicateGroup
    images: list[Image]

    @property
    def cursor(self) -> Cursor:
        """Where a list goes on after this group."""
        return self.group.rank, self.group.id


@dataclass(frozen=True)
class GroupCounts:
    """redundant: the images that could go if one per group stayed; removable: those of open groups still in use."""

    groups: int
    images: int
    conflicting: int
    spanning: int
    open: int
    exact: int
    removable: int

    @property
    def redundant(self) -> int:
        return self.images - self.groups

    @property
    def settled(self) -> int:
        return self.groups - self.open


@dataclass(frozen=True)
class BulkCounts:
    """within: the exact groups that stand inside a near one. images: in use now."""

    exact: int
    near: int
    within: int
    spanning: int
    images: int

    @property
    def groups(self) -> int:
        return self.exact + self.near

    @property
    def excluded(self) -> int:
        """One image of each group stays."""
        return self.images - self.groups


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
    after: Cursor | None = None,
    limit: int | None = 20,
    most_images: int | None = None,
    **wanted: Unpack[Wanted],
) -> list[GroupImages]:
    """Conflicting groups first, then spanning ones.

    after: the cursor of the last group of the page before. most_images: so many of each group.
    Two statements, however many groups.
    """
    query = _filter(dataset_id, wanted)
    if after is not None:
        query = query.where(tuple_(DuplicateGroup.rank, DuplicateGroup.id) > after)
    query = query.order_by(DuplicateGroup.rank, DuplicateGroup.id).limit(limit)
    return with_images(session, list(session.scalars(query)), most=most_images)


def _filter(dataset_id: int, wanted: Wanted) -> Select[DuplicateGroup]:
    state, kind, transform = wanted.get("state", "open"), wanted.get("kind"), wanted.get("transform")
    if state not in STATES:
        raise Invalid(f"“{state}” is not a state of a group; use {', '.join(STATES)}.")
    query = select(DuplicateGroup).where(DuplicateGroup.dataset_id == dataset_id)
    if state != "all":
        query = query.where(is_open() if state == "open" else ~is_open())
    if "conflicting" in wanted:
        query = query.where(DuplicateGroup.conflicting.is_(wanted["conflicting"]))
    if "spanning" in wanted:
        query = query.where(DuplicateGroup.spanning.is_(wanted["spanning"]))
    if wanted.get("min_p", 0.0) > 0:
        query = query.where(DuplicateGroup.p >= wanted["min_p"])
    if "below_p" in wanted:
        query = query.where(DuplicateGroup.p < wanted["below_p"])
    if transform is not None:
        query = query.where(_has_pair(transform))
    if kind is not None:
        return query.where(DuplicateGroup.kind == kind)
    if state == "settled":  # what has a verdict of its own is listed whatever speaks for it
        return query.where(or_(_stands_alone(), DuplicateGroup.settled_action.is_not(None)))
    return query.where(_stands_alone())


def _has_pair(kind: str) -> ColumnElement[bool]:
    """Whether a pair inside the group is of this kind of transform."""
    a, b = aliased(DuplicateMember), aliased(DuplicateMember)
    return (
        select(DuplicatePair.id)
        .join(a, a.image_id == DuplicatePair.a_id)
        .join(b, (b.image_id == DuplicatePair.b_id) & (b.group_id == a.group_id))
        .where(a.group_id == DuplicateGroup.id, _is_of_kind(kind))
        .exists()
    )


def _is_of_kind(kind: str) -> ColumnElement[bool]:
    """The kinds of `models.transforms`, by the limits from which on it says a word."""
    transform = DuplicatePair.transform

    def beyond(key: str, neutral: float, limit: float) -> ColumnElement[bool]:
        return func.abs(func.coalesce(func.json_extract(transform, f"$.{key}"), neutral) - neutral) >= limit

    kinds = {
        "mirrored": func.json_extract(transform, "$.mirrored").is_(True),
        "cropped": or_(
            beyond("zoom", 1, words.ZOOM), beyond("aspect", 1, words.ASPECT),
            beyond("shift[0]", 0, words.SHIFT), beyond("shift[1]", 0, words.SHIFT),
        ),
        "turned": beyond("rotation", 0, words.DEGREES),
        "relit": or_(beyond("gain", 1, words.GAIN), beyond("offset", 0, words.GREY_LEVELS)),
        "part": func.coalesce(func.json_extract(transform, "$.part"), "whole") != "whole",
    }  # fmt: skip
    if kind not in kinds:
        raise Invalid(f"“{kind}” is not a kind of change; use {', '.join(words.KINDS)}.")
    return kinds[kind]


def is_open() -> ColumnElement[bool]:
    """Whether a group waits for a verdict: none yet, and two or more of its images are not excluded."""
    return DuplicateGroup.settled_action.is_(None) & (DuplicateGroup.rank < NOTHING_LEFT)


def _stands_alone() -> ColumnElement[bool]:
    """Whether no near group speaks for this one; a near group judged not to be duplicates speaks for none."""
    near = aliased(DuplicateGroup)
    rejected = select(near.id).where(near.id == DuplicateGroup.within_id, near.verdict == "not_duplicates").exists()
    return or_(DuplicateGroup.within_id.is_(None), rejected)


def find_next_open(session: Session, dataset_id: int, *, after: Cursor | None = None) -> DuplicateGroup | None:
    """The first group that waits for a verdict, after the one given."""
    query = _filter(dataset_id, {}).order_by(DuplicateGroup.rank, DuplicateGroup.id).limit(1)
    if after is not None:
        query = query.where(tuple_(DuplicateGroup.rank, DuplicateGroup.id) > after)
    return session.scalar(query)


def find_group(session: Session, dataset_id: int, group_id: int) -> DuplicateGroup:
    group = session.get(DuplicateGroup, group_id)
    if group is None or group.dataset_id != dataset_id:
        raise NotFound("There is no such duplicate group; a new scan may have formed others.")
    return group


def get_group(session: Session, dataset_id: int, group_id: int) -> GroupImages:
    return with_images(session, [find_group(session, dataset_id, group_id)])[0]


def list_groups_of_image(session: Session, image_id: int) -> list[GroupImages]:
    """The groups that hold an image, each with its first image, the near one first."""
    query = (
        select(DuplicateGroup)
        .join(DuplicateMember, DuplicateMember.group_id == DuplicateGroup.id)
        .where(DuplicateMember.image_id == image_id)
        .order_by(DuplicateGroup.kind.desc(), DuplicateGroup.id)
    )
    return with_images(session, list(session.scalars(query)), most=1)


def with_images(session: Session, groups: Sequence[DuplicateGroup], *, most: int | None = None) -> list[GroupImages]:
    """The groups with their images, or the first so many of each. One statement for 500 groups."""
    members: dict[int, list[Image]] = defaultdict(list)
    for chunk in _chunks([group.id for group in groups]):
        query = (
            select(DuplicateMember.group_id, Image)
            .join(Image, Image.id == DuplicateMember.image_id)
            .options(joinedload(Image.label), joinedload(Image.predicted))
            .where(DuplicateMember.group_id.in_(chunk))
            .order_by(Image.id)
        )
        if most is not None:
            number = func.row_number().over(partition_by=DuplicateMember.group_id, order_by=DuplicateMember.image_id)
            numbered = select(DuplicateMember.group_id, DuplicateMember.image_id, number.label("number"))
            first = numbered.where(DuplicateMember.group_id.in_(chunk)).subquery()
            same = (first.c.group_id == DuplicateMember.group_id) & (first.c.image_id == DuplicateMember.image_id)
            query = query.join(first, same).where(first.c.number <= most)
        for group_id, image in session.execute(query):
            members[group_id].append(image)
    return [GroupImages(group, _copies_together(members[group.id])) for group in groups]


def list_member_rows(session: Session, group_ids: Sequence[int]) -> dict[int, list[MemberRow]]:
    """Group id -> its images in the order of their ids."""
    found: dict[int, list[MemberRow]] = {group_id: [] for group_id in group_ids}
    for chunk in _chunks(group_ids):
        query = (
            select(
                DuplicateMember.group_id, Image.id, Image.status, Image.label_id, Image.label_source, Image.split,
                Image.width, Image.height, Image.pixel_sha256, Image.file_sha256,
            )
            .join(Image, Image.id == DuplicateMember.image_id)
            .where(DuplicateMember.group_id.in_(chunk))
            .order_by(DuplicateMember.group_id, Image.id)
        )  # fmt: skip
        for row in session.execute(query):
            found[row.group_id].append(MemberRow._make(row))
    return found


def list_member_ids(session: Session, group_id: int) -> list[int]:
    """The images of a group that are not judged to be another picture."""
    query = select(DuplicateMember.image_id).where(
        DuplicateMember.group_id == group_id, DuplicateMember.apart.is_(False)
    )
    return list(session.scalars(query.order_by(DuplicateMember.image_id)))


def list_apart_members(session: Session, group_ids: Sequence[int]) -> dict[int, list[int]]:
    """Group id -> its images that a verdict says are other pictures; groups without are left out."""
    found: dict[int, list[int]] = defaultdict(list)
    for chunk in _chunks(group_ids):
        query = select(DuplicateMember.group_id, DuplicateMember.image_id).where(
            DuplicateMember.group_id.in_(chunk), DuplicateMember.apart
        )
        for group_id, image_id in session.execute(query.order_by(DuplicateMember.group_id, DuplicateMember.image_id)):
            found[group_id].append(image_id)
    return dict(found)


def list_exact_touching(session: Session, group_id: int) -> dict[int, list[int]]:
    """The exact groups that share an image with a near group: their ids and all of their images."""
    mine, other = aliased(DuplicateMember), aliased(DuplicateMember)
    touching = (
        select(other.group_id)
        .join(mine, mine.image_id == other.image_id)
        .join(DuplicateGroup, DuplicateGroup.id == other.group_id)
        .where(mine.group_id == group_id, DuplicateGroup.kind == "exact")
    )
    query = select(DuplicateMember.group_id, DuplicateMember.image_id).where(DuplicateMember.group_id.in_(touching))
    found: dict[int, list[int]] = defaultdict(list)
    for exact_id, image_id in session.execute(query):
        found[exact_id].append(image_id)
    return dict(found)


def _copies_together(images: list[Image]) -> list[Image]:
    first: dict[str, int] = {}
    for image in images:
        first.setdefault(image.pixel_sha256, image.id)
    return sorted(images, key=lambda image: (first[image.pixel_sha256], image.id))


def count_groups(session: Session, dataset_id: int, **wanted: Unpack[Wanted]) -> GroupCounts:
    """Open and settled ones, unless a state is said."""
    columns = (
        func.count(),
        func.coalesce(func.sum(DuplicateGroup.size), 0),
        func.count().filter(DuplicateGroup.conflicting),
        func.count().filter(DuplicateGroup.spanning),
        func.count().filter(is_open()),
        func.count().filter(DuplicateGroup.kind == "exact"),
        func.coalesce(func.sum(DuplicateGroup.remaining - 1).filter(is_open()), 0),
    )
    row = session.execute(_filter(dataset_id, {"state": "all", **wanted}).with_only_columns(*columns)).one()
    return GroupCounts(*row)


def _in_bulk(dataset_id: int, bulk: Bulk) -> Select[DuplicateGroup]:
    """An exact group inside a near one that is settled too is left to it."""
    query = select(DuplicateGroup).where(
        DuplicateGroup.dataset_id == dataset_id, is_open(), DuplicateGroup.conflicting.is_(False)
    )
    near = and_(DuplicateGroup.kind == "near", DuplicateGroup.p >= (2.0 if bulk.min_p is None else bulk.min_p))
    exact = DuplicateGroup.kind == "exact"
    if not bulk.exact or bulk.min_p is None:
        return query.where(exact if bulk.exact else near)
    holder = aliased(DuplicateGroup)
    settled_with = (
        select(holder.id)
        .where(
            holder.id == DuplicateGroup.within_id,
            holder.settled_action.is_(None),
            holder.rank < NOTHING_LEFT,
            holder.conflicting.is_(False),
            holder.p >= bulk.min_p,
        )
        .exists()
    )
    return query.where(or_(near, and_(exact, ~settled_with)))


def list_in_bulk(
    session: Session, dataset_id: int, bulk: Bulk, *, limit: int | None = None, up_to: int | None = None
) -> list[DuplicateGroup]:
    """The groups in question, weakest first. up_to: none that is newer than this group."""
    query = _in_bulk(dataset_id, bulk).order_by(DuplicateGroup.p, DuplicateGroup.id).limit(limit)
    return list(session.scalars(query if up_to is None else query.where(DuplicateGroup.id <= up_to)))


def count_in_bulk(session: Session, dataset_id: int, bulk: Bulk) -> BulkCounts:
    kinds = _in_bulk(dataset_id, bulk).with_only_columns(
        func.count().filter(DuplicateGroup.kind == "exact"),
        func.count().filter(DuplicateGroup.kind == "near"),
        func.count().filter(and_(DuplicateGroup.kind == "exact", DuplicateGroup.within_id.is_not(None))),
        func.count().filter(DuplicateGroup.spanning),
        func.coalesce(func.sum(DuplicateGroup.remaining), 0),
    )
    return BulkCounts(*session.execute(kinds).one())


def get_newest_id(session: Session, dataset_id: int) -> int:
    """The id of the group that was formed last; 0 where there is none."""
    return session.scalar(select(func.max(DuplicateGroup.id)).where(DuplicateGroup.dataset_id == dataset_id)) or 0


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


def list_stored(session: Session, dataset_id: int, *, kind: str) -> dict[str, DuplicateGroup]:
    """The groups of a kind by key."""
    query = select(DuplicateGroup).where(DuplicateGroup.dataset_id == dataset_id, DuplicateGroup.kind == kind)
    return {group.key: group for group in session.scalars(query)}


def list_group_ids(session: Session, *, dataset_id: int) -> list[int]:
    return list(session.scalars(select(DuplicateGroup.id).where(DuplicateGroup.dataset_id == dataset_id)))


_member = DuplicateMember.__table__.c
_HOLDING = select(_member.group_id).where(  # built once: asked with every decision
    _member.image_id.in_(bindparam("image_ids", expanding=True))
)


def list_groups_holding(session: Session, image_ids: Sequence[int]) -> list[int]:
    """The ids of the groups that hold any of the images."""
    found: set[int] = set()
    for chunk in _chunks(image_ids):
        found.update(session.scalars(_HOLDING, {"image_ids": chunk}))
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
            .where(DuplicateMember.group_id.in_(chunk), DuplicateMember.apart.is_(False), Image.status != "excluded")
            .group_by(DuplicateMember.group_id)
        )
        for group_id, labels, splits, remaining in session.execute(query):
            found[group_id] = Flags(conflicting=labels > 1, spanning=splits > 1, remaining=remaining)
    return found


def list_members(session: Session, dataset_id: int, *, kind: str) -> dict[int, list[int]]:
    """Group id -> the ids of its images, ascending. What a reviewer rejected is left out: groups, images of groups."""
    query = (
        select(DuplicateMember.group_id, DuplicateMember.image_id)
        .join(DuplicateGroup, DuplicateGroup.id == DuplicateMember.group_id)
        .where(
            DuplicateGroup.dataset_id == dataset_id,
            DuplicateGroup.kind == kind,
            DuplicateGroup.verdict.is_distinct_from("not_duplicates"),
            DuplicateMember.apart.is_(False),
        )
        .order_by(DuplicateMember.group_id, DuplicateMember.image_id)
    )
    found: dict[int, list[int]] = defaultdict(list)
    for group_id, image_id in session.execute(query):
        found[group_id].append(image_id)
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
