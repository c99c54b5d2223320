"""Studies in the browser: the list, the three ways to ask for one, its table and plots, cancelling and going on."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import event, select

from tests.conftest import Browser
from tests.drawn import make_stripes
from tests.trained_runs import write_curves
from workbench.config import Home
from workbench.db import Database
from workbench.models import Dataset, Job, Run, Study, StudyRun
from workbench.services import studies, users
from workbench.services.measures import evaluate
from workbench.services.study_files import parse_document

BrowserAs = Callable[[str], Browser]
LIST = """
name = "published"
title = "Two nets of a paper"
source = "somebody/something"
notes = "They did not say which seed."
[[runs]]
name = "first"
note = "As in the paper."
published = { accuracy = 0.5, n = 200, recall = { rows = 0.25 } }
[[runs]]
name = "second"
arch = "resnet18"
published = { accuracy = 0.99 }
[[runs]]
name = "third"
"""
SEARCH = """
name = "wide"
title = "A search"
[search]
method = "hyperband"
runs = 4
[search.ranges]
learning_rate = { low = 0.001, high = 0.1, log = true }
warmup = { low = 0.1, high = 0.3 }
optimizer = ["adamw", "sgd"]
"""


@pytest.fixture
def stripes(database: Database, home: Home) -> str:
    with database.write() as session:
        return make_stripes(session, home, per_class=10).name


def add_study(database: Database, text: str, *, small: bool = False) -> int:
    with database.write() as session:
        dataset = session.scalars(select(Dataset)).one()
        user = users.ensure_admin(session)
        return studies.ask_for_study(session, dataset=dataset, user=user, document=parse_document(text), small=small).id


def finish_runs(database: Database, home: Home, study_id: int, *, rights: list[int], of: int = 30) -> None:
    """The first runs of the study as if they had been trained, with so many right of 30."""
    with database.write() as session:
        study = session.get_one(Study, study_id)
        dataset = session.get_one(Dataset, study.dataset_id)
        names = [cls["name"] for cls in study.basis["classes"]]
        for number, right in enumerate(rights, 1):
            entry = session.scalars(select(StudyRun).where(StudyRun.study_id == study_id, StudyRun.number == number))
            line = entry.one_or_none() or studies.add_entry(
                session,
                study=study,
                number=number,
                chosen={"learning_rate": 0.001 * 3**number, "warmup": 0.1 + number / 20, "optimizer": "adamw"},
            )
            run = studies.make_run(session, study=study, entry=line)
            labels = np.arange(of) % 3
            said = np.where(np.arange(of) < right, labels, (labels + 1) % 3)
            metrics = evaluate(np.eye(3)[said], labels, class_names=names)
            run.config = {**run.config, "training": {"epochs": 3}}
            run.status, run.metrics, run.seconds = "done", {"split": "test", **metrics}, 61.0
            run.epochs_done = 3
            write_curves(home, run.id, epochs=3)
            studies.settle(session, line, score=right / of)
        assert dataset.promoted_run_id is None


def end(database: Database, study_id: int, status: str = "done") -> None:
    with database.write() as session:
        study = session.get_one(Study, study_id)
        study.status = status
        for job in session.scalars(select(Job).where(Job.kind == "study")):
            job.status = status


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_the_list_of_none_says_what_a_study_is_and_offers_what_is_saved(stripes: str, browser_as: BrowserAs) -> None:
    page = browser_as("lead").get("/d/stripes/studies").text
    assert "No study yet" in page
    assert "What varying the images while training buys" in page
    assert 'aria-label="Run What varying the images while training buys"' in page
    seen = browser_as("viewer").get("/d/stripes/studies").text
    assert "What varying the images while training buys" in seen
    assert ">Run</button>" not in seen
    assert "New study" not in seen


def test_the_list_costs_the_same_for_one_and_three(stripes: str, database: Database, browser_as: BrowserAs) -> None:
    counts = []
    browser = browser_as("lead")
    for more in (1, 2):
        for _ in range(more):
            add_study(database, LIST)
        statements: list[str] = []
        listen = lambda *args, found=statements: found.append(args[2])  # noqa: E731
        event.listen(database.reader, "before_cursor_execute", listen)
        page = browser.get("/d/stripes/studies").text
        event.remove(database.reader, "before_cursor_execute", listen)
        counts.append(len(statements))
        assert page.count(">Two nets of a paper<") == (1 if more == 1 else 3)
        assert "0 of 3 · waits" in text_of(page)
    assert counts[0] == counts[1]


def test_a_saved_configuration_is_asked_for_with_a_press(
    stripes: str, database: Database, browser_as: BrowserAs
) -> None:
    browser = browser_as("lead")
    answer = browser.post("/d/stripes/studies", {"kind": "saved", "saved": "variations", "small": "on"})
    assert (answer.status_code, answer.location) == (303, "/d/stripes/studies/1")
    page = text_of(browser.get("/d/stripes/studies/1").text)
    assert "Study 1 is queued." in page
    assert "0 of 3 runs; waits for a worker, or for a training before it" in page
    assert "mirrored compact waiting" in page
    assert "workbench study run variations --dataset stripes --small" in page
    with database.read() as session:
        job = session.scalars(select(Job)).one()
        assert (job.kind, job.title, job.params) == (
            "study", "Study variations (study 1)", {"dataset": "stripes", "study": 1},
        )  # fmt: skip
        assert session.get_one(Study, 1).small


@pytest.mark.parametrize(
    ("form", "sentence", "field"),
    [
        ({"kind": "saved", "saved": "../../secret_key"}, "Choose one of the saved configurations.", None),
        ({"kind": "file", "text": ""}, "Paste the study", "Paste the file here."),
        ({"kind": "file", "text": "name = "}, "The study&#39;s file is no TOML", "Invalid"),
        ({"kind": "search", "ranges": ""}, "Some fields need another value.", "One setting on each line."),
        ({"kind": "search", "ranges": "learning_rate"}, "Write a range as", None),
        ({"kind": "search", "ranges": "a=1", "runs": "many"}, "Some fields", "A whole number from 1 to 500."),
        ({"kind": "search", "ranges": "a=1", "epochs": "0"}, "Some fields", "A whole number from 1 to 10,000."),
        ({"kind": "search", "ranges": "warmup=0.1..0.3", "method": "grid"}, "A grid needs the values of warmup", None),
        ({"kind": "search", "ranges": "a=1", "arch": "unheard"}, "unheard", None),
    ],
)
def test_what_cannot_be_read_is_shown_again(
    stripes: str, database: Database, browser_as: BrowserAs, form: dict[str, str], sentence: str, field: str | None
) -> None:
    answer = browser_as("lead").post("/d/stripes/studies", form)
    assert answer.status_code == 422
    assert sentence in answer.text
    assert field is None or field in answer.text
    typed = form.get("ranges") or form.get("text") or "New study"
    assert typed in answer.text
    with database.read() as session:
        assert list(session.scalars(select(Study))) == []


def test_a_search_and_a_file_are_asked_for_on_one_page(stripes: str, database: Database, browser_as: BrowserAs) -> None:
    browser = browser_as("lead")
    page = browser.get("/d/stripes/studies/new").text
    assert ("Search for better settings" in page, "From a file" in page, "has none" in page) == (True, True, False)
    form = {
        "kind": "search", "ranges": "learning_rate = 0.001..0.1:log\nbatch_size = 16, 32\n", "method": "hyperband",
        "runs": "5", "epochs": "4", "arch": "compact", "preset": "quick", "goal": "loss",
    }  # fmt: skip
    assert browser.post("/d/stripes/studies", form).location == "/d/stripes/studies/1"
    assert browser.post("/d/stripes/studies", {"kind": "file", "text": LIST}).location == "/d/stripes/studies/2"
    with database.read() as session:
        assert session.get_one(Study, 1).plan["search"] == {
            "method": "hyperband", "goal": "loss", "arch": "compact", "preset": "quick", "runs": 5,
            "ranges": {"learning_rate": {"low": 0.001, "high": 0.1, "log": True}, "batch_size": [16, 32]},
            "settings": {"epochs": 4},
        }  # fmt: skip
        assert session.get_one(Study, 2).name == "published"
    activity = text_of(browser.get("/activity").text)
    assert "started study 2, published" in activity


def test_the_table_shows_ours_beside_what_was_published(
    stripes: str, database: Database, home: Home, browser_as: BrowserAs
) -> None:
    study_id = add_study(database, LIST)
    finish_runs(database, home, study_id, rights=[21, 15])
    end(database, study_id, "cancelled")
    page = browser_as("viewer").get(f"/d/stripes/studies/{study_id}").text
    words = text_of(page)
    assert "Two nets of a paper" in words
    assert "somebody/something" in words
    assert "They did not say which seed." in words
    assert "first compact ✓ best As in the paper. 70.0 % [52.1, 83.3] · n 30 test 50.0 % [43.1, 56.9] · n 200" in words
    assert "+20.0 [+0.9, +35.0] above" in words
    assert "second resnet18 50.0 % [33.2, 66.8] · n 30 test 99.0 % -49.0 [-65.8, -32.2] below" in words
    assert "third compact waiting" in words
    assert "recall of rows 0.25" in words
    assert "Cancelled after 2 of 3 runs" in words
    assert 'aria-label="first: accuracy 70.0%, published 50.0%"' in page
    assert ">Go on</button>" not in page


def test_the_list_says_what_the_best_came_to_and_a_small_study_compares_nothing(
    stripes: str, database: Database, home: Home, browser_as: BrowserAs
) -> None:
    study_id = add_study(database, LIST, small=True)
    finish_runs(database, home, study_id, rights=[15, 21])
    end(database, study_id)
    browser = browser_as("viewer")
    assert "70.0 % [52.1, 83.3] · n 30 test" in text_of(browser.get("/d/stripes/studies").text)
    page = text_of(browser.get(f"/d/stripes/studies/{study_id}").text)
    assert "A small study: tiny images and few epochs show that everything runs." in page
    assert "99.0 %" in page
    assert " above" not in page
    assert " below" not in page


def test_the_page_of_a_search_draws_its_runs(
    stripes: str, database: Database, home: Home, browser_as: BrowserAs
) -> None:
    study_id = add_study(database, SEARCH)
    finish_runs(database, home, study_id, rights=[12, 24, 18])
    with database.write() as session:
        line = session.scalars(select(StudyRun).where(StudyRun.number == 3)).one()
        run = session.get_one(Run, line.run_id)
        studies.settle(session, line, score=0.6, epochs=2, stopped=True)
        run.metrics, run.epochs_done = None, 2
        write_curves(home, run.id, epochs=2)
    end(database, study_id)
    page = browser_as("viewer").get(f"/d/stripes/studies/{study_id}").text
    words = text_of(page)
    assert "Validation accuracy by epoch: 3 runs, 2 to their end, 1 stopped before." in page
    titles = re.findall(r"<strong>Validation accuracy by (\w+)</strong>", page)
    assert titles == ["epoch", "learning_rate", "warmup", "optimizer"]
    assert "80.0 % [62.7, 90.5] · n 30 test" in words
    assert "is best by the validation split, which chose it" in words
    assert "stopped after epoch 2" in words
    assert words.index("✓ best") < words.index("40.0 % [") < words.rindex("stopped after epoch 2")


def test_a_study_under_way_is_asked_for_again_and_only_its_block_is_sent(
    stripes: str, database: Database, home: Home, browser_as: BrowserAs
) -> None:
    study_id = add_study(database, LIST)
    finish_runs(database, home, study_id, rights=[21])
    with database.write() as session:
        session.get_one(Study, study_id).status = "running"
        job = session.scalars(select(Job)).one()
        job.status, job.done, job.total, job.message = "running", 1500, 3000, "Run 2 of 3 (second): Epoch 2 of 10"
    browser = browser_as("lead")
    block = browser.get(f"/d/stripes/studies/{study_id}", htmx=True).text
    assert block.lstrip().startswith(f'<div id="study" hx-get="/d/stripes/studies/{study_id}" hx-trigger="every 3s"')
    assert "1 of 3 runs are over · Run 2 of 3 (second): Epoch 2 of 10" in text_of(block)
    end(database, study_id)
    over = browser.get(f"/d/stripes/studies/{study_id}", htmx=True)
    assert (over.status_code, over.headers["HX-Redirect"]) == (204, f"/d/stripes/studies/{study_id}")


def test_a_study_is_cancelled_and_goes_on(stripes: str, database: Database, browser_as: BrowserAs) -> None:
    study_id = add_study(database, LIST)
    browser = browser_as("lead")
    address = f"/d/stripes/studies/{study_id}"
    assert browser.post(f"{address}/cancel").location == address
    page = text_of(browser.get(address).text)
    assert "The study stops at its next step." in page
    assert "Cancelled after 0 of 3 runs; what is done is kept, and going on continues from there." in page
    again = browser.post(f"{address}/cancel")
    assert (again.status_code, "has no job to cancel" in again.text) == (409, True)
    assert browser.post(f"{address}/go-on").location == address
    assert browser.post(f"{address}/go-on").status_code == 409
    with database.read() as session:
        assert [job.status for job in session.scalars(select(Job).order_by(Job.id))] == ["cancelled", "queued"]


def test_a_study_whose_command_has_ended_can_be_gone_on_with(
    stripes: str, database: Database, home: Home, browser_as: BrowserAs
) -> None:
    with database.write() as session:
        dataset, user = session.scalars(select(Dataset)).one(), users.ensure_admin(session)
        studies.begin(studies.open_study(session, dataset=dataset, user=user, document=parse_document(LIST)))
    browser = browser_as("lead")
    with studies.claim(home, 1):
        assert "0 of 3 runs are over; the command line carries it out" in text_of(
            browser.get("/d/stripes/studies/1").text
        )
    page = browser.get("/d/stripes/studies/1").text
    assert "The command that carried it out has ended after 0 of 3 runs." in text_of(page)
    assert ">Go on</button>" in page
    assert "0 of 3 · left" in text_of(browser.get("/d/stripes/studies").text)
    assert browser.post("/d/stripes/studies/1/go-on").status_code == 303


def test_its_job_leads_to_it(stripes: str, database: Database, browser_as: BrowserAs) -> None:
    study_id = add_study(database, LIST)
    with database.write() as session:
        job = session.scalars(select(Job)).one()
        job.status, job.result = "done", {"study": study_id, "status": "done", "ended": 3, "runs": 3}
    page = browser_as("viewer").get("/jobs/1").text
    assert "3 of 3 runs are over." in page
    assert f'href="/d/stripes/studies/{study_id}">Open the study' in page


def test_the_page_of_a_run_names_its_study(stripes: str, database: Database, home: Home, browser_as: BrowserAs) -> None:
    study_id = add_study(database, LIST)
    with database.write() as session:
        line = session.scalars(select(StudyRun).where(StudyRun.number == 1)).one()
        run_id = studies.make_run(session, study=session.get_one(Study, study_id), entry=line).id
    page = browser_as("viewer").get(f"/d/stripes/runs/{run_id}").text
    assert f'<a href="/d/stripes/studies/{study_id}">Two nets of a paper</a>' in page


def test_studies_of_another_data_set_are_not_found(
    stripes: str, database: Database, home: Home, browser_as: BrowserAs
) -> None:
    study_id = add_study(database, LIST)
    with database.write() as session:
        make_stripes(session, home, per_class=3, name="other")
    assert browser_as("lead").get(f"/d/other/studies/{study_id}").status_code == 404
