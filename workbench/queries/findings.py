"""Findings: how many of each kind, which images, what reviewers made of them; and what was looked at by class."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, func, or_, select
from sqlalchemy.orm import Session

from workbench.models import Finding, Image, Scan

_CHUNK = 500  # bound variables per statement
_ROWS = 5_000
_finding = Finding.__table__.c
_OF_IMAGE = (  # built once: asked with every card
    select(_finding.kind, _finding.score, _finding.reason)
    .where(_finding.image_id == bindparam("image_id"))
    .order_by(_finding.kind)
)


@dataclass(frozen=True)
class Tally:
    """The findings of one kind. hits: of the settled ones, those whose verdict changed what the image was."""

    kind: str
    open: int
    settled: int
    excluded: int
    hits: int

    @property
    def total(self) -> int:
        return self.open + self.settled


def is_open() -> ColumnElement[bool]:
    """Whether nobody has decided on the image of a finding yet."""
    return and_(Image.decided_at.is_(None), Image.status != "excluded")


def count_by_kind(session: Session, dataset_id: int) -> dict[str, Tally]:
    """Kind -> how its findings stand; kinds without any are left out. Two statements."""
    changed = or_(
        Image.status != Image.first_status,
        and_(Image.status == "active", Image.label_id.is_distinct_from(Image.first_label_id)),
    )
    query = (
        select(
            Finding.kind,
            func.count().filter(is_open()),
            func.count().filter(~is_open()),
            func.count().filter(Image.status == "excluded"),
            func.count().filter(and_(~is_open(), changed)),
        )
        .join(Image, Image.id == Finding.image_id)
        .where(Finding.dataset_id == dataset_id)
        .group_by(Finding.kind)
    )
    return {row[0]: Tally(*row) for row in session.execute(query)}


def count_by_class(session: Session, dataset_id: int, *, up_to: int | None = None) -> dict[tuple[int, str], int]:
    """(class id, 0 for none; kind) -> how many images of the class have such a finding, excluded ones left out.

    up_to: the newest image that counts.
    """
    query = (
        select(func.coalesce(Image.label_id, 0), Finding.kind, func.count())
        .join(Image, Image.id == Finding.image_id)
        .where(Finding.dataset_id == dataset_id, Image.status != "excluded")
        .group_by(Image.label_id, Finding.kind)
    )
    if up_to is not None:
        query = query.where(Image.id <= up_to)
    return {(row[0], row[1]): row[2] for row in session.execute(query)}


def count_images_by_class(session: Session, dataset_id: int, *, up_to: int | None = None) -> dict[int, int]:
    """Class id, 0 for none -> its images that are not excluded. up_to: the newest image that counts."""
    query = select(func.coalesce(Image.label_id, 0), func.count()).where(
        Image.dataset_id == dataset_id, Image.status != "excluded"
    )
    if up_to is not None:
        query = query.where(Image.id <= up_to)
    return {row[0]: row[1] for row in session.execute(query.group_by(Image.label_id))}


def list_worst(session: Session, dataset_id: int, kind: str, *, limit: int) -> list[tuple[Image, str]]:
    """The images with the gravest open findings of a kind, and what is said of them."""
    query = (
        select(Image, Finding.reason)
        .join(Finding, Finding.image_id == Image.id)
        .where(Finding.dataset_id == dataset_id, Finding.kind == kind, is_open())
        .order_by(Finding.score.desc(), Finding.image_id.desc())
        .limit(limit)
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def list_open(session: Session, dataset_id: int, *, kind: str | None = None, limit: int | None = None) -> Sequence[Any]:
    """(image, path, kind, score, reason) of the open findings, the gravest first."""
    query = (
        select(Finding.image_id.label("image"), Image.path, Finding.kind, Finding.score, Finding.reason)
        .join(Image, Image.id == Finding.image_id)
        .where(Finding.dataset_id == dataset_id, is_open())
        .order_by(Finding.score.desc(), Finding.image_id)
        .limit(limit)
    )
    return session.execute(query if kind is None else query.where(Finding.kind == kind)).all()


def list_of_image(session: Session, image_id: int) -> Sequence[Any]:
    """(kind, score, reason) of each finding of an image; one look at an index."""
    return session.execute(_OF_IMAGE, {"image_id": image_id}).all()


def list_stored(session: Session, dataset_id: int, kind: str) -> dict[int, int]:
    """Image id -> the id of its finding of a kind."""
    query = select(Finding.image_id, Finding.id).where(Finding.dataset_id == dataset_id, Finding.kind == kind)
    return {row[0]: row[1] for row in session.execute(query)}


def get_scans(session: Session, dataset_id: int) -> dict[str, Scan]:
    """Kind -> the newest scan."""
    return {scan.kind: scan for scan in session.scalars(select(Scan).where(Scan.dataset_id == dataset_id))}


def list_files(session: Session, dataset_id: int, *, after: int, limit: int = _ROWS) -> Sequence[Any]:
    """(id, path, location, file hash, pixel hash) of the next images."""
    query = select(Image.id, Image.path, Image.location, Image.file_sha256, Image.pixel_sha256)
    return session.execute(
        query.where(Image.dataset_id == dataset_id, Image.id > after).order_by(Image.id).limit(limit)
    ).all()


def chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]
