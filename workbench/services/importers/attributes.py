"""Attributes from a CSV keyed by path or file name, or from a pattern over file names."""

import re
from pathlib import Path

from workbench.errors import Invalid
from workbench.services.importers.labels_csv import PATH_NAMES
from workbench.services.importers.path_index import PathIndex
from workbench.services.importers.tables import Table

_FIELD = re.compile(r"\{(\w*)\}")


class AttributeFile:
    """The columns of a CSV beside its path or file name."""

    def __init__(self, path: Path) -> None:
        self._rows: PathIndex[dict[str, str]] = PathIndex()
        try:
            table = Table(path.open("rb"), name=path.name)
        except OSError as error:
            raise Invalid(
                f"The attributes “{path}” are neither a readable file ({error.strerror}) nor a pattern like "
                "{age}_{gender}_{}.jpg."
            ) from error
        try:
            self._fill(table, path.name)
        finally:
            table.close()

    def _fill(self, table: Table, name: str) -> None:
        key = table.find(*PATH_NAMES, "image name", "name")
        if key is None:
            raise Invalid(f"“{name}” has no column path or file, so its rows belong to no image.")
        columns = [(index, column) for index, column in enumerate(table.header) if index != key and column]
        self.names = [column for _, column in columns]
        if not columns:
            raise Invalid(f"“{name}” has no column besides the path.")
        for _, cells in table.rows():
            values = {column: value for index, column in columns if (value := cells[index].strip())}
            self._rows.add(cells[key].strip(), values)

    def find(self, path: str, *, has_unique_name: bool) -> dict[str, str] | None:
        return self._rows.find(path, has_unique_name=has_unique_name)


class AttributePattern:
    """Fields of file names: `{age}_{gender}_{race}_{}.jpg`; with a slash in it, of the ends of paths."""

    def __init__(self, pattern: str) -> None:
        self.names = [name for name in _FIELD.findall(pattern) if name]
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if not self.names or twice:
            fault = f"names {twice[0]} twice" if twice else "names no field; write {age} where the age stands"
            raise Invalid(f"The pattern “{pattern}” {fault}.")
        self._depth = pattern.count("/") + 1
        self._regex = re.compile(self._translate(pattern))

    def _translate(self, pattern: str) -> str:
        parts = _FIELD.split(pattern)  # text, name, text, name, ..., text
        names = [f"(?P<f{index}>[^/]+?)" if name else "[^/]*?" for index, name in enumerate(parts[1::2])]
        texts = [re.escape(text) for text in parts[::2]]
        return "".join(text + name for text, name in zip(texts, [*names, ""], strict=True))

    def find(self, path: str, *, has_unique_name: bool) -> dict[str, str] | None:  # noqa: ARG002 - as AttributeFile
        found = self._regex.fullmatch("/".join(path.split("/")[-self._depth :]))
        return dict(zip(self.names, found.groups(), strict=True)) if found else None


def open_attributes(text: str) -> AttributeFile | AttributePattern:
    """A pattern if it has {fields}, else a file."""
    return AttributePattern(text) if _FIELD.search(text) else AttributeFile(Path(text).expanduser())
