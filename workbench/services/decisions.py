"""Deciding and undoing. Whatever changes a label, a status, a split or a class passes through `submit` or `undo`.

A caller describes what was decided as a list of `Line`; one call is one action with one id. The rows of `images`,
`classes`, `queue_items` and `duplicate_groups` follow in the same transaction.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from workbench.errors import Conflict, Forbidden, Invalid, NotFound
from workbench.models import (
    CLASS_KINDS,
    SPLITS,
    STATEMENTS,
    Class,
    Dataset,
    Decision,
    Image,
    User,
    utc_now,
)
from workbench.models.states import ClassState, ImageState, fold_class, fold_whole, follow_merges, merge_roots, touching
from workbench.queries import decisions as log
from workbench.queries import duplicates
from workbench.services import protection
from workbench.services.group_marks import mark_groups, refresh_flags
from workbench.services.queue_marks import ImageLog, refresh_items, refresh_opinions
from workbench.services.votes import refresh_votes

_CHUNK = 500
_LONGEST_ID = 64
_OF_LEADS = (*CLASS_KINDS, "gold", "keep", "consensus")
_class = Class.__table__.c
_CLASS_STATES = select(_class.id, _class.retired, _class.merged_into_id).where(
    _class.dataset_id == bindparam("dataset_id")
)
_IMAGES = select(Image).where(Image.id.in_(bindparam("image_ids", expanding=True)))


@dataclass(frozen=True)
class Line:
    """One decision before it is written."""

    kind: str
    image_id: int | None = None
    class_id: int | None = None
    detail: dict[str, Any] | None = None


def new_action() -> str:
    return uuid.uuid4().hex


def submit(
    session: Session,
    *,
    dataset: Dataset,
    user: User,
    lines: Sequence[Line],
    action: str | None = None,
    queue_id: int | None = None,
    by_flags: bool = False,
    forced: str = "",
    seconds: float | None = None,
    is_new: bool = False,
) -> str:
    """Write one action and bring all rows up to date. Returns its id; an id that is already in the log does nothing.

    by_flags: the verdicts follow what a model says, as those given in a queue of its flags do anyway. forced: why they
    are given on a frozen split all the same. seconds: how long the reviewer looked. is_new: the
    caller knows that the id is not in the log.
    """
    action = action or new_action()
    if not is_new and log.has_action(session, action):
        return action
    if not lines:
        raise Invalid("Nothing was chosen: pick at least one image.")
    if len(action) > _LONGEST_ID:
        raise Invalid("The id of an action is too long; reload the page.")
    classes = _read_classes(session, dataset)
    _check_lines(classes, lines)
    by_flags = by_flags or protection.follows_flags(session, queue_id)
    lines = protection.protect(session, dataset, lines, by_flags=by_flags, forced=forced)
    _write(session, dataset, user, [(action, line) for line in lines], queue_id=queue_id, seconds=seconds)
    refresh(session, dataset, lines, action=action, is_new=True, classes=classes)
    return action


def submit_each(
    session: Session,
    *,
    dataset: Dataset,
    user: User,
    actions: Sequence[Sequence[Line]],
    by_flags: bool = False,
    forced: str = "",
) -> list[str]:
    """Write many actions about images, each to be undone by itself, for the price of one: what a file decides.

    actions: the lines of each, only of kinds that concern images, and no image in two of them. by_flags, forced: as
    for `submit`. Returns their ids.
    """
    lines: Sequence[Line] = [line for each in actions for line in each]
    _check_lines(_read_classes(session, dataset), lines)
    lines = protection.protect(session, dataset, lines, by_flags=by_flags, forced=forced)
    ids = [action for each in actions for action in [new_action()] for _ in each]
    numbered = list(zip(ids, lines, strict=True))
    _write(session, dataset, user, numbered)
    image_ids = sorted({line.image_id for line in lines if line.image_id is not None})
    refresh_images(session, dataset, image_ids)
    refresh_flags(session, duplicates.list_groups_holding(session, image_ids))
    protection.refresh(session, dataset, lines)
    return list(dict.fromkeys(ids))


def undo(session: Session, *, dataset: Dataset, user: User, action: str, undo_action: str | None = None) -> str:
    """Take back one action, whoever did it; undoing an undo brings it back. Returns the id of the undo."""
    undo_action = undo_action or new_action()
    if log.has_action(session, undo_action):
        return undo_action
    lines = log.get_action(session, action)
    if not lines or lines[0].dataset_id != dataset.id:
        raise NotFound("There is no such decision in this data set.")
    if lines[0].kind == "import":
        raise Invalid("An import cannot be undone; exclude its images instead.")
    if lines[0].kind in ("freeze", "unfreeze"):
        raise Invalid("Freezing is not undone: unfreeze or freeze the split on its page, and say why.")
    if log.is_undone(session, action):
        raise Conflict("That decision was undone already.")
    session.execute(
        insert(Decision).values(
            dataset_id=dataset.id,
            user_id=user.id,
            at=utc_now(),
            action=undo_action,
            kind="undo",
            undoes=action,
            role=user.role,
        )
    )
    touched = _root_lines(session, lines)
    if touched[0].kind in _OF_LEADS and not user.may("lead"):
        raise Forbidden("Only leads take this back or bring it back; ask one.")
    with protection.hold_split(session, dataset, touched):
        refresh(session, dataset, touched, action=touched[0].action)
    return undo_action


def undo_last(session: Session, *, dataset: Dataset, user: User) -> str:
    """Undo the user's newest action that counts; returns that action's id."""
    action = log.get_last_undoable(session, dataset_id=dataset.id, user_id=user.id)
    if action is None:
        raise Invalid("There is nothing of yours left to undo.")
    undo(session, dataset=dataset, user=user, action=action)
    return action


def redo_last(session: Session, *, dataset: Dataset, user: User) -> str:
    """Undo the user's newest undo, unless they have decided something since; returns the action that counts again."""
    undone_by = log.get_last_redoable(session, dataset_id=dataset.id, user_id=user.id)
    if undone_by is None:
        raise Invalid("There is nothing to redo.")
    undo(session, dataset=dataset, user=user, action=undone_by)
    return _root_lines(session, log.get_action(session, undone_by))[0].action


def decide(
    session: Session,
    *,
    image: Image,
    user: User,
    verdict: str,
    class_id: int | None = None,
    class_ids: Sequence[int] = (),
    text: str = "",
    revision: int | None = None,
    action: str | None = None,
    queue_id: int | None = None,
    forced: str = "",
) -> str:
    """One reviewer's verdict on one image. revision: what the reviewer saw; another one now is a Conflict."""
    if action and log.has_action(session, action):
        return action
    check_revision(image, revision)
    dataset = session.get_one(Dataset, image.dataset_id)
    line = make_line(image, verdict=verdict, class_id=class_id, class_ids=class_ids, text=text)
    return submit(
        session,
        dataset=dataset,
        user=user,
        lines=[line],
        action=action,
        queue_id=queue_id,
        forced=forced,
    )


def check_revision(image: Image, revision: int | None) -> None:
    """revision: what the reviewer saw; another one now is a Conflict. None: they saw nothing in particular."""
    if revision is not None and revision != image.revision:
        raise Conflict("Somebody decided on this image meanwhile.")


def make_line(
    image: Image,
    *,
    verdict: str,
    class_id: int | None = None,
    class_ids: Sequence[int] = (),
    text: str = "",
) -> Line:
    """The line for a verdict. A confirm says which class it confirms, so that it stands when older lines are undone."""
    if verdict == "confirm":
        if image.label_id is None:
            raise Invalid("This image has no label to confirm; choose a class.")
        return Line("confirm", image.id, image.label_id)
    if verdict == "relabel":
        if class_id is None:
            raise Invalid("Choose a class.")
        return Line("relabel", image.id, class_id)
    if verdict == "ambiguous":
        return Line("ambiguous", image.id, detail={"classes": sorted(set(class_ids))})
    if verdict == "comment":
        return Line("comment", image.id, detail={"text": text.strip()})
    if verdict in ("exclude", "restore"):
        return Line(verdict, image.id)
    raise Invalid(f"“{verdict}” is not a verdict; use confirm, relabel, ambiguous, exclude, restore or comment.")


def _read_classes(session: Session, dataset: Dataset) -> Sequence[Any]:
    """(id, retired, merged_into_id) of each."""
    return session.execute(_CLASS_STATES, {"dataset_id": dataset.id}).all()


def _check_lines(classes: Sequence[Any], lines: Sequence[Line]) -> None:
    open_ids = {row.id for row in classes if not row.retired and row.merged_into_id is None}
    for line in lines:
        _check_line(line, open_ids)


def _check_line(line: Line, open_ids: set[int]) -> None:
    detail = line.detail or {}
    kind = detail["verdict"] if line.kind == "opinion" else line.kind
    if line.kind == "opinion" and kind not in STATEMENTS:
        raise Invalid(f"“{kind}” is not an opinion; use {', '.join(STATEMENTS)}.")
    if kind in ("confirm", "relabel", "consensus") and line.class_id not in open_ids:
        raise Invalid("That class is not one of this data set's open classes.")
    if line.kind == "gold" and line.class_id is not None and line.class_id not in open_ids:
        raise Invalid("A gold image shows one of this data set's open classes.")
    if kind == "ambiguous":
        classes = detail["classes"]
        if len(classes) < 2:
            raise Invalid("Ambiguous needs two or more classes.")
        if not set(classes) <= open_ids:
            raise Invalid("An ambiguous verdict names a class that is not open.")
    if line.kind == "split" and detail["split"] not in (*SPLITS, None):
        raise Invalid(f"“{detail['split']}” is not a split; use train, validation or test.")
    if line.kind == "comment" and not detail["text"]:
        raise Invalid("The comment is empty.")


def _write(
    session: Session,
    dataset: Dataset,
    user: User,
    numbered: Sequence[tuple[str, Line]],
    *,
    queue_id: int | None = None,
    seconds: float | None = None,
) -> None:
    """numbered: each line with the action that it is part of."""
    now = utc_now()
    session.flush()
    session.execute(
        insert(Decision),
        [
            {
                "dataset_id": dataset.id,
                "user_id": user.id,
                "at": now,
                "action": action,
                "kind": line.kind,
                "image_id": line.image_id,
                "class_id": line.class_id,
                "detail": line.detail,
                "queue_id": queue_id,
                "role": user.role,
                "seconds": seconds,
            }
            for action, line in numbered
        ],
    )


def _root_lines(session: Session, lines: list[Decision]) -> list[Decision]:
    """The lines that an undo, or an undo of an undo, is finally about."""
    while lines[0].kind == "undo" and lines[0].undoes is not None:
        lines = log.get_action(session, lines[0].undoes)
    return lines


def refresh(
    session: Session,
    dataset: Dataset,
    lines: Iterable[Line | Decision],
    *,
    action: str,
    is_new: bool = False,
    classes: Sequence[Any] | None = None,
) -> None:
    """Bring the rows that an action touches to what the log says now.

    is_new: the action was written just now, so that nobody can have undone it. classes: as they were read just before.
    """
    lines = list(lines)
    if any(line.kind in CLASS_KINDS for line in lines):
        refresh_classes(session, dataset)
        classes = None
    image_ids = sorted({line.image_id for line in lines if line.image_id is not None})
    if image_ids:
        refresh_images(session, dataset, image_ids, newest=action if is_new else None, classes=classes)
        refresh_flags(session, duplicates.list_groups_holding(session, image_ids))
    if any(line.kind == "class_merge" for line in lines):
        refresh_flags(session, duplicates.list_group_ids(session, dataset_id=dataset.id))
    votes = [line.image_id for line in lines if line.kind == "votes" and line.image_id is not None]
    if votes:
        refresh_votes(session, votes)
    details = [line.detail for line in lines if line.kind == "duplicates" and line.detail]
    mark_groups(session, dataset, details, action=action)
    protection.refresh(session, dataset, lines)


def refresh_images(
    session: Session,
    dataset: Dataset,
    image_ids: Sequence[int],
    *,
    newest: str | None = None,
    classes: Sequence[Any] | None = None,
) -> None:
    """Fold the log of each image again and store what comes out, in the items of queues too.

    newest: an action that nobody can have undone.
    """
    session.flush()
    roots = follow_merges({row.id: row.merged_into_id for row in classes or _read_classes(session, dataset)})
    for start in range(0, len(image_ids), _CHUNK):
        chunk = image_ids[start : start + _CHUNK]
        found = log.list_image_decisions(session, chunk)
        traced = log.trace(session, {line.action for lines in found.values() for line in lines} - {newest})
        logs: dict[int, ImageLog] = {}
        with session.no_autoflush:  # one flush for all that changes
            for image in _get_images(session, chunk):
                every = found.get(image.id, [])
                counting = [line for line in every if line.action not in traced.undone]
                logs[image.id] = made = ImageLog(every, counting, fold_whole(image, counting))
                _store_image(image, made, traced.newest, roots)
            refresh_items(session, logs)
        refresh_opinions(session, logs)
    session.flush()


def _get_images(session: Session, image_ids: Sequence[int]) -> Iterable[Image]:
    """One image is at hand: whoever decides on it has read it."""
    if len(image_ids) == 1:
        return [session.get_one(Image, image_ids[0])]
    return session.scalars(_IMAGES, {"image_ids": image_ids})


def _store_image(image: Image, made: ImageLog, undos: Mapping[str, int], roots: dict[int, int]) -> None:
    state = made.fold.state
    image.base_label_id = state.base_label_id
    image.label_id = visible_label(state, roots)
    image.status = state.status
    image.ambiguous_ids = list(state.ambiguous_ids) or None
    image.split = state.split
    image.label_source = state.source
    image.disputed = state.disputed
    image.gold_id = state.gold_id
    image.keeps_label = state.keeps_label
    image.revision = touching(made.every, undos, made.fold)
    image.decided_at = made.fold.settled_at if state.is_settled else None


def visible_label(state: ImageState, roots: dict[int, int]) -> int | None:
    """The class an image shows: none while it is ambiguous, the survivor where its class was merged."""
    if state.status == "ambiguous" or state.base_label_id is None:
        return None
    return roots[state.base_label_id]


def _classes(session: Session, dataset: Dataset) -> list[Class]:
    return list(session.scalars(select(Class).where(Class.dataset_id == dataset.id).order_by(Class.position, Class.id)))


def refresh_classes(session: Session, dataset: Dataset) -> None:
    """Fold the log of every class again; images follow where merges changed."""
    session.flush()
    undone = log.get_undone(session, dataset_id=dataset.id)
    found = log.list_class_decisions(session, dataset_id=dataset.id)
    classes = _classes(session, dataset)
    before = merge_roots(classes)
    states = {
        cls.id: fold_class(
            cls,
            [line for line in found.get(cls.id, []) if line.action not in undone],
            added=cls.added_by is None or cls.added_by not in undone,
        )
        for cls in classes
    }
    _check_names(states.values())
    for cls in classes:  # two steps, so that two classes can swap names under the unique constraint
        cls.name = f"\x00{cls.id}"
    session.flush()
    for cls in classes:
        _store_class(cls, states[cls.id])
    session.flush()
    after = merge_roots(classes)
    for class_id, root in after.items():
        if before[class_id] != root:
            session.execute(
                update(Image)
                .where(Image.base_label_id == class_id, Image.status != "ambiguous")
                .values(label_id=root)
                .execution_options(synchronize_session="fetch")
            )


def _check_names(states: Iterable[ClassState]) -> None:
    names = [state.name for state in states]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Conflict(f"Two classes would be called “{twice[0]}”; rename one of them first.")


def _store_class(cls: Class, state: ClassState) -> None:
    cls.name = state.name
    cls.position = state.position
    cls.colour = state.colour
    cls.key = state.key
    cls.retired = state.retired
    cls.merged_into_id = state.merged_into_id
