"""A worker process: hands queued jobs to DBOS, which carries each out once, and again after a kill.

The web process never talks to DBOS: it writes a `jobs` row. This process sweeps for rows that are not over and enqueues
them under the workflow id `job-<id>`, which DBOS accepts once, however many workers sweep.
"""

import logging
import os
import signal
import sys
import threading
from typing import Any

from dbos import DBOS, SetWorkflowID

from workbench.config import Home
from workbench.db import Database, open_database
from workbench.queries import jobs as queries
from workbench.worker.jobs import give_up, run_job

_SWEEP_S = 0.4
# Part of DBOS's recovery: jobs begun by one version of the program are finished by the next.
_APPLICATION_VERSION = "1"
_MAX_ATTEMPTS = 4
# Trainings wait for one another; a short export or scan does not wait for a training.
_QUEUES = {"train": "training"}
_OTHER_QUEUE = "short"
_state: dict[str, Any] = {}


@DBOS.step(name="run_job")
def _run(job_id: int) -> str:
    return run_job(_state["database"], _state["home"], job_id)


@DBOS.workflow(name="job", max_recovery_attempts=_MAX_ATTEMPTS)
def _workflow(job_id: int) -> str:
    return _run(job_id)


def main(home_path: str, executor_id: str) -> None:
    """Work until SIGINT, SIGTERM or the end of the parent. What was running goes on at the next start."""
    home = Home.at(home_path)
    database = open_database(home)
    _state.update(database=database, home=home)
    stop = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: stop.set())
    if not sys.stdin.isatty():
        threading.Thread(target=_stop_with_parent, args=(stop,), daemon=True).start()
    _launch(home, executor_id)
    handed_over: set[int] = set()
    while not stop.wait(_SWEEP_S):
        sweep(database, handed_over)
    # A training in a thread would hold an orderly exit up for minutes; killed here, it resumes from its checkpoint.
    os._exit(0)


def _launch(home: Home, executor_id: str) -> None:
    DBOS(
        config={
            "name": "workbench",
            "system_database_url": f"sqlite:///{home.jobs_database}",
            "enable_otlp": False,
            "executor_id": executor_id,
            "application_version": _APPLICATION_VERSION,
            "log_level": "WARNING",
        }
    )
    logging.getLogger("dbos").setLevel(logging.ERROR)  # a cancelled workflow logs a stack trace otherwise
    DBOS.launch()
    DBOS.register_queue("training", worker_concurrency=1, polling_interval_sec=0.2)
    DBOS.register_queue(_OTHER_QUEUE, worker_concurrency=2, polling_interval_sec=0.2)
    home.jobs_database.chmod(0o600)


def sweep(database: Database, handed_over: set[int]) -> None:
    """Enqueue every job that is not over and not known yet; end those that DBOS has given up."""
    with database.read() as session:
        waiting = [(job.id, job.kind) for job in queries.list_open_jobs(session)]
    for job_id, kind in waiting:
        if job_id in handed_over:
            continue
        status = DBOS.get_workflow_status(f"job-{job_id}")
        if status is None:
            with SetWorkflowID(f"job-{job_id}"):
                DBOS.enqueue_workflow(_QUEUES.get(kind, _OTHER_QUEUE), _workflow, job_id)
        elif status.status in ("MAX_RECOVERY_ATTEMPTS_EXCEEDED", "ERROR", "CANCELLED"):
            give_up(database, job_id)
        handed_over.add(job_id)


def _stop_with_parent(stop: threading.Event) -> None:
    """The parent holds the other end of our standard input; when it dies, however it dies, the pipe ends."""
    while sys.stdin.buffer.read(1024):
        pass
    stop.set()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
