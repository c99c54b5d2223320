"""What measuring a run reads of its images beside labels and predictions."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from workbench.models import Attribute, Image, Import

_CHUNK = 500  # bound variables per statement
_FACTS = {"label source": Image.label_source, "size": Image.width.concat(" × ").concat(Image.height)}


def list_attribute_names(session: Session, image_ids: Sequence[int]) -> list[str]:
    """The attributes that any of these images has, by name."""
    found: set[str] = set()
    for start in range(0, len(image_ids), _CHUNK):
        query = select(Attribute.name).where(Attribute.image_id.in_(image_ids[start : start + _CHUNK]))
        found.update(session.scalars(query.distinct()))
    return sorted(found)


def list_facts(session: Session, image_ids: Sequence[int], *, fact: str) -> dict[int, str]:
    """Image id -> its label source ("imported", "decision", "consensus"), or its size ("48 × 48")."""
    found = {}
    for start in range(0, len(image_ids), _CHUNK):
        query = select(Image.id, _FACTS[fact]).where(Image.id.in_(image_ids[start : start + _CHUNK]))
        found.update({row[0]: str(row[1]) for row in session.execute(query)})
    return found


class Sources(NamedTuple):
    """Files over all imports of a data set: found = imported + refused + known + dropped."""

    found: int
    imported: int
    refused: int
    known: int
    dropped: int


def sum_imports(session: Session, dataset_id: int) -> Sources:
    columns = (Import.found, Import.imported, Import.refused, Import.known, Import.dropped)
    query = select(*(func.coalesce(func.sum(column), 0) for column in columns)).where(Import.dataset_id == dataset_id)
    row = session.execute(query).one()
    return Sources(row[0], row[1], row[2], row[3], row[4])


class SplitStates(NamedTuple):
    """The images of one split as they stand; `usable` are active ones with an open class."""

    images: int
    excluded: int
    ambiguous: int
    unlabelled: int
    usable: int


def count_states(session: Session, *, dataset_id: int, split: str | None, class_ids: Sequence[int]) -> SplitStates:
    """split: none for all images. One statement."""

    def count(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)

    active = Image.status == "active"
    query = select(
        func.count(),
        count(Image.status == "excluded"),
        count(Image.status == "ambiguous"),
        count(active & Image.label_id.is_(None)),
        count(active & Image.label_id.in_(class_ids)),
    ).where(Image.dataset_id == dataset_id)
    row = session.execute(query if split is None else query.where(Image.split == split)).one()
    return SplitStates(row[0], row[1], row[2], row[3], row[4])
