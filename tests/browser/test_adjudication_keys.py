"""Disputes settled in a real Chromium by the keyboard alone, in bulk, and taken back; axe-core finds nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from sqlalchemy import select

from tests.browser.conftest import Problems, axe_violations, draw_shapes, open_page
from tests.live import Live, serve
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.models import Dataset, Image, Queue, QueueItem
from workbench.queries import datasets
from workbench.services import checks, opinions, users
from workbench.worker.consensus import build_consensus
from workbench.worker.context import Context
from workbench.worker.imports import import_source

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SAID = {"anna": "bbcsbc", "ben": "bcbsbb", "cleo": "cbsbcc"}  # bar, circle, square: of the first six images


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disputed")
    database = open_database(Home.at(folder / "home"))
    context = Context(database, database.home)
    import_source(context, dataset="shapes", source=str(draw_shapes(folder / "shapes", per_class=6)))
    disagree(database)
    build_consensus(context, dataset="shapes")
    database.close()
    return folder / "home"


def disagree(database: Database) -> None:
    with database.write() as session:
        dataset = session.scalars(select(Dataset)).one()
        classes = {cls.name[0]: cls.id for cls in datasets.list_open_classes(session, dataset.id)}
        images = list(session.scalars(select(Image).order_by(Image.id).limit(6)))
        queue = Queue(dataset_id=dataset.id, recipe="random", title="Blind", size=6, opinions=3, blind=True)
        session.add(queue)
        session.flush()
        for place, image in enumerate(images):
            item = QueueItem(
                queue_id=queue.id, image_id=image.id, position=place, score=0.0, given_id=image.label_id,
                reason="drawn at random", wants=3,
            )  # fmt: skip
            session.add(item)
            session.flush()
            for name, letters in SAID.items():
                user = users.ensure_user(session, name, role="reviewer")
                opinions.say(session, item=item, user=user, verdict="relabel", class_id=classes[letters[place]])


@pytest.fixture(scope="module")
def live(home: Path) -> Iterator[Live]:
    with serve(home, extra=("--web-only",)) as live:
        yield live


@pytest.fixture
def page(chromium: Browser, live: Live) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True)
    page, problems = open_page(context)
    state = live.home.parent / "state.json"
    if state.exists():
        context.close()
        context = chromium.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True, storage_state=state)
        page, problems = open_page(context)
    else:
        page.goto(live.login_url)
        context.storage_state(path=state)
    yield page
    context.close()
    assert problems == Problems()


def place(case: Locator, words: str) -> None:
    expect(case.locator(".progress_line")).to_have_text(words)


def disputed(live: Live) -> list[tuple[bool, str, str]]:
    """(disputed, source, status) of the first six images."""
    database = Database(Home.at(live.home))
    with database.read() as session:
        rows = [
            (image.disputed, image.label_source, image.status)
            for image in session.scalars(select(Image).order_by(Image.id).limit(6))
        ]
        assert checks.check(session).ok
    database.close()
    return rows


def test_disputes_are_settled_by_keyboard(page: Page, live: Live) -> None:
    page.goto(f"{live.url}/d/shapes/")
    expect(page.get_by_role("link", name="6 images are disputed")).to_be_visible()
    page.goto(f"{live.url}/d/shapes/adjudication")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    case = page.locator("#case")
    place(case, "1 of 6 disputed")
    expect(case.locator(".opinions tr")).to_have_count(3)
    assert axe_violations(page) == []

    page.keyboard.press("Enter")  # two of three say bar
    place(case, "1 of 5 disputed")
    expect(page.locator("#messages")).to_contain_text("Settled")
    page.keyboard.press("2")
    place(case, "1 of 4 disputed")
    expect(case).to_contain_text("no majority")
    page.keyboard.press("Enter")  # does nothing: there is no majority
    page.keyboard.press("ArrowRight")
    place(case, "2 of 4 disputed")
    page.keyboard.press("ArrowLeft")
    place(case, "1 of 4 disputed")
    for key in ("a", "1", "3", "Enter"):
        page.keyboard.press(key)
    place(case, "1 of 3 disputed")
    page.keyboard.press("u")
    place(case, "1 of 2 disputed")
    page.keyboard.press("z")
    place(case, "1 of 3 disputed")
    expect(page.locator("#messages")).to_contain_text("Took back")
    page.keyboard.press("o")
    place(case, "2 of 3 disputed")
    page.keyboard.press("ArrowLeft")
    expect(case).to_contain_text("1 further opinion was asked for")
    page.keyboard.press("o")
    expect(case).not_to_contain_text("1 further opinion was asked for")

    assert disputed(live) == [
        (False, "decision", "active"),
        (False, "decision", "active"),
        (False, "decision", "ambiguous"),
        (True, "imported", "active"),
        (True, "imported", "active"),
        (True, "imported", "active"),
    ]


def test_the_rest_is_settled_at_once_and_taken_back(page: Page, live: Live) -> None:
    page.goto(f"{live.url}/d/shapes/adjudication")
    with page.expect_navigation():
        page.get_by_role("link", name="Settle by majority").click()
    expect(page.get_by_role("heading", name="Settle 3 of 3 by majority?")).to_be_visible()
    assert axe_violations(page) == []
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("Nothing is disputed")
    assert [row[:2] for row in disputed(live)][3:] == [(False, "consensus")] * 3

    page.goto(f"{live.url}/d/shapes/history")
    with page.expect_navigation():
        page.get_by_role("button", name="Undo").first.click()
    assert [row[0] for row in disputed(live)][3:] == [True] * 3


@pytest.mark.parametrize(
    "address",
    [
        "agreement", "agreement?source=all", "agreement/reviewers/2", "agreement/pair/2/3", "adjudication",
        "adjudication/5", "adjudication/bulk?method=quality&p=0.5",
    ],
)  # fmt: skip
def test_the_pages_are_accessible_in_both_themes_wide_and_narrow(page: Page, live: Live, address: str) -> None:
    for width, theme in ((1440, "light"), (390, "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme)
        page.goto(f"{live.url}/d/shapes/{address}")
        assert axe_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
