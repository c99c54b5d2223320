"""A worker process: hands queued jobs to DBOS, which carries each out once, and again after a kill.

The web process never talks to DBOS: it writes a `jobs` row. This process sweeps for rows that are not over and enqueues
them under the workflow id `job-<id>`, which DBOS accepts once, however many workers sweep.

DBOS remembers which worker took a job. A worker holds a lock on a file of its own name as long as it lives, so that the
others can tell a dead worker's jobs from a living one's, and take them over.
"""

import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from dbos import DBOS, SetWorkflowID, WorkflowStatus
from sqlalchemy.exc import OperationalError

from workbench.config import Home
from workbench.db import Database, open_database, sqlite_url
from workbench.models import utc_now
from workbench.queries import jobs as queries
from workbench.queries.queues import list_superseded
from workbench.services import bought, learning
from workbench.services.automatic_queues import close_superseded
from workbench.worker.jobs import give_up, run_job

_SWEEP_S = 0.4
_LEARN_S = 10.0  # between looks for new verdicts
# Part of DBOS's recovery: jobs begun by one version of the program are finished by the next.
_APPLICATION_VERSION = "1"
_MAX_ATTEMPTS = 3  # recoveries: the fourth death is the last
_MOST_AT_ONCE = 1000
# Trainings wait for one another; a short export or scan does not wait for a training.
# So does what loads a model: its weights are drawn from the random state that a training beside it would share.
_QUEUES = dict.fromkeys(("train", "probe", "study", "explain", "stress"), "training")
_OTHER_QUEUE = "short"
_DIED = "The worker died several times while it ran this job; out of memory, most likely. Try a smaller setting."
_LOST = "The worker could not note how this job ended; the disk was full, most likely. Make room, then press Retry."
_ENDINGS = {"MAX_RECOVERY_ATTEMPTS_EXCEEDED": _DIED, "ERROR": _LOST, "CANCELLED": _LOST, "SUCCESS": _LOST}
_state: dict[str, Any] = {}
_log = logging.getLogger(__name__)


@DBOS.step(name="run_job")
def _run(job_id: int) -> str:
    return run_job(_state["database"], _state["home"], job_id)


@DBOS.workflow(name="job", max_recovery_attempts=_MAX_ATTEMPTS)
def _workflow(job_id: int) -> str:
    return _run(job_id)


def main(home_path: str) -> None:
    """Work until SIGINT, SIGTERM or the end of the parent. What was running goes on at the next start."""
    home = Home.at(home_path)
    database = open_database(home)
    _state.update(database=database, home=home)
    stop = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: stop.set())
    if not sys.stdin.isatty():
        threading.Thread(target=_stop_with_parent, args=(stop,), daemon=True).start()
    name, _lock = claim_name(home)
    _launch(home, name)
    looked_s = 0.0
    while not stop.wait(_SWEEP_S):
        try:
            sweep(database, home, name)
            if time.monotonic() - looked_s > _LEARN_S:
                looked_s = time.monotonic()
                look_for_verdicts(database, home)
                look_for_promoted(database, home)
                close_left_queues(database)
        except OperationalError as error:  # a full or busy disk, for now: what runs in other threads shall go on
            _log.warning("cannot look for jobs: %s", error.orig)
    hand_back(name)
    # A training in a thread would hold an orderly exit up for minutes; killed here, it resumes from its checkpoint.
    os._exit(0)


def claim_name(home: Home) -> tuple[str, sqlite3.Connection]:
    """The first of worker-1, worker-2, ... that no living worker has, and the lock that ends with this process."""
    number = 1
    while (lock := _try_lock(home, f"worker-{number}")) is None:
        number += 1
    return f"worker-{number}", lock


def _try_lock(home: Home, name: str) -> sqlite3.Connection | None:
    """None if a living process has it. SQLite's own lock on an empty file: the system drops it at any kind of death."""
    folder = home.root / "workers"
    folder.mkdir(mode=0o700, exist_ok=True)
    connection = sqlite3.connect(folder / f"{name}.lock", timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        connection.close()
        return None
    return connection


def _launch(home: Home, name: str) -> None:
    DBOS(
        config={
            "name": "workbench",
            "system_database_url": sqlite_url(home.jobs_database),
            "enable_otlp": False,
            "executor_id": name,
            "application_version": _APPLICATION_VERSION,
            "log_level": "WARNING",
        }
    )
    logging.getLogger("dbos").setLevel(logging.ERROR)  # a cancelled workflow logs a stack trace otherwise
    DBOS.launch()
    DBOS.register_queue("training", worker_concurrency=1, polling_interval_sec=0.2)
    DBOS.register_queue(_OTHER_QUEUE, worker_concurrency=2, polling_interval_sec=0.2)
    home.jobs_database.chmod(0o600)


def sweep(database: Database, home: Home, name: str) -> None:
    """Enqueue every job that is not over and not known yet; end those that DBOS has given up; take over the dead's."""
    with database.read() as session:
        waiting = [(job.id, job.kind) for job in queries.list_open_jobs(session)[:_MOST_AT_ONCE]]
    if not waiting:
        return
    known = _find_workflows([f"job-{job_id}" for job_id, _ in waiting])
    for job_id, kind in waiting:
        workflow = known.get(f"job-{job_id}")
        if workflow is None:
            with SetWorkflowID(f"job-{job_id}"):
                DBOS.enqueue_workflow(_QUEUES.get(kind, _OTHER_QUEUE), _workflow, job_id)
        elif workflow.status in _ENDINGS:
            give_up(database, job_id, sentence=_ENDINGS[workflow.status])
    owners = {workflow.executor_id for workflow in known.values() if workflow.status == "PENDING"}
    for owner in owners - {name, None}:
        _take_over(home, str(owner))


def look_for_verdicts(database: Database, home: Home) -> None:
    """Ask for learning about the data sets that have enough new verdicts."""
    with database.read() as session:
        due = learning.list_due(session, home)
    if due:
        with database.write() as session:
            learning.ask_where_due(session, home)


def look_for_promoted(database: Database, home: Home) -> None:
    """Ask what the decisions before a run bought, once it is promoted."""
    with database.read() as session:
        due = bought.list_due(session, home)
    if due:
        with database.write() as session:
            bought.ask_where_due(session, home)


def close_left_queues(database: Database) -> None:
    """What an earlier run opened by itself, once its last reviewer has left."""
    now = utc_now()
    with database.read() as session:
        left = list_superseded(session, now=now)
    if left:
        with database.write() as session:
            close_superseded(session, now=now)


def _find_workflows(ids: Sequence[str]) -> dict[str, WorkflowStatus]:
    found = DBOS.list_workflows(workflow_ids=list(ids), load_input=False, load_output=False)
    return {workflow.workflow_id: workflow for workflow in found}


def _take_over(home: Home, owner: str) -> None:
    """Put a dead worker's jobs back into their queues. Its lock is held meanwhile, so that nobody starts as it."""
    lock = _try_lock(home, owner)
    if lock is not None:
        DBOS._recover_pending_workflows([owner])
        lock.close()


def hand_back(name: str) -> None:
    """At an orderly stop: queue again what runs here, so that stopping the program does not count as a death."""
    running = DBOS.list_workflows(status="PENDING", executor_id=name, load_input=False, load_output=False)
    for workflow in running:
        DBOS.resume_workflow(workflow.workflow_id, queue_name=workflow.queue_name)


def _stop_with_parent(stop: threading.Event) -> None:
    """The parent holds the other end of our standard input; when it dies, however it dies, the pipe ends."""
    while sys.stdin.buffer.read(1024):
        pass
    stop.set()


if __name__ == "__main__":
    main(sys.argv[1])
