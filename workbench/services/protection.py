"""What a frozen split is kept from: images that move in or out, and verdicts that follow a model's own flags."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from workbench.errors import Frozen, Invalid
from workbench.models import VERDICTS, Dataset, Decision, Image, Queue
from workbench.queries import decisions as log
from workbench.queries import freezing as queries
from workbench.services.recipes import RECIPES

if TYPE_CHECKING:
    from workbench.services.decisions import Line

_CLEANING = (*VERDICTS, "restore", "opinion")
_LONGEST_REASON = 500


def follows_flags(session: Session, queue_id: int | None) -> bool:
    """Whether a queue was built from what a run says about the images."""
    queue = session.get(Queue, queue_id) if queue_id is not None else None
    return queue is not None and is_flagged(queue)


def is_flagged(queue: Queue) -> bool:
    made = RECIPES.get(queue.recipe)  # audits are no recipe: where a split is frozen, chance alone draws from it
    return made is not None and made.follows_flags(queue.params)


def is_guarded(dataset: Dataset, queue: Queue, images: Iterable[Image]) -> bool:
    """Whether a verdict on one of these images in this queue needs force."""
    frozen = dataset.frozen_split
    return frozen is not None and is_flagged(queue) and any(image.split == frozen for image in images)


def protect(
    session: Session, dataset: Dataset, lines: Sequence["Line"], *, by_flags: bool, forced: str = ""
) -> Sequence["Line"]:
    """The lines as they may be written; raises Invalid for moves, Frozen for what may only be done by force.

    by_flags: the verdicts follow what a model says. forced: the reason of somebody who insists; it is kept in each
    line that it lets through, so that every number that follows can say so. Costs nothing where nothing is frozen.
    """
    if dataset.frozen_split is None:
        return lines
    _refuse_moves(session, dataset.frozen_split, lines)
    if not by_flags:
        return lines
    ids = [line.image_id for line in lines if line.image_id is not None and _cleans(line)]
    touched = queries.list_in_split(session, ids, split=dataset.frozen_split)
    if not touched:
        return lines
    reason = forced.strip()[:_LONGEST_REASON]
    if not reason:
        raise Frozen(refusal(dataset.frozen_split, len(touched)))
    mark = {"forced": {"split": dataset.frozen_split, "reason": reason}}
    return [
        replace(line, detail={**(line.detail or {}), **mark}) if line.image_id in touched and _cleans(line) else line
        for line in lines
    ]


def _cleans(line: "Line") -> bool:
    """An answer to a hidden gold image changes nothing."""
    return line.kind in _CLEANING and not (line.detail or {}).get("gold")


def refusal(split: str, count: int) -> str:
    images = "This image stands" if count == 1 else f"{count:,} of these images stand"
    return (
        f"{images} in {split}, which is frozen: cleaning it with a model's own flags makes every accuracy too high. "
        "Review a random sample instead, or force it with a reason; then every number that follows says so."
    )


def _refuse_moves(session: Session, frozen: str, lines: Sequence["Line"]) -> None:
    moves = {line.image_id: (line.detail or {})["split"] for line in lines if line.kind == "split" and line.image_id}
    inside = queries.list_in_split(session, list(moves), split=frozen)
    if any((split == frozen) != (image_id in inside) for image_id, split in moves.items()):
        raise Invalid(_no_moves(frozen))


def _no_moves(frozen: str) -> str:
    return f"{frozen} is frozen: no image may move in or out. Unfreeze it first, with a reason."


@contextmanager
def hold_split(session: Session, dataset: Dataset, lines: Iterable["Line | Decision"]) -> Iterator[None]:
    """Around what undoes lines: raises Invalid if an image enters or leaves the frozen split by it."""
    ids = sorted({line.image_id for line in lines if line.kind == "split" and line.image_id is not None})
    if dataset.frozen_split is None or not ids:
        yield
        return
    before = queries.list_in_split(session, ids, split=dataset.frozen_split)
    yield
    if queries.list_in_split(session, ids, split=dataset.frozen_split) != before:
        raise Invalid(_no_moves(dataset.frozen_split))


# --- what the log says ------------------------------------------------------------------------------------------


def refresh(session: Session, dataset: Dataset, lines: Iterable["Line | Decision"]) -> None:
    """Bring the data set's row to what the log says, where these lines have to do with it."""
    lines = list(lines)
    if any(line.kind in queries.FREEZE_KINDS for line in lines):
        dataset.frozen_split = fold_freezes(queries.list_freezes(session, dataset.id))
        session.flush()
    if any("forced" in (line.detail or {}) for line in lines):
        undone = log.get_undone(session, dataset_id=dataset.id)
        dataset.own_flags = fold_forced(queries.list_forced(session, dataset.id), undone) or None
        session.flush()


def fold_freezes(lines: Iterable[Any]) -> str | None:
    """The split that is frozen after these lines, oldest first. They are never undone."""
    frozen = None
    for line in lines:
        frozen = line.detail["split"] if line.kind == "freeze" else None
    return frozen


def fold_forced(lines: Iterable[Any], undone: Collection[str]) -> dict[str, Any]:
    """Split -> since (the first such decision), images, reason (the newest), of what was forced and counts."""
    found: dict[str, dict[str, Any]] = {}
    touched: dict[str, set[int]] = {}
    for line in lines:
        if line.action in undone:
            continue
        forced = line.detail["forced"]
        touched.setdefault(forced["split"], set()).add(line.image_id)
        about = found.setdefault(forced["split"], {"since": line.id})
        about.update(images=len(touched[forced["split"]]), reason=forced["reason"])
    return found


def is_marked(dataset: Dataset, split: str | None, *, decision_id: int | None = None) -> bool:
    """Whether labels of the split were cleaned with a model's own flags, by decision `decision_id` or by now."""
    forced = (dataset.own_flags or {}).get(split or "")
    return forced is not None and (decision_id is None or forced["since"] <= decision_id)
