"""Decisions from a CSV `path,verdict,class[,comment]`: every line is checked first, then all are written, or none."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from workbench.errors import Forbidden, Invalid
from workbench.models import Dataset, Image, User
from workbench.queries import datasets as dataset_queries
from workbench.queries import freezing
from workbench.queries import images as image_queries
from workbench.services import decisions
from workbench.services.decisions import Line
from workbench.services.importers.tables import Table

FILE_VERDICTS = ("confirm", "relabel", "ambiguous", "exclude", "restore", "comment")


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """One line of the file. `line`: its number, as editors count."""

    line: int
    path: str
    verdict: str
    classes: tuple[str, ...]
    comment: str


def read_rows(path: Path) -> list[VerdictRow]:
    """The lines of a file; raises Invalid if it has no such columns or holds nothing."""
    try:
        table = Table(path.open("rb"), name=path.name)
    except OSError as error:
        raise Invalid(f"“{path}” cannot be read ({error.strerror}).") from error
    try:
        rows = _parse_table(table, path.name)
    finally:
        table.close()
    if not rows:
        raise Invalid(f"“{path.name}” holds no decisions.")
    return rows


def _parse_table(table: Table, name: str) -> list[VerdictRow]:
    columns = {column: table.find(column) for column in ("path", "verdict", "class", "comment")}
    absent = [column for column in ("path", "verdict") if columns[column] is None]
    if absent:
        raise Invalid(f"“{name}” has no column {' and no column '.join(absent)}; it needs path,verdict,class.")
    return [_parse_row(line, cells, columns) for line, cells in table.rows()]


def _parse_row(line: int, cells: Sequence[str], columns: Mapping[str, int | None]) -> VerdictRow:
    values = {column: cells[index].strip() if index is not None else "" for column, index in columns.items()}
    return VerdictRow(
        line=line,
        path=values["path"],
        verdict=values["verdict"].lower(),
        classes=tuple(name for part in values["class"].split("|") if (name := part.strip())),
        comment=values["comment"],
    )


def decide_rows(
    session: Session, *, dataset: Dataset, user: User, rows: Sequence[VerdictRow], forced: str = ""
) -> dict[str, int]:
    """Write one action for each line; raises Invalid naming every bad line, and then nothing was written.

    Returns how many lines there were of each verdict. Several lines about one image count in their order.
    A file does not say who chose its images. In a frozen split only those that a random queue drew are decided on,
    others by force: forced is the reason.
    """
    if not user.may("reviewer"):
        raise Forbidden(f"“{user.name}” may not decide; a reviewer, a lead or an administrator may.")
    ids = image_queries.map_paths(session, dataset_id=dataset.id, paths=sorted({row.path for row in rows}))
    images = image_queries.list_by_ids(session, sorted(ids.values()))
    by_path = {path: images[image_id] for path, image_id in ids.items()}
    classes = {cls.name: cls.id for cls in dataset_queries.list_open_classes(session, dataset.id)}
    faults = {row.line: fault for row in rows if (fault := _find_fault(row, by_path, classes, dataset.name))}
    _raise_faults(faults, len(rows))
    drawn = freezing.list_drawn(session, dataset.id, sorted(images)) if dataset.frozen_split else set()
    for turn in _take_turns(rows):
        actions = []
        for row in turn:
            try:
                actions.append(_make_lines(row, by_path[row.path], classes))
            except Invalid as error:
                faults[row.line] = str(error).rstrip(".")
        _raise_faults(faults, len(rows))
        for by_flags, chosen in _by_origin(actions, drawn):
            decisions.submit_each(session, dataset=dataset, user=user, actions=chosen, by_flags=by_flags, forced=forced)
    return dict(sorted(Counter(row.verdict for row in rows).items()))


def _by_origin(actions: Sequence[list[Line]], drawn: set[int]) -> list[tuple[bool, list[list[Line]]]]:
    """(False, actions on images that chance chose), (True, the others); empty ones left out."""
    parts = [(by_flags, [each for each in actions if (each[0].image_id in drawn) != by_flags]) for by_flags in (0, 1)]
    return [(bool(by_flags), chosen) for by_flags, chosen in parts if chosen]


def _find_fault(row: VerdictRow, images: Mapping[str, Image], classes: Mapping[str, int], dataset: str) -> str:
    """What is wrong with a line, as far as it can be told without carrying out the lines before it."""
    if not row.path:
        return "the path is empty"
    if row.path not in images:
        return f"{dataset} has no image “{row.path}”"
    if row.verdict not in FILE_VERDICTS:
        return f"“{row.verdict}” is not a verdict; use {', '.join(FILE_VERDICTS)}"
    unknown = next((name for name in row.classes if name not in classes), None)
    if unknown is not None:
        return f"“{unknown}” is not a class of {dataset} (it has: {', '.join(classes)})"
    if row.verdict == "comment" and not row.comment:
        return "the comment is empty"
    return _find_class_fault(row)


def _find_class_fault(row: VerdictRow) -> str:
    number = len(set(row.classes))
    if row.verdict == "relabel" and number != 1:
        return "relabel needs one class"
    if row.verdict == "ambiguous" and number < 2:
        return "ambiguous needs two or more classes, joined by |"
    if row.verdict in ("exclude", "restore", "comment") and number:
        return f"{row.verdict} takes no class"
    return (
        "confirm takes at most one class, the one that it confirms" if row.verdict == "confirm" and number > 1 else ""
    )


def _make_lines(row: VerdictRow, image: Image, classes: Mapping[str, int]) -> list[Line]:
    """The line of the log for a line of the file, and one for its comment: one action."""
    ids = [classes[name] for name in row.classes]
    if row.verdict == "confirm" and ids and image.label_id not in (ids[0], None):
        raise Invalid(f"confirm names “{row.classes[0]}”, but that is not the label that the image has; use relabel")
    class_id = ids[0] if ids else None
    line = decisions.make_line(image, verdict=row.verdict, class_id=class_id, class_ids=ids, text=row.comment)
    if row.comment and row.verdict != "comment":
        return [line, decisions.make_line(image, verdict="comment", text=row.comment)]
    return [line]


def _take_turns(rows: Iterable[VerdictRow]) -> list[list[VerdictRow]]:
    """The first lines about every image, then the second ones, and so on."""
    turns: list[list[VerdictRow]] = []
    seen: dict[str, int] = defaultdict(int)
    for row in rows:
        turn = seen[row.path]
        seen[row.path] += 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(row)
    return turns


def _raise_faults(faults: Mapping[int, str], total: int) -> None:
    if faults:
        named = "; ".join(f"line {line}: {faults[line]}" for line in sorted(faults))
        raise Invalid(f"Nothing was decided, {len(faults):,} of {total:,} lines are wrong. {named}.")
