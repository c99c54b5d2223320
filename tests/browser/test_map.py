"""The map in a real Chromium: drawn, moved, lassoed, by mouse and by keyboard, and as a picture without scripts."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image as Picture
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from tests.browser.conftest import axe_violations, draw_shapes, open_page
from tests.browser.tour import logged_in
from tests.live import Live, serve
from tests.maps import add_map
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.models import Dataset, Decision, Image, Queue
from workbench.services import users
from workbench.worker.context import Context
from workbench.worker.imports import import_source

pytestmark = [pytest.mark.browser, pytest.mark.slow]
MAP = "/d/shapes/map"
SETTLED = "#stage[data-rests=yes]"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server over a few drawn images, which lie on the map in a row: bars, circles, squares."""
    folder = tmp_path_factory.mktemp("mapped")
    home = Home.at(folder / "home")
    database = open_database(home)
    draw_shapes(folder / "shapes", per_class=6)
    import_source(Context(database, home), dataset="shapes", source=str(folder / "shapes"))
    with database.write() as session:
        dataset = session.scalars(select(Dataset)).one()
        run = add_run(session, home, dataset=dataset, user=users.ensure_admin(session), folds=2)
        dataset.promoted_run_id = run.id
        order = list(session.scalars(select(Image.id).order_by(Image.label_id, Image.id)))
        add_map(home, run, regions=3, order=order)
    database.close()
    with serve(home.root, extra=("--web-only",)) as live:
        yield live


def open_map(page: Page, live: Live) -> None:
    page.goto(live.url + MAP)
    page.wait_for_selector(SETTLED)


def draw_around(page: Page, *, left: float, right: float) -> None:
    """A lasso around this part of the row, in shares of the map's width."""
    box = page.locator("#stage").bounding_box()
    assert box is not None
    side = min(box["width"], box["height"]) * 0.94
    x = [box["x"] + box["width"] / 2 + (at - 0.5) * side for at in (left, right)]
    y = [box["y"] + box["height"] / 2 + at for at in (-60, 60)]
    page.mouse.move(x[0], y[0])
    page.mouse.down()
    for place in ((x[1], y[0]), (x[1], y[1]), (x[0], y[1]), (x[0], y[0])):
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def newest_queue(live: Live) -> tuple[str, list[str], int]:
    """Its title, the kinds of decision in its data set, how many items it has."""
    database = Database(Home.at(live.home))
    with database.read() as session:
        queue = session.scalars(select(Queue).order_by(Queue.id.desc())).first()
        assert queue is not None
        kinds = list(session.scalars(select(Decision.kind).where(Decision.queue_id == queue.id)))
        found = queue.title, kinds, queue.size
    database.close()
    return found


def test_by_mouse_from_the_lasso_to_the_verdict(chromium: Browser, live: Live) -> None:
    with logged_in(chromium, live) as page:
        open_map(page, live)
        page.get_by_role("button", name="Lasso").click()
        draw_around(page, left=0.0, right=0.3)
        expect(page.locator("#chosen_count")).to_have_text("6")
        expect(page.locator("#chosen_words")).to_have_text("bar 100 %")
        page.get_by_role("button", name="Review").click()
        page.wait_for_url("**/queues/*")
        page.wait_for_selector("body[data-card-ready], #card", state="attached")
        page.locator("button.pick").first.click()
        page.wait_for_timeout(600)
    title, kinds, size = newest_queue(live)
    assert (title, size, len(kinds)) == ("On the map: bar 100 %", 6, 1)


def test_by_keyboard_alone_from_the_ring_to_the_verdict(chromium: Browser, live: Live) -> None:
    with logged_in(chromium, live) as page:
        open_map(page, live)
        page.locator("#stage").focus()
        for key in ("]", "]", "]", "Space"):
            page.keyboard.press(key)
        chosen = int(page.locator("#chosen_count").inner_text())
        assert chosen > 1
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")
        assert int(page.locator("#chosen_count").inner_text()) > chosen
        page.keyboard.press("Shift+Space")
        fewer = int(page.locator("#chosen_count").inner_text())
        page.keyboard.press("Enter")
        expect(page.locator("#point_words")).to_contain_text("predicted")
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == "Review":
                break
        page.keyboard.press("Enter")
        page.wait_for_url("**/queues/*")
        page.wait_for_selector("button.pick")
        page.wait_for_timeout(300)
        page.keyboard.press("Enter")
        page.wait_for_timeout(600)
    _title, kinds, size = newest_queue(live)
    assert (size, kinds) == (fewer, ["confirm"])


def test_the_map_moves_zooms_shows_pictures_and_hides_what_the_legend_hides(chromium: Browser, live: Live) -> None:
    with logged_in(chromium, live) as page:
        open_map(page, live)
        assert page.locator("#stage").get_attribute("data-drawn") == "21"
        for _ in range(6):
            page.keyboard.press("+")
        page.wait_for_selector(".pictures img")
        assert page.locator(".pictures img").count() < 21
        page.keyboard.press("0")
        page.locator(".legend:visible li[data-name=bar] input").uncheck()
        page.keyboard.press("l")
        draw_around(page, left=0.0, right=1.0)
        expect(page.locator("#chosen_words")).not_to_contain_text("bar")
        page.keyboard.press("v")
        page.locator("#stage").focus()
        page.keyboard.press("Escape")
        expect(page.locator("#chosen_count")).to_have_text("")
        page.locator("#by").select_option("split")
        expect(page.get_by_role("list", name="Legend: Split")).to_be_visible()
        assert page.url.endswith("?by=split")


def test_a_tick_chooses_a_region_and_a_click_shows_an_image(chromium: Browser, live: Live) -> None:
    with logged_in(chromium, live) as page:
        open_map(page, live)
        page.locator("[data-region='1'] input").check()
        expect(page.locator("#chosen_count")).to_have_text("7")
        page.locator("[data-region='1'] input").uncheck()
        expect(page.locator("#chosen_count")).to_have_text("")
        box = page.locator("#stage").bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        expect(page.locator("#point_words")).to_contain_text("circle · predicted")
        page.get_by_role("button", name="Sweep 200 like it").click()
        page.wait_for_url("**/sweep")
    assert newest_queue(live)[0].startswith("Like ")


def test_nothing_is_complained_about_and_axe_is_content(chromium: Browser, live: Live) -> None:
    problems: list[str] = []
    for theme in ("light", "dark"):
        with logged_in(chromium, live, theme=theme) as page:
            page.on("pageerror", lambda error: problems.append(str(error)))  # noqa: B023 - made before the loop
            open_map(page, live)
            page.locator("[data-region='1'] input").check()
            problems += axe_violations(page)
    assert problems == []


def test_without_scripts_the_map_is_a_picture_and_regions_become_a_queue(chromium: Browser, live: Live) -> None:
    with logged_in(chromium, live) as page:
        state = page.context.storage_state()
    context = chromium.new_context(java_script_enabled=False, storage_state=state)
    page, problems = open_page(context)
    page.goto(live.url + MAP)
    assert page.locator("#density").is_visible()
    page.locator("[data-region='3'] input").check()
    page.get_by_role("button", name="Sweep").click()
    assert "/sweep" in page.url
    assert newest_queue(live)[2] == 7
    page.goto(f"{live.url}{MAP}?by=p_wrong")
    assert page.locator("ul.legend:visible").inner_text() == "unknown\n21"
    assert problems == []
    context.close()


def test_what_a_graphics_card_draws_is_what_stamps_draw(chromium: Browser, live: Live) -> None:
    shots = {}
    for way in ("stamps", "card"):
        with logged_in(chromium, live) as page:
            if way == "card":  # the software renderer says that it is one
                page.add_init_script(
                    "const ask = WebGL2RenderingContext.prototype.getParameter;"
                    "WebGL2RenderingContext.prototype.getParameter = function (name) "
                    "{ return name === 37446 ? 'a card' : ask.call(this, name); };"
                )
            open_map(page, live)
            assert (
                page.evaluate("workbench.map.painter.constructor.name")
                == {"stamps": "MapStamping", "card": "MapPainting"}[way]
            )
            page.locator("#names").evaluate("(names) => names.remove()")
            picture = Picture.open(io.BytesIO(page.locator("#stage").screenshot())).convert("RGB")
            shots[way] = np.asarray(picture)[60:].astype(int)
    ground = shots["card"][0, 0]
    is_drawn = {way: (abs(shot - ground).max(2) > 60) for way, shot in shots.items()}
    assert is_drawn["card"].sum() > 300
    both = is_drawn["card"] & is_drawn["stamps"]
    assert both.sum() > 0.7 * max(is_drawn["card"].sum(), is_drawn["stamps"].sum())
    assert np.median(abs(shots["card"] - shots["stamps"])[both]) < 45  # a card's points are a little transparent


def test_without_any_way_to_draw_the_picture_stays(chromium: Browser, live: Live) -> None:
    with logged_in(chromium, live) as page:
        page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
        page.goto(live.url + MAP)
        expect(page.locator(".message.problem")).to_contain_text("the picture and the list of regions stand for it")
        assert page.locator("#density").is_visible()
        page.locator("#by").select_option("predicted")
        page.wait_for_url("**by=predicted")


def test_images_are_decided_on_in_bulk_from_the_map(chromium: Browser, live: Live) -> None:
    with logged_in(chromium, live, width=390) as page:
        open_map(page, live)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0
        page.locator("[data-region='3'] input").check()
        page.get_by_role("button", name="Look", exact=True).click()
        page.get_by_role("button", name="All on this page").click()
        page.get_by_role("button", name="Exclude …").click()
        page.get_by_role("button", name="Exclude 7 images").click()
        page.wait_for_url("**/images")
    database = Database(Home.at(live.home))
    with database.read() as session:
        assert len(list(session.scalars(select(Image).where(Image.status == "excluded")))) == 7
    database.close()
