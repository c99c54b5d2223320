"""The whole loop by the keyboard alone: no click, no mouse; Tab and Enter between pages, single keys on them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Problems, draw_shapes, open_page
from tests.browser.test_loop import JOB_S, wait_for_job, wait_until_scanned
from tests.live import Live

pytestmark = [pytest.mark.browser, pytest.mark.slow]
MOST_TABS = 250
FOCUSED = """() => {
  const at = document.activeElement;
  const label = at.labels && at.labels.length ? at.labels[0].innerText : "";
  const value = at.name && at.value ? `${at.name}=${at.value}` : "";
  return [at.getAttribute("aria-label"), label, at.innerText, value].filter(Boolean).map((words) => words.trim());
}"""


@pytest.fixture
def page(chromium: Browser, live: Live) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page, problems = open_page(context)
    page.goto(live.login_url)
    yield page
    page.screenshot(path=live.home.parent / "last.png")
    context.close()
    assert problems == Problems()


def focus(page: Page, words: str) -> None:
    """Tab until the focus stands on what begins with these words (its label, its text, or name=value)."""
    seen = []
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUSED)
        if any(text.startswith(words) for text in found):
            visible = page.evaluate("() => document.activeElement.matches(':focus-visible')")
            assert visible, f"the focus on {words!r} is not visible"
            return
        seen.append(found[:1])
    raise AssertionError(f"no {words!r} within {MOST_TABS} tabs: {seen[:40]}")


def follow(page: Page, words: str) -> None:
    """Go to what begins with these words, press Enter, and wait for the page that it leads to."""
    focus(page, words)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def press(page: Page, words: str, *, key: str = "Enter") -> None:
    """The same for what stays on the page."""
    focus(page, words)
    page.keyboard.press(key)


def test_the_whole_loop_by_keyboard(page: Page, live: Live, tmp_path: Path) -> None:
    folder = draw_shapes(tmp_path / "shapes")

    follow(page, "Import")
    expect(page).to_have_url(f"{live.url}/import")
    focus(page, "Data set")
    page.keyboard.type("shapes")
    focus(page, "A folder, .zip or .csv on the server")
    page.keyboard.type(str(folder))
    with page.expect_navigation():
        page.keyboard.press("Enter")
    follow(page, "Import 75 images")
    wait_for_job(page)

    follow(page, "Open shapes")
    follow(page, "Duplicates")
    follow(page, "Scan")
    wait_until_scanned(page, live)
    page.reload()
    with page.expect_navigation():
        page.keyboard.press("Enter")  # the first group is what Enter opens
    expect(page.get_by_text("labels differ").first).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("xcluded")

    follow(page, "shapes")
    focus(page, "recipe=random")
    follow(page, "Build the queue")
    card = page.locator("#card")
    for key, done in (("2", "1 of"), ("Enter", "2 of"), ("u", "3 of"), ("z", "2 of"), ("Shift+Z", "3 of")):
        expect(page.locator("#card:not(.waiting)")).to_be_visible()  # the first key may be ahead of the cards
        page.keyboard.press(key)
        expect(card).to_contain_text(done)
    for key in ("a", "1", "3", "Enter"):
        page.keyboard.press(key)
    expect(card).to_contain_text("4 of")
    page.keyboard.press("g")
    page.wait_for_url("**/sweep*")
    page.keyboard.press("x")
    expect(page.locator("#tally")).to_contain_text("1 left for later")
    page.keyboard.press("Enter")
    expect(page.locator("body")).to_contain_text("ettled")
    page.keyboard.press("z")
    expect(page.locator("body")).to_contain_text("Took back")

    train_by_keyboard(page)
    follow(page, "Review these")
    expect(card).to_be_visible()
    page.keyboard.press("1")
    expect(card).to_contain_text("1 of")

    train_by_keyboard(page)
    follow(page, "Runs")
    press(page, "Compare run 2", key="Space")
    press(page, "Compare run 1", key="Space")
    follow(page, "Compare")
    expect(page.get_by_role("heading", name="What flipped")).to_be_visible()

    follow(page, "Export")
    press(page, "format=folder", key="ArrowDown")
    follow(page, "Export")
    wait_for_job(page)


def train_by_keyboard(page: Page) -> None:
    follow(page, "Runs")
    follow(page, "Train")
    focus(page, "Folds")
    page.keyboard.type("2")
    press(page, "How it learns")
    focus(page, "Epochs")
    page.keyboard.type("2")
    follow(page, "Train")
    expect(page.get_by_text("Where it errs")).to_be_visible(timeout=JOB_S)
