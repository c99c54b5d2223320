"""The page of findings: what is found, what became of it, what each class has; and the filter of the images page."""

import re
from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import event, select

from tests.conftest import Browser, make_pets
from workbench.db import Database
from workbench.models import Dataset, Image, Job
from workbench.services import decisions, users
from workbench.services.findings import Found, note_scan, replace_findings

BrowserAs = Callable[[str], Browser]
LIMITS = {
    "low": {"dark": 80.0, "bright": 85.0, "low_contrast": 60.0, "blurred": 0.8},
    "usual": {"odd_size": 48.0, "odd_shape": 1.0}, "factor": {"odd_size": 2.0, "odd_shape": 1.5},
}  # fmt: skip


@pytest.fixture
def pets(database: Database) -> int:
    with database.write() as session:
        return make_pets(session).id


def find(database: Database, dataset_id: int, *, count: int = 3, kind: str = "blurred") -> list[int]:
    """A scan that found the first `count` images blurred."""
    with database.write() as session:
        dataset = session.get_one(Dataset, dataset_id)
        ids = list(session.scalars(select(Image.id).where(Image.dataset_id == dataset_id).order_by(Image.id)))
        found = [Found(image_id, 1 - place / 10, f"Sharpness 0.{place}") for place, image_id in enumerate(ids[:count])]
        replace_findings(session, dataset, kind=kind, found=found)
        note_scan(session, dataset, kind="quality", newest_image_id=ids[-1], images=len(ids), detail=LIMITS)
    return ids


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_before_any_scan_a_lead_is_offered_one_and_others_are_told(pets: int, browser_as: BrowserAs) -> None:
    assert "Look at the pictures" in browser_as("lead").get("/d/pets/findings").text
    seen = browser_as("viewer").get("/d/pets/findings").text
    assert ("A lead starts it" in seen, "<button" in seen.split("</header>")[1].split("<dialog")[0]) == (True, False)


def test_a_scan_is_asked_for_once_and_shows_how_far_it_is(database: Database, pets: int, browser_as: BrowserAs) -> None:
    lead = browser_as("lead")
    assert browser_as("reviewer").post("/d/pets/findings/scan").status_code == 403
    assert lead.post("/d/pets/findings/scan").status_code == 303
    assert "under way already" in lead.post("/d/pets/findings/scan", follow_redirects=True).text
    with database.read() as session:
        assert [(job.kind, job.params) for job in session.scalars(select(Job))] == [("findings", {"dataset": "pets"})]
    assert "waiting for the worker" in lead.get("/d/pets/findings/scan", htmx=True).text
    with database.write() as session:
        job = session.scalars(select(Job)).one()
        job.status, job.result = "done", {"dataset": "pets", "images": 6, "blank": 2, "blurred": 1}
    assert "3 findings. See the findings" in text_of(lead.get(f"/jobs/{job.id}").text)


def test_each_kind_tells_what_is_open_and_what_verdicts_made_of_it(
    database: Database, pets: int, browser_as: BrowserAs
) -> None:
    ids = find(database, pets)
    with database.write() as session:
        admin = users.ensure_admin(session)
        decisions.decide(session, image=session.get_one(Image, ids[0]), user=admin, verdict="exclude")
    page = browser_as("lead").get("/d/pets/findings").text
    assert "Blurred 2 open · 1 settled, 1 changed" in text_of(page)
    assert "not found: file gone or changed, blank, too dark" in text_of(page)
    assert "sharpness below 0.80 (blurred)" in text_of(page)
    assert "finding=blurred" in page
    row = text_of(page.split('scope="row">')[1].split("</tr>")[0])
    assert row.split() == ["cat", "1", "0", "1"]  # one of the two cats was excluded


def test_a_queue_is_made_from_the_page(database: Database, pets: int, browser_as: BrowserAs) -> None:
    find(database, pets)
    answer = browser_as("lead").post(
        "/d/pets/queues/build", {"recipe": "findings", "kind": "blurred", "view": "card"}, follow_redirects=True
    )
    assert "Blurred: 3 images to look at" in answer.text
    assert "Sharpness 0.0" in answer.text


def test_the_images_page_shows_those_of_a_kind(database: Database, pets: int, browser_as: BrowserAs) -> None:
    find(database, pets)
    viewer = browser_as("viewer")
    page = viewer.get("/d/pets/images?finding=blurred").text
    assert ("3 match" in text_of(page), page.count('class="tile ')) == (True, 3)
    assert 'aria-label="Remove the filter: blurred"' in page
    assert viewer.get("/d/pets/images?finding=ugly").status_code == 422


def test_an_image_tells_its_findings_and_whether_they_are_settled(
    database: Database, pets: int, browser_as: BrowserAs
) -> None:
    ids = find(database, pets, count=1)
    reviewer = browser_as("reviewer")
    assert "Findings open: a verdict settles them Blurred Sharpness 0.0" in text_of(
        reviewer.get(f"/d/pets/images/{ids[0]}").text
    )
    reviewer.post(f"/d/pets/images/{ids[0]}/decide", {"verdict": "confirm"})
    assert "Findings settled" in text_of(reviewer.get(f"/d/pets/images/{ids[0]}").text)
    assert "Findings" not in text_of(reviewer.get(f"/d/pets/images/{ids[5]}").text.split("<main")[1])


@pytest.mark.parametrize("count", [1, 3])
def test_the_page_costs_the_same_for_one_image_and_three(
    app: Flask, database: Database, pets: int, browser_as: BrowserAs, count: int
) -> None:
    find(database, pets, count=count)
    viewer = browser_as("viewer")
    statements: list[str] = []
    event.listen(database.reader, "before_cursor_execute", lambda *args: statements.append(args[2]))
    viewer.get("/d/pets/findings")
    assert len([each for each in statements if "findings" in each]) == 3
    assert len(statements) <= 14
