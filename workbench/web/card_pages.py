"""The review card as a page, and as a piece of one: what the template needs, in one place for all who show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import current_app, session

from workbench.models import Class, Dataset, Image, Queue, QueueItem
from workbench.queries import datasets
from workbench.queries import queues as queries
from workbench.services import cards, history, outlooks, protection
from workbench.services.history import Recent
from workbench.web.accounts import me
from workbench.web.boundary import db, home, render_block

TEMPLATE, BLOCK = "review/card.html", "card"


@dataclass(frozen=True)
class Told:
    """What an answer that was saved just now did: `Recent` before its classes are at hand."""

    kind: str
    queue_id: int
    face: history.Face
    before_id: int | None
    class_id: int | None
    class_ids: tuple[int, ...]

    def make(self, action: str, classes: Sequence[Class]) -> Recent:
        by_id = {cls.id: cls for cls in classes}
        ambiguous = tuple(by_id[found] for found in sorted(set(self.class_ids)) if found in by_id)
        before, cls = by_id.get(self.before_id or 0), by_id.get(self.class_id or 0)
        return Recent(action, self.kind, 1, self.queue_id, self.face, before, cls, ambiguous)


class Desk:
    """A queue as one reviewer has it before them: what all its cards show alike is read once."""

    def __init__(self, dataset: Dataset, queue: Queue) -> None:
        self.dataset = dataset
        self.queue = queue
        self.classes = datasets.list_classes(db(), dataset.id)
        self.progress = queries.get_progress(db(), queue)
        self.outlook = outlooks.look(db(), home(), dataset, [queue]).get(queue.id)

    def render(self, item: QueueItem | None, *, conflict: str = "", problem: str = "") -> str:
        """The card of an item, or the ending of the queue, as a fragment. The strip stays with whoever shows it."""
        return render_block(
            TEMPLATE, BLOCK, {**self.describe(item, conflict=conflict, problem=problem), "recent": None}
        )

    def render_progress(self) -> str:
        return str(_pieces().progress_line(self.progress, self.queue, self.outlook, outlooks.get_worth(me())))

    def render_recent(self, saved: Mapping[str, Told | None]) -> dict[str, str]:
        """Action -> its entry of the strip. saved: what is known of each; what is not is looked up in the log."""
        found = {action: told.make(action, self.classes) for action, told in saved.items() if told}
        if len(found) < len(saved):
            newest = history.list_recent(db(), self.dataset, self.classes, user=me(), limit=min(len(saved) + 2, 20))
            found |= {one.action: one for one in newest if one.action in saved and one.action not in found}
        return {action: str(_pieces().strip_entry(one, self.dataset)) for action, one in found.items()}

    def describe(
        self,
        item: QueueItem | None,
        *,
        conflict: str = "",
        problem: str = "",
        picked: Sequence[int] = (),
        typed: str = "",
        forced: str = "",
    ) -> dict[str, Any]:
        """What the template is given. picked, typed, forced: what was in the form, where it could not be taken."""
        dataset, queue, classes = self.dataset, self.queue, self.classes
        shown = cards.make_card(db(), home(), dataset, classes, queue=queue, item=item) if item else None
        is_settled = item is not None and (item.done_action is not None or bool(conflict))
        blind = item is not None and item.done_action is None and (is_blind(queue) or item.asks_opinions)
        return {
            "dataset": dataset,
            "queue": queue,
            "card": shown,
            "ending": None if shown else cards.make_ending(db(), dataset, classes, queue=queue, user=me()),
            "progress": self.progress,
            "outlook": self.outlook,
            "worth": outlooks.get_worth(me()),
            "blind": blind,
            "wants_blind": bool(session.get("blind")),
            "verdict": cards.find_verdict(db(), dataset, shown.image) if shown and is_settled and not blind else None,
            "conflict": conflict,
            "problem": problem,
            "picked": picked,
            "typed": typed,
            "phrase": history.phrase,
            "stage_px": _scale(shown.image) if shown else None,
            "guarded": shown is not None and protection.is_guarded(dataset, queue, [shown.image]),
            "forced": forced,
        }

    def list_recent(self) -> list[Recent]:
        """The strip: what the reviewer decided last."""
        return history.list_recent(db(), self.dataset, self.classes, user=me()) if me().may("reviewer") else []


def _pieces() -> Any:
    """The macros that the card and the grid share."""
    return current_app.jinja_env.get_template("review/_pieces.html").module


def is_blind(queue: Queue) -> bool:
    """Whether the queue, or the reviewer for this visit, hides what others said until the image is settled."""
    return queue.blind or bool(session.get("blind"))


def _scale(image: Image, *, box: int = 576) -> tuple[int, int]:
    """The size at which the image is shown before the script knows the window: whole steps when it is small."""
    larger = max(image.width, image.height)
    if larger > box:
        return round(image.width * box / larger), round(image.height * box / larger)
    scale = box // larger
    return image.width * scale, image.height * scale
