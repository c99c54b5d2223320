"""Images of a data set, filtered and sorted, one page at a time; and how many there are.

A page costs the same wherever it stands: it begins at a cursor (the sort value and the id of an image), never at an
offset. Images without a value for the sort come last, in either direction, and are read in a second statement.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal_column, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from workbench.errors import Invalid
from workbench.models import Attribute, Finding, Image

COUNT_UP_TO = 50_000  # beyond this a list says "more than": an exact count would look at every row
MARKS = ("disputed", "gold")
NONE = 0  # the class id that stands for "no label"
# as the partial index has it: SQLAlchemy writes “disputed = 1”, for which SQLite does not use that index
IS_DISPUTED: ColumnElement[bool] = literal_column("images.disputed")
_CHUNK = 500  # bound variables per statement


@dataclass(frozen=True)
class ImageFilter:
    """What a list of images is limited to; none everywhere is the whole data set."""

    class_id: int | None = None
    split: str | None = None  # "none" for images outside all splits
    status: str | None = None
    source: str | None = None  # imported, decision, consensus
    agreement: str | None = None  # agree, disagree: the promoted run's class against the label
    predicted_id: int | None = None
    confidence_from: float | None = None
    confidence_to: float | None = None
    p_wrong_from: float | None = None
    p_wrong_to: float | None = None
    text: str | None = None  # anywhere in the path, letter case ignored
    attribute: tuple[str, str] | None = None  # name, value
    mark: str | None = None  # one of MARKS
    finding: str | None = None  # one of FINDINGS, settled ones too

    @property
    def is_empty(self) -> bool:
        return all(getattr(self, field.name) is None for field in fields(self))


@dataclass(frozen=True)
class Sort:
    words: str
    column: InstrumentedAttribute[Any] | None  # none: by id alone
    descending: bool


SORTS = {
    "id": Sort("Order of import", None, descending=False),
    "p_wrong": Sort("Most likely wrong first", Image.p_wrong, descending=True),
    "confidence": Sort("Least confident first", Image.confidence, descending=False),
    "decided": Sort("Newest decision first", Image.decided_at, descending=True),
}


@dataclass(frozen=True)
class Cursor:
    """Where a page begins or ends: the sort value (none where the image has none) and the id."""

    value: float | datetime | None
    image_id: int

    def __str__(self) -> str:
        value = self.value.isoformat() if isinstance(self.value, datetime) else self.value
        return f"{self.image_id}" if value is None else f"{self.image_id}~{value}"

    @classmethod
    def parse(cls, words: str, *, sort: str) -> "Cursor":
        image_id, _, value = words.partition("~")
        try:
            if not value:
                return cls(None, int(image_id))
            return cls(datetime.fromisoformat(value) if sort == "decided" else float(value), int(image_id))
        except ValueError:
            raise Invalid("This page of the list cannot be found; start again from its first page.") from None


@dataclass(frozen=True)
class ImagePage:
    images: list[Image]
    before: Cursor | None  # none: there is nothing before this page
    after: Cursor | None


def list_images(
    session: Session,
    dataset_id: int,
    found: ImageFilter,
    *,
    sort: str = "id",
    after: Cursor | None = None,
    before: Cursor | None = None,
    limit: int = 96,
) -> ImagePage:
    """One page, at most three statements. after, before: the cursor of the page that was left."""
    backwards = before is not None
    keys = _list_keys(
        session, dataset_id, found, sort=SORTS[sort], start=before or after, backwards=backwards, limit=limit + 1
    )
    more = len(keys) > limit
    keys = keys[:limit]
    if backwards:
        keys.reverse()
    images = get_images(session, [key.image_id for key in keys])
    if not keys:
        return ImagePage([], None, None)
    has_before, has_after = (more, True) if backwards else (after is not None, more)
    return ImagePage(images, keys[0] if has_before else None, keys[-1] if has_after else None)


def get_images(session: Session, image_ids: Sequence[int]) -> list[Image]:
    """The images in the order of the ids; ids of images that are gone are left out."""
    rows = {}
    for start in range(0, len(image_ids), _CHUNK):
        chunk = image_ids[start : start + _CHUNK]
        rows.update({image.id: image for image in session.scalars(select(Image).where(Image.id.in_(chunk)))})
    return [rows[image_id] for image_id in image_ids if image_id in rows]


def _list_keys(
    session: Session,
    dataset_id: int,
    found: ImageFilter,
    *,
    sort: Sort,
    start: Cursor | None,
    backwards: bool,
    limit: int,
) -> list[Cursor]:
    """The cursors of the images on a page, in reading direction."""
    if sort.column is None:
        query = _where(select(Image.id), dataset_id, found)
        query = _from(query, [Image.id], [start.image_id] if start else None, descending=backwards)
        return [Cursor(None, image_id) for image_id in session.scalars(query.limit(limit))]
    keys: list[Cursor] = []
    for has_value in (False, True) if backwards else (True, False):
        if start is not None and (start.value is None) == has_value and (has_value != backwards):
            continue  # the page begins beyond this part
        begin = start if start is not None and (start.value is not None) == has_value else None
        query = _part(dataset_id, found, sort=sort, has_value=has_value, begin=begin, backwards=backwards)
        keys += [Cursor(value, image_id) for value, image_id in session.execute(query.limit(limit - len(keys)))]
        if len(keys) == limit:
            break
    return keys


def _part(
    dataset_id: int, found: ImageFilter, *, sort: Sort, has_value: bool, begin: Cursor | None, backwards: bool
) -> Select[Any]:
    """The images that have a value for the sort, or those that have none, from a cursor on."""
    column = sort.column
    if column is None:
        raise TypeError("a sort by id has no parts")
    query = _where(select(column, Image.id), dataset_id, found)
    descending = sort.descending != backwards
    if has_value:
        query = query.where(column.is_not(None))
        return _from(query, [column, Image.id], [begin.value, begin.image_id] if begin else None, descending=descending)
    return _from(query.where(column.is_(None)), [Image.id], [begin.image_id] if begin else None, descending=descending)


def _from(query: Select[Any], columns: list[Any], values: list[Any] | None, *, descending: bool) -> Select[Any]:
    if values is not None:
        here, there = tuple_(*columns), tuple_(*values)
        query = query.where(here < there if descending else here > there)
    return query.order_by(*[column.desc() if descending else column for column in columns])


def count_images(session: Session, dataset_id: int, found: ImageFilter) -> int:
    """How many match; COUNT_UP_TO + 1 stands for more than that."""
    if found.is_empty:
        return session.scalar(select(func.count()).where(Image.dataset_id == dataset_id)) or 0
    some = _where(select(Image.id), dataset_id, found).limit(COUNT_UP_TO + 1).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def list_ids(session: Session, dataset_id: int, found: ImageFilter, *, limit: int) -> list[int]:
    """The ids of the images that match, ascending, `limit` at most."""
    return list(session.scalars(_where(select(Image.id), dataset_id, found).order_by(Image.id).limit(limit)))


def list_matches(
    session: Session, dataset_id: int, found: ImageFilter, *, sort: str, without: str | None, limit: int | None
) -> Sequence[Any]:
    """(id, label id, predicted id, P(wrong)) of the images that match, in the order of the list.

    without: a split whose images are left out.
    """
    columns: list[Any] = [Image.id, Image.label_id, Image.predicted_id, Image.p_wrong]
    query = _where(select(*columns), dataset_id, found)
    if without is not None:
        query = query.where(Image.split.is_distinct_from(without))
    column = SORTS[sort].column
    if column is not None:
        query = query.order_by(column.is_(None), column.desc() if SORTS[sort].descending else column)
    last = Image.id.desc() if SORTS[sort].descending else Image.id
    return session.execute(query.order_by(last).limit(limit)).all()


def _where(query: Select[Any], dataset_id: int, found: ImageFilter) -> Select[Any]:
    return query.where(Image.dataset_id == dataset_id, *_conditions(dataset_id, found))


def _conditions(dataset_id: int, found: ImageFilter) -> Iterator[ColumnElement[bool]]:
    if found.class_id is not None:
        yield Image.label_id.is_(None) if found.class_id == NONE else Image.label_id == found.class_id
    if found.split is not None:
        yield Image.split.is_(None) if found.split == "none" else Image.split == found.split
    if found.status is not None:
        yield Image.status == found.status
    if found.source is not None:
        yield Image.label_source == found.source
    if found.agreement is not None:
        yield (
            Image.predicted_id == Image.label_id if found.agreement == "agree" else Image.predicted_id != Image.label_id
        )
    if found.predicted_id is not None:
        yield Image.predicted_id == found.predicted_id
    yield from _range(Image.confidence, found.confidence_from, found.confidence_to)
    yield from _range(Image.p_wrong, found.p_wrong_from, found.p_wrong_to)
    if found.text is not None:
        yield Image.path.icontains(found.text, autoescape=True)
    if found.attribute is not None:
        name, value = found.attribute
        yield Image.id.in_(select(Attribute.image_id).where(Attribute.name == name, Attribute.value == value))
    if found.finding is not None:
        kind = (Finding.dataset_id == dataset_id) & (Finding.kind == found.finding)
        yield Image.id.in_(select(Finding.image_id).where(kind))
    if found.mark == "disputed":
        yield IS_DISPUTED
    if found.mark == "gold":
        yield Image.gold_id.is_not(None)


def _range(column: InstrumentedAttribute[Any], low: float | None, high: float | None) -> Iterator[ColumnElement[bool]]:
    if low is not None:
        yield column >= low
    if high is not None:
        yield column <= high
