"""How each reviewer works: how much, how fast, how much they change, how often they are right, and whether that drifts.

What is told of pace and changes rests on a reviewer's newest decisions, so that the page costs the same after years.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from workbench.models import Dataset, User
from workbench.models.states import merge_roots
from workbench.queries import agreement as queries
from workbench.queries import datasets
from workbench.queries import decisions as log
from workbench.services import agreement
from workbench.services.agreement import Opinions
from workbench.services.agreement_figures import Figure
from workbench.services.measures import wilson

NEWEST = 2000  # decisions of each reviewer that a list looks at
NEWEST_OF_ONE = 10_000
BLOCK = 100  # decisions of a period, where the work was done on a day or two
MOST_PERIODS = 30
_BREAK_S = 60.0  # a longer gap between two decisions is a break, not thinking
_SCRIPT_S = 0.05  # a shorter one is no person
_ENOUGH = 20
_DAYS = 3  # from so many on, periods are days


@dataclass(frozen=True)
class Work:
    """One reviewer. `others`: agreement with what most of the others say; `gold`: with what leads know."""

    user: User
    decisions: int
    per_hour: float | None
    seconds: float | None  # median on the screen, per card
    cards: int  # that this median rests on
    changes: Figure  # the share of statements that are not the label at import
    others: Figure
    gold: Figure
    undone: int  # actions that somebody else took back


@dataclass(frozen=True)
class Period:
    """A day, or a hundred decisions, of one reviewer."""

    name: str
    decisions: int
    seconds: float | None
    others: Figure
    gold: Figure


def list_work(
    session: Session,
    dataset: Dataset,
    *,
    source: str = "blind",
    only: User | None = None,
    opinions: Opinions | None = None,
    closed_only: bool = False,
) -> list[Work]:
    """Everybody who ever said what an image of the data set is, the most decisions first; or one of them.

    opinions: those of the source, read before. closed_only: judge nobody by what was said blind in a queue that is
    open, for it would tell a reviewer which images are gold and what the others said.
    """
    counts = queries.count_lines(session, dataset.id)
    users = queries.get_users(session, counts)
    opinions = opinions or agreement.read_opinions(session, dataset, source=source, closed_only=closed_only)
    gold = queries.list_gold_answers(session, dataset.id, closed_only=closed_only)
    undone = log.get_undone(session, dataset_id=dataset.id)
    roots = _get_roots(session, dataset)
    taken_back = _count_taken_back(session, dataset, undone)
    found = [
        _measure(
            users[user_id],
            queries.list_newest_lines(session, dataset.id, user_id=user_id, limit=NEWEST),
            decisions=counts[user_id],
            undone=undone,
            others=_tell(agrees_with_others(opinions, user_id)[1]),
            gold=_tell([_is_right(row, roots) for row in gold if row.user_id == user_id]),
            roots=roots,
            taken_back=taken_back.get(user_id, 0),
            with_gold=closed_only,
        )
        for user_id in counts
        if only is None or user_id == only.id
    ]
    return sorted(found, key=lambda work: (-work.decisions, work.user.name))


def measure_gold(session: Session, dataset: Dataset) -> dict[int, Figure]:
    """User id -> how often they are right on gold images; nobody who met none."""
    found: dict[int, list[bool]] = {}
    roots = _get_roots(session, dataset)
    for row in queries.list_gold_answers(session, dataset.id):
        found.setdefault(row.user_id, []).append(_is_right(row, roots))
    return {user_id: _tell(right) for user_id, right in found.items()}


def _get_roots(session: Session, dataset: Dataset) -> dict[int, int]:
    return merge_roots(datasets.list_classes(session, dataset.id))


def _count_taken_back(session: Session, dataset: Dataset, undone: set[str]) -> dict[int, int]:
    """User id -> actions of theirs that count no more because somebody else undid them."""
    found: dict[int, set[str]] = {}
    for undo, action, user_id in queries.list_undone_by_others(session, dataset.id):
        if undo not in undone:
            found.setdefault(user_id, set()).add(action)
    return {user_id: len(actions) for user_id, actions in found.items()}


def _measure(
    user: User,
    lines: Sequence[Any],
    *,
    decisions: int,
    undone: set[str],
    others: Figure,
    gold: Figure,
    roots: Mapping[int, int],
    taken_back: int,
    with_gold: bool,
) -> Work:
    """lines: newest first. with_gold: count answers to gold images as any others among the changes."""
    counting = [
        line for line in lines if line.action not in undone and (with_gold or not (line.detail or {}).get("gold"))
    ]
    seconds = [line.seconds for line in lines if line.seconds is not None]
    return Work(
        user=user,
        decisions=decisions,
        per_hour=measure_pace(lines[::-1]),
        seconds=median(seconds) if seconds else None,
        cards=len(seconds),
        changes=_tell([is_change(line, roots) for line in counting]),
        others=others,
        gold=gold,
        undone=taken_back,
    )


def measure_pace(lines: Sequence[Any]) -> float | None:
    """Decisions an hour of work, breaks left out; lines oldest first, of one reviewer. None before twenty steps."""
    actions = [(at, len(list(found))) for (_, at), found in groupby(lines, key=lambda line: (line.action, line.at))]
    steps = [((after - before).total_seconds(), made) for (before, _), (after, made) in pairwise(actions)]
    thinking = [(gap, made) for gap, made in steps if _SCRIPT_S <= gap <= _BREAK_S]
    if len(thinking) < _ENOUGH:
        return None
    return float(sum(made for _, made in thinking) / sum(gap for gap, _ in thinking) * 3600)


def is_change(line: Any, roots: Mapping[int, int]) -> bool:
    """Whether what was said is not the label that the image came in with; classes merged since are one."""
    verdict = (line.detail or {})["verdict"] if line.kind == "opinion" else line.kind
    return verdict in ("ambiguous", "exclude") or not _is_same(line.class_id, line.first_label_id, roots)


def agrees_with_others(opinions: Opinions, user_id: int) -> tuple[NDArray[np.int64], list[bool]]:
    """The lines in which a reviewer spoke where most of the others agree, and whether they agree with these."""
    column = opinions.column(user_id)
    if column is None:
        return np.empty(0, np.int64), []
    spoken = opinions.said[:, column] >= 0
    own = opinions.said[spoken, column]
    counts = opinions.counts[spoken]
    counts[np.arange(len(own)), own] -= 1
    most = counts.max(1, initial=0)
    is_plain = (most > 0) & ((counts == most[:, None]).sum(1) == 1)
    right = counts.argmax(1)[is_plain] == own[is_plain]
    return opinions.line_ids[spoken][is_plain, column], right.tolist()


def _is_right(row: Any, roots: Mapping[int, int]) -> bool:
    """An answer to a gold image."""
    return row.verdict in ("confirm", "relabel") and _is_same(row.class_id, row.gold_id, roots)


def _is_same(one: int | None, other: int | None, roots: Mapping[int, int]) -> bool:
    return roots.get(one or 0) == roots.get(other or 0)


def _tell(right: Sequence[bool]) -> Figure:
    """A share with its Wilson interval."""
    n = len(right)
    return Figure(sum(right) / n, *wilson(sum(right), n), n) if n else Figure(None, None, None, 0, "none yet")


# --- drift --------------------------------------------------------------------------------------------------------


def list_periods(
    session: Session,
    dataset: Dataset,
    user: User,
    *,
    source: str = "blind",
    opinions: Opinions | None = None,
    closed_only: bool = False,
) -> tuple[str, list[Period]]:
    """“day” or “decisions”, and the reviewer's newest periods, oldest first: speed, agreement and gold in each.

    opinions, closed_only: as of `list_work`.
    """
    lines = queries.list_newest_lines(session, dataset.id, user_id=user.id, limit=NEWEST_OF_ONE)[::-1]
    kind, starts, names = _cut(lines)
    opinions = opinions or agreement.read_opinions(session, dataset, source=source, closed_only=closed_only)
    spoken, agrees = agrees_with_others(opinions, user.id)
    gold = queries.list_gold_answers(session, dataset.id, user_id=user.id, closed_only=closed_only)
    first = [lines[start].id for start in starts]
    others = _share_out(first, zip(spoken.tolist(), agrees, strict=True))
    roots = _get_roots(session, dataset)
    known = _share_out(first, ((row.line_id, _is_right(row, roots)) for row in gold))
    periods = []
    for number, start in enumerate(starts):
        end = starts[number + 1] if number + 1 < len(starts) else len(lines)
        seconds = [line.seconds for line in lines[start:end] if line.seconds is not None]
        periods.append(
            Period(
                name=names[number],
                decisions=end - start,
                seconds=median(seconds) if seconds else None,
                others=_tell(others[number]),
                gold=_tell(known[number]),
            )
        )
    return kind, periods[-MOST_PERIODS:]


def _cut(lines: Sequence[Any]) -> tuple[str, list[int], list[str]]:
    """Where periods begin, and what they are called. lines: oldest first."""
    days = [line.at.date() for line in lines]
    starts = [index for index, day in enumerate(days) if index == 0 or day != days[index - 1]]
    if len(starts) >= _DAYS:
        return "day", starts, [days[start].isoformat() for start in starts]
    starts = list(range(0, len(lines), BLOCK))
    return "decisions", starts, [f"{start + 1:,}–{min(start + BLOCK, len(lines)):,}" for start in starts]


def _share_out(first: Sequence[int], outcomes: Any) -> list[list[bool]]:
    """The outcomes of each period. first: the line that each begins with; outcomes: (line id, outcome)."""
    found: list[list[bool]] = [[] for _ in first]
    for line_id, outcome in outcomes:
        number = bisect_right(first, line_id) - 1
        if number >= 0:
            found[number].append(outcome)
    return found


def hide_others(works: Sequence[Work], viewer: User) -> list[Work]:
    """What somebody may see: leads everybody, a reviewer themselves."""
    return [work for work in works if viewer.may("lead") or work.user.id == viewer.id]
