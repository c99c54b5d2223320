"""What the checks of a run read of the data set."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import case, func, or_, select
from sqlalchemy.orm import Session

from workbench.models import VERDICTS, Decision, Image, Import, Queue

_CHUNK = 500


def count_labels(session: Session, image_ids: Sequence[int]) -> dict[int, int]:
    """Class id -> how many of the images carry it and are active."""
    found: Counter[int] = Counter()
    for start in range(0, len(image_ids), _CHUNK):
        query = select(Image.label_id, func.count()).where(
            Image.id.in_(image_ids[start : start + _CHUNK]), Image.status == "active", Image.label_id.is_not(None)
        )
        for class_id, count in session.execute(query.group_by(Image.label_id)):
            found[class_id or 0] += count
    return dict(found)


class Arrivals(NamedTuple):
    """An import that is done: how many images it says came, and how many of them are there."""

    source: str
    imported: int
    present: int


def list_arrivals(session: Session, dataset_id: int) -> list[Arrivals]:
    """Costs a look at every image's import."""
    counted = select(Image.import_id, func.count()).where(Image.dataset_id == dataset_id).group_by(Image.import_id)
    present = {row[0]: row[1] for row in session.execute(counted)}
    query = select(Import).where(Import.dataset_id == dataset_id, Import.status == "done").order_by(Import.id)
    return [Arrivals(each.source, each.imported, present.get(each.id, 0)) for each in session.scalars(query)]


class Picture(NamedTuple):
    """Equal pixels under several rows: how many are active, excluded, and how many labels the active ones carry."""

    pixels: str
    active: int
    excluded: int
    labels: int


def list_shared_pictures(session: Session, dataset_id: int) -> list[Picture]:
    """Pictures that stand in the data set more than once. One pass over an index."""
    active = Image.status == "active"
    query = (
        select(
            Image.pixel_sha256,
            func.sum(case((active, 1), else_=0)),
            func.sum(case((Image.status == "excluded", 1), else_=0)),
            func.count(case((active, Image.label_id)).distinct()),
        )
        .where(Image.dataset_id == dataset_id)
        .group_by(Image.pixel_sha256)
        .having(func.count() > 1)
        .order_by(Image.pixel_sha256)
    )
    return [Picture(*row) for row in session.execute(query)]


class Named(NamedTuple):
    id: int
    path: str
    first_label_id: int | None


def list_called_like(session: Session, dataset_id: int, words: Sequence[str]) -> list[Named]:
    """Images with one of these words in their path, whatever their case."""
    query = select(Image.id, Image.path, Image.first_label_id).where(
        Image.dataset_id == dataset_id, or_(*(Image.path.icontains(word, autoescape=True) for word in words))
    )
    return [Named(*row) for row in session.execute(query.order_by(Image.id))]


class Flagged(NamedTuple):
    """A verdict that counts or not (undone ones too), given in a queue, on an image."""

    action: str
    image_id: int | None
    queue_id: int | None


def list_queue_verdicts(session: Session, dataset_id: int, *, queue_ids: Sequence[int]) -> list[Flagged]:
    """Verdicts that changed what an image is, given in these queues."""
    kinds = [kind for kind in VERDICTS if kind != "confirm"]
    query = select(Decision.action, Decision.image_id, Decision.queue_id).where(
        Decision.dataset_id == dataset_id, Decision.queue_id.in_(queue_ids), Decision.kind.in_(kinds)
    )
    return [Flagged(*row) for row in session.execute(query)]


def list_queues(session: Session, dataset_id: int) -> list[Queue]:
    return list(session.scalars(select(Queue).where(Queue.dataset_id == dataset_id)))


def count_endings(session: Session, dataset_id: int) -> dict[tuple[str, str], int]:
    """(what the files are, the last five letters of their path) -> images."""
    ending = func.lower(func.substr(Image.path, -5))
    query = select(Image.media_type, ending, func.count()).where(Image.dataset_id == dataset_id)
    return {(row[0], row[1]): row[2] for row in session.execute(query.group_by(Image.media_type, ending))}


def list_locations(session: Session, dataset_id: int, *, limit: int) -> list[str]:
    """Files that were imported in place: some of them, spread over the data set by their pixels."""
    query = select(Image.location).where(Image.dataset_id == dataset_id, Image.location != "object")
    return list(session.scalars(query.order_by(Image.pixel_sha256).limit(limit)))
