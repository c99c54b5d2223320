"""Files that are there whole or not at all: written under another name, synced, then renamed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write into. At any moment the old one is at `path`, or the new one; folders are made where they lack.

    Two processes that write it at once do not mix: the later one stands.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_arrays(path: Path, **arrays: ArrayLike) -> None:
    """An .npz file, not compressed."""
    with written_whole(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def write_json(path: Path, contents: Any, *, indent: int | None = None) -> None:
    """Raises ValueError for numbers that JSON does not have."""
    text = json.dumps(contents, ensure_ascii=False, allow_nan=False, indent=indent)
    with written_whole(path) as file:
        file.write(text.encode())


def read_json(path: Path) -> Any:
    """None where there is no file, or one that is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
