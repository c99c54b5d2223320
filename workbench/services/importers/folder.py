"""A folder for each class, with or without folders for the splits around them; or just images."""

from collections import Counter
from collections.abc import Iterator, Sequence

from workbench.services.importers.entries import ClassHint, Entry, is_split, parse_split
from workbench.services.importers.trees import Member, Tree

_OWN_FILES = {"labels.csv", "manifest.json"}  # what an export puts beside its folders


class FolderSource:
    """Label and split are read off the folders: one pass over the names finds out how deep they lie."""

    format = "folder"
    classes: Sequence[ClassHint] = ()

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        folders = Counter(_folders(member.path) for member in self._list())
        self._found = sum(folders.values())
        self._wrapper = _wrapper_depth(list(folders))

    def _list(self) -> Iterator[Member]:
        return (member for member in self._tree.members() if member.path not in _OWN_FILES)

    def count(self) -> int:
        return self._found

    def entries(self) -> Iterator[Entry]:
        for member in self._list():
            label, split = _place(_folders(member.path)[self._wrapper :])
            yield Entry(
                path=member.path,
                file=member.path,
                labels=(label,) if label else (),
                split=split,
                problem=member.problem,
            )

    def read(self, entry: Entry) -> bytes:
        return self._tree.read(entry.file)

    def location(self, entry: Entry) -> str | None:
        return self._tree.location(entry.file)


def _folders(path: str) -> tuple[str, ...]:
    return tuple(path.split("/")[:-1])


def _wrapper_depth(folders: Sequence[tuple[str, ...]]) -> int:
    """How many folders are only wrapped around everything: one alone, no split, and more folders in all of it."""
    depth = 0
    while folders and all(len(parts) >= depth + 2 for parts in folders):
        names = {parts[depth] for parts in folders}
        if len(names) > 1 or is_split(names.pop()):
            break
        depth += 1
    return depth


def _place(parts: Sequence[str]) -> tuple[str | None, str | None]:
    """(class, split) of the folders around an image. Split above class, class above split, or no split."""
    position = next((index for index, part in enumerate(parts) if is_split(part)), None)
    if position is None:
        return (parts[0] if parts else None), None
    split = parse_split(parts[position])
    if len(parts) > position + 1:
        return parts[position + 1], split
    return (parts[position - 1] if position else None), split
