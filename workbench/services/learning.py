"""When there are enough new verdicts to learn from again."""

from datetime import timedelta

from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.models import Dataset, utc_now
from workbench.queries import datasets, jobs
from workbench.queries import learning as queries
from workbench.services import users
from workbench.services.jobs import enqueue
from workbench.services.posteriors import find_posteriors

DUE_AFTER = 50  # verdicts since it was learned last
AGAIN_AFTER = timedelta(hours=1)  # since it failed


def list_due(session: Session, home: Home) -> list[Dataset]:
    """The data sets that nobody learns about yet although it is time."""
    return [
        each
        for each in datasets.list_datasets(session)
        if is_due(session, home, each, run_id=each.promoted_run_id) and not _is_asked(session, each)
    ]


def is_due(session: Session, home: Home, dataset: Dataset, *, run_id: int | None) -> bool:
    """Whether so many verdicts came since the run's predictions were corrected last. Reads the lines since then."""
    if run_id is None:
        return False
    learned = find_posteriors(home, run_id)
    after = learned.decision_id if learned else 0
    return queries.count_verdicts(session, dataset_id=dataset.id, after=after, enough=DUE_AFTER) >= DUE_AFTER


def ask_where_due(session: Session, home: Home) -> None:
    """Ask for the work, once for each data set, however many workers look."""
    for dataset in list_due(session, home):
        enqueue(session, kind="learn", user=users.ensure_admin(session), dataset=dataset)


def _is_asked(session: Session, dataset: Dataset) -> bool:
    newest = jobs.find_newest_job(session, kind="learn", dataset_id=dataset.id)
    if newest is None or newest.status == "done":
        return False
    return newest.finished_at is None or newest.finished_at > utc_now() - AGAIN_AFTER
