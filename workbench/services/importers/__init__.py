"""Importers: one file a format, registered here. A source is a folder, a zip archive or a CSV file."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import Invalid
from workbench.services.importers import fer2013, labels_csv
from workbench.services.importers.entries import Source
from workbench.services.importers.fer2013 import Fer2013Source
from workbench.services.importers.folder import FolderSource
from workbench.services.importers.labels_csv import LabelsCsvSource
from workbench.services.importers.tables import Table
from workbench.services.importers.trees import Tree, open_tree

_OWN_TABLE = "labels.csv"


@dataclass(frozen=True)
class TableImporter:
    """A format that is one CSV file, told by its header."""

    has_header: Callable[[Sequence[str]], bool]
    open: Callable[[Tree, str], Source]


# in the order in which they are tried on a CSV file; a source without one is a folder of images
TABLES: dict[str, TableImporter] = {
    "fer2013": TableImporter(fer2013.has_header, Fer2013Source),
    "csv": TableImporter(labels_csv.has_header, LabelsCsvSource),
}
FORMATS = ("auto", "folder", "zip", *TABLES)  # zip: as auto, but it must be an archive


@contextmanager
def open_source(path: Path, *, format_: str = "auto") -> Iterator[Source]:
    """Find out what the source is and open it; raises Invalid if it cannot be what was said."""
    if format_ not in FORMATS:
        raise Invalid(f"“{format_}” is not a format; use {', '.join(FORMATS)}.", format=f"Use {', '.join(FORMATS)}.")
    if format_ == "zip" and path.suffix.lower() != ".zip":
        raise Invalid(f"“{path.name}” is not a zip archive.")
    tree = open_tree(path)
    try:
        yield _open(tree, path, "auto" if format_ == "zip" else format_)
    finally:
        tree.close()


def _open(tree: Tree, path: Path, format_: str) -> Source:
    is_table = path.is_file() and path.suffix.lower() != ".zip"
    if is_table:
        return _open_table(tree, path.name, format_)
    if format_ == "folder":
        return FolderSource(tree)
    names = sorted(tree.tables(), key=lambda name: name.rpartition("/")[2] != _OWN_TABLE)  # an export's first
    if format_ in TABLES:
        fitting = [name for name in names if TABLES[format_].has_header(_read_keys(tree, name))]
        if not fitting:
            raise Invalid(f"“{path.name}” holds no CSV file of the form {format_}.")
        return TABLES[format_].open(tree, fitting[0])
    return _detect(tree, names)


def _open_table(tree: Tree, name: str, format_: str) -> Source:
    keys = _read_keys(tree, name)
    if format_ == "folder":
        raise Invalid(f"“{name}” is a file, not a folder.")
    tried = TABLES if format_ == "auto" else {format_: TABLES[format_]}
    for importer in tried.values():
        if importer.has_header(keys):
            return importer.open(tree, name)
    needed = {"fer2013": "emotion and pixels", "csv": "path"}
    wanted = " or ".join(needed[each] for each in tried)
    raise Invalid(f"“{name}” has no column {wanted} (it has: {', '.join(keys)[:200] or 'none'}).")


def _detect(tree: Tree, names: Sequence[str]) -> Source:
    """A CSV decides if it is an export's or FER2013's; any other file beside folders of images is only a file."""
    for name in names:
        folder = name.rpartition("/")[0]
        keys = _read_keys(tree, name)
        if fer2013.has_header(keys):
            return Fer2013Source(tree, name)
        if name.rpartition("/")[2] == _OWN_TABLE and "path" in keys and not _is_folder_export(tree, folder):
            return LabelsCsvSource(tree, name)
    return FolderSource(tree)


def _is_folder_export(tree: Tree, folder: str) -> bool:
    """An export as folders has its images beside the CSV under other paths than the CSV's."""
    prefix = f"{folder}/" if folder else ""
    return tree.has(prefix + labels_csv.MANIFEST) and not tree.has_folder(prefix + labels_csv.IMAGES)


def _read_keys(tree: Tree, name: str) -> list[str]:
    try:
        table = Table(tree.open(name), name=name)
    except OSError as error:
        raise Invalid(f"“{name}” cannot be read ({error.strerror}).") from error
    table.close()
    return table.keys
