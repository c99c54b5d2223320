"""Votes from a file: FER+ as published (`Usage,Image name,neutral,...`), or `split,label,file,neutral,...`, or any
CSV of a path or file name and one column of counts for each option."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from workbench.errors import Invalid
from workbench.services.importers import fer2013
from workbench.services.importers.entries import parse_split
from workbench.services.importers.labels_csv import PATH_NAMES, parse_count
from workbench.services.importers.path_index import PathIndex
from workbench.services.importers.tables import Table

_NAMES = (*PATH_NAMES, "image name", "name")
_PLACES = ("split", "label", "usage", "class")
# words for one thing: FER2013 and FER+ name the same emotions differently
SYNONYMS: tuple[frozenset[str], ...] = (
    frozenset({"happy", "happiness"}),
    frozenset({"sad", "sadness"}),
    frozenset({"angry", "anger"}),
    frozenset({"surprise", "surprised"}),
    frozenset({"disgust", "disgusted"}),
    frozenset({"fear", "fearful"}),
)


class VoteFile:
    """The counts of every row, found by an image's path."""

    def __init__(self, path: Path) -> None:
        self.rows: PathIndex[dict[str, int]] = PathIndex()
        try:
            table = Table(path.open("rb"), name=path.name)
        except OSError as error:
            raise Invalid(f"The votes file “{path}” cannot be read ({error.strerror}).") from error
        try:
            self._fill(table, path.name)
        finally:
            table.close()

    def _fill(self, table: Table, name: str) -> None:
        key = table.find(*_NAMES)
        if key is None:
            raise Invalid(f"“{name}” has no column path, file or Image name, so its votes belong to no image.")
        places = {column: index for column in _PLACES if (index := table.find(column)) is not None}
        skipped = {key, *places.values()}
        options = [(index, option) for index, option in enumerate(table.header) if index not in skipped and option]
        self.options = [option for _, option in options]
        if not options:
            raise Invalid(f"“{name}” has no columns of votes.")
        for number, (line, cells) in enumerate(table.rows()):
            try:
                counts = {option: parse_count(cells[index], option) for index, option in options}
            except ValueError as error:
                raise Invalid(f"“{name}” line {line}: {error}.") from error
            self._add(number, cells[key].strip(), {column: cells[index] for column, index in places.items()}, counts)

    def _add(self, number: int, path: str, places: Mapping[str, str], counts: dict[str, int]) -> None:
        if path:
            folders = [places[column].strip() for column in ("split", "label") if places.get(column, "").strip()]
            self.rows.add("/".join([*folders, path]) if "/" not in path else path, counts)
        if "usage" in places:  # FER+ stands line by line beside the FER2013 CSV
            self.rows.add_path(fer2013.make_path(number, parse_split(places["usage"])), counts)


def match_options(
    options: Iterable[str], classes: Mapping[str, int], *, maps: Mapping[str, str]
) -> dict[str, int | None]:
    """Option -> class id: the class of that name or of another word for it, as the import's map renames it."""
    by_name = {name.casefold(): class_id for name, class_id in classes.items()}
    renamed = {old.casefold(): new.casefold() for old, new in maps.items()}
    return {option: _match(option.casefold(), by_name, renamed) for option in options}


def _match(option: str, by_name: Mapping[str, int], renamed: Mapping[str, str]) -> int | None:
    words: Sequence[str] = [option, *(word for group in SYNONYMS if option in group for word in sorted(group))]
    for word in words:
        class_id = by_name.get(renamed.get(word, word))
        if class_id is not None:
            return class_id
    return None
