"""A CSV of `path,label[,split,status,...]` beside its images: what our own CSV export writes, and what people have.

Images are looked up relative to the CSV, then in `images/` beside it, where an export puts them. Columns called
`votes:OPTION` are votes; all others that mean nothing here become attributes. An export's `manifest.json`, if there,
gives the classes their order, colours and keys.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from workbench.errors import Invalid
from workbench.models import SPLITS, STATUSES
from workbench.services.importers.entries import NO_SPLIT, ClassHint, Entry, parse_split
from workbench.services.importers.tables import Table, count_lines
from workbench.services.importers.trees import Tree

PATH_NAMES = ("path", "file", "filename", "file_name", "image")
_LABEL_NAMES = ("label", "class")
_VOTES = "votes:"
IMAGES = "images"
MANIFEST = "manifest.json"


def has_header(keys: Sequence[str]) -> bool:
    return any(name in keys for name in PATH_NAMES)


class LabelsCsvSource:
    """One row, one entry; a row that cannot be meant is an entry with a problem."""

    format = "csv"

    def __init__(self, tree: Tree, table: str) -> None:
        self._tree = tree
        self._table = table
        self._folder = table.rpartition("/")[0]
        self.classes: Sequence[ClassHint] = _read_hints(tree, self._beside(MANIFEST))

    def _beside(self, name: str) -> str:
        return f"{self._folder}/{name}" if self._folder else name

    def count(self) -> int:
        return max(0, count_lines(self._tree.open(self._table)) - 1)

    def entries(self) -> Iterator[Entry]:
        table = Table(self._tree.open(self._table), name=self._table)
        try:
            columns = _Columns(table, self._table)
            for line, cells in table.rows():
                yield self._parse_row(columns, line, cells)
        finally:
            table.close()

    def _parse_row(self, columns: "_Columns", line: int, cells: list[str]) -> Entry:
        try:
            path = parse_path(cells[columns.path])
        except ValueError as error:
            return Entry(path=cells[columns.path].strip() or f"line {line}", problem=str(error))
        entry = Entry(path=path, file=self._find(path))
        try:
            columns.fill(entry, cells)
        except ValueError as error:
            entry.problem = str(error)
        return entry

    def _find(self, path: str) -> str:
        """Where the bytes are: in place, or in the folder `images`."""
        plain, exported = self._beside(path), self._beside(f"{IMAGES}/{path}")
        return exported if self._tree.has(exported) else plain

    def read(self, entry: Entry) -> bytes:
        return self._tree.read(entry.file)

    def location(self, entry: Entry) -> str | None:
        return self._tree.location(entry.file)


class _Columns:
    """Which column is what."""

    def __init__(self, table: Table, name: str) -> None:
        path = table.find(*PATH_NAMES)
        if path is None:
            raise Invalid(f"“{name}” has no column path.")
        self.path = path
        self._label = table.find(*_LABEL_NAMES)
        self._split = table.find("split")
        self._status = table.find("status")
        known = {path, self._label, self._split, self._status}
        if has_own_columns(table.keys):  # provenance of an export: history, which an import begins anew
            known |= {table.find("source"), table.find("decisions")}
        rest = [(index, column) for index, column in enumerate(table.header) if index not in known and column]
        self._votes = [(index, column[len(_VOTES) :]) for index, column in rest if column.startswith(_VOTES)]
        self._attributes = [(index, column) for index, column in rest if not column.startswith(_VOTES)]

    def fill(self, entry: Entry, cells: list[str]) -> None:
        """Raises ValueError with the reason if the row says what cannot be."""
        label = "" if self._label is None else cells[self._label].strip()
        entry.status = "" if self._status is None else cells[self._status].strip().lower()
        entry.split = parse_split_cell("" if self._split is None else cells[self._split])
        entry.labels = tuple(name for part in label.split("|") if (name := part.strip()))
        entry.status = entry.status or ("ambiguous" if len(entry.labels) > 1 else "active")
        _check_status(entry)
        entry.attributes = {column: value for index, column in self._attributes if (value := cells[index].strip())}
        entry.votes = {option: parse_count(cells[index], option) for index, option in self._votes}


def has_own_columns(keys: Sequence[str]) -> bool:
    return "source" in keys and "decisions" in keys


def _check_status(entry: Entry) -> None:
    if entry.status not in STATUSES:
        raise ValueError(f"status “{entry.status}” is not active, ambiguous or excluded")
    if entry.status == "ambiguous" and not entry.labels:
        raise ValueError("an ambiguous image needs its classes, joined by |")
    if entry.status != "ambiguous" and len(entry.labels) > 1:
        raise ValueError(f"only an ambiguous image has several classes, this one is {entry.status}")


def parse_path(cell: str) -> str:
    """A path below the CSV, with forward slashes; raises ValueError if it leads elsewhere."""
    path = cell.strip()
    if "\\" in path and "/" not in path:
        path = path.replace("\\", "/")
    if not path:
        raise ValueError("the path is empty")
    if path.startswith("/") or path[1:3] == ":/" or ".." in path.split("/"):
        raise ValueError("the path leads out of the folder of the CSV")
    if not path.isprintable():
        raise ValueError("the path holds control characters")
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def parse_split_cell(cell: str) -> str | None:
    cell = cell.strip()
    if not cell or cell.lower() == NO_SPLIT:
        return None
    split = parse_split(cell)
    if split is None:
        raise ValueError(f"“{cell}” is not a split; use {', '.join(SPLITS)}")
    return split


def parse_count(cell: str, option: str) -> int:
    cell = cell.strip()
    if not cell:
        return 0
    if not cell.isdecimal():
        raise ValueError(f"the votes for {option}, “{cell[:20]}”, are not a number")
    return int(cell)


def _read_hints(tree: Tree, path: str) -> tuple[ClassHint, ...]:
    """The classes of an export's manifest, in their order; none if it has none or is somebody else's file."""
    if not tree.has(path):
        return ()
    try:
        with tree.open(path) as file:
            document: Any = json.load(file)
        return tuple(_parse_hint(cls) for cls in document["classes"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()


def _parse_hint(cls: Mapping[str, Any]) -> ClassHint:
    return ClassHint(str(cls["name"]), str(cls["colour"]), str(cls["key"]), bool(cls["retired"]))
