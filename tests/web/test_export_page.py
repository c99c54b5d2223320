"""Versions, what changed between two, exports and their download."""

import io
import zipfile
from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import select

from tests.conftest import Browser, make_pets
from tests.drawing import draw
from workbench import storage
from workbench.config import Home
from workbench.db import Database
from workbench.models import Class, Dataset, Image, Job
from workbench.services import decisions, users
from workbench.services.decisions import Line
from workbench.worker.jobs import run_job

BrowserAs = Callable[[str], Browser]


@pytest.fixture
def pets(database: Database, home: Home) -> dict[str, int]:
    """Path -> id; the import stands in the log, then ann relabelled cat/0 to owl."""
    with database.write() as session:
        dataset = make_pets(session)
        for image in session.scalars(select(Image)):
            image.file_sha256 = storage.put_object(home, draw(image.id))
        ann = users.ensure_user(session, "ann")
        decisions.submit(session, dataset=dataset, user=ann, lines=[Line("import", detail={"import": 1})])
        images = {image.path: image for image in session.scalars(select(Image))}
        owl = session.scalars(select(Class).where(Class.name == "owl")).one()
        decisions.decide(session, image=images["cat/0.png"], user=ann, verdict="relabel", class_id=owl.id)
        return {path: image.id for path, image in images.items()}


def text_of(browser: Browser, url: str = "/d/pets/export") -> str:
    return " ".join(browser.get(url).get_data(as_text=True).split())


def test_an_empty_data_set_has_no_version_yet(app: Flask, browser_as: BrowserAs, database: Database) -> None:
    assert app.test_client().get("/d/pets/export").status_code == 404
    with database.write() as session:
        session.add(Dataset(name="bare"))
    assert "No version yet" in text_of(browser_as("reviewer"), "/d/bare/export")


def test_versions_are_listed_and_viewers_are_not_offered_an_export(browser_as: BrowserAs, pets: dict[str, int]) -> None:
    html = text_of(browser_as("viewer"))
    assert ("import of drawn" in html, '<span class="tag good">now</span>' in html) == (True, True)
    assert "Export</button>" not in html


@pytest.mark.parametrize("query", ["old=1&new=2", "old=2&new=1", "old=1"])
def test_two_versions_are_compared_in_either_order(browser_as: BrowserAs, pets: dict[str, int], query: str) -> None:
    html = text_of(browser_as("viewer"), f"/d/pets/export?{query}").partition('id="diff"')[2].partition("</section>")[0]
    assert ("From version 1 to 2" in html, "1 image changed." in html, "relabel by ann" in html) == (True, True, True)
    assert html.index("cat</span>") < html.index("owl</span>")


def test_a_version_compared_with_itself_and_one_that_is_not_there(browser_as: BrowserAs, pets: dict[str, int]) -> None:
    browser = browser_as("viewer")
    assert "Nothing differs" in text_of(browser, "/d/pets/export?old=2&new=2")
    assert browser.get("/d/pets/export?old=1&new=99").status_code == 404


def test_an_export_is_made_by_the_worker_and_downloaded(
    browser_as: BrowserAs, database: Database, home: Home, pets: dict[str, int]
) -> None:
    reviewer = browser_as("reviewer")
    answer = reviewer.post("/d/pets/export", {"format": "csv", "version": "2"})
    assert (answer.status_code, answer.location) == (303, "/jobs/1")
    assert reviewer.get("/exports/1/download").status_code == 404  # not done yet
    assert run_job(database, home, 1) == "done"

    assert "version 2 as csv" in text_of(reviewer)
    got = reviewer.get("/exports/1/download")
    assert got.headers["Content-Disposition"] == "attachment; filename=pets-v2.zip"
    with zipfile.ZipFile(io.BytesIO(got.data)) as archive:
        lines = archive.read("labels.csv").decode().splitlines()
    got.close()
    assert (lines[0], lines[1]) == ("path,label,split,status,source,decisions", "cat/0.png,owl,train,active,decision,1")


def test_only_files_of_the_exports_folder_are_downloaded(
    browser_as: BrowserAs, database: Database, home: Home, pets: dict[str, int]
) -> None:
    with database.write() as session:
        dataset = session.scalars(select(Dataset)).one()
        for kind, destination in (("export", home.root / "secret_key"), ("train", home.root / "exports" / "a.zip")):
            session.add(
                Job(
                    dataset_id=dataset.id, kind=kind, title="x", status="done", result={"destination": str(destination)}
                )
            )
    (home.root / "exports").mkdir()
    (home.root / "exports" / "a.zip").write_bytes(b"zip")
    browser = browser_as("admin")
    assert [browser.get(f"/exports/{job}/download").status_code for job in (1, 2, 3)] == [404, 404, 404]
    assert "file removed" in text_of(browser)


def test_an_unknown_format_or_version_and_a_viewer_are_refused(
    browser_as: BrowserAs, database: Database, pets: dict[str, int]
) -> None:
    reviewer = browser_as("reviewer")
    for form in ({"format": "tar"}, {"format": "csv", "version": "99"}):
        answer = reviewer.post("/d/pets/export", form)
        assert (answer.status_code, 'role="alert"' in answer.get_data(as_text=True)) == (422, True)
    assert browser_as("viewer").post("/d/pets/export", {"format": "csv"}).status_code == 403
    with database.read() as session:
        assert list(session.scalars(select(Job))) == []
