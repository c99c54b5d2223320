"""The review card as a page, and as a piece of one: what the template needs, in one place for all who show it."""

from collections.abc import Sequence
from typing import Any

from flask import current_app, session

from workbench.models import Dataset, Image, Queue, QueueItem
from workbench.queries import datasets
from workbench.queries import queues as queries
from workbench.services import cards, history, protection
from workbench.services.history import Recent
from workbench.web.accounts import me
from workbench.web.boundary import db, home, render_block

TEMPLATE, BLOCK = "review/card.html", "card"


class Desk:
    """A queue as one reviewer has it before them: what all its cards show alike is read once."""

    def __init__(self, dataset: Dataset, queue: Queue) -> None:
        self.dataset = dataset
        self.queue = queue
        self.classes = datasets.list_classes(db(), dataset.id)
        self.progress = queries.get_progress(db(), queue)

    def render(self, item: QueueItem | None, *, conflict: str = "", problem: str = "") -> str:
        """The card of an item, or the ending of the queue, as a fragment. The strip stays with whoever shows it."""
        return render_block(
            TEMPLATE, BLOCK, {**self.describe(item, conflict=conflict, problem=problem), "recent": None}
        )

    def render_progress(self) -> str:
        pieces: Any = current_app.jinja_env.get_template("review/_pieces.html").module
        return str(pieces.progress_line(self.progress, self.queue))

    def render_recent(self, number: int) -> dict[str, str]:
        """Action -> its entry of the strip, for about so many of the newest."""
        found = history.list_recent(db(), self.dataset, self.classes, user=me(), limit=min(number + 2, 20))
        entry = current_app.jinja_env.get_template("review/_recent.html")
        return {one.action: entry.render(dataset=self.dataset, one=one) for one in found[:number]}

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
        return {
            "dataset": dataset,
            "queue": queue,
            "card": shown,
            "ending": None if shown else cards.make_ending(db(), dataset, classes, queue=queue, user=me()),
            "progress": self.progress,
            "blind": is_blind(queue) and item is not None and item.done_action is None,
            "wants_blind": bool(session.get("blind")),
            "verdict": cards.find_verdict(db(), dataset, shown.image) if shown and is_settled else None,
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
