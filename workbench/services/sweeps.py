"""Sweeps: up to forty images that a queue believes to be one class, settled together except for those marked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from workbench.errors import Conflict, Invalid
from workbench.models import Class, Dataset, Image, Queue, QueueItem, User
from workbench.queries import datasets
from workbench.queries import decisions as log
from workbench.queries import review as queries
from workbench.services import decisions
from workbench.services.decisions import Line
from workbench.services.queues import LEASE

SIZE = 40
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
    """What the grid shows. `waiting`: each class with the open items that the queue believes to be it."""

    cls: Class
    classes: list[Class]  # those that may be chosen
    waiting: list[tuple[Class, int]]
    cells: list[Cell]
    action: str = field(default_factory=decisions.new_action)


def make_sweep(
    session: Session,
    dataset: Dataset,
    queue: Queue,
    *,
    user: User,
    now: datetime,
    class_id: int | None = None,
    marks: Mapping[int, str] | None = None,
) -> Sweep | None:
    """The next forty of one class, of the fullest one if none is asked for; none when nothing is left to sweep.

    marks: item id -> mark, of a form that could not be settled as it was: those items are shown again with them.
    """
    by_id = {cls.id: cls for cls in datasets.list_classes(session, dataset.id)}
    waiting = [(by_id[found], n) for found, n in queries.list_sweep_classes(session, queue) if by_id[found].is_open]
    cls = next((each for each, _ in waiting if class_id in (None, each.id)), None)
    if cls is None and waiting:
        cls = waiting[0][0]
    if cls is None:
        return None
    marks = marks or {}
    if marks:
        rows = [row for row in queries.list_items(session, queue, list(marks)) if row[0].done_action is None]
    else:
        rows = queries.list_sweep_items(session, queue, class_id=cls.id, user=user, now=now, limit=SIZE)
    return Sweep(
        cls=cls,
        classes=[each for each in by_id.values() if each.is_open],
        waiting=waiting,
        cells=[Cell(item, image, by_id.get(image.label_id or 0), marks.get(item.id, "")) for item, image in rows],
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
) -> int:
    """Decide on every item that is not left for later, as one action; returns on how many.

    Raises Conflict if any of the images was decided on meanwhile: then nothing is settled.
    """
    if log.has_action(session, action):  # sent twice: it counted the first time
        return len([mark for mark in marks.values() if mark != LATER])
    rows = queries.list_items(session, queue, list(marks))
    changed = [item for item, image in rows if item.done_action or image.revision != revisions.get(item.id)]
    if changed or len(rows) < len(marks):
        number = len(changed) + len(marks) - len(rows)
        raise Conflict(f"Somebody decided on {number} of these meanwhile; nothing is settled yet.")
    lines = [make_line(image, cls, marks[item.id]) for item, image in rows if marks[item.id] != LATER]
    if not lines:
        raise Invalid("All of them are left for later: there is nothing to settle.")
    decisions.submit(session, dataset=dataset, user=user, lines=lines, action=action, queue_id=queue.id, forced=forced)
    return len(lines)


def make_line(image: Image, cls: Class, mark: str) -> Line:
    """What a mark says about an image; an unmarked one is of the class that the grid shows."""
    if mark == EXCLUDE:
        return decisions.make_line(image, verdict="exclude")
    if mark and not mark.isdigit():
        raise Invalid(f"“{mark}” is not something that an image of the grid can be marked as.")
    class_id = int(mark) if mark else cls.id
    if image.label_id == class_id and image.status == "active":
        return decisions.make_line(image, verdict="confirm")
    return decisions.make_line(image, verdict="relabel", class_id=class_id)


def hold(session: Session, queue: Queue, *, item_ids: Sequence[int], user: User, now: datetime) -> None:
    """Lease the items that are free, so that nobody else is shown them for a while."""
    queries.lease_items(session, queue, item_ids=item_ids, user=user, now=now, until=now + LEASE)


def count_marks(sweep: Sweep) -> list[tuple[str, int]]:
    """(what, how many) as the preview line says it: the class itself first, then the others by number."""
    own = f"as {sweep.cls.name}"
    names = {"": own, str(sweep.cls.id): own, EXCLUDE: "excluded", LATER: "left for later"}
    names |= {str(cls.id): f"as {cls.name}" for cls in sweep.classes}
    counts: dict[str, int] = {}
    for cell in sweep.cells:
        name = names.get(cell.mark, cell.mark)
        counts[name] = counts.get(name, 0) + 1
    return sorted(counts.items(), key=lambda pair: (pair[0] != own, -pair[1], pair[0]))
