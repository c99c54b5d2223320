"""Where a run looks: on the key h, for who has no script, and on the run's page with what it does under stress."""

from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import func, select

from tests.conftest import Browser, make_pets
from tests.review_queues import add_queue
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.models import Activity, Dataset, Image, Job, Queue
from workbench.services import runs, stress, users
from workbench.services.saliency import Saliency, describe_test, save_maps, save_test

BrowserAs = Callable[[str], Browser]
LOOK = "/d/pets/images/{}/saliency"


@pytest.fixture
def trained(database: Database, home: Home) -> int:
    """A promoted run on pets that keeps a model, with a queue of all images; neither maps nor stress yet."""
    with database.write() as session:
        dataset = make_pets(session, per_class=4)
        run = add_run(session, home, dataset=dataset, user=users.ensure_user(session, "alice", role="lead"))
        runs.promote(session, home, run)
        add_queue(session, dataset).run_id = run.id
        (home.run_folder(run.id) / "checkpoint.pt").write_bytes(b"weights")
        return run.id


def add_maps(home: Home, run_id: int, image_ids: list[int], *, lead: float = 0.3) -> None:
    rng = np.random.default_rng(0)
    own = rng.normal(0.4, 0.02, 50)
    curves = {kind: [0.9, 0.1] for kind in ("own", "random", "other")}
    save_test(
        home, run_id,
        describe_test(
            own, own - lead - rng.normal(0, 0.01, 50), own - lead - rng.normal(0, 0.01, 50), layer="net.4", grid=2,
            split="test", fractions=[0, 1], deletion=curves, insertion=curves, made_at="2026-01-01T00:00:00+00:00",
        ),
    )  # fmt: skip
    maps = np.zeros((len(image_ids), 2, 2), np.uint8)
    maps[:, 0, 0] = 255
    save_maps(home, run_id, Saliency(np.array(image_ids), maps, np.full(len(image_ids), 2)))


def add_stress(home: Home, run_id: int) -> None:
    plain, worse = np.ones(40, bool), np.arange(40) < 10
    found = stress.measure(worse, plain)
    curve = {"name": "blur", "title": "Blur", "unit": "% of the side", "points": [{"strength": 2.0, **found}]}
    hidden = [{"mask": mask, "share": 0.25, **found} for mask in ("top", "eyes", "lower")]
    stress.save_stress(
        home, run_id,
        {
            "n": 40, "split": "test", "plain": stress.measure(plain, plain), "curves": [curve], "regions": hidden,
            "bands": [{"mask": f"rows:{n}", "share": 0.125, **found} for n in range(8)],
        },
    )  # fmt: skip


def test_the_map_comes_with_its_test_and_what_it_is_a_map_of(trained: int, home: Home, browser_as: BrowserAs) -> None:
    add_maps(home, trained, [1, 2])

    fragment = browser_as("viewer").get(LOOK.format(1), htmx=True)
    page = browser_as("viewer").get(LOOK.format(1))

    assert fragment.text.strip().startswith('<div class="saliency" data-state="ready">')
    assert "data:image/png;base64," in fragment.text
    assert f"Where run {trained} looks to say" in fragment.text
    assert "dog</span>" in fragment.text
    assert "✓</span> Passes its test" in fragment.text
    assert "cat/0.png" in page.text  # who has no script sees the picture too
    assert fragment.text.strip() in page.text


@pytest.mark.parametrize(("lead", "words"), [(0.3, "Passes its test"), (0.0, "Fails its test: what it marks matters")])
def test_a_map_that_fails_its_test_says_so(
    trained: int, home: Home, browser_as: BrowserAs, lead: float, words: str
) -> None:
    add_maps(home, trained, [1], lead=lead)

    assert words in browser_as("viewer").get(LOOK.format(1), htmx=True).text


def test_a_map_without_its_test_is_not_shown(trained: int, home: Home, browser_as: BrowserAs) -> None:
    add_maps(home, trained, [1])
    (home.run_folder(trained) / "faithfulness.json").unlink()

    assert 'data-state="missing"' in browser_as("viewer").get(LOOK.format(1), htmx=True).text


def test_asking_makes_one_job_that_begins_with_the_image(
    trained: int, database: Database, browser_as: BrowserAs
) -> None:
    reviewer = browser_as("reviewer")
    assert "data-ask" in reviewer.get(LOOK.format(3), htmx=True).text

    first = reviewer.post(f"{LOOK.format(3)}?queue=1", htmx=True)
    second = reviewer.post(LOOK.format(4), htmx=True)
    plain = reviewer.post(LOOK.format(3))

    assert 'data-state="waiting"' in first.text
    assert "waits for the worker" in second.text
    assert (plain.status_code, plain.location) == (303, "/d/pets/images/3/saliency")
    with database.read() as session:
        job = session.scalars(select(Job)).one()
        assert (job.kind, job.params) == ("explain", {"dataset": "pets", "run": trained, "image": 3})
        assert session.scalar(select(func.count()).where(Activity.kind == "run_explained")) == 1


def test_viewers_are_told_who_can_ask(trained: int, browser_as: BrowserAs) -> None:
    answer = browser_as("viewer").get(LOOK.format(1), htmx=True)

    assert "Reviewers can have it made." in answer.text
    assert "data-ask" not in answer.text


def test_a_job_that_failed_says_why_and_can_be_asked_for_again(
    trained: int, database: Database, browser_as: BrowserAs
) -> None:
    reviewer = browser_as("reviewer")
    reviewer.post(LOOK.format(1), htmx=True)
    with database.write() as session:
        job = session.scalars(select(Job)).one()
        job.status, job.error = "failed", "The disk is full."

    answer = reviewer.get(LOOK.format(1), htmx=True)

    assert 'data-state="failed"' in answer.text
    assert "The disk is full." in answer.text
    assert "Try again" in answer.text


def test_no_run_and_a_run_without_a_model_are_said(
    trained: int, database: Database, home: Home, browser_as: BrowserAs
) -> None:
    (home.run_folder(trained) / "checkpoint.pt").unlink()
    assert "has no model here" in browser_as("viewer").get(LOOK.format(1), htmx=True).text
    assert browser_as("reviewer").post(LOOK.format(1), htmx=True).status_code == 422
    with database.write() as session:
        session.scalars(select(Dataset)).one().promoted_run_id = None
        session.get_one(Queue, 1).run_id = None

    assert "No run is promoted yet" in browser_as("viewer").get(LOOK.format(1), htmx=True).text
    assert browser_as("reviewer").post(LOOK.format(1), htmx=True).status_code == 404


def test_a_queue_shows_the_maps_of_the_run_it_was_built_from(
    trained: int, database: Database, home: Home, browser_as: BrowserAs
) -> None:
    with database.write() as session:
        dataset = session.scalars(select(Dataset)).one()
        older = add_run(session, home, dataset=dataset, user=users.ensure_admin(session))
        session.get_one(Queue, 1).run_id = older.id
        older_id = older.id
    add_maps(home, older_id, [1])

    assert f"Where run {older_id} looks" in browser_as("viewer").get(f"{LOOK.format(1)}?queue=1", htmx=True).text
    assert 'data-state="missing"' in browser_as("viewer").get(LOOK.format(1), htmx=True).text


def test_the_overlay_is_a_picture_that_a_browser_keeps_until_it_changes(
    trained: int, home: Home, browser_as: BrowserAs
) -> None:
    add_maps(home, trained, [1])
    viewer = browser_as("viewer")

    picture = viewer.get(f"/d/pets/runs/{trained}/saliency/1")
    again = viewer.client.get(f"/d/pets/runs/{trained}/saliency/1", headers={"If-None-Match": picture.headers["ETag"]})

    assert (picture.mimetype, picture.data[:4]) == ("image/png", b"\x89PNG")
    assert again.status_code == 304
    assert viewer.get(f"/d/pets/runs/{trained}/saliency/2").status_code == 404


def test_the_card_and_the_image_page_offer_the_key_only_where_predictions_show(
    trained: int, database: Database, browser_as: BrowserAs
) -> None:
    reviewer = browser_as("reviewer")
    button = 'href="/d/pets/images/1/saliency?queue=1" data-saliency data-key="h"'
    assert button in reviewer.get("/d/pets/queues/1/items/1").text
    assert 'href="/d/pets/images/1/saliency" data-saliency data-key="h"' in reviewer.get("/d/pets/images/1").text
    with database.write() as session:
        session.get_one(Queue, 1).blind = True

    assert "data-saliency" not in reviewer.get("/d/pets/queues/1/items/1").text


# --- the run's page -----------------------------------------------------------------------------------------------


def test_the_runs_page_says_what_is_not_measured_and_leads_can_have_it_measured(
    trained: int, database: Database, browser_as: BrowserAs
) -> None:
    address = f"/d/pets/runs/{trained}/rests-on"
    assert "Not mapped yet" in browser_as("viewer").get(address).text
    assert f"/d/pets/runs/{trained}/stress" not in browser_as("viewer").get(address).text
    lead = browser_as("lead")

    for kind in ("explain", "stress"):
        answer = lead.post(f"/d/pets/runs/{trained}/{kind}")
        assert (answer.status_code, answer.location) == (303, address)

    block = lead.get(address, htmx=True).text
    assert block.count("waits for the worker") == 2
    assert 'hx-trigger="every 2s"' in block
    assert "<html" not in block
    with database.read() as session:
        assert sorted(session.scalars(select(Job.kind))) == ["explain", "stress"]


def test_the_runs_page_shows_maps_curves_and_regions_with_their_intervals(
    trained: int, database: Database, home: Home, browser_as: BrowserAs
) -> None:
    with database.read() as session:
        ids = list(session.scalars(select(Image.id).order_by(Image.id)))
    add_maps(home, trained, ids)
    add_stress(home, trained)
    with database.write() as session:
        dataset = session.scalars(select(Dataset)).one()
        masked = add_run(session, home, dataset=dataset, user=users.ensure_admin(session))
        masked.config = {**masked.config, "overrides": {"mask": "lower"}}
        masked_id = masked.id

    text = browser_as("lead").get(f"/d/pets/runs/{trained}/rests-on").text

    assert "These maps pass their test" in text
    assert f"/d/pets/runs/{trained}/saliency/2" in text
    assert "It loses most to blur: at 2 (% of the side) −75.0 points" in text
    assert "25.0 %" in text
    assert "[14.2, 40.2]" in text
    assert text.count('class="face_band"') == 3 + 8
    assert f'<a href="/d/pets/runs/{masked_id}">100.0 %</a>' in text
    assert "every 2s" not in text


def test_maps_of_a_run_whose_predictions_are_gone_are_shown_without_examples(
    trained: int, home: Home, browser_as: BrowserAs
) -> None:
    add_maps(home, trained, [1])
    (home.run_folder(trained) / "predictions.npz").unlink()

    text = browser_as("viewer").get(f"/d/pets/runs/{trained}/rests-on").text

    assert "These maps pass their test" in text
    assert 'class="surest"' not in text


def test_a_job_that_is_done_leads_to_what_it_found(trained: int, database: Database, browser_as: BrowserAs) -> None:
    lead = browser_as("lead")
    for kind in ("explain", "stress"):
        lead.post(f"/d/pets/runs/{trained}/{kind}")
    with database.write() as session:
        for job in session.scalars(select(Job)):
            job.status, job.result = "done", {"run": trained, "images": 12}

    found = [lead.get(f"/jobs/{number}").text for number in (1, 2)]

    assert ["12 images are mapped." in found[0], "It is measured." in found[1]] == [True, True]
    assert all(f'href="/d/pets/runs/{trained}/rests-on"' in text for text in found)
