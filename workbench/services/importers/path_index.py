"""Rows of one file joined to images of another: by path where it is given, else by file name where that is unique."""

from collections.abc import Iterable
from typing import Generic, TypeVar

Row = TypeVar("Row")


class PathIndex(Generic[Row]):
    """Rows by path and by name. A name that several rows share finds none of them."""

    def __init__(self) -> None:
        self._by_path: dict[str, Row] = {}
        self._by_name: dict[str, Row | None] = {}

    def add(self, path: str, row: Row) -> None:
        """path: as far as the file tells it; a bare name is enough."""
        self._by_path.setdefault(path, row)
        name = path.rpartition("/")[2]
        self._by_name[name] = None if name in self._by_name else row

    def add_path(self, path: str, row: Row) -> None:
        """A second path under which the row may be asked for."""
        self._by_path.setdefault(path, row)

    def find(self, path: str, *, has_unique_name: bool) -> Row | None:
        """The row for an image: by its whole path, by the end of its path, or by its name if only it is called so."""
        parts = path.split("/")
        for start in range(len(parts) - 1):
            row = self._by_path.get("/".join(parts[start:]))
            if row is not None:
                return row
        return self._by_name.get(parts[-1]) if has_unique_name else None


def list_shared_names(paths: Iterable[str]) -> set[str]:
    """The file names that more than one path ends with. Holds every name once."""
    seen: set[str] = set()
    shared: set[str] = set()
    for path in paths:
        name = path.rpartition("/")[2]
        (shared if name in seen else seen).add(name)
    return shared
