"""Duplicates in a real Chromium: scanned, settled by keyboard, one by one and in bulk, undone, scanned again."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import func, select

from tests.browser.conftest import Problems, axe_violations, open_page
from tests.browser.test_loop import wait_until_scanned
from tests.gallery import alter, brighten, crop, draw, mirror, write
from tests.live import Live, serve
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.models import DuplicateGroup, DuplicatePair, Image, Vote
from workbench.queries import duplicates as queries
from workbench.queries.datasets import get_dataset
from workbench.services import checks, duplicates
from workbench.worker.context import Context
from workbench.worker.imports import import_source

pytestmark = [pytest.mark.browser, pytest.mark.slow]
EXACT = 50  # pictures that are there twice, without conflict
KINDS = ("circle", "square")


def write_gallery(folder: Path) -> Path:
    """100 files of fifty pictures, and near copies: over two classes, over two splits, a pair, three of one."""
    for number in range(EXACT):
        for name in ("one", "two"):
            write(folder, f"train/{KINDS[number % 2]}/{number:02d}-{name}.png", draw(number))
    for number in range(EXACT, EXACT + 20):
        write(folder, f"train/{KINDS[number % 2]}/{number}.png", draw(number))
    conflict, cross, pair, three = (draw(seed) for seed in (1001, 1002, 1003, 1004))
    write(folder, "train/circle/conflict.png", conflict)
    write(folder, "train/square/conflict-brighter.png", brighten(conflict))
    write(folder, "train/circle/cross.png", cross)
    write(folder, "test/circle/cross-mirrored.png", mirror(cross))
    write(folder, "train/square/pair.png", pair)
    write(folder, "train/square/pair-cropped.png", crop(pair))
    write(folder, "train/circle/three.png", three)
    write(folder, "train/circle/three-brighter.png", brighten(three))
    write(folder, "train/circle/three-cropped.png", crop(three))
    return folder


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gallery(tmp_path_factory.mktemp("gallery"))


@pytest.fixture
def live(tmp_path: Path, gallery: Path) -> Iterator[Live]:
    database = open_database(Home.at(tmp_path / "home"))
    import_source(Context(database, database.home), dataset="gallery", source=str(gallery))
    database.close()
    with serve(tmp_path / "home") as live:
        yield live


@pytest.fixture
def database(live: Live) -> Iterator[Database]:
    """To look at what the pages did."""
    database = Database(Home.at(live.home))
    yield database
    database.close()


@pytest.fixture
def page(chromium: Browser, live: Live) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=False)
    page, problems = open_page(context)
    page.goto(live.login_url)
    yield page
    page.screenshot(path=live.home.parent / "last.png")  # what a failed test saw
    context.close()
    assert problems == Problems()


def scan(page: Page, live: Live) -> None:
    page.goto(f"{live.url}/d/gallery/duplicates")
    page.get_by_role("button", name=re.compile("^Scan")).first.click()
    wait_until_scanned(page, live)
    page.goto(f"{live.url}/d/gallery/duplicates")


def press(page: Page, key: str) -> None:
    """A key that leads to another page, which is there with its scripts when this returns."""
    with page.expect_navigation():
        page.keyboard.press(key)


def open_group(page: Page, live: Live, database: Database, path: str) -> int:
    """The near group that holds this image, by its page; returns its id."""
    with database.read() as session:
        image_id = session.scalars(select(Image.id).where(Image.path == path)).one()
        group = queries.list_groups_of_image(session, image_id)[0].group
    page.goto(f"{live.url}/d/gallery/duplicates/{group.id}")
    return group.id


def statuses(database: Database, like: str) -> dict[str, str]:
    with database.read() as session:
        query = select(Image.path, Image.status).where(Image.path.like(f"%/{like}%"))
        return {path.rpartition("/")[2].removesuffix(".png"): status for path, status in session.execute(query)}


def count(database: Database, status: str) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).where(Image.status == status)) or 0


def tile(page: Page, words: str) -> int:
    text = page.locator(".tile", has_text=words).locator(".figure").inner_text()
    return int(text.replace(",", ""))


def read_levels(page: Page) -> float:
    """How far the two images on the stage are apart, as the page says."""
    found = re.search(r"([\d.]+) of 255", page.locator("#stage_says").inner_text())
    assert found is not None
    return float(found[1])


def test_settling_one_by_one_and_in_bulk_undone_and_scanned_again(page: Page, live: Live, database: Database) -> None:
    scan(page, live)
    assert (tile(page, "open groups"), tile(page, "conflicting"), tile(page, "span splits")) == (EXACT + 4, 1, 1)
    expect(page.get_by_text("55 images could go")).to_be_visible()  # of three copies two

    # the conflict stands first: Enter opens it, 2 chooses, t leaves the votes, Enter settles
    press(page, "Enter")
    expect(page.get_by_text("labels differ").first).to_be_visible()
    page.keyboard.press("2")
    expect(page.get_by_role("button", name=re.compile("^Keep image 2 as "))).to_have_count(2)
    press(page, "Enter")
    assert sorted(statuses(database, "conflict").values()) == ["active", "excluded"]
    with database.read() as session:
        assert sum(session.scalars(select(Vote.count))) == 2  # one for each of the two labels

    # the next one is there at once: the group across splits; Enter keeps the copy in test
    expect(page.get_by_text("spans splits").first).to_be_visible()
    press(page, "Enter")
    assert statuses(database, "cross") == {"cross": "excluded", "cross-mirrored": "active"}

    # the pair is rejected
    rejected = open_group(page, live, database, "train/square/pair.png")
    press(page, "n")
    # of three one is marked as another picture; the two others are one
    open_group(page, live, database, "train/circle/three.png")
    page.keyboard.press("3")
    page.keyboard.press("x")
    expect(page.get_by_role("button", name=re.compile("3 leaves")).first).to_be_visible()
    press(page, "Enter")
    expect(page.get_by_role("status").first).to_contain_text("1 image noted as another picture")
    assert sorted(statuses(database, "three").values()) == ["active", "active", "excluded"]

    # fifty exact groups in bulk, after a preview
    page.goto(f"{live.url}/d/gallery/duplicates")
    page.get_by_role("link", name="Settle exact groups").click()
    expect(page.get_by_role("heading", name="Keep 50, exclude 50?")).to_be_visible()
    with page.expect_navigation():
        page.get_by_role("button", name="Settle 50 groups").click()
    expect(page.get_by_text("50 groups settled")).to_be_visible()
    assert (count(database, "excluded"), tile(page, "open group")) == (53, 0)

    # a scan finds nothing anew: what was rejected stays rejected
    scan(page, live)
    assert tile(page, "open group") == 0
    expect(page.get_by_text("All settled")).to_be_visible()

    # undo all of it, the newest first, by the one key
    for left in (3, 2, 2, 1, 0):
        press(page, "z")
        assert count(database, "excluded") == left
    with database.read() as session:
        assert checks.check(session).ok
        assert session.scalar(select(func.count()).select_from(Vote)) == 0
    scan(page, live)
    assert (tile(page, "open groups"), tile(page, "settled")) == (EXACT + 4, 0)

    # and rejected once more, it stays so through two scans
    rejected = open_group(page, live, database, "train/square/pair.png")
    press(page, "n")
    for _ in range(2):
        scan(page, live)
        assert (tile(page, "open groups"), tile(page, "settled")) == (EXACT + 3, 1)
    with database.read() as session:
        assert session.get_one(DuplicateGroup, rejected).verdict == "not_duplicates"
        assert checks.check(session).ok


def test_another_label_is_chosen_by_keys_alone(page: Page, live: Live, database: Database) -> None:
    scan(page, live)
    open_group(page, live, database, "train/circle/cross.png")
    page.keyboard.press("m")
    expect(page.locator("details.other_class input:focus")).to_have_value(re.compile("[0-9]+"))
    page.keyboard.press("ArrowDown")
    press(page, "Enter")
    assert sorted(statuses(database, "cross").values()) == ["active", "excluded"]
    with database.read() as session:
        labels = session.scalars(select(Image).where(Image.path.like("%/cross%")))
        assert {image.label.name for image in labels if image.label} == {"square"}


def test_two_images_blink_and_differ_in_one_place(page: Page, live: Live, database: Database) -> None:
    scan(page, live)
    open_group(page, live, database, "train/circle/cross.png")
    canvas, says = page.locator("#canvas"), page.locator("#stage_says")
    expect(page.locator(".pairs")).to_contain_text("mirrored")
    expect(page.get_by_role("button", name="Mirror")).to_have_attribute("aria-pressed", "true")

    page.keyboard.press("v")
    expect(says).to_contain_text("of 255 apart")
    aligned = read_levels(page)
    assert aligned < 3  # mirrored back, the two are one
    page.keyboard.press("f")
    assert read_levels(page) > 4 * max(aligned, 1)
    page.keyboard.press("f")
    page.keyboard.press("v")

    page.keyboard.press("b")
    expect(says).to_contain_text("in turn")
    for number in ("1", "2", "1"):
        expect(canvas).to_have_attribute("data-top", number)
    page.keyboard.press("b")
    expect(says).to_contain_text("showing")


@pytest.mark.parametrize(
    ("mirrored", "zoom", "degrees", "right", "down"),
    [(False, 1.1, 3, 0.02, 0.03), (True, 1.08, -4, 0.03, -0.02), (True, 0.93, 0, 0, 0)],
)
def test_images_are_brought_over_each_other_as_the_transform_says(
    chromium: Browser, tmp_path: Path, mirrored: bool, zoom: float, degrees: float, right: float, down: float
) -> None:
    write(tmp_path / "two", "circle/a.png", draw(7))
    write(
        tmp_path / "two",
        "circle/b.png",
        alter(draw(7), mirrored=mirrored, zoom=zoom, degrees=degrees, right=right, down=down),
    )
    database = open_database(Home.at(tmp_path / "home"))
    import_source(Context(database, database.home), dataset="two", source=str(tmp_path / "two"))
    transform = {
        "mirrored": mirrored, "zoom": zoom, "aspect": 1.0, "rotation": degrees, "shift": [right, down], "gain": 1.0,
        "offset": 0.0, "part": "whole",
    }  # fmt: skip
    with database.write() as session:
        dataset = get_dataset(session, "two")
        ids = list(session.scalars(select(Image.id).order_by(Image.path)))
        duplicates.refresh_near_groups(session, dataset, [duplicates.FoundGroup(ids, p=0.9)])
        pair = {"a_id": ids[0], "b_id": ids[1], "how": "hashes", "score": 1, "p": 0.9, "transform": transform}
        session.add(DuplicatePair(dataset_id=dataset.id, **pair))
        group_id = session.scalars(select(DuplicateGroup.id)).one()
    database.close()
    with serve(tmp_path / "home", extra=("--web-only",)) as live:
        page, problems = open_page(chromium.new_context())
        page.goto(live.login_url)
        page.goto(f"{live.url}/d/two/duplicates/{group_id}")
        page.keyboard.press("v")
        expect(page.locator("#stage_says")).to_contain_text("aligned")
        aligned = read_levels(page)
        page.keyboard.press("g")
        assert aligned < 4 < 10 < read_levels(page)
        page.context.close()
    assert problems == Problems()


def test_nothing_moves_by_itself_where_motion_is_unwanted(chromium: Browser, live: Live, database: Database) -> None:
    context = chromium.new_context(reduced_motion="reduce", viewport={"width": 390, "height": 844})
    page, problems = open_page(context)
    page.goto(live.login_url)
    scan(page, live)
    open_group(page, live, database, "train/square/pair.png")
    canvas = page.locator("#canvas")
    shown = canvas.get_attribute("data-top")
    page.get_by_role("button", name="Flip").click()
    expect(canvas).not_to_have_attribute("data-top", shown or "")
    flipped = canvas.get_attribute("data-top")
    page.wait_for_timeout(1500)
    expect(canvas).to_have_attribute("data-top", flipped or "")
    # on a phone the message stands above, clear of the answers
    page.get_by_role("button", name="Keep all").click()
    message = page.locator(".message").first
    expect(message).to_be_visible()
    box, answers = message.bounding_box(), page.locator(".answers").bounding_box()
    assert box is not None
    assert answers is not None
    assert box["y"] + box["height"] < answers["y"]
    context.close()
    assert problems == Problems()


def test_a_group_is_settled_partly_without_javascript(chromium: Browser, live: Live, database: Database) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(live.login_url)
    page.goto(f"{live.url}/d/gallery/duplicates")
    page.get_by_role("button", name="Scan").first.click()
    expect(page.get_by_text("Scanning for duplicates")).to_be_visible()
    for _ in range(120):
        page.goto(f"{live.url}/d/gallery/duplicates")
        if not page.get_by_text("Scanning for duplicates").count():
            break
        page.wait_for_timeout(500)
    open_group(page, live, database, "train/circle/three.png")
    page.get_by_label("another picture").first.check()
    page.get_by_role("button", name=re.compile("^Keep the chosen one")).first.click()
    expect(page.get_by_role("alert")).to_contain_text("The image to keep is marked as another picture")
    page.get_by_label("keep this one").nth(1).check()
    page.get_by_role("button", name=re.compile("^Keep the chosen one")).first.click()
    assert sorted(statuses(database, "three").values()) == ["active", "active", "excluded"]
    page.get_by_role("button", name="Undo the last").click()
    assert set(statuses(database, "three").values()) == {"active"}
    context.close()


def test_the_pages_have_no_barrier(chromium: Browser, live: Live, database: Database) -> None:
    for theme in ("light", "dark"):
        context = chromium.new_context(bypass_csp=True, color_scheme=theme, viewport={"width": 1440, "height": 900})
        page, _ = open_page(context)
        if theme == "light":
            page.goto(live.login_url)
            scan(page, live)
            state = context.storage_state()
        else:
            context.add_cookies(state["cookies"])
        open_group(page, live, database, "train/circle/three.png")
        page.keyboard.press("x")
        assert axe_violations(page) == []
        page.goto(f"{live.url}/d/gallery/duplicates/bulk?which=both")
        assert axe_violations(page) == []
        page.goto(f"{live.url}/d/gallery/duplicates?kind=near&p=99")
        assert axe_violations(page) == []
        context.close()
