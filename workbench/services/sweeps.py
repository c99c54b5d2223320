"""Sweeps: up to forty images that a queue believes to be one class, settled together except for those marked.

A sweep goes through a class once, from page to page by position: what is left for later stays behind for the card and
is not shown again until somebody asks for it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from workbench.errors import Conflict, Invalid
from workbench.models import Class, Dataset, Image, Queue, QueueItem, User
from workbench.queries import datasets
from workbench.queries import decisions as log
from workbench.queries import sweeps as queries
from workbench.services import decisions
from workbench.services.decisions import Line
from workbench.services.leases import LEASE

SIZE = 40
START = -1  # the cursor before the first item
LATER = "later"  # the mark of an image that is not of the class, without saying what it is: it stays in the queue
EXCLUDE = "exclude"


@dataclass(frozen=True)
class Cell:
    item: QueueItem
    image: Image
    label: Class | None
    mark: str  # "" for what the grid believes, a class id, EXCLUDE or LATER


@dataclass(frozen=True)
class Sweep:
    """What the grid shows; without cells, the end of a class, or of all when `cls` is none."""

    cls: Class | None
    classes: list[Class]  # those that may be chosen
    waiting: list[tuple[Class, int]]  # each class with the open items that the queue believes to be it, fullest first
    swept: list[int]  # the classes that this reviewer has been through
    cells: list[Cell]
    after: int  # the position where this page begins
    held: int = 0  # at the end of a class: open items that other reviewers have on the screen
    action: str = field(default_factory=decisions.new_action)

    @property
    def cursor(self) -> int:
        """The position where the next page begins."""
        return self.cells[-1].item.position if self.cells else self.after

    @property
    def left(self) -> int:
        """At the end of a class: its items that were left for later."""
        return next((n for cls, n in self.waiting if cls is self.cls), 0) - self.held

    @property
    def following(self) -> tuple[Class, int] | None:
        """The fullest class that this reviewer has not been through."""
        return next((pair for pair in self.waiting if pair[0] is not self.cls and pair[0].id not in self.swept), None)


@dataclass(frozen=True)
class Missed:
    """An image that somebody decided on while it was on the screen."""

    item: QueueItem
    image: Image
    label: Class | None
    by: str
    mine: Class | None  # what this reviewer had said; none for excluded
    agrees: bool


@dataclass(frozen=True)
class Settled:
    number: int
    left: int  # for later
    missed: list[Missed]


def check_sweepable(queue: Queue) -> None:
    """Raises Invalid for a queue whose images are each asked by themselves."""
    if queue.opinions > 1:
        raise Invalid(
            f"This queue asks {queue.opinions} reviewers about each image, one at a time and without seeing what "
            "anybody thinks; a grid would show it."
        )
    if queue.blind:
        raise Invalid("This queue is blind: each image is asked one at a time, and a grid would show what is believed.")


def make_sweep(
    session: Session,
    dataset: Dataset,
    queue: Queue,
    *,
    user: User,
    now: datetime,
    class_id: int | None = None,
    after: int = START,
    swept: Collection[int] = (),
    marks: Mapping[int, str] | None = None,
) -> Sweep:
    """The next forty of one class after a position; of the fullest class not yet swept if none is asked for.

    marks: item id -> mark, of a form that could not be settled as it was, or that was undone: those items are shown
    with them.
    """
    by_id = {cls.id: cls for cls in datasets.list_classes(session, dataset.id)}
    waiting = [(by_id[found], n) for found, n in queries.list_classes(session, queue) if by_id[found].is_open]
    cls = by_id.get(class_id or 0) or next((each for each, _ in waiting if each.id not in swept), None)
    rows: queries.Rows = []
    if marks:
        rows = [row for row in queries.list_items(session, queue, list(marks)) if row[0].done_action is None]
    elif cls is not None:
        rows = queries.list_free(session, queue, class_id=cls.id, after=after, user=user, now=now, limit=SIZE)
    marks = marks or {}
    return Sweep(
        cls=cls,
        classes=[each for each in by_id.values() if each.is_open],
        waiting=waiting,
        swept=sorted(set(swept)),
        cells=[Cell(item, image, by_id.get(image.label_id or 0), marks.get(item.id, "")) for item, image in rows],
        after=after,
        held=0 if rows or cls is None else queries.count_held(session, queue, class_id=cls.id, user=user, now=now),
    )


def settle(
    session: Session,
    dataset: Dataset,
    queue: Queue,
    *,
    user: User,
    cls: Class,
    marks: Mapping[int, str],
    revisions: Mapping[int, int],
    action: str,
    forced: str = "",
) -> Settled:
    """Decide on every item that is not left for later, as one action. Sent twice it counts once.

    Images that somebody else decided on meanwhile are left as they are and named; the others are settled.
    """
    check_sweepable(queue)
    for mark in marks.values():
        _check_mark(mark)
    left = [item_id for item_id, mark in marks.items() if mark == LATER]
    if lines := log.get_action(session, action):
        return Settled(len(lines), len(left), [])
    rows = queries.list_items(session, queue, list(marks))
    if len(rows) < len(marks):
        raise Conflict("Some of these images are no longer in this queue; nothing is settled yet. Open the grid again.")
    asked = [(item, image) for item, image in rows if marks[item.id] != LATER]
    still = [(item, image) for item, image in asked if _is_as_shown(item, image, revisions)]
    made = [make_line(image, cls, marks[item.id]) for item, image in still]
    if made:
        decisions.submit(
            session, dataset=dataset, user=user, lines=made, action=action, queue_id=queue.id, forced=forced
        )
    changed = [row for row in asked if row not in still]
    return Settled(len(made), len(left), _list_missed(session, dataset, changed, cls=cls, marks=marks))


def _is_as_shown(item: QueueItem, image: Image, revisions: Mapping[int, int]) -> bool:
    return item.done_action is None and item.wants == 1 and image.revision == revisions.get(item.id)


def _list_missed(
    session: Session, dataset: Dataset, rows: queries.Rows, *, cls: Class, marks: Mapping[int, str]
) -> list[Missed]:
    if not rows:
        return []
    classes = {each.id: each for each in datasets.list_classes(session, dataset.id)}
    newest = queries.get_newest_lines(session, [image for _, image in rows])
    found = []
    for item, image in rows:
        label = classes.get(image.label_id or 0) if image.status == "active" else None
        mark = marks[item.id]
        mine = None if mark == EXCLUDE else classes.get(int(mark or cls.id))
        agrees = image.status == "excluded" if mark == EXCLUDE else label is not None and label is mine
        by = newest[image.id].user.name if image.id in newest else "somebody"
        found.append(Missed(item, image, label, by, mine, agrees))
    return found


def _check_mark(mark: str) -> None:
    if mark not in ("", EXCLUDE, LATER) and not (mark.isascii() and mark.isdecimal() and len(mark) < 10):
        raise Invalid(f"“{mark}” is not something that an image of the grid can be marked as.")


def make_line(image: Image, cls: Class, mark: str) -> Line:
    """What a mark says about an image; an unmarked one is of the class that the grid shows."""
    if mark == EXCLUDE:
        return decisions.make_line(image, verdict="exclude")
    class_id = int(mark) if mark else cls.id
    if image.label_id == class_id and image.status == "active":
        return decisions.make_line(image, verdict="confirm")
    return decisions.make_line(image, verdict="relabel", class_id=class_id)


def recall(session: Session, queue: Queue, action: str) -> tuple[int | None, dict[int, str]]:
    """The class of a sweep that was undone, and item id -> mark of what it had settled; empty if nothing is open."""
    lines = {line.image_id: line for line in log.get_action(session, action) if line.image_id is not None}
    rows = queries.list_items_of_images(session, queue, list(lines)[:SIZE])
    if not rows:
        return None, {}
    class_id = rows[0][0].suggested_id or rows[0][0].given_id
    marks = {}
    for item, image in rows:
        line = lines[image.id]
        said = EXCLUDE if line.kind == "exclude" else str(line.class_id)
        marks[item.id] = "" if said == str(class_id) else said
    return class_id, marks


def hold(session: Session, queue: Queue, *, item_ids: Sequence[int], user: User, now: datetime) -> list[int]:
    """Lease the items that are free, so that nobody else is shown them for a while; returns those that are not."""
    held = set(queries.lease_items(session, queue, item_ids=item_ids, user=user, now=now, until=now + LEASE))
    return [item_id for item_id in item_ids if item_id not in held]


def count_marks(sweep: Sweep) -> list[tuple[str, int]]:
    """(what, how many) as the preview line says it: the class itself first, then the others by number."""
    own = sweep.cls.name if sweep.cls else ""
    names = {"": own, EXCLUDE: "excluded", LATER: "left for later"}
    names |= {str(cls.id): cls.name for cls in sweep.classes}
    counts: dict[str, int] = {}
    for cell in sweep.cells:
        name = names.get(cell.mark, cell.mark)
        counts[name] = counts.get(name, 0) + 1
    return sorted(counts.items(), key=lambda pair: (pair[0] != own, -pair[1], pair[0]))
