"""Reading the log."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from workbench.models import CLASS_KINDS, IMAGE_KINDS, Decision
from workbench.models.states import newest_undos, undone_actions

# What tells of an image how often it was decided on. Opinions and gold do not count: they would tell which are gold;
# nor does what a lead said of the posterior, without looking at the label.
COUNTED = tuple(kind for kind in IMAGE_KINDS if kind not in ("opinion", "gold", "keep"))
_CHUNK = 500  # bound variables per statement
# Built once: read with every decision, and building a statement costs as much as running it.
_line = Decision.__table__.c  # plain columns: asked of the mapped class, the same rows cost twice as much
_UNDOING = select(_line.id, _line.action, _line.undoes).where(_line.undoes.in_(bindparam("actions", expanding=True)))
_HAS_ACTION = select(_line.id).where(_line.action == bindparam("action")).limit(1)
_OF_IMAGES = select(Decision).where(Decision.image_id.in_(bindparam("image_ids", expanding=True))).order_by(Decision.id)


def get_undone(session: Session, *, dataset_id: int, up_to: int | None = None) -> set[str]:
    """The actions of a data set that do not count, as of decision `up_to`. Costs one read of its undo lines."""
    query = select(Decision.action, Decision.undoes).where(
        Decision.dataset_id == dataset_id, Decision.undoes.is_not(None)
    )
    if up_to is not None:
        query = query.where(Decision.id <= up_to)
    return undone_actions((row.action, row.undoes) for row in session.execute(query.order_by(Decision.id)))


@dataclass(frozen=True)
class Trace:
    """What became of some actions. undone: those that do not count. newest: action -> the newest line about undoing it.

    An action that was never undone is in neither.
    """

    undone: set[str]
    newest: dict[str, int]


def trace(session: Session, actions: Iterable[str]) -> Trace:
    """Costs one statement for 500 actions where none was undone."""
    rows: list[tuple[int, str, str]] = []
    frontier = list(actions)
    while frontier:
        found: list[tuple[int, str, str]] = []
        for start in range(0, len(frontier), _CHUNK):
            chunk = session.execute(_UNDOING, {"actions": frontier[start : start + _CHUNK]})
            found += [(row[0], row[1], row[2] or "") for row in chunk]
        rows += found
        frontier = [action for _, action, _ in found]
    rows.sort()
    return Trace(undone_actions((action, undoes) for _, action, undoes in rows), newest_undos(rows))


def list_undoing(session: Session, *, dataset_id: int) -> list[tuple[int, str, str]]:
    """(id, action, what it undoes) of every undo of a data set, oldest first."""
    query = select(Decision.id, Decision.action, Decision.undoes).where(
        Decision.dataset_id == dataset_id, Decision.undoes.is_not(None)
    )
    return [(row[0], row[1], row[2] or "") for row in session.execute(query.order_by(Decision.id))]


def is_undone(session: Session, action: str) -> bool:
    """Whether one action does not count now. Follows only its own chain of undos."""
    for undo in session.scalars(select(Decision.action).where(Decision.undoes == action)):
        if not is_undone(session, undo):
            return True
    return False


def was_undone(session: Session, action: str) -> bool:
    """Whether anybody ever undid an action, whether or not it counts again by now."""
    return session.scalar(select(Decision.id).where(Decision.undoes == action).limit(1)) is not None


def get_action(session: Session, action: str) -> list[Decision]:
    """The lines of one action, empty if it never reached the log."""
    return list(session.scalars(select(Decision).where(Decision.action == action).order_by(Decision.id)))


def get_first_ids(session: Session, actions: Iterable[str]) -> dict[str, int]:
    """Action -> its first line."""
    query = select(Decision.action, func.min(Decision.id)).where(Decision.action.in_(list(actions)))
    return {row[0]: row[1] for row in session.execute(query.group_by(Decision.action))}


def has_action(session: Session, action: str) -> bool:
    return session.scalar(_HAS_ACTION, {"action": action}) is not None


def list_image_decisions(session: Session, image_ids: Sequence[int]) -> dict[int, list[Decision]]:
    """The lines of each image, oldest first, undone ones too."""
    found: dict[int, list[Decision]] = defaultdict(list)
    for start in range(0, len(image_ids), _CHUNK):
        chunk = image_ids[start : start + _CHUNK]
        for decision in session.scalars(_OF_IMAGES, {"image_ids": chunk}):
            if decision.image_id is not None:
                found[decision.image_id].append(decision)
    return found


def list_vote_lines(session: Session, image_ids: Sequence[int]) -> dict[int, list[Decision]]:
    """The lines that carried votes over to each image, oldest first, undone ones too."""
    found: dict[int, list[Decision]] = defaultdict(list)
    for start in range(0, len(image_ids), _CHUNK):
        chunk = image_ids[start : start + _CHUNK]
        query = select(Decision).where(Decision.image_id.in_(chunk), Decision.kind == "votes").order_by(Decision.id)
        for decision in session.scalars(query):
            if decision.image_id is not None:
                found[decision.image_id].append(decision)
    return dict(found)


def list_class_decisions(session: Session, *, dataset_id: int) -> dict[int, list[Decision]]:
    found: dict[int, list[Decision]] = defaultdict(list)
    query = select(Decision).where(Decision.dataset_id == dataset_id, Decision.kind.in_(CLASS_KINDS))
    for decision in session.scalars(query.order_by(Decision.id)):
        if decision.class_id is not None:
            found[decision.class_id].append(decision)
    return found


def get_last_id(session: Session, *, dataset_id: int) -> int:
    """The newest decision, which names the present version; 0 before the first."""
    return session.scalar(select(func.max(Decision.id)).where(Decision.dataset_id == dataset_id)) or 0


def get_last_redoable(session: Session, *, dataset_id: int, user_id: int) -> str | None:
    """The undo that `redo` would undo: the user's newest counting undo with nothing of theirs after it but undos."""
    query = (
        select(Decision.action, Decision.undoes)
        .where(Decision.dataset_id == dataset_id, Decision.user_id == user_id, Decision.kind != "import")
        .order_by(Decision.id.desc())
        .limit(200)
    )
    for action, undoes in session.execute(query):
        if undoes is None:
            return None
        if not is_undone(session, action) and not _is_redo(session, undoes):
            return str(action)
    return None


def get_last_undoable(session: Session, *, dataset_id: int, user_id: int) -> str | None:
    """The user's newest action that counts and is not itself an undo."""
    query = (
        select(Decision.action)
        .where(
            Decision.dataset_id == dataset_id,
            Decision.user_id == user_id,
            Decision.kind.notin_(("undo", "import", "freeze", "unfreeze")),
        )
        .order_by(Decision.id.desc())
        .execution_options(yield_per=50)
    )
    previous = None
    for action in session.scalars(query):
        if action != previous and not is_undone(session, action):
            return str(action)
        previous = action
    return None


def _is_redo(session: Session, undoes: str) -> bool:
    """Whether an undo of that action brings something back."""
    return session.scalar(select(Decision.kind).where(Decision.action == undoes).limit(1)) == "undo"


def count_by_image(session: Session, *, dataset_id: int) -> dict[int, int]:
    """How many lines of a kind in `COUNTED` each image has, undone ones left out."""
    undone = get_undone(session, dataset_id=dataset_id)
    counts: dict[int, int] = defaultdict(int)
    query = select(Decision.image_id, Decision.action).where(
        Decision.dataset_id == dataset_id, Decision.image_id.is_not(None), Decision.kind.in_(COUNTED)
    )
    for image_id, action in session.execute(query):
        if image_id is not None and action not in undone:
            counts[image_id] += 1
    return counts
