"""Verdicts on duplicate groups: by a reviewer on one group, by a lead on all clear ones at once. Nothing is deleted."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sqlalchemy.orm import Session

from workbench.errors import Conflict, Invalid
from workbench.models import Dataset, DuplicateGroup, User
from workbench.queries import datasets, votes
from workbench.queries import decisions as log
from workbench.queries import duplicates as queries
from workbench.queries.duplicates import Bulk, MemberRow
from workbench.services import decisions
from workbench.services.decisions import Line
from workbench.services.duplicates import group_key

VERDICTS = ("keep_best", "keep_all", "not_duplicates", "merge_labels")
# Of copies in several splits the test one stays, so that the split on which runs are compared does not change.
_SPLIT_ORDER = {"test": 0, "validation": 1, "train": 2, None: 3}


@dataclass(frozen=True)
class Verdict:
    """What was said about a group, as `settle` takes it."""

    kind: str
    keep_id: int | None
    class_id: int | None
    apart: frozenset[int]  # with every copy of what was marked


class Choosable(Protocol):
    """What of an image decides whether it is the one to keep."""

    @property
    def id(self) -> int: ...
    @property
    def status(self) -> str: ...
    @property
    def label_id(self) -> int | None: ...
    @property
    def label_source(self) -> str: ...
    @property
    def split(self) -> str | None: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


Chosen = TypeVar("Chosen", bound=Choosable)


def settle(
    session: Session,
    *,
    dataset: Dataset,
    user: User,
    group: DuplicateGroup,
    verdict: str,
    keep_id: int | None = None,
    class_id: int | None = None,
    apart: Iterable[int] = (),
    carry: bool = False,
    action: str | None = None,
    queue_id: int | None = None,
) -> str:
    """A reviewer's verdict on a group, as one action; returns its id, which one undo takes back.

    keep_best: `keep_id`, else the best image, stays and the others are excluded. merge_labels: the same, and the one
    that stays is relabelled to `class_id`. keep_all: the same picture, nothing is excluded. not_duplicates: near
    copies only; these images never form a group again.
    apart: images that are another picture than the rest. The verdict is about the rest, and no later scan puts one of
    them in a group with it. carry: labels and votes of what is excluded become votes of the image that stays.
    """
    if action and log.has_action(session, action):
        return action
    rows = queries.list_member_rows(session, [group.id])[group.id]
    given = Verdict(verdict, keep_id, class_id, _spread(rows, () if verdict == "not_duplicates" else apart))
    _check_verdict(group, rows, given)
    if apart and verdict != "not_duplicates":
        _check_apart(group, rows, given, marked=set(apart))
    rest = [row for row in rows if row.id not in given.apart]
    kept = _find_kept(rest, given)
    lines = [_group_line(group, rows, given), *_image_lines(rest, kept, given)]
    if carry and kept is not None:
        lines += _carry_votes(session, dataset, kept, [row for row in rest if row.status != "excluded"])
    return decisions.submit(session, dataset=dataset, user=user, lines=lines, action=action, queue_id=queue_id)


def _check_verdict(group: DuplicateGroup, rows: Sequence[MemberRow], verdict: Verdict) -> None:
    if verdict.kind not in VERDICTS:
        raise Invalid(f"“{verdict.kind}” is not a verdict on duplicates; use {', '.join(VERDICTS)}.")
    if group.settled_action is not None:
        raise Conflict("Somebody settled this group meanwhile; undo that verdict first.")
    if group.kind == "exact" and verdict.kind == "not_duplicates":
        raise Invalid("These images are equal pixel by pixel; keep all of them instead.")
    if verdict.keep_id is not None and verdict.keep_id not in {row.id for row in rows}:
        raise Invalid("The image to keep is not in this group.")
    if verdict.kind == "merge_labels" and verdict.class_id is None:
        raise Invalid("Choose the class that all of these images show.")


def _check_apart(group: DuplicateGroup, rows: Sequence[MemberRow], verdict: Verdict, *, marked: set[int]) -> None:
    if not {row.id for row in rows} >= marked:
        raise Invalid("An image marked as another picture is not in this group.")
    if group.kind == "exact":
        raise Invalid("These images are equal pixel by pixel; none of them is another picture.")
    if len(verdict.apart) == len(rows):
        raise Invalid("Every image is marked as another picture; say that they are not the same picture instead.")
    if verdict.keep_id in verdict.apart:
        raise Invalid("The image to keep is marked as another picture; choose one of the rest.")


def _spread(rows: Sequence[MemberRow], marked: Iterable[int]) -> frozenset[int]:
    """The images marked and their exact copies: equal pixels are one picture, whatever was ticked."""
    chosen = set(marked)
    pictures = {row.pixel_sha256 for row in rows if row.id in chosen}
    return frozenset(row.id for row in rows if row.pixel_sha256 in pictures)


def _find_kept(rest: Sequence[MemberRow], verdict: Verdict) -> MemberRow | None:
    """The one image that stays, where the others go."""
    if verdict.kind not in ("keep_best", "merge_labels"):
        return None
    if verdict.keep_id is None:
        return choose_best(rest)
    return next(row for row in rest if row.id == verdict.keep_id)


def _group_line(group: DuplicateGroup, rows: Sequence[MemberRow], verdict: Verdict) -> Line:
    detail = {"group": group.key, "verdict": verdict.kind, "images": sorted(row.id for row in rows)}
    if verdict.apart:
        rest = group_key(row.id for row in rows if row.id not in verdict.apart)
        detail |= {"apart": sorted(verdict.apart), "rest": rest}
    return Line("duplicates", detail=detail)


def _image_lines(rest: Sequence[MemberRow], kept: MemberRow | None, verdict: Verdict) -> list[Line]:
    if kept is None:
        return []
    merges = verdict.kind == "merge_labels"
    lines = [_label_line(row, verdict.class_id) for row in rest] if merges else []
    if kept.status == "excluded" and not merges:
        lines.append(Line("restore", kept.id))
    gone = [row for row in rest if row is not kept and (merges or row.status != "excluded")]
    return lines + [Line("exclude", row.id) for row in gone]


def _label_line(row: MemberRow, class_id: int | None) -> Line:
    agrees = row.label_id == class_id and row.status == "active"
    return Line("confirm" if agrees else "relabel", row.id, class_id)


def choose_best(images: Sequence[Chosen]) -> Chosen:
    """The image to keep: not excluded, labelled, decided by a reviewer, larger, in test before train, oldest."""
    return min(images, key=_preference)


def _preference(image: Choosable) -> tuple[bool, bool, bool, int, int, int]:
    return (
        image.status == "excluded",
        image.label_id is None,
        image.label_source == "imported",
        -image.width * image.height,
        _SPLIT_ORDER[image.split],
        image.id,
    )


# --- votes ------------------------------------------------------------------------------------------------------


def _carry_votes(session: Session, dataset: Dataset, kept: MemberRow, used: Sequence[MemberRow]) -> list[Line]:
    """The line that gives the image kept the votes of those that go, and one for the label of each of their files.

    used: the images in use until now. Where the image kept has no votes yet its own label comes along as one vote, or
    the others' would stand alone.
    """
    gone = [row for row in used if row is not kept]
    cast = votes.list_votes_by_image(session, [kept.id, *(row.id for row in gone)])
    own = cast.pop(kept.id, [])
    counts: Counter[tuple[str, int | None]] = Counter()
    for vote in (vote for found in cast.values() for vote in found):
        counts[vote.option, vote.class_id] += vote.count
    if not counts and all(row.label_id is None for row in gone):
        return []
    options = {cls.id: cls.name for cls in datasets.list_classes(session, dataset.id)}
    options |= {vote.class_id: vote.option for vote in own if vote.class_id is not None}
    for class_id, files in _labels_by_file(gone if own else [kept, *gone]).items():
        counts[options[class_id], class_id] += files
    carried = [[option, class_id, number] for (option, class_id), number in counts.items()]
    return [Line("votes", kept.id, detail={"votes": sorted(carried, key=lambda entry: str(entry[0]))})]


def _labels_by_file(rows: Sequence[MemberRow]) -> Counter[int]:
    """Class -> how many different files carry it: the same bytes twice are one voice."""
    files = {(row.label_id, row.file_sha256) for row in rows if row.label_id is not None}
    return Counter(label_id for label_id, _ in files if label_id is not None)


# --- in bulk ----------------------------------------------------------------------------------------------------


def settle_in_bulk(
    session: Session, dataset: Dataset, user: User, *, bulk: Bulk, up_to: int | None = None, action: str | None = None
) -> int:
    """Keep the best of every clear group: one action, taken back by one undo; returns how many groups that were.

    up_to: the newest group when the user saw what would happen; groups that a scan has formed since are left alone.
    """
    if action and log.has_action(session, action):
        return 0
    groups = queries.list_in_bulk(session, dataset.id, bulk, up_to=up_to)
    if not groups:
        raise Invalid("There is no open group of this kind whose labels agree.")
    rows = queries.list_member_rows(session, [group.id for group in groups])
    keep = Verdict("keep_best", None, None, frozenset())
    lines = []
    for group in groups:
        members = rows[group.id]
        lines += [_group_line(group, members, keep), *_image_lines(members, choose_best(members), keep)]
    decisions.submit(session, dataset=dataset, user=user, lines=lines, action=action)
    return len(groups)
