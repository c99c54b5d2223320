"""One job from its row to its end: progress, cancel, result, failure. What DBOS calls; knows nothing of DBOS."""

import time
import traceback
from typing import Any

from workbench.config import Home
from workbench.db import Database
from workbench.errors import Cancelled, WorkbenchError, explain
from workbench.models import Job, Run, User, utc_now
from workbench.services import explain_requests
from workbench.worker.context import Context
from workbench.worker.handlers import handle

_PROGRESS_EVERY_S = 0.5


class RowProgress:
    """Writes how far a job is into its row, at most twice a second, and stops the job when its user asked for that."""

    def __init__(self, database: Database, job_id: int) -> None:
        self._database = database
        self._job_id = job_id
        self._written_at = 0.0

    def __call__(self, done: int, total: int, message: str = "") -> None:
        now = time.monotonic()
        if now - self._written_at < _PROGRESS_EVERY_S and done < total:
            return
        self._written_at = now
        with self._database.write() as session:
            job = session.get_one(Job, self._job_id)
            job.done, job.total, job.message = done, total, message
            cancelled = job.cancel_requested
        if cancelled:
            raise Cancelled("Cancelled.")


def run_job(database: Database, home: Home, job_id: int) -> str:
    """Carry out one job and return its status. May be called again for a job that a kill interrupted."""
    with database.write() as session:
        job = session.get(Job, job_id)
        if job is None or job.is_over:
            return job.status if job else "gone"
        job.status = "running"
        job.started_at = job.started_at or utc_now()
        kind, params, user_id = job.kind, dict(job.params), job.created_by_id
    context = Context(database=database, home=home, progress=RowProgress(database, job_id), user_id=user_id)
    try:
        result = handle(context, kind, params)
    except Cancelled:
        return _finish(database, job_id, "cancelled")
    except WorkbenchError as error:
        return _finish(database, job_id, "failed", error=str(error))
    except Exception as error:  # noqa: BLE001 - whatever breaks in a job must end as a row that says so
        sentence = explain(error) or (
            f"The job broke unexpectedly ({type(error).__name__}). The log below says where; Retry goes on from there."
        )
        return _finish(database, job_id, "failed", error=sentence, log=traceback.format_exc())
    if kind == "train" and "run" in result:
        _ask_ahead(database, home, run_id=result["run"], user_id=user_id)
    return _finish(database, job_id, "done", result=result)


def _ask_ahead(database: Database, home: Home, *, run_id: int, user_id: int | None) -> None:
    with database.write() as session:
        user = session.get(User, user_id) if user_id else None
        if user is not None:
            explain_requests.ask_ahead(session, home, run=session.get_one(Run, run_id), user=user)


def _finish(
    database: Database,
    job_id: int,
    status: str,
    *,
    error: str = "",
    log: str = "",
    result: dict[str, Any] | None = None,
) -> str:
    with database.write() as session:
        job = session.get_one(Job, job_id)
        job.status, job.error, job.log, job.result = status, error, log, result
        job.finished_at = utc_now()
    return status


def give_up(database: Database, job_id: int, *, sentence: str) -> None:
    """End as failed what nothing will carry out any more; a job that ended meanwhile stays as it is."""
    with database.write() as session:
        job = session.get(Job, job_id)
        if job is not None and not job.is_over:
            job.status, job.error, job.finished_at = "failed", sentence, utc_now()
