"""A real Chromium against a real server with a real worker."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.live import Live, serve

ARGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
AXE = Path(__file__).resolve().parent.parent / "vendor" / "axe-core-4.14.1.min.js"
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def chromium_path() -> str | None:
    """The system's Chromium; none lets Playwright use its own."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """A server with one worker over an empty home."""
    with serve(tmp_path / "home") as live:
        yield live


class Problems(list[str]):
    """What the browser complained about: script errors, policy violations, failed requests."""


def open_page(context: BrowserContext) -> tuple[Page, Problems]:
    page = context.new_page()
    page.set_default_timeout(20_000)
    problems = Problems()
    page.on("pageerror", lambda error: problems.append(f"script: {error}"))
    page.on("console", lambda line: problems.append(f"console: {line.text}") if line.type == "error" else None)
    return page, problems


def draw_shapes(folder: Path, *, per_class: int = 24, seed: int = 0) -> Path:
    """Circles, squares and bars as folder/<split>/<class>/<n>.png, and three exact copies, one under another class."""
    rng = np.random.default_rng(seed)
    for number in range(per_class):
        split = ("train", "train", "train", "validation", "test", "test")[number % 6]
        for name, pixels in _draw(rng).items():
            _write(folder / split / name / f"{number:03d}.png", pixels)
    for source, target in (
        ("train/circle/000.png", "train/circle/copy.png"),
        ("train/square/001.png", "test/square/copy.png"),
        ("train/bar/002.png", "train/circle/mislabelled-copy.png"),
    ):
        shutil.copyfile(folder / source, folder / target)
    return folder


def _draw(rng: np.random.Generator) -> dict[str, np.ndarray]:
    x, y = rng.integers(10, 22, 2)
    r = int(rng.integers(5, 9))
    ink = int(rng.integers(150, 255))
    images = {name: rng.integers(0, 60, (32, 32)).astype(np.uint8) for name in ("bar", "circle", "square")}
    cv2.circle(images["circle"], (int(x), int(y)), r, ink, -1)
    cv2.rectangle(images["square"], (int(x) - r, int(y) - r), (int(x) + r, int(y) + r), ink, -1)
    cv2.line(images["bar"], (int(x) - r, int(y) - r), (int(x) + r, int(y) + r), ink, 3)
    return images


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


def axe_violations(page: Page, *, rules: tuple[str, ...] = ()) -> list[str]:
    """What axe-core finds on the page as it stands: rule, and the first element it names. rules: only these."""
    if not page.evaluate("'axe' in window"):
        page.add_script_tag(path=AXE)
    chosen = {"type": "rule", "values": rules} if rules else {"type": "tag", "values": AXE_TAGS}
    asked = {"runOnly": chosen, "resultTypes": ["violations"], "preload": False}  # preloading reads style sheets anew
    result = page.evaluate("async (asked) => await axe.run(document, asked)", asked)
    return [f"{found['id']}: {found['nodes'][0]['html'][:120]}" for found in result["violations"]]
