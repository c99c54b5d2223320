"""What the split builder and the leak report read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from workbench.models import Attribute, DuplicateGroup, DuplicatePair, Image
from workbench.queries import duplicate_verdicts, duplicates

_CHUNK = 500
_PART = 20_000


@dataclass(frozen=True)
class ImageColumns:
    """N images in the order of their ids, a column each. Columns, because a million rows would fill the memory."""

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]  # class ids, 0 for none
    first_labels: NDArray[np.int64]  # as imported, 0 for none
    excluded: NDArray[np.bool_]
    pixels: list[str]
    splits: list[str | None]


def read_images(session: Session, dataset_id: int) -> ImageColumns:
    """Every image, excluded ones too. One statement, streamed."""
    query = (
        select(Image.id, Image.label_id, Image.first_label_id, Image.status, Image.pixel_sha256, Image.split)
        .where(Image.dataset_id == dataset_id)
        .order_by(Image.id)
    )
    numbers = []
    pixels: list[str] = []
    splits: list[str | None] = []
    known: dict[str | None, str | None] = {}
    for part in session.execute(query).partitions(_PART):
        numbers.append(np.array([(row[0], row[1] or 0, row[2] or 0, row[3] == "excluded") for row in part], np.int64))
        pixels += [row[4] for row in part]
        splits += [known.setdefault(row[5], row[5]) for row in part]
    table = np.concatenate(numbers) if numbers else np.zeros((0, 4), np.int64)
    return ImageColumns(table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(bool), pixels, splits)


def read_paths(session: Session, dataset_id: int) -> list[str]:
    """Of every image, in the order of the ids."""
    query = select(Image.path).where(Image.dataset_id == dataset_id).order_by(Image.id)
    return list(session.scalars(query))


def list_attribute_values(session: Session, dataset_id: int, *, name: str) -> dict[int, str]:
    """Image id -> the value of one attribute, for the images that have it."""
    query = (
        select(Attribute.image_id, Attribute.value)
        .join(Image, Image.id == Attribute.image_id)
        .where(Image.dataset_id == dataset_id, Attribute.name == name)
    )
    return {row[0]: row[1] for row in session.execute(query)}


def list_near_members(session: Session, dataset_id: int) -> dict[int, list[int]]:
    """The images of the near groups that no reviewer rejected."""
    return duplicates.list_members(session, dataset_id, kind="near")


def list_accepted(session: Session, dataset_id: int) -> list[list[int]]:
    """The ids of images that a reviewer said are one picture, verdict by verdict, in groups of today or not."""
    return duplicate_verdicts.list_confirmed(session, dataset_id)


def list_pairs(session: Session, dataset_id: int, *, min_p: float) -> list[tuple[int, int]]:
    """(a, b): ids of the first images of two pictures that are held for one with P >= min_p."""
    query = select(DuplicatePair.a_id, DuplicatePair.b_id).where(
        DuplicatePair.dataset_id == dataset_id, DuplicatePair.p >= min_p
    )
    return [(row[0], row[1]) for row in session.execute(query.order_by(DuplicatePair.a_id, DuplicatePair.b_id))]


class Measured(NamedTuple):
    """An image of a split that measures."""

    id: int
    pixels: str
    split: str | None
    label_id: int | None


def list_measured(session: Session, dataset_id: int, *, splits: Sequence[str]) -> list[Measured]:
    """The images of these splits that are not excluded, by id."""
    query = select(Image.id, Image.pixel_sha256, Image.split, Image.label_id).where(
        Image.dataset_id == dataset_id, Image.split.in_(splits), Image.status != "excluded"
    )
    return [Measured(*row) for row in session.execute(query.order_by(Image.id))]


def get_pixels(session: Session, image_ids: Sequence[int]) -> dict[int, str]:
    """Image id -> its pixel hash."""
    found = {}
    for start in range(0, len(image_ids), _CHUNK):
        query = select(Image.id, Image.pixel_sha256).where(Image.id.in_(image_ids[start : start + _CHUNK]))
        found.update({row[0]: row[1] for row in session.execute(query)})
    return found


class Copy(NamedTuple):
    id: int
    pixels: str
    split: str | None
    status: str


def list_with_pixels(session: Session, dataset_id: int, pixels: Sequence[str]) -> list[Copy]:
    """Every image of a data set that shows one of these pictures."""
    found = []
    for start in range(0, len(pixels), _CHUNK):
        query = select(Image.id, Image.pixel_sha256, Image.split, Image.status).where(
            Image.dataset_id == dataset_id, Image.pixel_sha256.in_(pixels[start : start + _CHUNK])
        )
        found += [Copy(*row) for row in session.execute(query)]
    return found


def count_spanning(session: Session, dataset_id: int) -> int:
    """Groups of copies in several splits that nobody rejected; of a near group and those inside it only the near."""
    near = aliased(DuplicateGroup)
    spoken_for = select(near.id).where(
        near.id == DuplicateGroup.within_id, near.verdict.is_distinct_from("not_duplicates")
    )
    query = select(func.count()).where(
        DuplicateGroup.dataset_id == dataset_id,
        DuplicateGroup.spanning,
        DuplicateGroup.verdict.is_distinct_from("not_duplicates"),
        ~spoken_for.exists(),
    )
    return session.scalar(query) or 0
