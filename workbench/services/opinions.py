"""Blind opinions of several reviewers about one image, and gold images, whose class a lead knows."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from workbench.errors import Conflict, Forbidden, Invalid
from workbench.models import Dataset, Image, Queue, QueueItem, User
from workbench.queries import image_lists
from workbench.services import decisions
from workbench.services.decisions import Line


def say(
    session: Session,
    *,
    item: QueueItem,
    user: User,
    verdict: str,
    class_id: int | None = None,
    class_ids: Sequence[int] = (),
    action: str | None = None,
    seconds: float | None = None,
    forced: str = "",
) -> str:
    """One reviewer's opinion on an item that asks several, or their answer to a hidden gold item.

    The image follows when as many agree as the queue asks for; a gold image never does. Sent twice it counts once; a
    later one of the same reviewer takes its place. Raises Conflict where others have settled the image meanwhile.
    """
    if item.wants == 1:
        raise Invalid("This queue asks for decisions, not for opinions.")
    queue = session.get_one(Queue, item.queue_id)
    if queue.closed_at is not None:
        raise Invalid("This queue was closed; it takes no further opinions.")
    if verdict == "confirm":
        raise Invalid("What others said is hidden here, so there is nothing to confirm: choose a class.")
    if item.done_action is not None:
        raise Conflict("The others have settled this image meanwhile; it needs no further opinion.")
    detail: dict[str, object] = {"verdict": verdict, "of": item.wants}
    if item.wants == 0:
        detail |= {"of": queue.opinions, "gold": True}
    if verdict == "ambiguous":
        detail["classes"] = sorted(set(class_ids))
    if verdict == "relabel" and class_id is None:
        raise Invalid("Choose a class.")
    line = Line("opinion", item.image_id, class_id if verdict == "relabel" else None, detail)
    image = session.get_one(Image, item.image_id)
    item.lease_user_id = item.lease_until = None  # the next reviewer's turn
    return decisions.submit(
        session,
        dataset=session.get_one(Dataset, image.dataset_id),
        user=user,
        lines=[line],
        action=action,
        queue_id=item.queue_id,
        seconds=seconds,
        forced=forced,
    )


def set_gold(
    session: Session,
    *,
    dataset: Dataset,
    user: User,
    image_ids: Sequence[int],
    is_gold: bool = True,
    class_id: int | None = None,
    action: str | None = None,
) -> str:
    """Make images gold, each with its present label or with the class given, or take that back; one action."""
    if not user.may("lead"):
        raise Forbidden("Gold images are for leads: they measure the reviewers.")
    lines = []
    for image in image_lists.get_images(session, image_ids):
        if image.dataset_id != dataset.id:
            continue
        known = (class_id or image.label_id) if is_gold else None
        if is_gold and known is None:
            raise Invalid(f"{image.path} has no label: a gold image shows one class.")
        if known != image.gold_id:
            lines.append(Line("gold", image.id, known))
    return decisions.submit(session, dataset=dataset, user=user, lines=lines, action=action)
