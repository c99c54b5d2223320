"""Which images are one picture, for whoever must keep copies together or apart."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy.orm import Session

from workbench.models import Dataset
from workbench.queries import duplicate_verdicts
from workbench.queries import splits as queries

MIN_P = 0.5  # from this P(same picture) on a pair counts as a copy


def list_links(session: Session, dataset: Dataset, *, min_p: float = MIN_P) -> list[list[int]]:
    """Sets of image ids that are near copies of each other: pairs with P >= min_p, and what reviewers accepted.

    What reviewers rejected is left out. Exact copies are not in it: they share their pixels.
    """
    apart = _by_image(duplicate_verdicts.list_rejected(session, dataset.id))
    pairs = queries.list_pairs(session, dataset.id, min_p=min_p)
    links = [[a, b] for a, b in pairs if not (apart.get(a, frozenset()) & apart.get(b, frozenset()))]
    return links + queries.list_accepted(session, dataset.id)


def _by_image(verdicts: Sequence[Sequence[int]]) -> dict[int, frozenset[int]]:
    found: dict[int, set[int]] = defaultdict(set)
    for number, image_ids in enumerate(verdicts):
        for image_id in image_ids:
            found[image_id].add(number)
    return {image_id: frozenset(numbers) for image_id, numbers in found.items()}


def find_copies(
    pixels: Mapping[int, str], *, links: Iterable[Sequence[int]], taught: Iterable[tuple[int, str]]
) -> dict[int, str]:
    """Image id -> "exact" or "near", for those of `pixels` that have a copy among the images taught.

    pixels: image id -> its pixel hash, of the images measured on and of all that `links` names. taught: (id, pixel
    hash). An image is no copy of itself. Exact goes before near.
    """
    teachers: dict[str, set[int]] = defaultdict(set)
    for image_id, picture in taught:
        teachers[picture].add(image_id)
    found: dict[int, str] = {}
    near: dict[str, set[str]] = defaultdict(set)
    for link in links:
        pictures = {pixels[image_id] for image_id in link if image_id in pixels}
        for picture in pictures:
            near[picture] |= pictures - {picture}
    for image_id, picture in pixels.items():
        if teachers.get(picture, set()) - {image_id}:
            found[image_id] = "exact"
        elif any(other in teachers for other in near.get(picture, ())):
            found[image_id] = "near"
    return found
