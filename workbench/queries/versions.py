"""Reading what versions are rebuilt from: first states, the log up to a decision, the points worth naming."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, case, func, select
from sqlalchemy.orm import Session, joinedload

from workbench.models import CLASS_KINDS, Class, Decision, DuplicateGroup, Image, Import, Opinion, Queue, QueueItem, Run

_CHUNK = 500  # bound variables per statement
# what the fold of an image reads of a line of the log
LINE = (
    Decision.id,
    Decision.image_id,
    Decision.action,
    Decision.kind,
    Decision.class_id,
    Decision.detail,
    Decision.at,
    Decision.user_id,
    Decision.role,
    Decision.queue_id,
)
_IDENTITY = (Image.id, Image.import_id, Image.path, Image.pixel_sha256, Image.file_sha256, Image.location)
_FIRST = (Image.first_label_id, Image.first_split, Image.first_status, Image.first_ambiguous_ids)
_STATE = (
    Image.base_label_id,
    Image.label_id,
    Image.label_source,
    Image.status,
    Image.ambiguous_ids,
    Image.split,
    Image.revision,
    Image.decided_at,
    Image.disputed,
    Image.gold_id,
    Image.keeps_label,
)


def list_first_states(
    session: Session, *, dataset_id: int, image_ids: Sequence[int] | None = None
) -> list[Row[tuple[Any, ...]]]:
    """Identity and `first_*` columns of the images, by id."""
    return _list_images(session, select(*_IDENTITY, *_FIRST).where(Image.dataset_id == dataset_id), image_ids)


def list_stored_states(
    session: Session, *, dataset_id: int, image_ids: Sequence[int] | None = None
) -> list[Row[tuple[Any, ...]]]:
    """Identity and materialised columns of the images, by id."""
    return _list_images(session, select(*_IDENTITY, *_STATE).where(Image.dataset_id == dataset_id), image_ids)


def list_both_states(session: Session, *, dataset_id: int) -> list[Row[tuple[Any, ...]]]:
    """Identity, `first_*` and materialised columns, by id: what the replay starts from and what it must come to."""
    return _list_images(session, select(*_IDENTITY, *_FIRST, *_STATE).where(Image.dataset_id == dataset_id), None)


def _list_images(
    session: Session, query: Select[*tuple[Any, ...]], image_ids: Sequence[int] | None
) -> list[Row[tuple[Any, ...]]]:
    if image_ids is None:
        return list(session.execute(query.order_by(Image.id)))
    found: list[Row[tuple[Any, ...]]] = []
    for start in range(0, len(image_ids), _CHUNK):
        found += session.execute(query.where(Image.id.in_(image_ids[start : start + _CHUNK])).order_by(Image.id))
    return found


def list_image_lines(
    session: Session, *, dataset_id: int, up_to: int | None = None, after: int = 0
) -> dict[int, list[Row[tuple[Any, ...]]]]:
    """The log lines of each image, oldest first, undone ones too. Plain rows: one pass over a long log."""
    query = select(*LINE).where(Decision.dataset_id == dataset_id, Decision.image_id.is_not(None), Decision.id > after)
    if up_to is not None:
        query = query.where(Decision.id <= up_to)
    found: dict[int, list[Row[tuple[Any, ...]]]] = defaultdict(list)
    for row in session.execute(query.order_by(Decision.id)):
        found[row.image_id].append(row)
    return found


def list_class_lines(
    session: Session, *, dataset_id: int, up_to: int | None = None, after: int = 0
) -> dict[int, list[Decision]]:
    """The log lines of each class, oldest first, undone ones too."""
    query = select(Decision).where(
        Decision.dataset_id == dataset_id, Decision.kind.in_(CLASS_KINDS), Decision.id > after
    )
    if up_to is not None:
        query = query.where(Decision.id <= up_to)
    found: dict[int, list[Decision]] = defaultdict(list)
    for line in session.scalars(query.options(joinedload(Decision.user)).order_by(Decision.id)):
        if line.class_id is not None:
            found[line.class_id].append(line)
    return found


def list_classes(session: Session, *, dataset_id: int) -> list[Class]:
    return list(session.scalars(select(Class).where(Class.dataset_id == dataset_id).order_by(Class.id)))


def list_import_lines(session: Session, *, dataset_id: int) -> list[Decision]:
    """The lines that say "images came in", oldest first."""
    query = select(Decision).where(Decision.dataset_id == dataset_id, Decision.kind == "import")
    return list(session.scalars(query.options(joinedload(Decision.user)).order_by(Decision.id)))


def list_imports(session: Session, *, dataset_id: int) -> list[Import]:
    return list(session.scalars(select(Import).where(Import.dataset_id == dataset_id).order_by(Import.id)))


def list_run_points(session: Session, *, dataset_id: int) -> list[Run]:
    """The runs, oldest first: each names the version it was trained on."""
    return list(session.scalars(select(Run).where(Run.dataset_id == dataset_id).order_by(Run.id)))


def list_day_ends(session: Session, *, dataset_id: int) -> list[tuple[str, int, int]]:
    """(day in UTC, newest decision, decisions of that day), oldest first."""
    day = func.date(Decision.at)
    query = (
        select(day, func.max(Decision.id), func.count())
        .where(Decision.dataset_id == dataset_id, Decision.kind != "import")
        .group_by(day)
        .order_by(func.max(Decision.id))
    )
    return [(row[0], row[1], row[2]) for row in session.execute(query)]


def list_undos(session: Session, *, dataset_id: int, after: int, up_to: int) -> list[Decision]:
    query = select(Decision).where(
        Decision.dataset_id == dataset_id,
        Decision.undoes.is_not(None),
        Decision.id > after,
        Decision.id <= up_to,
    )
    return list(session.scalars(query.options(joinedload(Decision.user)).order_by(Decision.id)))


def list_actions(session: Session, actions: Sequence[str]) -> list[Decision]:
    """All lines of several actions."""
    found: list[Decision] = []
    for start in range(0, len(actions), _CHUNK):
        query = select(Decision).where(Decision.action.in_(actions[start : start + _CHUNK])).order_by(Decision.id)
        found += session.scalars(query)
    return found


def list_touched_images(session: Session, *, dataset_id: int, after: int, up_to: int) -> set[int]:
    """The images that have a line of their own within those decisions."""
    query = select(Decision.image_id).where(
        Decision.dataset_id == dataset_id, Decision.id > after, Decision.id <= up_to, Decision.image_id.is_not(None)
    )
    return {image_id for image_id in session.scalars(query.distinct()) if image_id is not None}


def list_imported_images(session: Session, import_ids: Iterable[int]) -> set[int]:
    return set(session.scalars(select(Image.id).where(Image.import_id.in_(list(import_ids)))))


def list_lines_of(session: Session, image_ids: Sequence[int], *, after: int, up_to: int) -> list[Decision]:
    """Lines of these images within those decisions, with their users, oldest first."""
    query = select(Decision).where(Decision.image_id.in_(image_ids), Decision.id > after, Decision.id <= up_to)
    return list(session.scalars(query.options(joinedload(Decision.user)).order_by(Decision.id)))


def list_queue_items(session: Session, *, dataset_id: int) -> list[tuple[QueueItem, Queue]]:
    """Every item with its queue."""
    query = select(QueueItem, Queue).join(Queue, Queue.id == QueueItem.queue_id).where(Queue.dataset_id == dataset_id)
    return [(row[0], row[1]) for row in session.execute(query.order_by(QueueItem.id))]


def list_queues(session: Session, *, dataset_id: int) -> list[Queue]:
    return list(session.scalars(select(Queue).where(Queue.dataset_id == dataset_id).order_by(Queue.id)))


def count_items(session: Session, *, dataset_id: int) -> dict[int, tuple[int, int, int]]:
    """Queue -> its items, gold ones left out, those that are done, and of these the hits."""
    query = (
        select(
            QueueItem.queue_id,
            func.sum(case((QueueItem.wants != 0, 1), else_=0)),
            func.count(QueueItem.done_action),
            func.sum(case((QueueItem.hit.is_(True), 1), else_=0)),
        )
        .join(Queue, Queue.id == QueueItem.queue_id)
        .where(Queue.dataset_id == dataset_id)
        .group_by(QueueItem.queue_id)
    )
    return {row[0]: (row[1], row[2], row[3]) for row in session.execute(query)}


def list_opinions(session: Session, *, dataset_id: int) -> list[Opinion]:
    query = select(Opinion).join(Image, Image.id == Opinion.image_id).where(Image.dataset_id == dataset_id)
    return list(session.scalars(query))


def list_groups(session: Session, *, dataset_id: int) -> list[DuplicateGroup]:
    return list(session.scalars(select(DuplicateGroup).where(DuplicateGroup.dataset_id == dataset_id)))


def list_group_lines(session: Session, *, dataset_id: int) -> list[Decision]:
    """The verdicts on duplicate groups, oldest first, undone ones too."""
    query = select(Decision).where(Decision.dataset_id == dataset_id, Decision.kind == "duplicates")
    return list(session.scalars(query.order_by(Decision.id)))


def get_times(session: Session, decision_ids: Sequence[int]) -> dict[int, datetime]:
    """When each of these decisions was made."""
    found: dict[int, datetime] = {}
    for start in range(0, len(decision_ids), _CHUNK):
        query = select(Decision.id, Decision.at).where(Decision.id.in_(decision_ids[start : start + _CHUNK]))
        found |= {row.id: row.at for row in session.execute(query)}
    return found


def get_import_ids(session: Session, image_ids: Sequence[int]) -> dict[int, int]:
    """Image id -> the import that it came with."""
    found: dict[int, int] = {}
    for start in range(0, len(image_ids), _CHUNK):
        query = select(Image.id, Image.import_id).where(Image.id.in_(image_ids[start : start + _CHUNK]))
        found |= {row.id: row.import_id for row in session.execute(query)}
    return found
