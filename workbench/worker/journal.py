"""Arrays kept aside while a long piece of work is under way, so that a killed one goes on where it was."""

import hashlib
import shutil
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.files import write_arrays

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Journal:
    """A folder of finished steps. It is named by what they were computed from: other input finds none of them."""

    folder: Path

    @classmethod
    def open(cls, parent: Path, *, of: Iterable[bytes | memoryview]) -> "Journal":
        """The journal of work on this input; those of other input, which nobody will finish, are removed."""
        digest = hashlib.sha256()
        for part in of:
            digest.update(part)
        folder = parent / digest.hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        for other in parent.iterdir():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
        return cls(folder)

    def once(self, name: str, work: Callable[[], Arrays]) -> Arrays:
        """What the step gave when it was done before, else what it gives now."""
        path = self.folder / f"{name}.npz"
        try:
            with np.load(path) as held:
                return dict(held)
        except (FileNotFoundError, zipfile.BadZipFile, ValueError, EOFError):
            made = work()
        write_arrays(path, **made)  # makes the folder: another scan of the same data set may have ended meanwhile
        return made

    def remove(self) -> None:
        shutil.rmtree(self.folder.parent, ignore_errors=True)
