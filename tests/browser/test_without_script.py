"""The whole loop in a Chromium that runs no script: every page is read whole, every form is a plain form."""

import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Problems, draw_shapes, open_page
from tests.live import Live

pytestmark = [pytest.mark.browser, pytest.mark.slow]
IMAGES = 111  # 36 of each class and three copies
MOST_RELOADS = 300


@pytest.fixture
def page(chromium: Browser, live: Live) -> Iterator[Page]:
    context = chromium.new_context(
        viewport={"width": 1440, "height": 900}, java_script_enabled=False, accept_downloads=True
    )
    page, problems = open_page(context)
    page.set_default_timeout(8_000)
    page.goto(live.login_url)
    yield page
    page.screenshot(path=live.home.parent / "last.png")  # what a failed test saw
    context.close()
    assert problems == Problems()


def reload_until(page: Page, found: Locator) -> None:
    """What somebody without script does while a job runs."""
    for _ in range(MOST_RELOADS):
        if found.count():
            return
        page.wait_for_timeout(300)
        page.reload()
    raise AssertionError(f"still not there: {found}; the page says {page.locator('main').inner_text()[:500]}")


def wait_for_job(page: Page) -> Locator:
    state = page.locator("#job_state")
    reload_until(page, state.get_by_text("✓ Done."))
    return state


def said(page: Page) -> Locator:
    return page.locator("#messages")


def press(page: Page, words: str, *, exact: bool = False) -> None:
    page.get_by_role("button", name=words, exact=exact).first.click()


def import_shapes(page: Page, live: Live, folder: Path) -> None:
    page.goto(f"{live.url}/import")
    page.get_by_label("Data set", exact=True).fill("shapes")
    page.get_by_label("A folder, .zip or .csv on the server").fill(str(folder))
    press(page, "Preview")
    expect(page.locator("main")).to_contain_text(f"{IMAGES} files, read as one folder for each class")
    press(page, f"Import {IMAGES} images")
    expect(said(page)).to_contain_text("The import has started.")
    expect(wait_for_job(page)).to_contain_text(f"{IMAGES} images imported, 0 refused.")


def train(page: Page, live: Live, *, seed: int) -> None:
    """From the form to the finished run, whose page this ends on."""
    page.goto(f"{live.url}/d/shapes/runs")
    page.get_by_role("link", name="Train").first.click()
    page.locator("input[name=folds]").fill("0")
    page.get_by_text("How it learns").click()
    page.locator("input[name=epochs]").fill("2")
    page.locator("input[name=seed]").fill(str(seed))
    press(page, "Train", exact=True)
    expect(said(page)).to_contain_text("is queued.")
    reload_until(page, page.get_by_role("heading", name="Where it errs"))


def test_images_and_their_labels(page: Page, live: Live, tmp_path: Path) -> None:
    import_shapes(page, live, draw_shapes(tmp_path / "shapes", per_class=36))
    look_through_the_images(page, live)
    settle_a_group(page, live)
    relabel_one(page, live)
    relabel_many(page, live)
    decide_on_cards(page, live)
    sweep(page)
    change_classes(page, live)
    take_back_the_merge(page, live)


def look_through_the_images(page: Page, live: Live) -> None:
    page.goto(f"{live.url}/d/shapes/images")
    count = page.locator(".count")
    expect(count).to_have_text("111 images")
    page.get_by_label("Status").select_option("active")
    press(page, "Show")
    expect(page.get_by_role("link", name="Remove the filter: active")).to_be_visible()
    expect(page.locator(".tile")).to_have_count(96)
    page.get_by_role("link", name="Next →").click()
    expect(page.locator(".tile")).to_have_count(15)
    expect(page.locator(".tile .path").last).to_contain_text("validation/square/033.png")
    page.get_by_role("link", name="← Before").click()
    expect(page.locator(".tile")).to_have_count(96)
    page.get_by_role("link", name="Remove the filter: active").click()
    page.get_by_role("form", name="Filters").get_by_label("Label").select_option("circle")
    press(page, "Show")
    expect(count).to_have_text("38 match")


def relabel_one(page: Page, live: Live) -> None:
    """The first circle."""
    page.goto(f"{live.url}/d/shapes/images?text=train/circle/00")
    page.locator(".tile a").first.click()
    page.locator(".decide").get_by_role("button", name="square").click()
    expect(said(page)).to_contain_text("Saved.")
    expect(page.locator(".label_now")).to_contain_text("square")
    expect(page.locator("#history")).to_contain_text("circle → square")


def relabel_many(page: Page, live: Live) -> None:
    page.goto(f"{live.url}/d/shapes/images?split=validation")
    for tile in page.locator(".tile").all()[:2]:
        tile.get_by_role("checkbox").check()
    page.get_by_label("Relabel to").select_option("circle")
    press(page, "Relabel …")
    expect(page.get_by_role("heading", name="Relabel 2 images to circle")).to_be_visible()
    expect(page.locator("table.before")).to_contain_text("bar")
    press(page, "Relabel 2 images")
    expect(said(page)).to_contain_text("Relabelled 2 images to circle. One undo in the history takes it back.")
    expect(page.locator(".count")).to_have_text("18 match")


def decide_on_cards(page: Page, live: Live) -> None:
    page.goto(f"{live.url}/d/shapes/")
    page.get_by_role("radio", name="Random").check()
    page.get_by_label("At most").fill("40")
    press(page, "Build the queue")
    expect(said(page)).to_contain_text("40 images to look at.")
    done = page.locator(".progress_line b")
    expect(done).to_have_text("0")
    press(page, "is right")
    expect(done).to_have_text("1")
    press(page, "Unusable")
    expect(done).to_have_text("2")
    page.locator("#answers .classes").get_by_role("button", name="circle").click()
    expect(done).to_have_text("3")
    page.locator("details.ambiguous > summary").click()
    for cls in ("bar", "square"):
        page.locator("details.ambiguous").get_by_label(cls).check()
    press(page, "It is ambiguous")
    expect(done).to_have_text("4")
    press(page, "Undo")
    expect(said(page)).to_contain_text("Took back: bar or square.")
    expect(done).to_have_text("3")
    press(page, "Redo")
    expect(said(page)).to_contain_text("Brought back: bar or square.")
    expect(done).to_have_text("4")
    page.locator("details.comment > summary").click()
    page.get_by_label("Comment").fill("half of it is cut off")
    press(page, "Save comment")
    expect(said(page)).to_contain_text("Comment saved.")
    press(page, "Later →")
    expect(done).to_have_text("4")


def sweep(page: Page) -> None:
    """On from the card: all images of one class at once, but one."""
    page.get_by_role("link", name="Grid").click()
    page.locator(".question").get_by_label("Class").select_option(index=0)
    press(page, "Show")
    marked = page.locator(".cell select").first
    marked.select_option("exclude")
    number = page.locator(".cell").count()
    press(page, f"Settle all {number}")
    expect(said(page)).to_contain_text(f"Settled {number} images at once.")
    expect(page.locator(".progress_line b")).to_have_text(str(4 + number))
    press(page, "Undo")
    expect(said(page)).to_contain_text(f"Took back: {number} images.")
    expect(page.locator(".progress_line b")).to_have_text("4")


def settle_a_group(page: Page, live: Live) -> None:
    page.goto(f"{live.url}/d/shapes/duplicates")
    press(page, "Scan")
    expect(said(page)).to_contain_text("The scan has started")
    reload_until(page, page.get_by_role("button", name="Scan again"))
    page.get_by_role("link", name="Settle the first").click()
    expect(page.get_by_role("heading", name="One picture, two labels: which is right?")).to_be_visible()
    page.get_by_role("group", name="The label of the one that stays").get_by_role("radio", name="bar").check()
    press(page, "Keep the chosen one with this label")
    expect(said(page)).to_contain_text("Kept one with the label chosen, excluded the others.")
    press(page, "Undo the last")
    expect(said(page)).to_contain_text("Undone: the group is open again.")
    expect(page.get_by_role("heading", name="One picture, two labels: which is right?")).to_be_visible()


def change_classes(page: Page, live: Live) -> None:
    page.goto(f"{live.url}/d/shapes/classes")
    page.get_by_label("Name of bar").fill("stroke")
    press(page, "Save bar")
    expect(said(page)).to_contain_text("Saved stroke.")
    page.get_by_label("Merge stroke into").select_option("square")
    press(page, "Merge into … the chosen class: stroke")
    expect(page.get_by_role("heading", name="Merge stroke into square")).to_be_visible()
    press(page, "Merge them")
    expect(said(page)).to_contain_text("stroke is part of square now.")
    expect(page.locator(".closed")).to_contain_text("merged into square")


def take_back_the_merge(page: Page, live: Live) -> None:
    page.goto(f"{live.url}/d/shapes/history")
    entry = page.locator(".entry").first
    expect(entry).to_contain_text("merged stroke into square")
    entry.get_by_role("button", name="Undo").click()
    expect(said(page)).to_contain_text("Took back:")
    page.goto(f"{live.url}/d/shapes/classes")
    expect(page.get_by_label("Name of stroke")).to_have_value("stroke")
    expect(page.locator(".closed")).to_have_count(0)


def test_runs_and_export(page: Page, live: Live, tmp_path: Path) -> None:
    import_shapes(page, live, draw_shapes(tmp_path / "shapes", per_class=36))
    train(page, live, seed=0)
    path = review_a_cell(page)
    train(page, live, seed=1)
    compare(page, live)
    labels = export(page, live)
    assert len(labels) == IMAGES
    decided = [row for row in labels if row["source"] == "decision"]
    assert [(row["path"], row["label"], row["status"]) for row in decided] == [(path, "square", "active")]


def review_a_cell(page: Page) -> str:
    """The path of the image that is a square now."""
    link = page.locator("table.heat a").first
    images = int(link.inner_text())
    link.click()
    expect(page.get_by_role("heading", name="Labelled bar, predicted")).to_be_visible()
    expect(page.locator(".cell_images li")).to_have_count(images)
    press(page, "Review it" if images == 1 else f"Review these {images}")
    expect(said(page)).to_contain_text(f"{images} images to look at, 1 of them drawn at random.")
    alt = page.locator(".stage img").get_attribute("alt") or ""
    page.locator("#answers .classes").get_by_role("button", name="square").click()
    expect(page.locator(".progress_line b")).to_have_text("1")
    return alt.removeprefix("The image to decide on: ")


def compare(page: Page, live: Live) -> None:
    page.goto(f"{live.url}/d/shapes/runs")
    page.get_by_label("Compare run 1").check()
    page.get_by_label("Compare run 2").check()
    press(page, "Compare")
    expect(page.get_by_role("heading", level=1)).to_contain_text("un 2")
    expect(page.get_by_role("heading", name="What flipped")).to_be_visible()


def export(page: Page, live: Live) -> list[dict[str, str]]:
    page.goto(f"{live.url}/d/shapes/export")
    page.get_by_role("radio", name="CSV").check()
    press(page, "Export", exact=True)
    expect(wait_for_job(page)).to_contain_text("The archive is ready.")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download it").click()
    archive = zipfile.ZipFile(download.value.path())
    name = next(name for name in archive.namelist() if name.endswith("labels.csv"))
    return list(csv.DictReader(io.StringIO(archive.read(name).decode())))
