"""One verdict on many images: first what it would change, then the change as one action."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from workbench.errors import Conflict, Invalid
from workbench.models import Class, Dataset, Image, User
from workbench.queries import decisions as log
from workbench.queries import image_lists
from workbench.queries.image_lists import ImageFilter
from workbench.services import decisions

VERDICTS = ("relabel", "exclude", "restore")
MOST = 10_000  # one request holds the writer meanwhile


@dataclass(frozen=True)
class Plan:
    """What one verdict on some images would do. `stamp` changes when any of them is decided on meanwhile."""

    verdict: str
    into: Class | None
    changing: list[Image]
    unchanged: int  # already as the verdict says
    labels: list[tuple[int | None, int]]  # label now and how many of the changing ones, most first
    stamp: str


def plan(
    session: Session,
    *,
    dataset: Dataset,
    verdict: str,
    into: Class | None = None,
    image_ids: Sequence[int] = (),
    found: ImageFilter | None = None,
) -> Plan:
    """found: every image that matches, instead of those named."""
    if verdict not in VERDICTS:
        raise Invalid(f"“{verdict}” is not for many images; use {', '.join(VERDICTS)}.")
    if verdict == "relabel" and into is None:
        raise Invalid("Choose the class that these images should carry.")
    if found is not None:
        image_ids = image_lists.list_ids(session, dataset.id, found, limit=MOST + 1)
    if len(image_ids) > MOST:
        raise Invalid(f"That is more than {MOST:,} images at once; narrow the filters.")
    images = [image for image in image_lists.get_images(session, image_ids) if image.dataset_id == dataset.id]
    if not images:
        raise Invalid("Nothing was chosen: tick at least one image.")
    changing = [image for image in images if _would_change(image, verdict, into)]
    labels = Counter(image.label_id for image in changing).most_common()
    return Plan(verdict, into, changing, len(images) - len(changing), labels, _stamp(changing))


def apply(
    session: Session,
    made: Plan,
    *,
    dataset: Dataset,
    user: User,
    stamp: str,
    action: str | None = None,
    by_flags: bool = False,
    forced: str = "",
) -> str:
    """Carry the plan out as one action; returns its id. stamp: of the plan that the user saw.

    by_flags: a model's opinion chose the images. forced: why they are decided on in a frozen split all the same.
    """
    if action and log.has_action(session, action):
        return action
    if made.stamp != stamp:
        raise Conflict("Somebody decided on some of these images meanwhile; look at the list again.")
    lines = [
        decisions.make_line(image, verdict=made.verdict, class_id=made.into.id if made.into else None)
        for image in made.changing
    ]
    return decisions.submit(
        session, dataset=dataset, user=user, lines=lines, action=action, by_flags=by_flags, forced=forced
    )


def _would_change(image: Image, verdict: str, into: Class | None) -> bool:
    if verdict == "relabel":
        return image.status != "active" or into is None or image.label_id != into.id
    return (image.status == "excluded") == (verdict == "restore")


def _stamp(images: Sequence[Image]) -> str:
    return hashlib.sha256(" ".join(f"{image.id}:{image.revision}" for image in images).encode()).hexdigest()[:16]
