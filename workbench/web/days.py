"""Days in a page's address: “2026-03-31”, in UTC, as the pages write them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TypeVar

from workbench.errors import Invalid

Thing = TypeVar("Thing")


def parse_span(args: Mapping[str, str]) -> tuple[datetime | None, datetime | None]:
    """(`since` from its first moment on, `until` to the end of its day); none where the address has none."""
    until = parse_day(args.get("until", ""))
    return parse_day(args.get("since", "")), until + timedelta(days=1) if until else None


def parse_day(words: str) -> datetime | None:
    """Its first moment. Raises Invalid for what is no day."""
    if not words:
        return None
    try:
        return datetime.strptime(words, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise Invalid(f"“{words[:40]}” is no day; write it like 2026-03-31.") from None


def group_by_day(things: Sequence[Thing], *, at: Callable[[Thing], datetime]) -> list[tuple[datetime, list[Thing]]]:
    """(its first thing's moment, things) of each day, in the order given."""
    days = [list(found) for _, found in groupby(things, key=lambda thing: at(thing).date())]
    return [(at(found[0]), found) for found in days]
