"""What imports need to know: which paths are known, which import was left unfinished, what it came to."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, aliased

from workbench.models import Class, Decision, Image, Import, Refusal

_CHUNK = 500  # bound variables per statement


@dataclass(frozen=True, slots=True)
class KnownImage:
    """An image that has the path already. `names`: what its label is called now or was called when it came."""

    import_id: int
    location: str
    file_sha256: str
    names: frozenset[str]


def list_known(session: Session, *, dataset_id: int, paths: Sequence[str]) -> dict[str, KnownImage]:
    first, present = aliased(Class), aliased(Class)
    query = (
        select(
            Image.path, Image.import_id, Image.location, Image.file_sha256,
            first.name, first.first_name, present.name,
        )
        .outerjoin(first, first.id == Image.first_label_id)
        .outerjoin(present, present.id == Image.label_id)
        .where(Image.dataset_id == dataset_id)
    )  # fmt: skip
    found = {}
    for start in range(0, len(paths), _CHUNK):
        for path, import_id, location, sha256, *names in session.execute(
            query.where(Image.path.in_(paths[start : start + _CHUNK]))
        ):
            found[path] = KnownImage(import_id, location, sha256, frozenset(name for name in names if name))
    return found


def find_unfinished(session: Session, *, dataset_id: int, source: str) -> Import | None:
    """The newest import of that source that did not come to its end."""
    query = select(Import).where(Import.dataset_id == dataset_id, Import.source == source, Import.status != "done")
    return session.scalar(query.order_by(Import.id.desc()).limit(1))


def count_images(session: Session, import_id: int) -> int:
    return session.scalar(select(func.count()).where(Image.import_id == import_id)) or 0


def has_decisions(session: Session, import_id: int) -> bool:
    """Whether somebody decided on images of that import already."""
    query = select(Decision.id).join(Image, Image.id == Decision.image_id).where(Image.import_id == import_id)
    return session.scalar(query.limit(1)) is not None


def delete_images(session: Session, import_id: int) -> None:
    """Only for images that never were part of a version; votes and attributes go with them."""
    session.execute(delete(Image).where(Image.import_id == import_id))


def delete_refusals(session: Session, import_id: int) -> None:
    session.execute(delete(Refusal).where(Refusal.import_id == import_id))


def list_refusals(session: Session, import_id: int) -> list[tuple[str, str]]:
    """(path, reason) in the order of the source."""
    query = select(Refusal.path, Refusal.reason).where(Refusal.import_id == import_id).order_by(Refusal.id)
    return [(path, reason) for path, reason in session.execute(query)]


def list_refused_paths(session: Session, import_id: int, *, paths: Sequence[str]) -> set[str]:
    """Which of these paths that import refused already."""
    found: set[str] = set()
    for start in range(0, len(paths), _CHUNK):
        chunk = paths[start : start + _CHUNK]
        query = select(Refusal.path).where(Refusal.import_id == import_id, Refusal.path.in_(chunk))
        found.update(session.scalars(query))
    return found


def count_imports(session: Session, dataset_id: int) -> int:
    return session.scalar(select(func.count()).where(Import.dataset_id == dataset_id)) or 0


def count_exact_copies(session: Session, dataset_id: int) -> int:
    """Images that could go without losing a picture: all but one of each group of equal pixels."""
    query = select(func.count(), func.count(Image.pixel_sha256.distinct())).where(Image.dataset_id == dataset_id)
    images, pictures = session.execute(query).one()
    return int(images - pictures)
