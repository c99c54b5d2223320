"""The list of jobs and the page of one, in every state."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.conftest import Browser, make_pets
from workbench.db import Database
from workbench.models import Job, utc_now
from workbench.services import jobs, users
from workbench.web.jobs import time_left

BrowserAs = Callable[[str], Browser]


def add_job(database: Database, *, kind: str = "train", by: str = "ann", **values: object) -> int:
    with database.write() as session:
        job = jobs.enqueue(session, kind=kind, user=users.ensure_user(session, by), dataset="pets")
        for field, value in values.items():
            setattr(job, field, value)
        return job.id


def text_of(browser: Browser, url: str, *, htmx: bool = False) -> str:
    return " ".join(browser.get(url, htmx=htmx).get_data(as_text=True).split())


def test_without_jobs_the_list_says_what_would_fill_it(browser_as: BrowserAs) -> None:
    browser = browser_as("viewer")
    assert "No job yet" in text_of(browser, "/jobs")
    assert browser.get("/jobs/badge").get_data(as_text=True) == ""


def test_open_jobs_come_first_and_the_list_stops_asking_when_none_is_open(
    browser_as: BrowserAs, database: Database
) -> None:
    browser = browser_as("viewer")
    add_job(database, title="First", status="done", finished_at=utc_now())
    assert "hx-trigger" not in text_of(browser, "/jobs").partition('id="open_jobs"')[2]
    running = add_job(database, title="Second", status="running", done=5, total=20, message="Epoch 5 of 20")
    html = text_of(browser, "/jobs").partition('id="open_jobs"')[2]
    assert 'hx-trigger="every 2s"' in html
    assert html.index("Second") < html.index("First")
    assert ("running 25 %" in html, "Epoch 5 of 20" in html) == (True, True)
    assert browser.get("/jobs/badge").get_data(as_text=True) == "1"
    assert text_of(browser, f"/jobs/{running}", htmx=True).startswith('<div id="job_state"')


def test_a_long_list_goes_on_where_the_page_before_ended(browser_as: BrowserAs, database: Database) -> None:
    for number in range(32):
        add_job(database, title=f"Number {number:02d}", status="done", finished_at=utc_now())
    browser = browser_as("viewer")
    first = text_of(browser, "/jobs")
    assert ("Number 31" in first, "Number 02" in first, "Number 01" in first) == (True, True, False)
    second = text_of(browser, "/jobs?before=3")
    assert ("Number 01" in second, "Number 00" in second, "Number 02" in second) == (True, True, False)


@pytest.mark.parametrize(
    ("kind", "result", "words", "link"),
    [
        ("import", {"dataset": "pets", "import": 1, "imported": 6, "refused": [{}]}, "6 images imported, 1 refused.",
         "/d/pets/imports/1"),
        ("train", {"run": 4, "epochs": 9, "test": {"accuracy": 0.614}}, "61.4 % right after 9 epochs.",
         "/d/pets/runs/4"),
        ("scan", {}, "The copies are found.", "/d/pets/duplicates"),
        ("split", {}, "Done.", "/d/pets/"),
    ],
)  # fmt: skip
def test_a_finished_job_says_what_came_out_and_where(
    browser_as: BrowserAs, database: Database, kind: str, result: dict[str, object], words: str, link: str
) -> None:
    job = add_job(database, kind=kind, status="done", result=result, started_at=utc_now(), finished_at=utc_now())
    html = text_of(browser_as("viewer"), f"/jobs/{job}")
    assert (words in html, f'class="button primary" href="{link}"' in html) == (True, True)
    assert "hx-trigger" not in html.partition('id="job_state"')[2]


def test_a_failed_job_shows_a_sentence_folds_the_log_and_can_be_retried(
    browser_as: BrowserAs, database: Database
) -> None:
    job = add_job(
        database, status="failed", error="Two classes are needed.", log="Traceback <1>", finished_at=utc_now()
    )
    assert "Retry</button>" not in text_of(browser_as("viewer"), f"/jobs/{job}")
    lead = browser_as("lead")
    html = text_of(lead, f"/jobs/{job}")
    assert ("Two classes are needed." in html, "Traceback &lt;1&gt;" in html) == (True, True)
    answer = lead.post(f"/jobs/{job}/retry")
    assert (answer.status_code, answer.location) == (303, f"/jobs/{job + 1}")
    again = lead.post(f"/jobs/{job + 1}/retry")
    assert (again.status_code, "failed or was cancelled" in again.get_data(as_text=True)) == (409, True)


def test_cancelling_ends_a_queued_job_and_asks_a_running_one(browser_as: BrowserAs, database: Database) -> None:
    queued, running = add_job(database), add_job(database, status="running")
    lead = browser_as("lead")
    assert lead.post(f"/jobs/{queued}/cancel").status_code == 303
    assert lead.post(f"/jobs/{running}/cancel").status_code == 303
    assert lead.post(f"/jobs/{queued}/cancel").status_code == 409
    with database.read() as session:
        found = {job.id: (job.status, job.cancel_requested) for job in session.scalars(select(Job))}
    assert found == {queued: ("cancelled", True), running: ("running", True)}
    assert "Cancel the job" not in text_of(lead, f"/jobs/{running}")


def test_reviewers_stop_their_own_jobs_viewers_none(browser_as: BrowserAs, database: Database) -> None:
    others, own = add_job(database), add_job(database, by="some-reviewer")
    assert browser_as("viewer").post(f"/jobs/{others}/cancel").status_code == 403
    reviewer = browser_as("reviewer")
    refused = reviewer.post(f"/jobs/{others}/cancel")
    assert (refused.status_code, "for others ask a lead" in refused.get_data(as_text=True)) == (403, True)
    assert reviewer.post(f"/jobs/{own}/cancel").status_code == 303


def test_a_job_that_is_not_there_is_a_404(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        make_pets(session)
    assert browser_as("viewer").get("/jobs/9").status_code == 404


def test_time_left_is_told_from_the_pace_so_far() -> None:
    started = utc_now() - timedelta(seconds=30)
    assert round(time_left(Job(started_at=started, done=10, total=40)) or 0) == 90
    assert time_left(Job(started_at=started, done=0, total=40)) is None
    assert time_left(Job(started_at=None, done=0, total=0)) is None
