"""Background work as rows: asked for here, carried out by a worker (workbench/worker/process.py), shown on pages.

Asking is one insert in the caller's own transaction, so that a job exists exactly when what it is for does. A worker
finds queued rows and hands them to DBOS under the id `job-<id>`: handing one over twice does nothing.
"""

from typing import Any

from sqlalchemy.orm import Session

from workbench.errors import Conflict
from workbench.models import Dataset, Job, User, utc_now

# kind -> what the page calls it; workbench/worker/handlers.py says what carries it out
KINDS = {
    "import": "Import",
    "scan": "Scan for duplicates",
    "findings": "Look at the pictures",
    "train": "Train",
    "probe": "Check a run",
    "study": "Study",
    "export": "Export",
    "split": "Build splits",
    "consensus": "Work out the consensus",
    "explain": "Map where a run looks",
    "stress": "Put a run under stress",
    "queue": "Build a queue",
    "map": "Make the map",
    "learn": "Learn from verdicts",
    "bought": "Weigh what decisions bought",
}


def enqueue(
    session: Session, *, kind: str, user: User, dataset: Dataset | str | None = None, title: str = "", **params: Any
) -> Job:
    """Ask for background work. params are JSON-able arguments of its handler, which gets the data set by name too.

    dataset: only its name where the job itself may make it; a job that fails must not go with an empty data set.
    """
    row, name = (dataset, dataset.name) if isinstance(dataset, Dataset) else (None, dataset)
    job = Job(
        kind=kind,
        title=title or KINDS[kind],
        dataset_id=row.id if row else None,
        params={"dataset": name, **params} if name else params,
        created_by_id=user.id,
    )
    session.add(job)
    session.flush()
    return job


def cancel(job: Job) -> None:
    """A queued job ends here; a running one is asked to stop and does so at its next step."""
    if job.is_over:
        raise Conflict(f"This job is {job.status} already.")
    job.cancel_requested = True
    if job.status == "queued":
        job.status = "cancelled"
        job.finished_at = utc_now()


def retry(session: Session, *, job: Job, user: User) -> Job:
    """The same work again as a new job; what the first try finished is not done twice."""
    if not job.is_over or job.status == "done":
        raise Conflict("Only a job that failed or was cancelled can be tried again.")
    again = Job(
        kind=job.kind, title=job.title, dataset_id=job.dataset_id, params=job.params, created_by_id=user.id
    )  # fmt: skip
    session.add(again)
    session.flush()
    return again
