"""Everything the page of one duplicate group shows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from sqlalchemy.orm import Session

from workbench.models import Class, Dataset, DuplicateGroup, Image, Vote
from workbench.models.transforms import describe as describe_transform
from workbench.queries import datasets, votes
from workbench.queries import duplicate_pages as queries
from workbench.queries import duplicates as groups
from workbench.queries.duplicates import MemberRow
from workbench.services.settling import choose_best

MOST_IMAGES = 60
MOST_PAIRS = 60
SIDES_PX = {3: 240, 6: 192, MOST_IMAGES: 144}  # up to so many images: the side that each may take
_HOW = {"hashes": "found by hashes", "features": "found by features"}


@dataclass(frozen=True)
class Member:
    """One image of a group as the page shows it: all of them at one scale, so that sizes can be compared."""

    number: int
    image: Image
    votes: list[Vote]
    attributes: Mapping[str, str]
    source: str
    apart: bool
    width: int
    height: int


@dataclass(frozen=True)
class PairLine:
    """Two images of a group by their numbers on the page, and why they are held for one picture."""

    a: int
    b: int
    how: str
    p: float
    transform: Mapping[str, Any] | None = None

    @property
    def words(self) -> str:
        return describe_transform(self.transform)


@dataclass(frozen=True)
class Suggestion:
    """The image to keep and the class for it. why: the raters' votes, most labels, the model, or the label it has."""

    keep_id: int
    class_id: int | None
    why: str


@dataclass(frozen=True)
class GroupPage:
    """more: images of the group that are not shown. pictures: how many differ in their pixels."""

    group: DuplicateGroup
    members: list[Member]
    more: int
    pictures: int
    pairs: list[PairLine]
    differing: set[str]
    attribute_names: list[str]
    suggestion: Suggestion
    classes: list[Class]

    @property
    def side(self) -> int:
        return find_side(len(self.members))


def find_side(images: int) -> int:
    return next(side for most, side in SIDES_PX.items() if images <= most)


def describe(session: Session, dataset: Dataset, group: DuplicateGroup) -> GroupPage:
    """As many images as a page can show, the one to keep first; a picture may be there ten thousand times."""
    rows = groups.list_member_rows(session, [group.id])[group.id]
    apart = set(groups.list_apart_members(session, [group.id]).get(group.id, []))
    best = choose_best([row for row in rows if row.id not in apart] or rows)
    members = _list_members(session, arrange(rows, best)[:MOST_IMAGES], apart=apart)
    classes = datasets.list_open_classes(session, dataset.id)
    return GroupPage(
        group=group,
        members=members,
        more=len(rows) - len(members),
        pictures=len({row.pixel_sha256 for row in rows}),
        pairs=_list_pairs(session, group, members),
        differing=find_differing(members),
        attribute_names=sorted({name for member in members for name in member.attributes}),
        suggestion=suggest(rows, best.id, votes.sum_group_votes(session, group.id), classes, members),
        classes=classes,
    )


def arrange(rows: Sequence[MemberRow], best: MemberRow) -> list[MemberRow]:
    """The image to keep, then its copies, then the others in the order of their ids, each with its copies beside it."""
    first: dict[str, int] = {best.pixel_sha256: 0}
    for row in rows:
        first.setdefault(row.pixel_sha256, row.id)
    return sorted(rows, key=lambda row: (row is not best, first[row.pixel_sha256], row.id))


def _list_members(session: Session, rows: Sequence[MemberRow], *, apart: set[int]) -> list[Member]:
    ids = [row.id for row in rows]
    images = queries.list_shown_images(session, ids)
    cast = votes.list_votes_by_image(session, ids)
    attributes = queries.list_attributes(session, ids)
    sources = queries.get_sources(session, sorted({image.import_id for image in images}))
    scale = fit_scale(images, side_px=find_side(len(images)))
    return [
        Member(
            number=number,
            image=image,
            votes=cast.get(image.id, []),
            attributes=attributes.get(image.id, {}),
            source=PurePath(sources[image.import_id]).name or sources[image.import_id],
            apart=image.id in apart,
            width=max(1, round(image.width * scale)),
            height=max(1, round(image.height * scale)),
        )
        for number, image in enumerate(images, 1)
    ]


def fit_scale(images: Sequence[Image], *, side_px: int) -> float:
    """How much every image of the group is enlarged: a whole number, unless the largest has to shrink."""
    longest = max(max(image.width, image.height) for image in images)
    return side_px // longest if longest <= side_px else side_px / longest


def _list_pairs(session: Session, group: DuplicateGroup, members: Sequence[Member]) -> list[PairLine]:
    """The scan's pairs, weakest first, then the copies that are equal pixel by pixel."""
    number_of = {member.image.id: member.number for member in members}
    found = queries.list_pairs(session, group.id, limit=MOST_PAIRS) if group.kind == "near" else []
    lines = [
        PairLine(number_of[pair.a_id], number_of[pair.b_id], _HOW.get(pair.how, pair.how), pair.p, pair.transform)
        for pair in found
        if pair.a_id in number_of and pair.b_id in number_of
    ]
    first: dict[str, int] = {}
    for member in members:
        pixels = member.image.pixel_sha256
        if first.setdefault(pixels, member.number) != member.number:
            lines.append(PairLine(first[pixels], member.number, "equal pixels", 1.0))
    return lines[:MOST_PAIRS]


def find_differing(members: Sequence[Member]) -> set[str]:
    """Which facts are not the same for all images of the group."""
    names = {name for member in members for name in member.attributes}
    facts = [
        {
            "label": (member.image.label_id, member.image.status == "ambiguous"),
            "split": member.image.split,
            "from": (member.source, member.image.path.rpartition("/")[0]),
            "size": (member.image.width, member.image.height),
            "bytes": (member.image.size_bytes, member.image.mode),
            "source": member.image.label_source,
            "status": member.image.status,
            "votes": sorted((vote.option, vote.count) for vote in member.votes),
            "predicted": member.image.predicted_id,
            **{f"attribute {name}": member.attributes.get(name) for name in names},
        }
        for member in members
    ]
    return {key for key in facts[0] if any(fact[key] != facts[0][key] for fact in facts)}


def suggest(
    rows: Sequence[MemberRow], best_id: int, cast: Counter[int], classes: Sequence[Class], members: Sequence[Member]
) -> Suggestion:
    """What raters, then most labels, then the model say of the picture; else the label of the image kept."""
    open_ids = {cls.id for cls in classes}
    labels = Counter(row.label_id for row in rows if row.label_id in open_ids and row.status != "excluded")
    voted = Counter({class_id: number for class_id, number in cast.items() if class_id in open_ids})
    for counted, word in ((voted, "votes"), (labels, "labels")):
        leading = counted.most_common(2)
        if leading and (len(leading) == 1 or leading[0][1] > leading[1][1]):
            class_id, number = leading[0]
            return Suggestion(best_id, class_id, f"{number} of {counted.total()} {word}")
    best = next(member.image for member in members if member.image.id == best_id)
    if best.predicted_id in labels:
        return Suggestion(best_id, best.predicted_id, "as the model sees it")
    return Suggestion(best_id, best.label_id if best.label_id in open_ids else None, "the label of the image kept")
