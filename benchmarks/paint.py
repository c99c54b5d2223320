"""From key to painted next image in a real Chromium, with and without delay on every request.

    python -m benchmarks.paint [--images 35000] [--decisions 300] [--home HOME --dataset NAME --queue ID]

Without --home a data set of that many images is planted in a folder of its own. Each setting is a page of its own that
decides on the next images of the queue; the next key comes when the image after the last is painted and the pause of a
quick reviewer is over, or at once. A time ends when the frame with the next image, decoded, has been painted: it is up
to one frame (17 ms) longer than it took. At the end every decision must be in the log once.
"""

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright
from sqlalchemy import func, select

from benchmarks.review_planting import NAME, QUEUE_ID, plant
from tests.browser.cards import wait_until_saved
from tests.browser.conftest import ARGS, chromium_path
from tests.browser.paint import measure_paints, watch_paints
from tests.live import Live, serve
from workbench.config import Home
from workbench.db import Database
from workbench.models import Decision

SETTINGS = [(0, 200), (200, 200), (0, 0), (200, 0)]  # delay of a request, pause between decisions, both in ms
KEYS = ("1", "2", "Enter", "3", "u")


def measure(page: Page, address: str, *, decisions: int, latency_ms: float, pause_ms: float) -> dict[str, Any]:
    with page.expect_response(lambda answer: answer.url.endswith("/answers")):
        page.goto(address)
    page.wait_for_timeout(500)
    watch_paints(page, latency_ms=latency_ms)
    took_ms = measure_paints(page, keys=itertools.islice(itertools.cycle(KEYS), decisions), pause_ms=pause_ms)
    wait_until_saved(page)
    p50, p95, p99 = np.percentile(took_ms, [50, 95, 99])
    return {
        "latency_ms": latency_ms, "pause_ms": pause_ms, "decisions": len(took_ms), "p50_ms": round(p50, 1),
        "p95_ms": round(p95, 1), "p99_ms": round(p99, 1), "longest_ms": round(max(took_ms), 1),
        "over_100_ms": sum(took > 100 for took in took_ms),
    }  # fmt: skip


def count_actions(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count(Decision.action.distinct()))) or 0


def run(browser: Browser, live: Live, database: Database, *, address: str, decisions: int) -> Sequence[dict[str, Any]]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.new_page().goto(live.login_url)
    found = []
    for latency_ms, pause_ms in SETTINGS:
        page = context.new_page()
        before = count_actions(database)
        row = measure(page, live.url + address, decisions=decisions, latency_ms=latency_ms, pause_ms=pause_ms)
        row["saved"] = count_actions(database) - before
        print(json.dumps(row), file=sys.stderr)
        found.append(row)
        page.close()
    context.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=35_000)
    parser.add_argument("--decisions", type=int, default=300)
    parser.add_argument("--home", type=Path, help="a home that is there already; the decisions stay in it")
    parser.add_argument("--dataset", default=NAME)
    parser.add_argument("--queue", type=int, default=QUEUE_ID)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = wanted.home or Path(folder) / "home"
        if not wanted.home:
            plant(home, count=wanted.images)
        address = f"/d/{wanted.dataset}/queues/{wanted.queue}"
        database = Database(Home.at(home))
        with serve(home, extra=("--web-only",)) as live, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGS)
            found = run(browser, live, database, address=address, decisions=wanted.decisions)
            browser.close()
        database.close()
    print(json.dumps(found, indent=2))
    missing = [row for row in found if row["saved"] != row["decisions"]]
    sys.exit(f"decisions and log differ: {missing}" if missing else 0)


if __name__ == "__main__":
    main()
