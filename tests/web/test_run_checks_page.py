"""Whether a run can be believed, as its page says it: calmly when all is well, plainly when not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import url_for
from sqlalchemy import select

from tests.conftest import Browser, make_pets
from tests.elsewhere import Elsewhere
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.models import Image, Job, Run
from workbench.services import users
from workbench.services.run_checks import CHECKS
from workbench.web.run_results import PARTS
from workbench.worker.context import Context
from workbench.worker.external import import_predictions

BrowserAs = Callable[[str], Browser]
PAGE = "/d/pets/runs/1/checks"


@pytest.fixture
def trained(database: Database, home: Home) -> int:
    """A run on 36 images, half of them in test, of which it gets every one right."""
    with database.write() as session:
        dataset = make_pets(session, per_class=12)
        session.connection().exec_driver_sql("UPDATE imports SET imported = 36")
        run = add_run(session, home, dataset=dataset, user=users.ensure_user(session, "alice", role="lead"))
        (home.run_folder(run.id) / "checkpoint.pt").write_bytes(b"a model")
        return run.id


def test_calm_when_nothing_is_found(trained: int, browser_as: BrowserAs) -> None:
    text = browser_as("viewer").get(PAGE).get_data(as_text=True)
    assert "checks, nothing found" in text
    assert "found something" not in text
    assert text.count("<dt") == len(CHECKS)


def test_plain_when_something_is_wrong(trained: int, browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        run = session.get_one(Run, trained)
        run.metrics = {**(run.metrics or {}), "accuracy": 0.5}
        images = session.scalars(select(Image).where(Image.path.in_(["cat/0.png", "dog/0.png"]))).all()
        for image in images:
            image.pixel_sha256 = "same"
    text = browser_as("viewer").get(PAGE).get_data(as_text=True)
    assert "2 checks found something" in text
    assert "<strong>Two sources for a number</strong>" in text
    assert "1 picture stands in it under two labels" in text


def test_the_overview_asks_for_it_as_a_block(trained: int, browser_as: BrowserAs) -> None:
    browser = browser_as("viewer")
    overview = browser.get("/d/pets/runs/1").get_data(as_text=True)
    assert f'hx-get="{PAGE}" hx-trigger="load"' in overview
    assert f'<a href="{PAGE}">What its checks say</a>' in overview
    block = browser.get(PAGE, htmx=True).get_data(as_text=True).strip()
    assert block.startswith('<section id="run_checks"')
    assert block.endswith("</section>")


def test_a_lead_asks_a_model_that_was_not_asked(trained: int, browser_as: BrowserAs, database: Database) -> None:
    assert "Ask the model" not in browser_as("reviewer").get(PAGE).get_data(as_text=True)
    lead = browser_as("lead")
    assert "Ask the model" in lead.get(PAGE).get_data(as_text=True)
    answer = lead.post(PAGE)
    assert (answer.status_code, answer.headers["Location"]) == (303, PAGE)
    with database.read() as session:
        job = session.scalars(select(Job)).one()
        assert (job.kind, job.params, job.title) == ("probe", {"dataset": "pets", "run": 1}, "Check run 1")


def test_a_run_that_is_not_done_has_no_checks(trained: int, browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        session.get_one(Run, trained).metrics = None
    assert browser_as("viewer").get(PAGE).headers["Location"] == "/d/pets/runs/1"


def test_a_run_made_elsewhere_has_every_part_of_its_page(
    trained: int, browser_as: BrowserAs, database: Database, home: Home, tmp_path: Path
) -> None:
    elsewhere = Elsewhere(database, "pets", right=1.0).write(tmp_path / "said by them.csv")
    run = import_predictions(Context(database, home), dataset="pets", source=str(elsewhere))["run"]
    browser = browser_as("lead")
    for endpoint in PARTS:
        with browser.client.application.test_request_context():
            url = url_for(endpoint, name="pets", run_id=run)
        answer = browser.get(url)
        assert answer.status_code == 200, url
    text = browser.get(f"/d/pets/runs/{run}/training").get_data(as_text=True)
    assert "workbench predictions import &#39;said by them.csv&#39; --dataset pets" in text
    assert "Ask the model" not in browser.get(f"/d/pets/runs/{run}/checks").get_data(as_text=True)
    assert "external" in browser.get("/d/pets/runs").get_data(as_text=True)
