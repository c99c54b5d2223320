"""The key h in a real Chromium: a map exactly on its picture with its test, asked for where there is none yet."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from tests.browser.cards import Card, Desk, open_desk, wait_until_saved
from tests.browser.conftest import axe_violations
from tests.trained_runs import add_run
from tests.web.test_explaining import add_maps
from workbench.models import Dataset, Image, Job, Queue
from workbench.services import users

pytestmark = [pytest.mark.browser, pytest.mark.slow]
MAP = "#card .stage .saliency_map"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with open_desk(tmp_path_factory.mktemp("desk")) as desk:
        yield desk


@pytest.fixture
def ann(chromium: Browser, desk: Desk) -> Iterator[Page]:
    with desk.browser(chromium) as page:
        yield page


def add_run_of(desk: Desk, queue: Card) -> tuple[int, list[int]]:
    """A run that the queue was built from and that keeps a model, and the images of its data set."""
    home = desk.database.home
    with desk.database.write() as session:
        dataset = session.scalars(select(Dataset).where(Dataset.name == queue.name)).one()
        run = add_run(session, home, dataset=dataset, user=users.ensure_admin(session))
        session.get_one(Queue, queue.queue_id).run_id = run.id
        (home.run_folder(run.id) / "checkpoint.pt").write_bytes(b"weights")
        return run.id, list(session.scalars(select(Image.id).where(Image.dataset_id == dataset.id).order_by(Image.id)))


def test_h_lays_the_map_on_the_picture_and_takes_it_away(ann: Page, desk: Desk) -> None:
    queue = desk.add_queue()
    run_id, ids = add_run_of(desk, queue)
    add_maps(desk.database.home, run_id, ids)
    asked: list[str] = []
    ann.on("request", lambda request: asked.append(request.url) if "saliency" in request.url else None)
    queue.go(ann)
    ann.wait_for_load_state("networkidle")
    assert [url.split("/")[-1].split("?")[0] for url in asked] == ["saliency.js"]  # nothing for a key not pressed

    ann.keyboard.press("h")

    expect(ann.locator(MAP)).to_be_visible()
    expect(ann.locator(".saliency_words")).to_contain_text("Passes its test")
    boxes = [ann.locator(each).bounding_box() for each in (MAP, "#card .stage .picture")]
    assert boxes[0] == boxes[1]
    ann.keyboard.press("h")
    expect(ann.locator(MAP)).to_have_count(0)
    ann.keyboard.press("h")
    expect(ann.locator(MAP)).to_be_visible()
    ann.keyboard.press("1")
    wait_until_saved(ann)
    expect(ann.locator(MAP)).to_have_count(0)  # the next image is looked at without it first


def test_h_asks_for_maps_that_are_missing_and_shows_them_when_they_come(ann: Page, desk: Desk) -> None:
    queue = desk.add_queue()
    run_id, ids = add_run_of(desk, queue)
    queue.go(ann)

    ann.keyboard.press("h")

    expect(ann.locator(".saliency_words")).to_contain_text("waits for the worker")
    with desk.database.read() as session:
        job = session.scalars(select(Job).where(Job.kind == "explain")).one()
        assert job.params == {"dataset": queue.name, "run": run_id, "image": ids[0]}
    add_maps(desk.database.home, run_id, ids)
    expect(ann.locator(MAP)).to_be_visible()


def test_h_works_on_the_page_of_an_image_and_on_a_phone(chromium: Browser, desk: Desk) -> None:
    queue = desk.add_queue()
    run_id, ids = add_run_of(desk, queue)
    add_maps(desk.database.home, run_id, ids)
    with desk.database.write() as session:
        session.scalars(select(Dataset).where(Dataset.name == queue.name)).one().promoted_run_id = run_id
    with desk.browser(chromium, viewport={"width": 390, "height": 844}, bypass_csp=True) as page:  # for axe-core
        page.goto(f"{desk.live.url}/d/{queue.name}/images/{ids[0]}")
        page.get_by_role("link", name="Where it looks").click()
        expect(page.locator(".ground .saliency_map")).to_be_visible()
        boxes = [page.locator(each).bounding_box() for each in (".ground .saliency_map", ".ground > img.crisp")]
        assert boxes[0] == boxes[1]
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert axe_violations(page) == []
