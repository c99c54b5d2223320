"""Who holds which item of a queue: for ten minutes, renewed while it is on the screen; nobody is given the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.orm import Session

from workbench.models import Queue, QueueItem, User
from workbench.queries import queues as queries

LEASE = queries.LEASE
_NEW = timedelta(minutes=2)


def next_item(session: Session, *, queue: Queue, user: User, now: datetime, after: int = -1) -> QueueItem | None:
    """Lease the first open item after a position that nobody else holds; none when all are done or held.

    Asking again gives the same item until it is decided or released.
    """
    items = lease_items(session, queue=queue, user=user, now=now, after=after, count=1)
    return items[0] if items else None


def lease_items(
    session: Session, *, queue: Queue, user: User, now: datetime, count: int, after: int = -1
) -> list[QueueItem]:
    """Lease up to `count` items after a position."""
    items = queries.list_free_items(session, queue.id, user_id=user.id, now=now, after=after, limit=count)
    _lease(session, items, user=user, now=now)
    return items


@dataclass(frozen=True)
class Held:
    """What a reviewer holds after asking. lost: ids of items that they held and somebody else took or settled."""

    fresh: list[QueueItem]
    lost: list[int]


def hold(
    session: Session, *, queue: Queue, user: User, now: datetime, holding: Sequence[int], want: int, after: int = -1
) -> Held:
    """Keep what is held as far as it is free, and lease up to `want` more: those after it, then the others.

    after: the position that the reviewer is at, where nothing is held. What the same person holds on another page stays
    there, unless nothing is held here and nothing else is left: then that page may have died. A few statements whatever
    the numbers.
    """
    kept = queries.list_holdable(session, queue.id, item_ids=holding, user_id=user.id, now=now) if holding else []
    places = [(max([after, *(item.position for item in kept)]), False), (-1, False)]
    if not holding:
        places.append((-1, True))
    fresh: list[QueueItem] = []
    for start, with_held in dict.fromkeys(places):
        if len(fresh) == want or (with_held and fresh):
            break
        seen = {*holding, *(item.id for item in fresh)}
        found = queries.list_free_items(
            session, queue.id, user_id=user.id, now=now, after=start, limit=want + len(seen), with_held=with_held
        )
        fresh += [item for item in found if item.id not in seen][: want - len(fresh)]
    _lease(session, [*kept, *fresh], user=user, now=now)
    ids = {item.id for item in kept}
    return Held(fresh, [item_id for item_id in holding if item_id not in ids])


def _lease(session: Session, items: Sequence[QueueItem], *, user: User, now: datetime) -> None:
    """In the transaction that found them free; a lease that is nearly new stays as it is."""
    for item in items:
        if item.lease_user_id == user.id and item.lease_until and item.lease_until - now > LEASE - _NEW:
            continue
        item.lease_user_id, item.lease_until = user.id, now + LEASE
    session.flush()


def renew(session: Session, *, item: QueueItem, user: User, now: datetime) -> bool:
    """Hold an open item for ten minutes more; false if somebody else holds it or it is done."""
    changed = session.execute(
        update(QueueItem)
        .where(QueueItem.id == item.id, QueueItem.done_action.is_(None), queries.is_free(user_id=user.id, now=now))
        .values(lease_user_id=user.id, lease_until=now + LEASE)
        .execution_options(synchronize_session=False)
    )
    session.refresh(item, ["lease_user_id", "lease_until", "done_action"])
    return bool(getattr(changed, "rowcount", 0))


def give_back(session: Session, *, item: QueueItem, user: User) -> None:
    """Let others have an item; nothing happens if it is not this user's."""
    if item.lease_user_id == user.id:
        item.lease_user_id = item.lease_until = None
        session.flush()
