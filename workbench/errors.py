"""Everything that can go wrong on purpose: each error is one sentence that says what to do.

And what the machine does wrong: `explain` finds the sentence for a full disk, a folder that cannot be written.
"""

import errno
import sqlite3

_BUSY = "Another process kept the database busy for too long. Nothing was changed; try again."


class WorkbenchError(Exception):
    """Refused, with one sentence for the user. Exit status 1 on the command line, `status` on the web."""

    status = 400


class NotFound(WorkbenchError):
    """There is no such thing, or this user may not know of it."""

    status = 404


class Forbidden(WorkbenchError):
    """The user's role does not allow this."""

    status = 403


class Invalid(WorkbenchError):
    """The input cannot be used; `fields` maps a form field to what is wrong with it."""

    status = 422

    def __init__(self, message: str, **fields: str) -> None:
        super().__init__(message)
        self.fields = fields


class Frozen(Invalid):
    """A frozen split would be cleaned with a model's own flags; whoever insists gives a reason."""


class NothingToReview(Invalid):
    """A recipe finds no image that is still to be decided; the wish was in order."""


class Conflict(WorkbenchError):
    """Somebody else changed the thing meanwhile; the caller shows what they decided."""

    status = 409


class Busy(WorkbenchError):
    """The database had no time for us."""

    status = 503

    def __init__(self) -> None:
        super().__init__(_BUSY)


class Cancelled(WorkbenchError):
    """The user asked a running job to stop."""


_FULL = "The disk is full. Nothing was half done: make room, then try again."
_NOT_WRITABLE = "The data folder cannot be written. Check who owns it and whether its disk is mounted read-only."
_DISK_FAULT = "The disk reported an error; the database was left as it was. Check the disk and the free space on it."
_BY_ERRNO = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EROFS: _NOT_WRITABLE,
    errno.EIO: _DISK_FAULT,
}
_BY_SQLITE = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _NOT_WRITABLE,
    sqlite3.SQLITE_CANTOPEN: _NOT_WRITABLE,
    sqlite3.SQLITE_IOERR: _DISK_FAULT,
    sqlite3.SQLITE_BUSY: _BUSY,
}


def explain(error: BaseException | None) -> str | None:
    """The sentence for an error of the machine; none for one of the program."""
    while error is not None:
        code = getattr(error, "sqlite_errorcode", None)
        if isinstance(code, int):
            return _BY_SQLITE.get(code & 0xFF)  # the higher bits tell more than a sentence needs
        if isinstance(error, OSError) and error.errno in _BY_ERRNO:
            return _BY_ERRNO[error.errno]
        if isinstance(error, PermissionError):
            return f"“{error.filename}” may not be read or written by this user; check who owns it."
        error = error.__cause__
    return None
