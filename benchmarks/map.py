"""How smoothly a real Chromium without a graphics card moves, zooms and lassoes a map of planted points.

    python -m benchmarks.map [--points 1000000] [--home HOME] [--seconds 4]

Plants a data set of that many image rows and a map of as many points in clouds (again only where the home has none),
serves it, and drives the page by events, one for each frame. A frame's time is from one animation frame to the next:
the browser holds a page's frames back while its software renderer is behind, so it is what a person sees. `rest` is
the machine's own limit: the same with nothing drawn.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright
from sqlalchemy import insert

from tests.browser.conftest import ARGS, chromium_path
from tests.live import serve
from workbench.config import Home
from workbench.db import open_database
from workbench.models import Image, Import, Run, utc_now
from workbench.services import datasets, maps

NAME = "planted"
CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
_CHUNK = 20_000
_CLOUDS = 24

DRIVE = """
async ({act, seconds}) => {
  const stage = document.getElementById("stage");
  const box = stage.getBoundingClientRect();
  const [cx, cy] = [box.left + box.width / 2, box.top + box.height / 2];
  const map = workbench.map;
  const [px, py] = map.view.toPixels(map.places[0].x, map.places[0].y); // where the fullest cloud is
  const send = (kind, x, y, more = {}) => stage.dispatchEvent(
    kind === "wheel" ? new WheelEvent(kind, {clientX: x, clientY: y, bubbles: true, cancelable: true, ...more})
    : new PointerEvent(kind, {clientX: x, clientY: y, pointerId: 1, pointerType: "mouse", bubbles: true, ...more}));
  stage.setPointerCapture = () => {};
  const steps = {
    rest: () => {},
    move: (n) => send("pointermove", cx + 160 * Math.cos(n / 12), cy + 120 * Math.sin(n / 12)),
    zoom: (n) => send("wheel", box.left + px, box.top + py, {deltaY: n % 80 < 40 ? -45 : 45}),
    lasso: (n) => send("pointermove", cx + 220 * Math.cos(n / 15), cy + 180 * Math.sin(n / 15)),
  };
  document.getElementById(act === "lasso" ? "tool_lasso" : "tool_move").click();
  if (act === "move" || act === "lasso") send("pointerdown", cx + 160, cy);
  const took = [], drawn = [];
  let last = await new Promise(requestAnimationFrame);
  const end = last + 1000 * seconds;
  for (let n = 1; last < end; n++) {
    steps[act](n);
    const now = await new Promise(requestAnimationFrame);
    took.push(now - last);
    drawn.push(Number(stage.dataset.drawn));
    last = now;
  }
  const before = performance.now();
  if (act === "move" || act === "lasso") send("pointerup", cx + 160, cy);
  return {took, drawn, letGo: performance.now() - before, chosen: document.getElementById("chosen_count").textContent};
}
"""

# the shortest of nine, waiting for the picture each time: what drawing costs, whatever else the machine does
DRAW = """
(budget) => {
  const {painter, view} = workbench.map;
  const took = [];
  for (let n = 0; n < 9; n++) {
    painter.budget = budget;
    painter.lastAt = 0;
    const began = performance.now();
    painter.draw(view, {ratio: 1, isMoving: true, now: 0});
    painter.gl?.readPixels(0, 0, 1, 1, painter.gl.RGBA, painter.gl.UNSIGNED_BYTE, new Uint8Array(4));
    took.push(performance.now() - began);
  }
  Object.assign(painter, {budget: 60000, lastAt: 0});
  return Math.min(...took);
}
"""
RENDERER = """
() => {
  const gl = new OffscreenCanvas(1, 1).getContext("webgl2");
  return gl.getParameter(gl.getExtension("WEBGL_debug_renderer_info").UNMASKED_RENDERER_WEBGL);
}
"""
AS_A_CARD = """
const ask = WebGL2RenderingContext.prototype.getParameter;
WebGL2RenderingContext.prototype.getParameter = function (name) {
  return name === 37446 ? "a card" : ask.call(this, name);
};
"""
BUDGETS = (20_000, 50_000, 100_000, 250_000, 1_000_000)


def plant(folder: Path, *, count: int, seed: int = 0) -> None:
    """Rows of images, a run and its map; about 60 microseconds an image."""
    done = folder / f"map-{count}"
    if done.exists():
        return
    rng = np.random.default_rng(seed)
    home = Home.at(folder)
    database = open_database(home)
    with database.write() as session:
        dataset = datasets.ensure_dataset(session, NAME)
        classes = [datasets.ensure_classes(session, dataset, list(CLASSES))[name].id for name in CLASSES]
        source = Import(dataset_id=dataset.id, source="planted", format="folder", options={}, status="done")
        run = Run(
            dataset_id=dataset.id, arch="planted", preset="quick", config={}, status="done", decision_id=0,
            content_hash="", created_at=utc_now(),
        )  # fmt: skip
        session.add_all([source, run])
        session.flush()
        dataset.promoted_run_id = run.id
        dataset_id, import_id, run_id = dataset.id, source.id, run.id
    cloud = rng.integers(0, _CLOUDS, count)
    centres = rng.random((_CLOUDS, 2)) * 0.8 + 0.1
    points = (centres[cloud] + rng.normal(0, 0.035, (count, 2))).clip(0, 1).astype(np.float32)
    shown = np.where(rng.random(count) < 0.2, rng.integers(0, len(CLASSES), count), cloud % len(CLASSES))
    risks = rng.beta(0.5, 2, count)
    fixed = {
        "dataset_id": dataset_id, "import_id": import_id, "location": "object", "width": 48, "height": 48, "mode": "L",
        "media_type": "image/png", "size_bytes": 1500, "first_status": "active", "status": "active",
        "label_source": "imported",
    }  # fmt: skip
    for start in range(0, count, _CHUNK):
        rows = [
            {
                **fixed, "id": number + 1, "path": f"{number:08d}.png", "file_sha256": f"{number:064x}",
                "pixel_sha256": f"{number:064x}", "label_id": classes[shown[number]], "p_wrong": float(risks[number]),
                "base_label_id": classes[shown[number]], "first_label_id": classes[shown[number]], "split": "train",
                "first_split": "train", "predicted_id": classes[cloud[number] % len(CLASSES)],
            }
            for number in range(start, min(count, start + _CHUNK))
        ]  # fmt: skip
        with database.write() as session:
            session.execute(insert(Image), rows)
    made = maps.arrange(
        image_ids=np.arange(1, count + 1), points=points, regions=cloud.astype(np.int16), method="pca", seed=seed
    )
    maps.save_map(home, run_id, made)
    database.close()
    done.touch()


def measure(page: Page, address: str, *, seconds: float) -> dict[str, Any]:
    began = time.monotonic()
    page.goto(address)
    page.wait_for_selector("#stage[data-rests=yes]", timeout=180_000)
    told: dict[str, Any] = {
        "load_s": round(time.monotonic() - began, 1)
    }  # the first visit, for which all rows are read
    told["renderer"] = page.evaluate(RENDERER)
    told["drawn_by"] = page.evaluate("() => workbench.map.painter.constructor.name")
    told["draw_ms"] = {str(budget): round(page.evaluate(DRAW, budget), 1) for budget in BUDGETS}
    for act in ("move", "zoom", "lasso", "rest"):
        page.evaluate("() => document.getElementById('zoom_all').click()")
        page.wait_for_timeout(600)
        page.evaluate(DRIVE, {"act": act, "seconds": 1.0})  # the page learns how many points this machine manages
        page.wait_for_timeout(300)
        found = page.evaluate(DRIVE, {"act": act, "seconds": seconds})
        took = np.array(found["took"])
        p50, p95 = np.percentile(took, [50, 95])
        told[act] = {
            "frames_per_s": round(1000 * len(took) / took.sum(), 1), "p50_ms": round(float(p50), 1),
            "p95_ms": round(float(p95), 1), "points_a_frame": int(np.median(found["drawn"])),
        }  # fmt: skip
        if act == "lasso":
            told[act] |= {"chosen": found["chosen"], "choosing_ms": round(found["letGo"], 1)}
    return told


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--webgl", action="store_true", help="WebGL, although it is drawn by software")
    parser.add_argument("--width", type=int, default=1440)
    wanted = parser.parse_args()
    folder = wanted.home or Path(tempfile.mkdtemp(prefix="map-"))
    plant(folder, count=wanted.points)
    with serve(folder, extra=("--web-only",)) as live, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGS)
        page = browser.new_page(viewport={"width": wanted.width, "height": 900})
        page.set_default_timeout(120_000)
        page.goto(live.login_url)
        if wanted.webgl:
            page.add_init_script(AS_A_CARD)
        told = measure(page, f"{live.url}/d/{NAME}/map", seconds=wanted.seconds)
        browser.close()
    json.dump({"points": wanted.points, **told}, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
