"""What the log comes to, written a second time and as plainly as possible: the measure for the product's own replay.

One loop over all lines by the rules of the docstrings in `workbench/models`; nothing of `workbench.models.states` is
used. Slow, and only for tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.models import Class, Decision, Image, Queue, QueueItem

LEADS = ("lead", "admin")
Said = tuple[Any, ...]


@dataclass
class Shown:
    """What an image must show. `said`: by reviewer, since somebody with the last word spoke."""

    label: int | None
    status: str
    ambiguous: list[int]
    split: str | None
    source: str = "imported"
    gold: int | None = None
    keeps_label: bool = False
    said: dict[int, Said] = field(default_factory=dict)
    contradicted: bool = False
    split_opinions: bool = False
    # queue -> reviewer -> opinion, since the last verdict
    blind: dict[int, dict[int, Said]] = field(default_factory=dict)
    agreed: dict[int, Decision] = field(default_factory=dict)  # queue -> the opinion that made up the number
    agreements: list[Decision] = field(default_factory=list)  # all of those, of any queue, whatever came later

    @property
    def disputed(self) -> bool:
        return self.contradicted or self.split_opinions


@dataclass
class Marked:
    """What a queue item must say."""

    opinions: int = 0
    done: Decision | None = None
    hit: bool | None = None


def list_counting(lines: Sequence[Decision]) -> list[Decision]:
    """Those that nothing undoes, or only what is itself undone."""
    undoing: dict[str, list[str]] = {}
    for line in lines:
        if line.undoes is not None:
            undoing.setdefault(line.undoes, []).append(line.action)

    def counts(action: str) -> bool:
        return not any(counts(undo) for undo in undoing.get(action, []))

    return [line for line in lines if line.kind != "undo" and counts(line.action)]


def replay_merges(classes: Sequence[Class], counting: Sequence[Decision]) -> dict[int, int]:
    """Class -> the class that stands for it."""
    into = {line.class_id: line.detail["into"] for line in counting if line.kind == "class_merge" and line.detail}
    roots = {}
    for cls in classes:
        root = cls.id
        for _ in classes:
            root = into.get(root, root)
        roots[cls.id] = root
    return roots


def replay_image(image: Image, counting: Sequence[Decision]) -> Shown:
    """counting: the lines of all images that count, oldest first."""
    shown = Shown(
        label=image.first_label_id,
        status=image.first_status,
        ambiguous=list(image.first_ambiguous_ids or []),
        split=image.first_split,
    )
    for line in counting:
        if line.image_id == image.id:
            _apply(shown, line)
    return shown


def _apply(shown: Shown, line: Decision) -> None:
    detail = line.detail or {}
    if line.kind in ("confirm", "relabel", "ambiguous", "exclude", "consensus"):
        said = _read(line.kind, line.class_id, detail)
        _settle(shown, said, source="consensus" if line.kind == "consensus" else "decision")
        shown.blind, shown.agreed = {}, {}
        _weigh(shown, line, said)
    elif line.kind == "restore":
        shown.status = "ambiguous" if shown.ambiguous else "active"
    elif line.kind == "split":
        shown.split = detail["split"]
    elif line.kind == "gold":
        shown.gold = line.class_id
    elif line.kind == "keep":
        shown.keeps_label = detail["keeps"]
    elif line.kind == "opinion" and not detail.get("gold"):
        _hear(shown, line, detail)


def _read(kind: str, class_id: int | None, detail: dict[str, Any]) -> Said:
    if kind == "ambiguous":
        return ("ambiguous", *detail["classes"])
    return ("excluded",) if kind == "exclude" else ("is", class_id)


def _settle(shown: Shown, said: Said, *, source: str) -> None:
    shown.source = source
    if said[0] == "is":
        shown.label, shown.status, shown.ambiguous = said[1], "active", []
    elif said[0] == "ambiguous":
        shown.status, shown.ambiguous = "ambiguous", list(said[1:])
    else:
        shown.status = "excluded"


def _weigh(shown: Shown, line: Decision, said: Said) -> None:
    """Whether reviewers contradict each other now. A lead and a consensus have the last word."""
    if line.kind == "consensus" or line.role in LEADS:
        shown.said, shown.contradicted, shown.split_opinions = {}, False, False
    if line.kind == "consensus" or said[0] == "excluded":
        return
    if line.role == "reviewer":
        shown.contradicted = any(said != other for who, other in shown.said.items() if who != line.user_id)
    shown.said[line.user_id] = said


def _hear(shown: Shown, line: Decision, detail: dict[str, Any]) -> None:
    heard = shown.blind.setdefault(line.queue_id or 0, {})
    heard[line.user_id] = said = _read(detail["verdict"], line.class_id, detail)
    shown.agreed.pop(line.queue_id or 0, None)
    if len(heard) < detail["of"]:
        return
    if any(other != said for other in heard.values()):
        shown.split_opinions = True
        return
    _settle(shown, said, source="consensus")
    shown.said, shown.contradicted, shown.split_opinions = {}, False, False
    shown.agreed[line.queue_id or 0] = line
    shown.agreements.append(line)


def replay_item(item: QueueItem, queue: Queue, image: Image, counting: Sequence[Decision]) -> Marked:
    """Done by the newest verdict or agreement elsewhere after the queue was opened, or by its own agreement."""
    mine = [line for line in counting if line.image_id == item.image_id]
    marked = Marked(
        opinions=len({line.user_id for line in mine if line.kind == "opinion" and line.queue_id == queue.id})
    )
    if item.wants == 0:
        return marked
    replayed = replay_image(image, mine)
    agreed = replayed.agreed.get(queue.id)
    is_other = False
    for line in mine:
        is_verdict = line.kind in ("confirm", "relabel", "ambiguous", "exclude", "consensus")
        is_elsewhere = line in replayed.agreements and line.queue_id != queue.id
        if ((is_verdict or is_elsewhere) and line.id > queue.after_line) or line is agreed:
            is_other = _is_other(line, item.given_id, before=is_other)
            marked.done, marked.hit = line, is_other
    return marked


def _is_other(line: Decision, given_id: int | None, *, before: bool) -> bool:
    """Whether the image is other than it was when the queue was built; to confirm it leaves it as it was before."""
    kind = (line.detail or {})["verdict"] if line.kind == "opinion" else line.kind
    if kind == "confirm":
        return before and line.class_id != given_id
    return kind in ("ambiguous", "exclude") or line.class_id != given_id
