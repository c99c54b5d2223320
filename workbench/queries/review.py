"""What the review card shows beside the image itself. Plain rows, few statements, all by index."""

import functools
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Select, bindparam, case, func, literal_column, select, union_all
from sqlalchemy.orm import Session, joinedload

from workbench.models import IMAGE_KINDS, Decision, Image, Queue, QueueItem, Vote

# Plain tables: asked of mapped classes, the same rows cost twice as much.
_image, _vote, _item, _line = (table.__table__.c for table in (Image, Vote, QueueItem, Decision))
_PICTURE = (
    _image.id,
    _image.path,
    _image.label_id,
    _image.status,
    _image.split,
    _image.width,
    _image.height,
    _image.pixel_sha256,
)
Picture = Row[*tuple[Any, ...]]


# Built once: the card is read after every decision, and building a statement costs as much as running it.
_SOME = select(*_PICTURE).where(_image.id.in_(bindparam("ids", expanding=True)))
_COPIES = (
    select(*_PICTURE)
    .where(
        _image.dataset_id == bindparam("dataset_id"),
        _image.pixel_sha256 == bindparam("pixels"),
        _image.id != bindparam("image_id"),
    )
    .order_by(_image.id)
    .limit(12)
)
_SOME_AND_COPIES = union_all(
    _SOME.add_columns(literal_column("0").label("is_copy")),
    select(*_COPIES.subquery().c, literal_column("1").label("is_copy")),
)
_VOTES = (
    select(_vote.option, _vote.class_id, _vote["count"])
    .where(_vote.image_id == bindparam("image_id"), _vote["count"] > 0)
    .order_by(_vote["count"].desc(), _vote.option)
)
_PREVIOUS = (
    select(_item.id)
    .where(_item.queue_id == bindparam("queue_id"), _item.position < bindparam("position"))
    .order_by(_item.position.desc())
    .limit(1)
    .scalar_subquery()
)
_HAS_LINES = select(_line.id).where(_line.image_id == bindparam("image_id")).exists()
_SHOWN = select(Image, _PREVIOUS, _HAS_LINES).where(Image.id == bindparam("image_id"))


def get_with_copies(
    session: Session, image: Image, image_ids: Sequence[int]
) -> tuple[dict[int, Picture], list[Picture]]:
    """What `get_pictures` and `list_copies` tell, in one statement."""
    given = {"ids": image_ids, "dataset_id": image.dataset_id, "pixels": image.pixel_sha256, "image_id": image.id}
    rows = session.execute(_SOME_AND_COPIES, given).all()
    return {row[0]: row for row in rows}, [row for row in rows if row.is_copy]


def get_pictures(session: Session, image_ids: Sequence[int]) -> dict[int, Picture]:
    """What a thumbnail and its caption need, by image id. For some dozens of images."""
    if not image_ids:
        return {}
    return {row[0]: row for row in session.execute(_SOME, {"ids": image_ids})}


def list_copies(session: Session, image: Image) -> list[Picture]:
    """The first twelve other images with the same pixels, excluded ones too."""
    given = {"dataset_id": image.dataset_id, "pixels": image.pixel_sha256, "image_id": image.id}
    return list(session.execute(_COPIES, given))


def list_votes(session: Session, image_id: int) -> list[Picture]:
    """(option, class_id, count), the most chosen first."""
    return list(session.execute(_VOTES, {"image_id": image_id}))


def get_shown(session: Session, item: QueueItem) -> tuple[Image, int | None, bool]:
    """The item's image, the item before it, decided or not, and whether the log says anything about the image."""
    given = {"image_id": item.image_id, "queue_id": item.queue_id, "position": item.position}
    image, previous_id, has_lines = session.execute(_SHOWN, given).one()
    return image, previous_id, has_lines


def list_first_of_class(session: Session, *, dataset_id: int, class_id: int, limit: int) -> list[Picture]:
    """Examples of a class while no model can say which are typical: the oldest ones that are not excluded."""
    query = (
        select(*_PICTURE)
        .where(Image.dataset_id == dataset_id, Image.label_id == class_id, Image.status == "active")
        .order_by(Image.id)
        .limit(limit)
    )
    return list(session.execute(query))


@functools.cache
def _recent_lines() -> Select[Any]:
    """Built once, as those above."""
    line, earlier, undo, redo = (Decision.__table__.alias(name) for name in ("line", "earlier", "undo", "redo"))
    image = Image.__table__
    is_undone = (
        select(undo.c.id)
        .where(undo.c.undoes == earlier.c.action, ~select(redo.c.id).where(redo.c.undoes == undo.c.action).exists())
        .exists()
    )
    before = (
        select(earlier.c.class_id)
        .where(
            earlier.c.image_id == line.c.image_id,
            earlier.c.id < line.c.id,
            earlier.c.kind.in_(("confirm", "relabel")),
            ~is_undone,
        )
        .order_by(earlier.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    seen = case((line.c.kind == "opinion", image.c.first_label_id), else_=func.coalesce(before, image.c.first_label_id))
    columns = (line.c.id, line.c.action, line.c.kind, line.c.class_id, line.c.detail, line.c.queue_id)
    return (
        select(*columns, line.c.image_id, seen.label("before_id"))
        .add_columns(image.c.path, image.c.width, image.c.pixel_sha256)
        .outerjoin_from(line, image, image.c.id == line.c.image_id)
        .where(
            line.c.dataset_id == bindparam("dataset_id"),
            line.c.user_id == bindparam("user_id"),
            line.c.kind.in_((*IMAGE_KINDS, "duplicates")),
        )
        .order_by(line.c.id.desc())
        .limit(bindparam("most"))
    )


def list_recent_lines(session: Session, *, dataset_id: int, user_id: int, most: int) -> list[Row[*tuple[Any, ...]]]:
    """The user's newest lines with their images and the class that each image showed before; undone lines too."""
    given = {"dataset_id": dataset_id, "user_id": user_id, "most": most}
    return list(session.execute(_recent_lines(), given))


def list_lines(session: Session, image_ids: Sequence[int]) -> list[Decision]:
    """The log of these images with who wrote it, oldest first, undone lines too."""
    if not image_ids:
        return []
    query = select(Decision).options(joinedload(Decision.user)).where(Decision.image_id.in_(image_ids))
    return list(session.scalars(query.order_by(Decision.id)))


def count_outcomes(session: Session, queue: Queue) -> dict[str, int]:
    """What became of the done items: kept, relabelled, ambiguous, excluded. One pass over them."""
    outcome = case(
        (Image.status != "active", Image.status),
        (Image.label_id == QueueItem.given_id, "kept"),
        else_="relabelled",
    )
    query = (
        select(outcome, func.count())
        .select_from(QueueItem)
        .join(Image, Image.id == QueueItem.image_id)
        .where(QueueItem.queue_id == queue.id, QueueItem.done_action.is_not(None))
        .group_by(outcome)
    )
    found = {row[0]: row[1] for row in session.execute(query)}
    return {name: found.get(name, 0) for name in ("kept", "relabelled", "ambiguous", "excluded")}


def list_moves(session: Session, queue: Queue, *, limit: int = 6) -> list[tuple[int | None, int | None, int]]:
    """(given class, class now, images) of the items that reviewers relabelled, the most frequent first."""
    query = (
        select(QueueItem.given_id, Image.label_id, func.count())
        .select_from(QueueItem)
        .join(Image, Image.id == QueueItem.image_id)
        .where(
            QueueItem.queue_id == queue.id,
            QueueItem.done_action.is_not(None),
            Image.status == "active",
            Image.label_id != QueueItem.given_id,
        )
        .group_by(QueueItem.given_id, Image.label_id)
        .order_by(func.count().desc(), QueueItem.given_id, Image.label_id)
        .limit(limit)
    )
    return [(row[0], row[1], row[2]) for row in session.execute(query)]
