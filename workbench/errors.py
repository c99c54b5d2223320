"""Everything that can go wrong on purpose: each error is one sentence that says what to do."""


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


class Conflict(WorkbenchError):
    """Somebody else changed the thing meanwhile; the caller shows what they decided."""

    status = 409


class Cancelled(WorkbenchError):
    """The user asked a running job to stop."""
