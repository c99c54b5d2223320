"""The map page: what it tells with and without a map, what its script reads, queues of what was chosen."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import event, select
from werkzeug.test import TestResponse

from tests.conftest import Browser, make_pets
from tests.maps import add_map
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.models import Image, Job, Queue, QueueItem
from workbench.services import decisions, users
from workbench.services.map_states import MODES
from workbench.services.predictions import load_predictions, save_predictions
from workbench.worker.jobs import run_job

BrowserAs = Callable[[str], Browser]
MAP = "/d/pets/map"


def words_of(answer: TestResponse) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.get_data(as_text=True)))


def add_pets(database: Database, home: Home, *, per_class: int = 2, with_map: bool = True, promote: bool = True) -> int:
    """Pets of which a run takes the first owl for a dog, on a map of two regions. Returns the run's id."""
    with database.write() as session:
        dataset = make_pets(session, per_class=per_class)
        run = add_run(
            session, home, dataset=dataset, user=users.ensure_admin(session), mistakes={"owl/0.png": "dog"}, folds=2
        )
        if with_map:
            add_map(home, run)
        if promote:
            dataset.promoted_run_id = run.id
        return run.id


def ids_of(database: Database) -> dict[str, int]:
    with database.read() as session:
        return {image.path: image.id for image in session.scalars(select(Image))}


def queued(database: Database) -> list[str]:
    """Paths in the newest queue, in its order."""
    with database.read() as session:
        newest = session.scalars(select(Queue).order_by(Queue.id.desc())).first()
        assert newest is not None
        items = session.scalars(select(QueueItem).where(QueueItem.queue_id == newest.id).order_by(QueueItem.position))
        return [item.image.path for item in items]


def test_without_a_run_the_page_says_what_is_missing(database: Database, browser_as: BrowserAs) -> None:
    with database.write() as session:
        make_pets(session)
    lead = browser_as("lead")
    assert "it needs a run. Train one" in words_of(lead.get(MAP))
    refused = lead.post(f"{MAP}/make")
    assert (refused.status_code, "train first" in words_of(refused)) == (409, True)


def test_without_a_map_a_lead_has_it_made(database: Database, home: Home, browser_as: BrowserAs) -> None:
    run_id = add_pets(database, home, with_map=False)
    assert "A lead makes it; then it appears here." in words_of(browser_as("reviewer").get(MAP))
    lead = browser_as("lead")
    assert "Make the map" in lead.get(MAP).text
    assert lead.post(f"{MAP}/make", {"method": "magic"}).status_code == 422
    assert lead.post(f"{MAP}/make", {"method": "pca"}).status_code == 303
    lead.post(f"{MAP}/make", {"method": "pca"})
    with database.read() as session:
        job = session.scalars(select(Job)).one()
        assert (job.kind, job.params) == ("map", {"dataset": "pets", "run": run_id, "method": "pca"})
    page = lead.get(MAP)
    assert "The map is being made already." in page.text
    assert "waiting for the worker" in words_of(lead.get(f"{MAP}/progress", htmx=True))


def test_the_page_tells_what_lies_where(database: Database, home: Home, browser_as: BrowserAs) -> None:
    add_pets(database, home)
    text = words_of(browser_as("viewer").get(MAP))
    assert "6 images, those that run 1 holds for alike near each other" in text
    assert "1 cat 67 % 3" in text
    assert "2 owl 67 % 3" in text
    assert "Sweep 200 like it" not in text
    assert "Draw around images with the lasso or tick regions, then look at them." in text
    assert browser_as("viewer").get(f"{MAP}?by=colour").status_code == 422


def test_a_map_of_an_older_run_says_so(database: Database, home: Home, browser_as: BrowserAs) -> None:
    add_pets(database, home, promote=False)
    with database.write() as session:
        dataset = session.scalars(select(Image)).first().dataset_id  # type: ignore[union-attr]
        from workbench.models import Dataset

        row = session.get_one(Dataset, dataset)
        row.promoted_run_id = add_run(session, home, dataset=row, user=users.ensure_admin(session)).id
    assert "Run 2 is promoted by now; this is still the map of run 1." in words_of(browser_as("lead").get(MAP))


def test_the_page_costs_the_same_with_more_images(database: Database, home: Home, browser_as: BrowserAs) -> None:
    add_pets(database, home, per_class=3)
    viewer = browser_as("viewer")

    def count() -> int:
        statements: list[str] = []
        event.listen(database.engine, "before_cursor_execute", lambda *seen: statements.append(seen[2]))
        assert viewer.get(MAP).status_code == 200
        return len(statements)

    first = count()
    with database.write() as session:
        images = list(session.scalars(select(Image)))
        for image in images[:4]:
            decisions.decide(session, image=image, user=users.ensure_admin(session), verdict="confirm")
    assert count() <= first + 2  # the states are read anew


def test_the_script_reads_points_and_states(database: Database, home: Home, browser_as: BrowserAs) -> None:
    add_pets(database, home)
    viewer = browser_as("viewer")
    page = viewer.get(MAP).text
    address = re.search(r'data-points="([^"]+)"', page)
    assert address is not None
    answer = viewer.get(address[1])
    data = answer.data
    count, side = np.frombuffer(data, "<u4", 2)
    cells = np.frombuffer(data, "<u4", side * side + 1, 8)
    at = 8 + 4 * len(cells)
    places = np.frombuffer(data, "<u2", 2 * count, at).reshape(-1, 2)
    ids = np.frombuffer(data, "<u4", count, at + 4 * count)
    regions = np.frombuffer(data, "<u1", count, at + 8 * count)
    assert (count, cells[-1], len(data)) == (6, 6, at + 9 * 6)
    assert ids.tolist() == sorted(ids_of(database).values())
    assert regions.tolist() == [0, 0, 0, 1, 1, 1]
    assert (np.diff(places[:, 0].astype(int)) > 0).all()
    assert "immutable" in answer.headers["Cache-Control"]
    assert "immutable" not in viewer.get(f"{MAP}/points?v=older").headers["Cache-Control"]
    states = viewer.get(f"{MAP}/states")
    assert np.frombuffer(states.data, np.uint8).reshape(len(MODES), 6)[0].tolist() == [0, 0, 1, 1, 2, 2]
    again = viewer.client.get(f"{MAP}/states", headers={"If-None-Match": states.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    picture = viewer.get(f"{MAP}/density.png?by=p_wrong")
    assert (picture.mimetype, picture.data[:4]) == ("image/png", b"\x89PNG")


def test_chosen_images_become_a_queue_the_riskiest_first(database: Database, home: Home, browser_as: BrowserAs) -> None:
    add_pets(database, home)
    ids = ids_of(database)
    with database.write() as session:
        for path, p in {"owl/0.png": 0.7, "cat/0.png": 0.2, "dog/0.png": 0.4}.items():
            session.get_one(Image, ids[path]).p_wrong = p
        decided = session.get_one(Image, ids["cat/1.png"])
        decisions.decide(session, image=decided, user=users.ensure_admin(session), verdict="confirm")
    lead = browser_as("lead")
    form = {"images": f"{ids['owl/0.png']},{ids['cat/0.png']},{ids['cat/1.png']}", "where": "On the map: cat 67 %"}
    answer = lead.post(f"{MAP}/queue", {**form, "view": "card"})
    assert (answer.status_code, answer.location) == (303, "/d/pets/queues/1")
    assert queued(database) == ["owl/0.png", "cat/0.png"]
    assert "On the map: cat 67 %: 2 images to look at." in lead.get("/d/pets/").text
    swept = lead.post(f"{MAP}/queue", {"region": ["1"], "images": f"{ids['owl/0.png']}", "view": "sweep"})
    assert swept.location == "/d/pets/queues/2/sweep"
    assert queued(database) == ["owl/0.png", "dog/0.png", "cat/0.png"]


def test_nothing_chosen_or_nothing_left_is_said(database: Database, home: Home, browser_as: BrowserAs) -> None:
    add_pets(database, home)
    lead = browser_as("lead")
    nothing = lead.post(f"{MAP}/queue", {"images": ""})
    assert (nothing.status_code, "tick regions of the list" in nothing.text) == (422, True)
    assert lead.post(f"{MAP}/queue", {"images": "1,x"}).status_code == 422
    with database.write() as session:
        image = session.get_one(Image, 1)
        decisions.decide(session, image=image, user=users.ensure_admin(session), verdict="confirm")
    settled = lead.post(f"{MAP}/queue", {"images": "1"})
    assert (settled.status_code, "is decided already" in settled.text) == (422, True)


def test_looking_shows_them_and_lets_reviewers_decide(database: Database, home: Home, browser_as: BrowserAs) -> None:
    add_pets(database, home)
    ids = ids_of(database)
    form = {"images": f"{ids['owl/0.png']},{ids['cat/0.png']}"}
    looked = browser_as("viewer").post(f"{MAP}/look", form)
    assert "2 images, the most likely wrong first" in words_of(looked)
    assert 'name="verdict"' not in looked.text
    page = browser_as("reviewer").get(f"{MAP}/regions/2")
    assert "Region 2 3 images" in words_of(page)
    assert 'value="relabel"' in page.text
    assert "Sweep them" not in page.text


@pytest.mark.parametrize("number", [0, 7])
def test_a_region_that_is_not_there_is_not_found(
    database: Database, home: Home, browser_as: BrowserAs, number: int
) -> None:
    add_pets(database, home)
    assert browser_as("viewer").get(f"{MAP}/regions/{number}").status_code == 404


def test_what_is_like_an_image_becomes_a_sweep(database: Database, home: Home, browser_as: BrowserAs) -> None:
    add_pets(database, home)
    lead = browser_as("lead")
    answer = lead.post(f"{MAP}/similar/{ids_of(database)['dog/0.png']}")
    assert (answer.status_code, answer.location) == (303, "/d/pets/queues/1/sweep")
    assert queued(database)[0] == "dog/0.png"
    assert len(queued(database)) == 6
    with database.read() as session:
        assert session.get_one(Queue, 1).title == "Like 0.png"


def test_a_run_without_features_cannot_say_what_is_alike(database: Database, home: Home, browser_as: BrowserAs) -> None:
    said = load_predictions(home, add_pets(database, home))
    save_predictions(home, 1, replace(said, features=np.zeros_like(said.features)))
    answer = browser_as("lead").post(f"{MAP}/similar/{ids_of(database)['dog/0.png']}")
    assert (answer.status_code, "came without features" in answer.text) == (409, True)


def test_the_job_leads_to_the_map(database: Database, home: Home, browser_as: BrowserAs) -> None:
    add_pets(database, home, with_map=False)
    lead = browser_as("lead")
    lead.post(f"{MAP}/make")
    assert run_job(database, home, 1) == "done"
    page = lead.get("/jobs/1")
    assert "6 images are on the map." in words_of(page)
    assert f'href="{MAP}"' in page.text
    assert lead.get(f"{MAP}/progress", htmx=True).headers["HX-Redirect"] == MAP
