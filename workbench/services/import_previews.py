"""What an import would bring, from names and tables alone: no picture is decoded and nothing is written."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from workbench.services.importers import open_source
from workbench.services.importers.entries import Entry

LOOK_AT = 200_000  # entries; a longer source is told by its beginning
_SHOWN = 8


@dataclass(frozen=True)
class ImportPreview:
    """`is_whole`: every entry was looked at. Files without a class are counted under ""."""

    format: str
    entries: int
    is_whole: bool
    classes: dict[str, int]
    splits: dict[str | None, int]
    paths: list[str]
    problems: list[tuple[str, str]]
    problem_count: int


def preview(path: Path, *, format_: str = "auto", split: str | None = None) -> ImportPreview:
    """Raises Invalid if the source cannot be opened as what it is said to be. About a second for 100,000 files."""
    with open_source(path.expanduser(), format_=format_) as source:
        entries = list(islice(source.entries(), LOOK_AT + 1))
        hints = [hint.name for hint in source.classes]
        format_ = source.format
    looked = entries[:LOOK_AT]
    sound = [entry for entry in looked if not entry.problem]
    problems = [(entry.path, entry.problem) for entry in looked if entry.problem]
    return ImportPreview(
        format=format_,
        entries=len(looked),
        is_whole=len(entries) <= LOOK_AT,
        classes=_count_classes(sound, hints),
        splits=dict(Counter(split or entry.split for entry in sound).most_common()),
        paths=[entry.path for entry in sound[:_SHOWN]],
        problems=problems[:_SHOWN],
        problem_count=len(problems),
    )


def _count_classes(entries: Iterable[Entry], hints: list[str]) -> dict[str, int]:
    counts = Counter(name for entry in entries for name in (entry.labels or ("",)))
    order = {name: index for index, name in enumerate(hints)}
    return {name: counts[name] for name in sorted(counts, key=lambda name: (order.get(name, len(order)), name))}
