"""The whole loop in a real Chromium: once with the mouse, once by the keyboard alone."""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Problems, draw_shapes, open_page
from tests.live import Live

pytestmark = [pytest.mark.browser, pytest.mark.slow]
JOB_S = 180_000


@pytest.fixture
def page(chromium: Browser, live: Live) -> Iterator[Page]:
    """The administrator's browser; any script error or refused request of the page fails the test."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    page, problems = open_page(context)
    page.goto(live.login_url)
    yield page
    page.screenshot(path=live.home.parent / "last.png")  # what a failed test saw
    context.close()
    assert problems == Problems()


def wait_for_job(page: Page) -> None:
    expect(page.locator("#job_state")).to_contain_text("Done.", timeout=JOB_S)


def import_shapes(page: Page, live: Live, folder: Path) -> None:
    page.goto(f"{live.url}/import")
    page.get_by_label("Data set", exact=True).fill("shapes")
    page.get_by_label("A folder, .zip or .csv on the server").fill(str(folder))
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Import 75 images").click()
    wait_for_job(page)


def train(page: Page, live: Live, *, epochs: int) -> None:
    """From the form to the finished run, whose page this ends on."""
    page.goto(f"{live.url}/d/shapes/runs")
    page.get_by_role("link", name="Train").first.click()
    page.locator("details:has(input[name=epochs]) > summary").click()
    page.locator("input[name=epochs]").fill(str(epochs))
    page.locator("input[name=folds]").fill("2")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_text("Where it errs")).to_be_visible(timeout=JOB_S)


def exported_labels(page: Page, live: Live) -> dict[str, dict[str, str]]:
    """Export as CSV from the page, download the archive, and read its labels.csv."""
    page.goto(f"{live.url}/d/shapes/export")
    page.get_by_label("CSV").check()
    page.get_by_role("button", name="Export", exact=True).click()
    wait_for_job(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").first.click()
    archive = zipfile.ZipFile(download.value.path())
    name = next(name for name in archive.namelist() if name.endswith("labels.csv"))
    rows = csv.DictReader(io.StringIO(archive.read(name).decode()))
    manifest = next(name for name in archive.namelist() if name.endswith("manifest.json"))
    assert json.loads(archive.read(manifest))["dataset"] == "shapes"
    return {row["path"]: row for row in rows}


def test_the_whole_loop(page: Page, live: Live, tmp_path: Path) -> None:
    import_shapes(page, live, draw_shapes(tmp_path / "shapes"))

    # settle a duplicate: the copy of a bar that is labelled circle
    page.goto(f"{live.url}/d/shapes/duplicates")
    page.get_by_role("button", name="Scan").click()
    wait_until_scanned(page, live)
    page.goto(f"{live.url}/d/shapes/duplicates")
    click_through(page, page.locator("ol a[href*='/duplicates/'], ul a[href*='/duplicates/'], a.strip").first)
    expect(page.get_by_text("labels differ").first).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("xcluded")

    # relabel by keys
    page.goto(f"{live.url}/d/shapes/")
    page.locator("input[name=recipe][value=random]").check()
    click_through(page, page.get_by_role("button", name="Build the queue"))
    card = page.locator("#card")
    expect(card).to_contain_text("0 of")
    path = page.locator(".stage img").first.get_attribute("alt").removeprefix("The image to decide on: ")
    page.keyboard.press("3")
    expect(card).to_contain_text("1 of")
    expect(page.locator("#card:not(.waiting)")).to_be_visible()  # the first key may be ahead of the cards
    page.keyboard.press("Enter")
    expect(card).to_contain_text("2 of")
    page.keyboard.press("u")
    expect(card).to_contain_text("3 of")
    page.keyboard.press("z")
    expect(card).to_contain_text("2 of")

    # train, and review what it confuses
    train(page, live, epochs=2)
    open_confused_cell(page)
    click_through(page, page.get_by_role("button", name="Review").last)
    expect(card).to_be_visible()
    page.keyboard.press("1")
    expect(card).to_contain_text("1 of")

    # train again, compare, export
    train(page, live, epochs=3)
    page.goto(f"{live.url}/d/shapes/compare?a=1&b=2")
    expect(page.get_by_role("heading", name="What flipped")).to_be_visible()
    labels = exported_labels(page, live)
    assert labels[path]["label"] == "square"
    assert labels[path]["source"] == "decision"
    assert labels["train/circle/mislabelled-copy.png"]["status"] == "excluded" or (
        labels["train/bar/002.png"]["status"] == "excluded"
    )


def click_through(page: Page, target: Locator) -> None:
    """Click, and wait until the page behind it has its scripts: a key pressed before is nobody's."""
    with page.expect_navigation():
        target.click()


def open_confused_cell(page: Page) -> None:
    """Click the first cell off the diagonal of the confusion matrix that holds images."""
    for link in page.locator("table.heat a").all():
        asked = parse_qs(urlsplit(link.get_attribute("href") or "").query)
        if asked["true"] != asked["predicted"]:
            link.click()
            return
    raise AssertionError("two epochs on 36 drawings confuse nothing")


def wait_until_scanned(page: Page, live: Live) -> None:
    """Until no job runs: the badge in the head is empty."""
    page.wait_for_timeout(500)
    for _ in range(300):
        if page.request.get(f"{live.url}/jobs/badge").text() == "":
            return
        page.wait_for_timeout(200)
    raise AssertionError("the scan did not end")
