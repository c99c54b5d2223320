"""What several reviewers said of the same images, and how each of them works."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session, aliased

from workbench.models import STATEMENTS, Decision, Image, Opinion, Queue, QueueItem, User
from workbench.queries.image_lists import IS_DISPUTED

Rows = list[Row[*tuple[Any, ...]]]
SAYING = (*STATEMENTS, "opinion")  # the kinds by which a reviewer says what an image is
_CHUNK = 500


_IS_CLOSED = Opinion.queue_id.not_in(select(Queue.id).where(Queue.closed_at.is_(None)))


def list_opinions(session: Session, dataset_id: int, *, with_gold: bool = False, closed_only: bool = False) -> Rows:
    """(image_id, user_id, verdict, class_id, line_id) of the blind opinions that count, oldest first."""
    query: Select[*tuple[Any, ...]] = (
        select(Opinion.image_id, Opinion.user_id, Opinion.verdict, Opinion.class_id, Opinion.line_id)
        .join(Image, Image.id == Opinion.image_id)
        .where(Image.dataset_id == dataset_id)
        .order_by(Opinion.line_id)
    )
    if closed_only:
        query = query.where(_IS_CLOSED)
    return list(session.execute(query if with_gold else query.where(~Opinion.is_gold)))


def get_gold(session: Session, dataset_id: int) -> dict[int, int]:
    """Image id -> the class that leads know it to be."""
    query = select(Image.id, Image.gold_id).where(Image.dataset_id == dataset_id, Image.gold_id.is_not(None))
    return {row[0]: row[1] for row in session.execute(query) if row[1] is not None}


def list_shared_verdicts(session: Session, dataset_id: int) -> Rows:
    """(image_id, user_id, kind, class_id, id, action) of verdicts on images that several people decided on.

    Oldest first, undone ones too. Reads the whole log of the data set once.
    """
    shared = (
        select(Decision.image_id)
        .where(Decision.dataset_id == dataset_id, Decision.kind.in_(STATEMENTS))
        .group_by(Decision.image_id)
        .having(func.count(Decision.user_id.distinct()) > 1)
    )
    query: Select[*tuple[Any, ...]] = (
        select(
            Decision.image_id, Decision.user_id, Decision.kind, Decision.class_id, Decision.id, Decision.action
        )
        .where(Decision.image_id.in_(shared), Decision.kind.in_(STATEMENTS))
        .order_by(Decision.id)
    )  # fmt: skip
    return list(session.execute(query))


def get_users(session: Session, user_ids: Iterable[int]) -> dict[int, User]:
    return {user.id: user for user in session.scalars(select(User).where(User.id.in_(list(user_ids))))}


# --- how a reviewer works -----------------------------------------------------------------------------------------


def count_lines(session: Session, dataset_id: int) -> dict[int, int]:
    """User id -> lines that say what an image is, undone ones too. Reads the data set's log once."""
    query = select(Decision.user_id, func.count()).where(Decision.dataset_id == dataset_id, Decision.kind.in_(SAYING))
    return {row[0]: row[1] for row in session.execute(query.group_by(Decision.user_id))}


def list_newest_lines(session: Session, dataset_id: int, *, user_id: int, limit: int) -> Rows:
    """(id, action, at, kind, class_id, verdict, seconds, image_id, first_label_id) of a user's newest, newest first."""
    query: Select[*tuple[Any, ...]] = (
        select(
            Decision.id, Decision.action, Decision.at, Decision.kind, Decision.class_id, Decision.detail,
            Decision.seconds, Decision.image_id, Image.first_label_id,
        )
        .join(Image, Image.id == Decision.image_id)
        .where(Decision.user_id == user_id, Decision.dataset_id == dataset_id, Decision.kind.in_(SAYING))
        .order_by(Decision.id.desc())
        .limit(limit)
    )  # fmt: skip
    return list(session.execute(query))


def list_gold_answers(
    session: Session, dataset_id: int, *, user_id: int | None = None, closed_only: bool = False
) -> Rows:
    """(user_id, line_id, verdict, class_id, gold_id) of the answers to gold images, oldest first."""
    query: Select[*tuple[Any, ...]] = (
        select(Opinion.user_id, Opinion.line_id, Opinion.verdict, Opinion.class_id, Image.gold_id)
        .join(Image, Image.id == Opinion.image_id)
        .where(Image.dataset_id == dataset_id, Opinion.is_gold, Image.gold_id.is_not(None))
        .order_by(Opinion.line_id)
    )
    if user_id is not None:
        query = query.where(Opinion.user_id == user_id)
    return list(session.execute(query.where(_IS_CLOSED) if closed_only else query))


def list_undone_by_others(session: Session, dataset_id: int) -> list[tuple[str, str, int]]:
    """(undo's action, action undone, whose that was) of the undos of what somebody else did."""
    undo = aliased(Decision)
    query = (
        select(undo.action, Decision.action, Decision.user_id)
        .distinct()
        .join(Decision, Decision.action == undo.undoes)
        .where(
            undo.dataset_id == dataset_id,
            undo.kind == "undo",
            Decision.user_id != undo.user_id,
            Decision.kind.in_(SAYING),
        )
    )
    return [(row[0], row[1], row[2]) for row in session.execute(query)]


# --- what is disputed ---------------------------------------------------------------------------------------------


def count_disputed(session: Session, dataset_id: int) -> int:
    query = select(func.count()).where(Image.dataset_id == dataset_id, IS_DISPUTED)
    return session.scalar(query) or 0


def list_disputed(
    session: Session, dataset_id: int, *, after: int = 0, limit: int | None = None, queue_id: int | None = None
) -> list[Image]:
    """Disputed images by id, after one of them; of one queue only, where that is asked."""
    query = select(Image).where(Image.dataset_id == dataset_id, IS_DISPUTED, Image.id > after).order_by(Image.id)
    if queue_id is not None:
        query = query.where(Image.id.in_(select(QueueItem.image_id).where(QueueItem.queue_id == queue_id)))
    return list(session.scalars(query.limit(limit)))


def get_disputed_neighbour(session: Session, image: Image, *, step: int) -> int | None:
    """The next disputed image (step 1) or the one before (step -1)."""
    query = select(Image.id).where(Image.dataset_id == image.dataset_id, IS_DISPUTED)
    if step > 0:
        query = query.where(Image.id > image.id).order_by(Image.id)
    else:
        query = query.where(Image.id < image.id).order_by(Image.id.desc())
    return session.scalar(query.limit(1))


def count_disputed_before(session: Session, image: Image) -> int:
    query = select(func.count()).where(Image.dataset_id == image.dataset_id, IS_DISPUTED, Image.id < image.id)
    return session.scalar(query) or 0


def list_lines_on(session: Session, image_ids: Sequence[int]) -> list[Decision]:
    """Everything that reviewers said of these images, and comments, oldest first, undone lines too."""
    found: list[Decision] = []
    for start in range(0, len(image_ids), _CHUNK):
        query = select(Decision).where(
            Decision.image_id.in_(image_ids[start : start + _CHUNK]),
            Decision.kind.in_((*SAYING, "comment", "consensus")),
        )
        found += session.scalars(query.order_by(Decision.id))
    return found


def list_said_since(session: Session, image_ids: Sequence[int], *, line: int) -> set[int]:
    """Those of these images of which anybody said or took back something after a line of the log."""
    newer = select(Decision.action).where(Decision.id > line, Decision.undoes.is_not(None))
    undone = select(Decision.undoes).where(Decision.action.in_(newer))
    found: set[int] = set()
    for start in range(0, len(image_ids), _CHUNK):
        chunk = Decision.image_id.in_(image_ids[start : start + _CHUNK])
        query = select(Decision.image_id).where(chunk, (Decision.id > line) | Decision.action.in_(undone))
        found.update(image_id for image_id in session.scalars(query) if image_id is not None)
    return found


def list_open_blind(session: Session, queue_ids: Collection[int]) -> set[int]:
    """Those of these queues that ask several reviewers and are not closed."""
    query = select(Queue.id).where(Queue.id.in_(queue_ids), Queue.opinions > 1, Queue.closed_at.is_(None))
    return set(session.scalars(query))


def count_open_blind(session: Session, dataset_id: int) -> int:
    """The queues that ask several reviewers and are not closed."""
    query = select(func.count()).where(Queue.dataset_id == dataset_id, Queue.opinions > 1, Queue.closed_at.is_(None))
    return session.scalar(query) or 0


def list_asked_blind(session: Session, dataset_id: int) -> set[int]:
    """The images about which an open queue asks several, those too that it has all opinions of: it may ask one more."""
    query = (
        select(QueueItem.image_id)
        .join(Queue, Queue.id == QueueItem.queue_id)
        .where(
            Queue.dataset_id == dataset_id,
            Queue.closed_at.is_(None),
            Queue.opinions > 1,
        )
    )
    return set(session.scalars(query))


def list_asking_items(session: Session, image_ids: Sequence[int]) -> list[QueueItem]:
    """The open items that ask several opinions on these images, in queues that are open."""
    query = (
        select(QueueItem)
        .join(Queue, Queue.id == QueueItem.queue_id)
        .where(
            QueueItem.image_id.in_(image_ids),
            QueueItem.wants > 1,
            QueueItem.done_action.is_(None),
            Queue.closed_at.is_(None),
        )
    )
    return list(session.scalars(query.order_by(QueueItem.id)))


def list_opinions_of(session: Session, item: QueueItem) -> list[Opinion]:
    """What was said of the item's image in its queue."""
    query = select(Opinion).where(Opinion.queue_id == item.queue_id, Opinion.image_id == item.image_id)
    return list(session.scalars(query))
