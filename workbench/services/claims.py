"""Work that only one process may do at a time: a lock on a file, which the system drops when the process dies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.errors import Conflict


@contextmanager
def hold(path: Path, *, refusal: str) -> Iterator[None]:
    """Hold the lock file, which is made if absent; Conflict with the sentence `refusal` while somebody else does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(refusal) from None
        yield
