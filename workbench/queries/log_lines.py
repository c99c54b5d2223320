"""Finding lines of the log by who, what, where and when, at a cost that does not grow with the log.

Every question is answered along one index, named by `_Way`; what else is asked is looked at line by line (the unary
plus in the statements keeps SQLite from choosing another index, which it would choose without knowing how rare a
thing is). Three questions have no index: a part of a path that hundreds of images share, whether a line counts, and
which opinions are open to see. There no more than the newest `SCANNED` lines are looked at in one go, and the reader
is told how far back that was.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from workbench.models.states import undone_actions

SCANNED = 200_000
COUNTED = 10_000
_FEW_IMAGES = 500
_CLOCK = timedelta(hours=1)  # a clock that was set back by less than this hides no line from a filter by day
_CHUNK = 2000


@dataclass(frozen=True)
class Sight:
    """What of the log somebody may see. Gold images stay hidden always, others' opinions while their queue is open.

    So do others' comments, where the queue asks several people, who must not know what the others think.
    `all` is for leads and for the command line; everybody sees the opinions that they gave themselves.
    """

    all: bool = False
    user_id: int = 0


@dataclass(frozen=True)
class LogFilter:
    """Which lines of one data set's log: all of them where nothing is said. counts: only those that do, or do not."""

    dataset_id: int
    sight: Sight = field(default_factory=Sight)
    user_id: int | None = None
    kinds: tuple[str, ...] = ()
    queue_id: int | None = None
    image_id: int | None = None
    path: str = ""  # anywhere in it, letter case ignored
    since: datetime | None = None
    until: datetime | None = None  # not included
    counts: bool | None = None


@dataclass(frozen=True)
class _Way:
    """How the newest line is found: the conditions in SQL, the values in them, whether a scan must be cut short."""

    index: str  # image, images, queue, kinds, user or dataset
    conditions: tuple[str, ...]
    values: dict[str, Any]
    is_scan: bool


@dataclass(frozen=True)
class Found:
    """The last line of each action, newest first. `before`: go on below this line; none at the end of the log.

    `looked_to`: the moment to which a search that was cut short looked back.
    """

    line_ids: list[int]
    before: int | None
    looked_to: datetime | None


def find_actions(session: Session, wanted: LogFilter, *, before: int | None = None, limit: int = 50) -> Found:
    """The newest actions with a line that fits, below the line `before`.

    Hops from action to action, so that a bulk action of a million lines costs no more than a single one.
    """
    way = _choose_way(session, wanted)
    bound = before if before is not None else _get_head(session) + 1
    floor = max(bound - SCANNED, 0) if way.is_scan else 0
    given = {**way.values, "bound": bound, "floor": floor, "most": limit + 1}
    found = [row[0] for row in session.execute(_hops(way.index, way.conditions), given)]
    if len(found) > limit:
        return Found(found[:limit], _first_id(session, found[limit - 1]), None)
    # an action that reaches over the end of the search was found already
    bound = min([floor, *(_first_id(session, line_id) for line_id in found[-1:])])
    return Found(found, bound, _get_moment(session, floor)) if floor else Found(found, None, None)


def count_lines(session: Session, wanted: LogFilter) -> tuple[int, datetime | None]:
    """How many lines fit, counted up to one more than `COUNTED`; since when, where not the whole log was looked at."""
    way = _choose_way(session, wanted)
    floor = max(_get_head(session) + 1 - SCANNED, 0) if way.is_scan else 0
    source = "json_each(:kinds) k CROSS JOIN json_each(:users) u CROSS JOIN " if way.index == "kinds" else ""
    where = " AND ".join((*way.conditions, "d.id >= :floor"))
    statement = text(f"SELECT count(*) FROM (SELECT 1 FROM {source}decisions d WHERE {where} LIMIT {COUNTED + 1})")  # noqa: S608 - only our own words
    number = session.execute(statement, {**way.values, "floor": floor}).scalar_one()
    return number, _get_moment(session, floor) if floor and number <= COUNTED else None


@functools.lru_cache(maxsize=256)
def _hops(index: str, conditions: tuple[str, ...]) -> TextClause:
    action = "(SELECT b.action FROM decisions b WHERE b.id = line_id)"
    first = f"(SELECT min(a.id) FROM decisions a WHERE a.action = {action})"  # noqa: S608 - only our own words
    where = " AND ".join(conditions)
    begin, go_on = _newest(index, where, ":bound"), _newest(index, where, first)
    further = f"SELECT {go_on}, hop + 1 FROM hops WHERE line_id IS NOT NULL AND hop < :most"  # noqa: S608 - as above
    hops = f"hops(line_id, hop) AS (SELECT {begin}, 1 UNION ALL {further})"
    return text(f"WITH RECURSIVE {hops} SELECT line_id FROM hops WHERE line_id IS NOT NULL")  # noqa: S608 - as above


def _newest(index: str, where: str, bound: str) -> str:
    one = f"SELECT d.id FROM decisions d WHERE {where} AND d.id < {bound} AND d.id >= :floor ORDER BY d.id DESC LIMIT 1"  # noqa: S608 - only our own words
    if index != "kinds":
        return f"({one})"
    return f"(SELECT max(({one})) FROM json_each(:kinds) k, json_each(:users) u)"  # noqa: S608 - as above


def _choose_way(session: Session, wanted: LogFilter) -> _Way:
    images = _find_few_images(session, wanted) if wanted.path and wanted.image_id is None else None
    # each hop would read again whatever opinions are hidden
    is_veiled = "opinion" in wanted.kinds and not wanted.sight.all
    index = (
        "image" if wanted.image_id is not None
        else "images" if images is not None
        else "queue" if wanted.queue_id is not None
        else "kinds" if wanted.kinds and not is_veiled
        else "user" if wanted.user_id is not None
        else "dataset"
    )  # fmt: skip
    conditions, values = _by_columns(session, wanted, index)
    if images is not None:
        conditions.append("d.image_id IN (SELECT value FROM json_each(:images))")
        values["images"] = json.dumps(images)
    elif wanted.path:
        conditions.append(_PATH)
        values["path"] = _like(wanted.path)
    if wanted.counts is not None:
        undone = "IN (SELECT value FROM json_each(:undone))"
        conditions.append(f"+d.action {'NOT ' if wanted.counts else ''}{undone}")
        values["undone"] = json.dumps(sorted(list_undone(session, dataset_id=wanted.dataset_id)))
    _add_days(session, wanted, conditions, values)
    if not wanted.sight.all:
        conditions.append(_SEEN)
        values["me"] = wanted.sight.user_id
    is_long = "path" in values or wanted.counts is not None or is_veiled
    return _Way(index, tuple(conditions), values, is_long and index not in ("image", "images", "queue"))


_PATH = "(SELECT i.path FROM images i WHERE i.id = d.image_id) LIKE :path ESCAPE '/'"
_SEEN = (
    "d.kind <> 'gold' AND (d.kind NOT IN ('opinion', 'comment') OR d.user_id = :me"
    " OR (d.kind = 'comment' AND coalesce(d.queue_id, 0) NOT IN (SELECT q.id FROM queues q"
    " WHERE q.dataset_id = :dataset AND q.closed_at IS NULL AND q.opinions > 1))"
    " OR (d.kind = 'opinion' AND d.queue_id NOT IN (SELECT q.id FROM queues q"
    " WHERE q.dataset_id = :dataset AND q.closed_at IS NULL) AND coalesce(json_extract(d.detail, '$.gold'), 0) = 0))"
)


def _by_columns(session: Session, wanted: LogFilter, index: str) -> tuple[list[str], dict[str, Any]]:
    """What is asked of the line itself. Only the columns of the chosen index are free of the plus."""
    values: dict[str, Any] = {"dataset": wanted.dataset_id}
    conditions = [f"{'' if index in ('dataset', 'kinds') else '+'}d.dataset_id = :dataset"]
    if index == "kinds":
        users = [wanted.user_id] if wanted.user_id is not None else _list_user_ids(session)
        values |= {"kinds": json.dumps(wanted.kinds), "users": json.dumps(users)}
        conditions.append("d.kind = k.value AND d.kind <> '' AND d.user_id = u.value")
    elif wanted.kinds:
        values["kinds"] = json.dumps(wanted.kinds)
        conditions.append("+d.kind IN (SELECT value FROM json_each(:kinds))")
    if wanted.user_id is not None and index != "kinds":
        values["user"] = wanted.user_id
        conditions.append(f"{'' if index == 'user' else '+'}d.user_id = :user")
    if wanted.queue_id is not None:
        values["queue"] = wanted.queue_id
        conditions.append(f"{'' if index == 'queue' else '+'}d.queue_id = :queue")
    if wanted.image_id is not None:
        values["image"] = wanted.image_id
        conditions.append("d.image_id = :image")
    return conditions, values


def _add_days(session: Session, wanted: LogFilter, conditions: list[str], values: dict[str, Any]) -> None:
    """Days as a span of lines, found by halving, and the moment itself besides: clocks are set back at times."""
    if wanted.since is not None:
        conditions.append("d.id >= :since_id AND +d.at >= :since")
        values |= {"since_id": _find_line(session, wanted.since - _CLOCK), "since": _write(wanted.since)}
    if wanted.until is not None:
        conditions.append("d.id < :until_id AND +d.at < :until")
        values |= {"until_id": _find_line(session, wanted.until + _CLOCK), "until": _write(wanted.until)}


def _find_line(session: Session, moment: datetime) -> int:
    """The first line that is as late; one beyond the last where none is."""
    low, high = 0, _get_head(session) + 1
    while low < high:
        middle = (low + high) // 2
        row = session.execute(_FROM_LINE, {"line": middle}).first()
        if row is None or row[1] >= _write(moment):
            high = middle
        else:
            low = row[0] + 1
    return low


_FROM_LINE = text("SELECT id, at FROM decisions WHERE id >= :line ORDER BY id LIMIT 1")


def _write(moment: datetime) -> str:
    """As SQLite holds it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _find_few_images(session: Session, wanted: LogFilter) -> list[int] | None:
    """The images whose path holds the words, None where they are many. Reads one index from end to end."""
    statement = text("SELECT id FROM images WHERE dataset_id = :dataset AND path LIKE :path ESCAPE '/' LIMIT :most")
    given = {"dataset": wanted.dataset_id, "path": _like(wanted.path), "most": _FEW_IMAGES + 1}
    found = [row[0] for row in session.execute(statement, given)]
    return found if len(found) <= _FEW_IMAGES else None


def _like(words: str) -> str:
    for sign in ("/", "%", "_"):
        words = words.replace(sign, f"/{sign}")
    return f"%{words}%"


def list_undone(session: Session, *, dataset_id: int) -> set[str]:
    """The actions that do not count. Reads the undo lines alone."""
    statement = text(
        "SELECT id, action, undoes FROM decisions WHERE dataset_id = :dataset AND kind = 'undo' AND kind <> ''"
    )
    undos = sorted(session.execute(statement, {"dataset": dataset_id}))
    return undone_actions((action, undoes) for _, action, undoes in undos)


def _list_user_ids(session: Session) -> list[int]:
    return [row[0] for row in session.execute(text("SELECT id FROM users"))]


def _get_head(session: Session) -> int:
    return int(session.execute(text("SELECT coalesce(max(id), 0) FROM decisions")).scalar_one())


def _first_id(session: Session, line_id: int) -> int:
    """The first line of the action that a line belongs to."""
    statement = text("SELECT min(id) FROM decisions WHERE action = (SELECT action FROM decisions WHERE id = :line)")
    return int(session.execute(statement, {"line": line_id}).scalar_one())


def _get_moment(session: Session, line_id: int) -> datetime | None:
    row = session.execute(_FROM_LINE, {"line": line_id}).first()
    return datetime.strptime(row[1], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC) if row else None


# --- every line that fits, oldest first


@dataclass(frozen=True)
class LogCursor:
    """How to read all lines that fit, a few thousand at a time, each time in a transaction of its own."""

    conditions: tuple[str, ...]
    values: dict[str, Any]
    head: int  # lines that come while one reads are left out


def open_cursor(session: Session, wanted: LogFilter) -> LogCursor:
    """Reads the log from end to end once, however few lines fit; kinds are sought line by line here."""
    way = _choose_way(session, replace(wanted, kinds=()))
    conditions, values = list(way.conditions), dict(way.values)
    if wanted.kinds:
        conditions.append("+d.kind IN (SELECT value FROM json_each(:kinds))")
        values["kinds"] = json.dumps(wanted.kinds)
    return LogCursor(tuple(conditions), values, _get_head(session))


def read_lines(session: Session, cursor: LogCursor, *, after: int = 0) -> Sequence[Any]:
    """The next lines after line `after`, with names for numbers; an empty list at the end."""
    where = " AND ".join(cursor.conditions)
    statement = text(
        "SELECT d.id, d.at, u.name AS user, d.role, d.kind, i.path, c.name AS class, q.title AS queue, d.action,"  # noqa: S608 - only our own words
        " d.undoes, d.seconds, d.detail, d.class_id"
        " FROM decisions d JOIN users u ON u.id = d.user_id LEFT JOIN images i ON i.id = d.image_id"
        " LEFT JOIN classes c ON c.id = d.class_id LEFT JOIN queues q ON q.id = d.queue_id"
        f" WHERE {where} AND d.id > :after AND d.id <= :head ORDER BY d.id LIMIT {_CHUNK}"
    )
    return session.execute(statement, {**cursor.values, "after": after, "head": cursor.head}).all()
