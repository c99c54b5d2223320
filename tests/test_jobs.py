"""The worker: one job from its row to its end, and real worker processes that are killed."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests import live
from tests.drawing import draw, write_files, write_pets
from tests.drawn import make_stripes
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Cancelled, Conflict
from workbench.models import Image, Job, Run
from workbench.services import checks, jobs, users
from workbench.worker.handlers import HANDLERS
from workbench.worker.jobs import RowProgress, run_job

WAIT_S = 40.0
MANY = 1800
TINY = {"image_size": 16, "threads": 1, "batch_size": 16, "precision": "float32"}


def ask(database: Database, kind: str, **params: Any) -> int:
    with database.write() as session:
        return jobs.enqueue(session, kind=kind, user=users.ensure_admin(session), **params).id


def read(database: Database, job_id: int) -> Job:
    with database.read() as session:
        job = session.get_one(Job, job_id)
        session.expunge(job)
        return job


def wait(condition: Callable[[], bool], *, pause_s: float = 0.02) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(pause_s)


def wait_for(database: Database, *job_ids: int) -> list[Job]:
    wait(lambda: all(read(database, job_id).is_over for job_id in job_ids))
    return [read(database, job_id) for job_id in job_ids]


# --- one job, in this process -----------------------------------------------------------------------------------


def test_a_good_import_ends_done_with_its_result(database: Database, home: Home, tmp_path: Path) -> None:
    source = write_pets(tmp_path / "pets")
    job_id = ask(database, "import", dataset="pets", source=str(source))
    assert run_job(database, home, job_id) == "done"
    job = read(database, job_id)
    assert (job.status, job.error, job.log, job.done, job.total) == ("done", "", "", 12, 12)
    assert job.result is not None
    assert (job.result["imported"], job.result["classes"]) == (12, {"cat": 4, "dog": 4, "owl": 4})
    assert job.started_at is not None and job.finished_at is not None and job.started_at <= job.finished_at  # noqa: PT018


def test_a_bad_source_ends_failed_with_one_sentence(database: Database, home: Home, tmp_path: Path) -> None:
    job_id = ask(database, "import", dataset="pets", source=str(tmp_path / "absent"))
    assert run_job(database, home, job_id) == "failed"
    job = read(database, job_id)
    assert (job.error, job.log, job.result) == (f"There is no file or folder “{tmp_path / 'absent'}”.", "", None)


def test_a_handler_that_breaks_ends_failed_with_a_log(database: Database, home: Home) -> None:
    job_id = ask(database, "import", dataset="pets", colour="blue")
    assert run_job(database, home, job_id) == "failed"
    job = read(database, job_id)
    assert job.error == "The job broke unexpectedly (TypeError). The log below says where; Retry goes on from there."
    assert job.log.splitlines()[-1].startswith("TypeError: import_source() ")


def test_a_job_of_an_unknown_kind_ends_failed(database: Database, home: Home) -> None:
    with database.write() as session:
        job = Job(kind="dance", title="Dance", params={})
        session.add(job)
        session.flush()
    assert run_job(database, home, job.id) == "failed"


def test_a_queued_job_is_cancelled_at_once(database: Database, home: Home) -> None:
    job_id = ask(database, "import", dataset="pets", source="/nowhere")
    with database.write() as session:
        jobs.cancel(session.get_one(Job, job_id))
    assert run_job(database, home, job_id) == "cancelled"
    assert read(database, job_id).started_at is None
    with database.write() as session, pytest.raises(Conflict, match="cancelled already"):
        jobs.cancel(session.get_one(Job, job_id))


def test_a_running_job_is_cancelled_at_its_next_step_and_can_be_tried_again(
    database: Database, home: Home, tmp_path: Path
) -> None:
    source = write_pets(tmp_path / "pets")
    job_id = ask(database, "import", dataset="pets", source=str(source))
    with database.write() as session:
        job = session.get_one(Job, job_id)
        job.status = "running"
        jobs.cancel(job)
        assert job.status == "running"
    assert run_job(database, home, job_id) == "cancelled"
    with database.write() as session:
        again = jobs.retry(session, job=session.get_one(Job, job_id), user=users.ensure_admin(session)).id
    assert run_job(database, home, again) == "done"
    with database.write() as session, pytest.raises(Conflict, match="failed or was cancelled"):
        jobs.retry(session, job=session.get_one(Job, again), user=users.ensure_admin(session))


def test_progress_is_in_the_row_and_stops_a_cancelled_job(database: Database, home: Home) -> None:
    job_id = ask(database, "import", dataset="pets", source="/nowhere")
    progress = RowProgress(database, job_id)
    progress(3, 10, "Importing")
    progress(4, 10, "Importing")  # too soon after the first to be written
    job = read(database, job_id)
    assert (job.done, job.total, job.message) == (3, 10, "Importing")
    with database.write() as session:
        session.get_one(Job, job_id).cancel_requested = True
    with pytest.raises(Cancelled):
        progress(10, 10, "Importing")


def test_a_job_that_is_gone_or_over_is_not_run(database: Database, home: Home, tmp_path: Path) -> None:
    assert run_job(database, home, 99) == "gone"
    job_id = ask(database, "import", dataset="pets", source=str(write_pets(tmp_path / "pets")))
    assert run_job(database, home, job_id) == "done"
    before = read(database, job_id).finished_at
    assert run_job(database, home, job_id) == "done"
    assert read(database, job_id).finished_at == before


def test_every_kind_that_can_be_asked_for_is_carried_out() -> None:
    assert set(HANDLERS) == set(jobs.KINDS)


# --- real processes ---------------------------------------------------------------------------------------------


@contextmanager
def worker(home: Home) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that ends with this block, if it was not killed before."""
    command = [sys.executable, "-m", "workbench.worker.process", str(home.root)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        yield process
        process.stdin.close()
        if process.poll() is None:
            process.wait(timeout=20)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of MANY different images: two batches of an import."""
    files = {f"{'cat' if index % 2 else 'dog'}/{index:05d}.png": draw(index) for index in range(MANY)}
    return write_files(tmp_path_factory.mktemp("many"), files)


def count_images(database: Database) -> int:
    with database.read() as session:
        return len(session.scalars(select(Image.id)).all())


def list_rows(database: Database) -> list[tuple[Any, ...]]:
    with database.read() as session:
        found = session.execute(
            select(Image.path, Image.file_sha256, Image.pixel_sha256, Image.label_id).order_by(Image.path)
        )
        return [tuple(row) for row in found]


def test_a_killed_worker_is_started_again_and_the_import_ends_with_the_same_rows(
    database: Database, home: Home, many: Path
) -> None:
    job_id = ask(database, "import", dataset="many", source=str(many), copy=True)
    with live.serve(home.root) as server:
        wait(lambda: count_images(database) > 0, pause_s=0.002)
        [victim] = server.worker_pids()
        os.kill(victim, signal.SIGKILL)
        assert read(database, job_id).status == "running"
        [job] = wait_for(database, job_id)
        assert victim not in server.worker_pids()
    assert (job.status, job.error) == ("done", "")
    assert job.result is not None
    assert (job.result["imported"], job.result["refused"]) == (MANY, [])
    rows = list_rows(database)
    undisturbed = ask(database, "import", dataset="undisturbed", source=str(many), copy=True)
    assert run_job(database, home, undisturbed) == "done"
    assert [row[:3] for row in list_rows(database)[::2]] == [row[:3] for row in rows]
    with database.read() as session:
        assert checks.check(session).ok


def test_a_training_that_is_killed_ends_with_the_same_metrics(database: Database, home: Home) -> None:
    with database.write() as session:
        make_stripes(session, home)
    asked = {"dataset": "stripes", "epochs": 4, "settings": TINY, "seed": 3}
    first = ask(database, "train", **asked)
    metrics = home.run_folder(1) / "metrics.jsonl"
    with worker(home) as process:
        wait(lambda: metrics.exists() and len(metrics.read_text().splitlines()) > 1, pause_s=0.005)
        kill(process)
    second = ask(database, "train", **asked)
    with worker(home):
        done = wait_for(database, first, second)
    assert [job.status for job in done] == ["done", "done"]
    with database.read() as session:
        runs = session.scalars(select(Run).order_by(Run.id)).all()
        assert [run.epochs_done for run in runs] == [4, 4]
    losses = [[json.loads(line)["train_loss"] for line in path.read_text().splitlines()] for path in
              (metrics, home.run_folder(2) / "metrics.jsonl")]  # fmt: skip
    assert losses[0] == losses[1]


def test_workers_end_with_a_killed_server_and_the_next_start_finishes_the_job(
    database: Database, home: Home, many: Path
) -> None:
    job_id = ask(database, "import", dataset="many", source=str(many), copy=True)
    with live.serve(home.root) as server:
        wait(lambda: count_images(database) > 0, pause_s=0.002)
        workers = server.worker_pids()
        server.process.kill()
        server.process.wait()
        wait(lambda: not any(_is_alive(pid) for pid in workers))
    with live.serve(home.root):
        [job] = wait_for(database, job_id)
    assert job.status == "done"
    assert count_images(database) == MANY


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_two_workers_carry_out_every_job_once(database: Database, home: Home, tmp_path: Path) -> None:
    source = write_pets(tmp_path / "pets")
    ids = [ask(database, "import", dataset=f"pets{number}", source=str(source)) for number in range(12)]
    with worker(home), worker(home):
        done = wait_for(database, *ids)
    assert [job.status for job in done] == ["done"] * 12
    assert [(job.result or {})["imported"] for job in done] == [12] * 12
    assert count_images(database) == 12 * 12


def test_a_dead_workers_job_is_taken_over_by_one_of_another_name(database: Database, home: Home, many: Path) -> None:
    """As after `serve --workers 2` and then `--workers 1`: worker-2 never comes back."""
    with worker(home) as first:
        wait((home.root / "workers" / "worker-1.lock").exists)
        with worker(home) as second:
            wait((home.root / "workers" / "worker-2.lock").exists)
            first.send_signal(signal.SIGSTOP)  # so that the second takes the job
            job_id = ask(database, "import", dataset="many", source=str(many), copy=True)
            wait(lambda: read(database, job_id).done > 0, pause_s=0.002)
            kill(second)
        assert read(database, job_id).status == "running"
        first.send_signal(signal.SIGCONT)
        [job] = wait_for(database, job_id)
    assert (job.status, count_images(database)) == ("done", MANY)


def ask_for_ever(database: Database, tmp_path: Path) -> int:
    """A job that does not end by itself: its votes come from a pipe that nobody writes to."""
    os.mkfifo(tmp_path / "votes.csv")
    source = write_pets(tmp_path / "pets")
    return ask(database, "import", dataset="pets", source=str(source), votes=str(tmp_path / "votes.csv"))


def count_attempts(home: Home) -> int:
    """How often DBOS has begun the job that it takes to be running."""
    if not home.jobs_database.exists():
        return 0
    connection = sqlite3.connect(home.jobs_database, timeout=5)
    try:
        found = connection.execute("SELECT recovery_attempts FROM workflow_status WHERE status = 'PENDING'").fetchone()
    except sqlite3.OperationalError:  # the worker has not made its tables yet
        return 0
    finally:
        connection.close()
    return int(found[0]) if found else 0


def test_a_job_that_kills_its_worker_every_time_is_given_up(database: Database, home: Home, tmp_path: Path) -> None:
    job_id = ask_for_ever(database, tmp_path)
    for attempt in range(1, 5):
        with worker(home) as process:
            wait(lambda attempt=attempt: count_attempts(home) == attempt)  # type: ignore[misc]
            kill(process)
    assert not read(database, job_id).is_over
    with worker(home):
        [job] = wait_for(database, job_id)
    assert job.status == "failed"
    assert job.error == (
        "The worker died several times while it ran this job; out of memory, most likely. Try a smaller setting."
    )


def test_an_orderly_stop_is_no_death(database: Database, home: Home, tmp_path: Path) -> None:
    job_id = ask_for_ever(database, tmp_path)
    for _ in range(2):
        with worker(home):
            wait(lambda: count_attempts(home) == 1)
        assert count_attempts(home) == 0
    assert not read(database, job_id).is_over


def test_a_running_job_that_the_jobs_database_does_not_know_is_taken_up_again(
    database: Database, home: Home, tmp_path: Path
) -> None:
    job_id = ask(database, "import", dataset="pets", source=str(write_pets(tmp_path / "pets")))
    with database.write() as session:
        session.get_one(Job, job_id).status = "running"
    with worker(home):
        [job] = wait_for(database, job_id)
    assert job.status == "done"


def test_a_job_whose_number_the_jobs_database_has_seen_before_does_not_wait_for_ever(
    database: Database, home: Home, tmp_path: Path
) -> None:
    """As when only workbench.sqlite was put back from a copy."""
    job_id = ask(database, "import", dataset="pets", source=str(write_pets(tmp_path / "pets")))
    with worker(home):
        wait_for(database, job_id)
    with database.write() as session:
        session.get_one(Job, job_id).status = "queued"
    with worker(home):
        [job] = wait_for(database, job_id)
    assert (job.status, "press Retry" in job.error) == ("failed", True)
