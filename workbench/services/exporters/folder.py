"""`SPLIT/CLASS/FILE` for the active images, as training code likes it, with the same `labels.csv` beside them."""

import re
from pathlib import Path

from workbench.services.exporters.contents import Contents
from workbench.services.exporters.targets import open_target
from workbench.services.importers.entries import NO_SPLIT, is_split
from workbench.services.versions import VersionRow


def write(contents: Contents, destination: Path) -> None:
    active = [row for row in contents.rows if row.status == "active"]
    layout = _Layout(contents, active)
    with open_target(destination) as target:
        for row, data in contents.pictures(active):
            contents.put(target, layout.place(row), row=row, data=data)
        contents.finish(target)


class _Layout:
    """Names folders after splits and classes, and files so that none meets another."""

    def __init__(self, contents: Contents, rows: list[VersionRow]) -> None:
        self._folders = _name_folders([str(cls["name"]) for cls in contents.classes])
        # without splits the level is left out, unless a class would be taken for one
        self._has_splits = any(row.split for row in rows) or any(map(is_split, self._folders.values()))
        self._taken: set[str] = set()

    def place(self, row: VersionRow) -> str:
        folders = [row.split or NO_SPLIT] if self._has_splits else []
        folders += [self._folders[row.label]] if row.label else []
        stem, dot, suffix = row.path.rpartition("/")[2].rpartition(".")
        stem = stem or suffix if not dot else stem
        suffix = f".{suffix}" if dot else ""
        number = 1
        while (
            name := "/".join([*folders, f"{stem}-{number}{suffix}" if number > 1 else f"{stem}{suffix}"])
        ).casefold() in self._taken:
            number += 1
        self._taken.add(name.casefold())
        return name


def _name_folders(classes: list[str]) -> dict[str, str]:
    """Class -> a folder name that every system takes."""
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for name in classes:
        plain = re.sub(r'[\x00-\x1f/\\:*?"<>|]', "_", name).strip(" .") or "_"
        folder, number = plain, 2
        while folder.casefold() in taken:
            folder, number = f"{plain}-{number}", number + 1
        taken.add(folder.casefold())
        folders[name] = folder
    return folders
