"""Images by their paths, and what is known about them besides the label."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from sqlalchemy import Row, delete, select
from sqlalchemy.orm import Session

from workbench.models import Attribute, Image, Vote

_CHUNK = 500  # bound variables per statement


def map_paths(session: Session, *, dataset_id: int, paths: Sequence[str]) -> dict[str, int]:
    """Path -> image id, for the paths that are there."""
    found: dict[str, int] = {}
    for start in range(0, len(paths), _CHUNK):
        chunk = paths[start : start + _CHUNK]
        query = select(Image.path, Image.id).where(Image.dataset_id == dataset_id, Image.path.in_(chunk))
        found.update((path, image_id) for path, image_id in session.execute(query))
    return found


def list_by_ids(session: Session, image_ids: Sequence[int]) -> dict[int, Image]:
    found: dict[int, Image] = {}
    for start in range(0, len(image_ids), _CHUNK):
        query = select(Image).where(Image.id.in_(image_ids[start : start + _CHUNK]))
        found.update((image.id, image) for image in session.scalars(query))
    return found


def list_path_page(session: Session, *, dataset_id: int, after: int, limit: int) -> list[Row[tuple[int, str]]]:
    """(id, path) of the next images by id."""
    query = select(Image.id, Image.path).where(Image.dataset_id == dataset_id, Image.id > after)
    return list(session.execute(query.order_by(Image.id).limit(limit)))


def iterate_paths(session: Session, dataset_id: int) -> Iterator[str]:
    """Every path of a data set, streamed."""
    query = select(Image.path).where(Image.dataset_id == dataset_id).execution_options(yield_per=5000)
    yield from session.scalars(query)


def list_votes(session: Session, image_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """Image id -> votes by option."""
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for start in range(0, len(image_ids), _CHUNK):
        chunk = image_ids[start : start + _CHUNK]
        query = select(Vote.image_id, Vote.option, Vote.count).where(Vote.image_id.in_(chunk)).order_by(Vote.option)
        for image_id, option, count in session.execute(query):
            found[image_id][option] = count
    return dict(found)


def delete_votes(session: Session, image_ids: Sequence[int]) -> None:
    for start in range(0, len(image_ids), _CHUNK):
        session.execute(delete(Vote).where(Vote.image_id.in_(image_ids[start : start + _CHUNK])))


def delete_attributes(session: Session, image_ids: Sequence[int], *, names: Sequence[str]) -> None:
    for start in range(0, len(image_ids), _CHUNK):
        chunk = image_ids[start : start + _CHUNK]
        session.execute(delete(Attribute).where(Attribute.image_id.in_(chunk), Attribute.name.in_(names)))
