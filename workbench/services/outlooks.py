"""What is left to find in queues and in a data set: read, estimated by `stopping`, and kept until more is decided."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from sqlalchemy import Engine, Row
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Invalid, NotFound
from workbench.models import Dataset, Queue, User
from workbench.queries import homes
from workbench.queries import outlooks as queries
from workbench.services.posteriors import find_posteriors, load_judged
from workbench.services.recipes import RECIPES
from workbench.services.stopping import Outlook, Range, Trail, look_ahead

WORTH = 10  # wrong labels in the next hundred images, below which a reviewer is told that the rest is hardly worth it
FEWEST = 20  # verdicts without which nothing is said about a queue of unknown P(wrong)
_LONGEST = 8_000  # items; of longer queues a part stands for all
_STEP = 20  # decisions after which an outlook is worked out anew, at least
_BINS = 400  # of P(wrong), for a data set


@dataclass(frozen=True)
class _Kept:
    """An outlook and when it was made. stamp: what else it rests on."""

    outlook: Outlook | None
    done: int
    hits: int
    stamp: tuple[Any, ...]


_queues: WeakKeyDictionary[Engine, dict[int, _Kept]] = WeakKeyDictionary()
_datasets: WeakKeyDictionary[Engine, dict[int, tuple[tuple[Any, ...], Range | None]]] = WeakKeyDictionary()


def get_worth(user: User) -> int:
    """The reviewer's own threshold, 0 for none."""
    found: int = user.settings.get("worth", WORTH)
    return found


def read_worth(typed: str) -> int:
    """The threshold as somebody wrote it."""
    if not typed.strip().isdecimal() or len(typed.strip()) > 3 or int(typed) > 100:
        raise Invalid("That is no number of images in a hundred.", worth="Give a whole number, 0 to 100.")
    return int(typed)


def look(session: Session, home: Home, dataset: Dataset, queues: Sequence[Queue]) -> dict[int, Outlook]:
    """Queue id -> what is left in it; those of which nothing can be said are missing.

    At most one statement, but for queues of many thousands: what was worked out lately is used again, less what was
    found since.
    """
    kept = _queues.setdefault(session.get_bind().engine, {})
    stamp = _stamp(home, dataset)
    stale = [queue for queue in queues if _is_told(queue) and not _is_fresh(kept.get(queue.id), queue, stamp)]
    if stale:
        trails = _read_trails(session, stale)
        for queue in stale:
            outlook = _estimate(trails[queue.id], learned=stamp[1])
            kept[queue.id] = _Kept(outlook, queue.done, queue.hits, (*stamp, queue.size, queue.expected_hits))
    found = {queue.id: _catch_up(kept[queue.id], queue) for queue in queues if _is_told(queue)}
    return {queue_id: outlook for queue_id, outlook in found.items() if outlook is not None}


def _stamp(home: Home, dataset: Dataset) -> tuple[int, int]:
    """(line of the log, verdicts) that P(wrong) was learned from."""
    learned = find_posteriors(home, dataset.promoted_run_id) if dataset.promoted_run_id else None
    return (learned.decision_id, learned.verdicts) if learned else (0, 0)


def _is_told(queue: Queue) -> bool:
    """Whether its hits are wrong labels; a group of copies is something else."""
    recipe = RECIPES.get(queue.recipe)
    return queue.size > 0 and (recipe is None or not recipe.needs_groups)


def _is_fresh(kept: _Kept | None, queue: Queue, stamp: tuple[int, int]) -> bool:
    if kept is None or kept.stamp != (*stamp, queue.size, queue.expected_hits):
        return False
    since = queue.done - kept.done
    return since == 0 if queue.done == queue.size else 0 <= since < max(_STEP, queue.size // 50)


def _read_trails(session: Session, queues: Sequence[Queue]) -> dict[int, Trail]:
    """Queue id -> its trail; those of usual length in one statement."""
    short = [queue.id for queue in queues if queue.size <= _LONGEST]
    rows = queries.list_trails(session, short) if short else []
    trails = {queue_id: _make_trail([row for row in rows if row.queue_id == queue_id]) for queue_id in short}
    for queue in queues:
        if queue.size > _LONGEST:
            trails[queue.id] = _thin(queries.list_part(session, queue.id, most=_LONGEST // 2), queue)
    return trails


def _thin(rows: Sequence[Row[Any]], queue: Queue) -> Trail:
    """A trail whose open items stand for all open items of a long queue."""
    trail = _make_trail(rows)
    each = (queue.size - queue.done) / max(1, int((~trail.is_done).sum()))
    return replace(trail, counts=np.where(trail.is_done, 1.0, each))


def _make_trail(rows: Sequence[Row[Any]]) -> Trail:
    """What was decided elsewhere is left out: it is neither open nor a fair draw from the queue."""
    kept = [row for row in rows if row.done_line is None or row.is_own]
    return Trail(
        p_wrong=np.array([np.nan if row.p_wrong is None else row.p_wrong for row in kept], np.float64),
        is_done=np.array([row.done_line is not None for row in kept], np.bool_),
        is_hit=np.array([bool(row.hit) for row in kept], np.bool_),
        is_random=np.array([row.is_random for row in kept], np.bool_),
        given=np.array([row.given_id or 0 for row in kept], np.int64),
        suggested=np.array([row.suggested_id or 0 for row in kept], np.int64),
        counts=np.ones(len(kept)),
    )


def _estimate(trail: Trail, *, learned: int) -> Outlook | None:
    is_known = len(trail.p_wrong) > 0 and float(np.isnan(trail.p_wrong).mean()) <= 0.5
    if not is_known and trail.is_done.sum() < FEWEST:
        return None
    return look_ahead(trail, learned=learned)


def _catch_up(kept: _Kept, queue: Queue) -> Outlook | None:
    """The outlook less the wrong labels that were found since it was made."""
    if kept.outlook is None or queue.done == kept.done:
        return kept.outlook
    found, still_open = queue.hits - kept.hits, queue.size - queue.done
    left = kept.outlook.left
    expected, low, high = (min(max(value - found, 0), still_open) for value in (left.expected, left.low, left.high))
    return replace(kept.outlook, left=Range(expected, int(low), int(high), still_open))


# --- the whole data set -----------------------------------------------------------------------------------------


def expect_errors(session: Session, home: Home, dataset: Dataset) -> Range | None:
    """Wrong labels among the images that nobody has decided on; none where nothing says how many.

    Rests on P(wrong) and on the verdicts on images that chance chose. Costs one pass over P(wrong), kept until more is
    decided (twenty images at least) or learned.
    """
    kept = _datasets.setdefault(session.get_bind().engine, {})
    reviewed = homes.count_reviewed(session, dataset.id)
    stamp = (dataset.promoted_run_id, *_stamp(home, dataset), reviewed // max(_STEP, reviewed // 50))
    if dataset.id not in kept or kept[dataset.id][0] != stamp:
        kept[dataset.id] = (stamp, _expect_errors(session, home, dataset, learned=stamp[2]))
    return kept[dataset.id][1]


def _expect_errors(session: Session, home: Home, dataset: Dataset, *, learned: int) -> Range | None:
    values, counts = _count_undecided(session, home, dataset)
    drawn = queries.list_drawn(session, dataset.id)
    if not len(drawn) and np.isnan(values).all():
        return None
    verdicts = np.array([np.nan if row.p_wrong is None else row.p_wrong for row in drawn], np.float64)
    hits = np.array([bool(row.hit) for row in drawn], np.bool_)
    size = len(verdicts) + len(values)
    trail = Trail(
        p_wrong=np.concatenate([verdicts, values]),
        is_done=np.arange(size) < len(verdicts),
        is_hit=np.concatenate([hits, np.zeros(len(values), np.bool_)]),
        is_random=np.ones(size, np.bool_),
        given=np.zeros(size, np.int64),
        suggested=np.zeros(size, np.int64),
        counts=np.concatenate([np.ones(len(verdicts)), counts]),
    )
    outlook = _estimate(trail.take(trail.counts > 0), learned=learned)
    return outlook.left if outlook else None


def _count_undecided(session: Session, home: Home, dataset: Dataset) -> tuple[Any, Any]:
    """P(wrong) of the images that nobody has decided on, and how many have about each; NaN for unknown."""
    total = queries.count_labelled(session, dataset.id)
    try:
        said = load_judged(home, dataset.promoted_run_id) if dataset.promoted_run_id else None
    except NotFound:
        said = None
    if said is None:
        return np.array([np.nan]), np.array([float(total)])
    decided = np.array(queries.list_decided(session, dataset.id), np.int64)
    p_wrong = said.p_wrong[~np.isin(said.image_ids, decided)]
    p_wrong = p_wrong[~np.isnan(p_wrong)].astype(np.float64)
    cells, counts = np.unique(np.round(p_wrong * _BINS).astype(np.int64), return_counts=True)
    unknown = max(0, total - len(p_wrong))
    if unknown:
        return np.append(cells / _BINS, np.nan), np.append(counts, unknown).astype(np.float64)
    return cells / _BINS, counts.astype(np.float64)
