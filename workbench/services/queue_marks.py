"""Items of queues, and the opinions given in them, follow the log; queues count what is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Session

from workbench.models import Decision, DuplicateGroup, Opinion, Queue, QueueItem
from workbench.models.states import ImageFold, ItemState, fold_item, fold_opinions
from workbench.queries import decisions as log

_ITEMS = (
    select(QueueItem, Queue)
    .join(Queue, Queue.id == QueueItem.queue_id)
    .where(QueueItem.image_id.in_(bindparam("image_ids", expanding=True)), QueueItem.group_id.is_(None))
)


@dataclass(frozen=True)
class ImageLog:
    """The lines of an image, oldest first, those that count, and what they come to."""

    every: Sequence[Decision]
    counting: Sequence[Decision]
    fold: ImageFold


def refresh_items(session: Session, logs: Mapping[int, ImageLog]) -> None:
    """What the items of these images say follows their logs. logs: by image id, some hundreds at most."""
    for item, queue in session.execute(_ITEMS, {"image_ids": list(logs)}):
        found = logs[item.image_id]
        state = fold_item(
            found.counting,
            found.fold,
            queue_id=queue.id,
            wants=item.wants,
            after_line=queue.after_line,
            given_id=item.given_id,
        )
        _store(item, queue, state)


def _store(item: QueueItem, queue: Queue, state: ItemState) -> None:
    queue.done += (state.done_action is not None) - (item.done_action is not None)
    queue.hits += bool(state.hit) - bool(item.hit)
    item.opinions = state.opinions
    item.done_action = state.done_action
    item.done_line = state.done_line
    item.hit = state.hit


def refresh_group_items(session: Session, group_ids: Sequence[int]) -> None:
    """An item that shows a group is done when the group is settled; a hit unless its images are different pictures."""
    query = (
        select(QueueItem, Queue, DuplicateGroup)
        .join(Queue, Queue.id == QueueItem.queue_id)
        .join(DuplicateGroup, DuplicateGroup.id == QueueItem.group_id)
        .where(QueueItem.group_id.in_(group_ids))
    )
    rows = list(session.execute(query))
    lines = log.get_first_ids(session, {group.settled_action for _, _, group in rows if group.settled_action})
    for item, queue, group in rows:
        action = group.settled_action
        hit = group.verdict != "not_duplicates" if action else None
        _store(item, queue, ItemState(0, action, lines.get(action or ""), hit))
    session.flush()


def drop_group_items(session: Session, group_ids: Sequence[int]) -> None:
    """Items of groups that a scan no longer forms leave their queues, done or not: there is nothing left to show."""
    query = select(QueueItem, Queue).join(Queue, Queue.id == QueueItem.queue_id)
    for item, queue in session.execute(query.where(QueueItem.group_id.in_(group_ids))):
        _store(item, queue, ItemState(0, None, None, None))
        queue.size -= 1
        session.delete(item)
    session.flush()


def refresh_opinions(session: Session, logs: Mapping[int, ImageLog]) -> None:
    """The opinions on these images follow their logs; images on which nobody was asked cost nothing."""
    asked = [image_id for image_id, found in logs.items() if any(line.kind == "opinion" for line in found.every)]
    if not asked:
        return
    session.flush()
    session.execute(delete(Opinion).where(Opinion.image_id.in_(asked)).execution_options(synchronize_session="fetch"))
    for image_id in asked:
        for (queue_id, user_id), line in fold_opinions(logs[image_id].counting).items():
            session.add(make_opinion(line, image_id=image_id, queue_id=queue_id, user_id=user_id))
    session.flush()


def make_opinion(line: Decision, *, image_id: int, queue_id: int, user_id: int) -> Opinion:
    detail = line.detail or {}
    return Opinion(
        image_id=image_id,
        queue_id=queue_id,
        user_id=user_id,
        line_id=line.id,
        verdict=detail["verdict"],
        class_id=line.class_id,
        classes=detail.get("classes"),
        is_gold=bool(detail.get("gold")),
    )
