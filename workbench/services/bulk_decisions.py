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
from workbench.services import decisions, opinions

VERDICTS = ("relabel", "exclude", "restore", "ambiguous", "gold", "ungold")
OF_LEADS = ("gold", "ungold")
MOST = 10_000  # one request holds the writer meanwhile
IMAGES_PER_SECOND = 2500  # written by one request, on a slow machine


@dataclass(frozen=True)
class Plan:
    """What one verdict on some images would do. `stamp` changes when any of them is decided on meanwhile."""

    verdict: str
    into: Class | None
    between: list[Class]  # of ambiguous
    changing: list[Image]
    unchanged: int  # already as the verdict says
    unfit: int  # gold: without a label, so that nobody knows what they show
    labels: list[tuple[int | None, int]]  # label now and how many of the changing ones, most first
    stamp: str

    @property
    def seconds(self) -> int:
        """How long it takes, roughly."""
        return round(len(self.changing) / IMAGES_PER_SECOND)


def plan(
    session: Session,
    *,
    dataset: Dataset,
    verdict: str,
    into: Class | None = None,
    between: Sequence[Class] = (),
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
    unfit = [image for image in images if verdict == "gold" and image.label_id is None]
    others = [image for image in images if image not in unfit] if unfit else images
    changing = [image for image in others if _would_change(image, verdict, into, between)]
    return Plan(
        verdict=verdict,
        into=into,
        between=list(between),
        changing=changing,
        unchanged=len(others) - len(changing),
        unfit=len(unfit),
        labels=Counter(image.label_id for image in changing).most_common(),
        stamp=_stamp(changing),
    )


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
    if made.verdict in OF_LEADS:
        ids, is_gold = [image.id for image in made.changing], made.verdict == "gold"
        return opinions.set_gold(session, dataset=dataset, user=user, image_ids=ids, is_gold=is_gold, action=action)
    lines = [
        decisions.make_line(
            image,
            verdict=made.verdict,
            class_id=made.into.id if made.into else None,
            class_ids=[cls.id for cls in made.between],
        )
        for image in made.changing
    ]
    return decisions.submit(
        session, dataset=dataset, user=user, lines=lines, action=action, by_flags=by_flags, forced=forced
    )


def _would_change(image: Image, verdict: str, into: Class | None, between: Sequence[Class]) -> bool:
    match verdict:
        case "relabel":
            return image.status != "active" or into is None or image.label_id != into.id
        case "ambiguous":
            return image.status != "ambiguous" or set(image.ambiguous_ids or ()) != {cls.id for cls in between}
        case "gold":
            return image.gold_id != image.label_id
        case "ungold":
            return image.gold_id is not None
        case _:
            return (image.status == "excluded") == (verdict == "restore")


def _stamp(images: Sequence[Image]) -> str:
    return hashlib.sha256(" ".join(f"{image.id}:{image.revision}" for image in images).encode()).hexdigest()[:16]
