"""The pictures of the README, taken from the demo after a few decisions: `make screenshots`."""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.conftest import ARGS, chromium_path
from tests.browser.tour import list_pages, logged_in
from tests.live import serve
from workbench.cli.demo import build
from workbench.cli.frame import Workbench

OUT = Path(__file__).resolve().parent.parent.parent / "docs" / "screenshots"
DECISIONS = 12


def decide_some(page: Page) -> None:
    """Accept what is suggested; the card after the last one stays on the screen."""
    for done in range(DECISIONS):
        expect(page.locator("#card[data-open=yes] #accept:enabled")).to_be_visible()
        page.keyboard.press("Space")
        expect(page.locator(".progress_line b")).to_have_text(str(done + 1))


def main() -> None:
    home = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp()) / "home"
    build(Workbench(home, as_json=False))
    pages = list_pages(home, "digits")
    with serve(home) as live, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGS)
        with logged_in(browser, live) as page:
            page.goto(live.url + pages["card"])
            decide_some(page)
            for name in ("card", "sweep", "home", "duplicates", "group", "splits", "run"):
                if name != "card":
                    page.goto(live.url + pages[name])
                page.wait_for_load_state("networkidle")
                page.wait_for_timeout(6000 if name == "card" else 300)  # messages have left
                page.screenshot(path=OUT / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
