"""Where an export is written: a folder or a zip archive, beside its place until it is whole, then renamed."""

import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

from workbench.errors import Invalid

_EPOCH = (1980, 1, 1, 0, 0, 0)  # one archive for one content, whenever it is made


class Target(Protocol):
    def put(self, name: str, data: bytes) -> None:
        """Write one file; raises ValueError if its name leads elsewhere or cannot stand beside the others."""


class FolderTarget:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: set[Path] = set()
        root.mkdir(parents=True)

    def put(self, name: str, data: bytes) -> None:
        path = self._root / _checked(name)
        try:
            if path.parent not in self._made:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._made.add(path.parent)
            with path.open("xb") as file:
                file.write(data)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise ValueError("its path cannot stand beside the other files") from error


class ZipTarget:
    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path, "x")

    def put(self, name: str, data: bytes) -> None:
        info = zipfile.ZipInfo(_checked(name), _EPOCH)
        info.external_attr = 0o644 << 16
        packs_well = name.endswith((".csv", ".json"))
        self._zip.writestr(info, data, zipfile.ZIP_DEFLATED if packs_well else zipfile.ZIP_STORED)

    def close(self) -> None:
        self._zip.close()


def _checked(name: str) -> str:
    if name.startswith("/") or ".." in PurePosixPath(name).parts or "\0" in name:
        raise ValueError("its path leads out of the export")
    return name


@contextmanager
def open_target(destination: Path) -> Iterator[Target]:
    """A folder, or an archive if the name ends in .zip. What a killed export left behind is cleared away."""
    with open_partial(destination) as partial:
        if destination.suffix.lower() == ".zip":
            target = ZipTarget(partial)
            try:
                yield target
            finally:
                target.close()
        else:
            yield FolderTarget(partial)


@contextmanager
def open_partial(destination: Path) -> Iterator[Path]:
    """The path beside the destination to write to: renamed to it at the end, removed if that is not reached."""
    _check_free(destination)
    partial = destination.with_name(f".{destination.name}.partial")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        yield partial
        os.replace(partial, destination)  # noqa: PTH105 - takes the place of an empty folder too
    except OSError as error:
        _remove(partial)
        raise Invalid(f"“{destination}” cannot be written ({error.strerror or error}).") from error
    except BaseException:
        _remove(partial)
        raise


def _check_free(destination: Path) -> None:
    if destination.is_dir():
        if any(destination.iterdir()):
            raise Invalid(f"“{destination}” is not empty; name a new folder.", destination="Name a new folder.")
    elif destination.exists():
        raise Invalid(f"“{destination}” is there already; name a new file.", destination="Name a new file.")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
