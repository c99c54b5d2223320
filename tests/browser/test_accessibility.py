"""Every page, in light and dark, wide and narrow: nothing that axe-core objects to, nothing to scroll sideways for."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.browser.conftest import axe_violations, draw_shapes
from tests.browser.tour import THEMES, WIDTHS, list_pages, logged_in
from tests.live import Live, serve
from tests.trained_runs import write_curves
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.models import Class, Dataset, DuplicateGroup, Image, Job, Queue, QueueItem, Run, StudyRun, User
from workbench.services import (
    audits,
    datasets,
    decisions,
    jobs,
    queues,
    runs,
    settling,
    studies,
    study_files,
    training_requests,
    users,
)
from workbench.services.training_requests import TrainingRequest
from workbench.worker.context import Context
from workbench.worker.imports import import_source
from workbench.worker.jobs import run_job
from workbench.worker.scans import scan_duplicates
from workbench.worker.trainings import train

pytestmark = [pytest.mark.browser, pytest.mark.slow]
ROOT = "/d/shapes"
OF_COLOURS = ("color-contrast", "link-in-text-block")  # all that the theme changes


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server without worker over a data set that has been worked in; nothing in it changes while it is looked at."""
    folder = tmp_path_factory.mktemp("worked")
    work(Home.at(folder / "home"), folder)
    with serve(folder / "home", extra=("--web-only",)) as live:
        yield live


# --- what has been done in it


def work(home: Home, folder: Path) -> None:
    database = open_database(home)
    context = Context(database, home)
    import_source(context, dataset="shapes", **draw_source(folder))
    scan_duplicates(context, dataset="shapes")
    train(context, dataset="shapes", epochs=2, folds=2)
    with database.write() as session:
        review(session, session.scalars(select(Dataset)).one())
    train(context, dataset="shapes", epochs=1, seed=1)
    with database.write() as session:
        build_queues(session, home)
        ask_for_trainings(session, home)
        open_study(session)
        draw_audit(session)
        datasets.ensure_dataset(session, "bare")
    run_jobs(database, home, folder)
    database.close()


def draw_source(folder: Path) -> dict[str, str]:
    """Shapes with two files that are no images, votes and an attribute."""
    shapes = draw_shapes(folder / "shapes")
    for name in ("broken.png", "empty.png"):
        (shapes / "train" / "bar" / name).write_bytes(b"no image" if name == "broken.png" else b"")
    paths = [f"train/{cls}/000.png" for cls in ("bar", "circle", "square")]
    votes, attributes = folder / "votes.csv", folder / "attributes.csv"
    votes.write_text("path,bar,circle,square,unknown\n" + "".join(f"{path},7,2,0,1\n" for path in paths))
    attributes.write_text("path,camera\n" + "".join(f"{path},left\n" for path in paths))
    return {"source": str(shapes), "votes": str(votes), "attributes": str(attributes)}


def review(session: Session, dataset: Dataset) -> None:
    """Every kind of verdict, one taken back; a group settled; a class renamed, one added and merged, one retired."""
    alice = users.ensure_user(session, "alice", role="lead")
    admin = users.ensure_admin(session)
    bar, circle, square = session.scalars(select(Class).order_by(Class.id))
    images = list(session.scalars(select(Image).where(Image.split == "train", Image.label == bar).order_by(Image.id)))
    for user, image, verdict in zip((alice, admin, alice, admin, alice), images[2:], VERDICTS, strict=False):
        decide(session, image, user, verdict, circle=circle, square=square)
    decisions.undo(session, dataset=dataset, user=admin, action=decide(session, images[8], admin, "exclude"))
    group = session.scalars(select(DuplicateGroup).where(DuplicateGroup.conflicting)).first()
    assert group is not None
    settling.settle(session, dataset=dataset, user=admin, group=group, verdict="keep_all")
    datasets.edit_class(session, dataset=dataset, user=alice, cls=bar, name="stroke", key="7")
    for name in ("ring", "line"):
        added = datasets.add_class(session, dataset=dataset, user=alice, name=name)
        if name == "ring":
            datasets.merge_class(session, dataset=dataset, user=alice, cls=added, into=circle)
        else:
            datasets.retire_class(session, dataset=dataset, user=alice, cls=added)


def draw_audit(session: Session) -> None:
    """A sample with enough verdicts to say something, and some missing."""
    dataset = session.scalars(select(Dataset)).one()
    admin = users.ensure_admin(session)
    audit = audits.open_audit(session, audits.plan_audit(session, dataset, size=30), user=admin)
    items = select(QueueItem).where(QueueItem.queue_id == audit.queue_id).order_by(QueueItem.position).limit(24)
    for number, item in enumerate(session.scalars(items).all()):
        verdict = "exclude" if number % 4 == 0 else "confirm"
        decisions.decide(session, image=item.image, user=admin, verdict=verdict, queue_id=audit.queue_id)


VERDICTS = ("confirm", "relabel", "ambiguous", "exclude", "comment")


def decide(session: Session, image: Image, user: User, verdict: str, **classes: Class) -> str:
    """relabel goes to the first of `classes`, ambiguous means all of them."""
    ids = [cls.id for cls in classes.values()]
    return decisions.decide(
        session,
        image=image,
        user=user,
        verdict=verdict,
        class_id=ids[0] if verdict == "relabel" else None,
        class_ids=ids if verdict == "ambiguous" else (),
        text="half of it is cut off" if verdict == "comment" else "",
    )


def build_queues(session: Session, home: Home) -> None:
    """One to begin and one that is done."""
    dataset = session.scalars(select(Dataset)).one()
    admin = users.ensure_admin(session)
    queues.build_queue(session, home, dataset=dataset, recipe="random", title="To begin")
    done = queues.build_queue(session, home, dataset=dataset, recipe="random", title="Done", limit=3)
    for item in session.scalars(select(QueueItem).where(QueueItem.queue_id == done.id)):
        decisions.decide(session, image=item.image, user=admin, verdict="confirm", queue_id=done.id)


def ask_for_trainings(session: Session, home: Home) -> None:
    """Run 3 is under way, run 4 was cancelled, run 5 waits."""
    dataset = session.scalars(select(Dataset)).one()
    admin = users.ensure_admin(session)
    asked = [
        training_requests.ask_for_training(
            session, dataset=dataset, user=admin, request=TrainingRequest(arch="compact", preset="quick", seed=seed)
        )
        for seed in (3, 4, 5)
    ]
    under_way, cancelled, _ = session.scalars(select(Job).order_by(Job.id))
    runs.start_run(asked[0], training={"epochs": 10})
    under_way.status, under_way.done, under_way.total, under_way.message = "running", 3, 10, "epoch 4 of 10"
    write_curves(home, asked[0].id, epochs=3, of=10)
    training_requests.cancel_training(run=asked[1], job=cancelled)


def open_study(session: Session) -> None:
    """Run 1 stands for its first run; the others wait."""
    dataset, document = session.scalars(select(Dataset)).one(), study_files.find_document("facial-emotion-detect")
    study = studies.open_study(session, dataset=dataset, user=users.ensure_admin(session), document=document)
    session.scalars(select(StudyRun).where(StudyRun.study_id == study.id, StudyRun.number == 1)).one().run_id = 1


def run_jobs(database: Database, home: Home, folder: Path) -> None:
    """An export that is done and an import that failed."""
    with database.write() as session:
        admin = users.ensure_admin(session)
        dataset = session.scalars(select(Dataset).where(Dataset.name == "shapes")).one()
        export = jobs.enqueue(
            session, kind="export", user=admin, dataset=dataset, destination=str(home.root / "exports" / "shapes.zip"),
            format="csv",
        )  # fmt: skip
        missing = jobs.enqueue(
            session, kind="import", user=admin, dataset="shapes", title="Import nowhere", source=str(folder / "nowhere")
        )
        ids = (export.id, missing.id)
    assert [run_job(database, home, each) for each in ids] == ["done", "failed"]


# --- where to look


def addresses(home: Path) -> dict[str, str]:
    """Those of the tour, and what only this home has."""
    database = Database(Home.at(home))
    with database.read() as session:
        bar, _, square = session.scalars(select(Class.id).order_by(Class.id).limit(3))
        voted = session.scalars(select(Image.id).where(Image.path == "train/bar/000.png")).one()
        finished = session.scalars(select(Queue.id).where(Queue.title == "Done")).one()
        settled = session.scalars(select(DuplicateGroup.id).where(DuplicateGroup.settled_action.is_not(None))).first()
        failed = session.scalars(select(Job.id).where(Job.status == "failed")).one()
        waiting = session.scalars(select(Job.id).where(Job.status == "queued")).one()
        first, second, under_way, cancelled, queued = session.scalars(select(Run.id).order_by(Run.id))
    database.close()
    return list_pages(home, "shapes") | {
        "image with votes": f"{ROOT}/images/{voted}",
        "grid, filtered": f"{ROOT}/images?class={bar}&split=train&p_from=0",
        "grid, a wrong filter": f"{ROOT}/images?p_from=many",
        "grid, no match": f"{ROOT}/images?text=nothing",
        "queue, done": f"{ROOT}/queues/{finished}",
        "group, settled": f"{ROOT}/duplicates/{settled}",
        "duplicates, settled": f"{ROOT}/duplicates?show=settled",
        "duplicates, in bulk": f"{ROOT}/duplicates/bulk",
        "cell": f"{ROOT}/runs/{first}/cell?true=circle&predicted=circle",
        "run, not promoted": f"{ROOT}/runs/{second}",
        "run, under way": f"{ROOT}/runs/{under_way}",
        "run, cancelled": f"{ROOT}/runs/{cancelled}",
        "run, waiting": f"{ROOT}/runs/{queued}",
        "train": f"{ROOT}/runs/new",
        "merge": f"{ROOT}/classes/{bar}/merge?into={square}",
        "versions compared": f"{ROOT}/export?old=0&new=9",
        "history, sought": f"{ROOT}/history?kind=labels&counts=yes&path=bar&since=2026-01-01",
        "history, no match": f"{ROOT}/history?kind=gold&counts=no",
        "activity of a data set": "/activity?dataset=shapes&kind=backup",
        "job, failed": f"/jobs/{failed}",
        "job, waiting": f"/jobs/{waiting}",
        "import report": f"{ROOT}/imports/1",
        "not found": "/d/nothing/",
        **{f"bare, {name}": f"/d/bare/{name}" for name in ("", "images", "duplicates", "runs", "classes", "history")},
        "bare, export": "/d/bare/export",
    }


# what only a form or a key leads to


def preview_bulk(page: Page, live: Live) -> None:
    page.goto(f"{live.url}{ROOT}/images?split=train")
    for box in page.locator(".tile input[type=checkbox]").all()[:3]:
        box.check()
    page.get_by_role("button", name="Exclude …").click()
    page.get_by_role("heading", name="Exclude 3 images").wait_for()


def ask_for_import(page: Page, live: Live, *, source: str = "") -> None:
    page.goto(f"{live.url}/import")
    page.get_by_label("Data set", exact=True).fill("again")
    page.get_by_label("A folder, .zip or .csv on the server").fill(source or str(live.home.parent / "shapes"))
    page.get_by_role("button", name="Preview").click()


def preview_import(page: Page, live: Live) -> None:
    ask_for_import(page, live)
    page.get_by_role("button", name="Import 77 images").wait_for()


def refuse_import(page: Page, live: Live) -> None:
    ask_for_import(page, live, source="/nowhere/at/all")
    page.locator(".problem").first.wait_for()


def refuse_training(page: Page, live: Live) -> None:
    page.goto(f"{live.url}{ROOT}/runs/new")
    page.locator("input[name=arch]").fill("nonsense")
    page.get_by_role("button", name="Train", exact=True).click()
    page.locator(".problem").first.wait_for()


def open_card(page: Page, live: Live) -> None:
    page.goto(f"{live.url}{ROOT}/")
    page.get_by_role("link", name="To begin", exact=True).click()
    page.locator("html.scripted #card").wait_for()  # its script listens: before, a key would load the page anew


def hide_what_is_known(page: Page, live: Live) -> None:
    open_card(page, live)
    page.keyboard.press("b")
    page.locator(".blind_note").wait_for()


def show_again_and_be_unsure(page: Page, live: Live) -> None:
    open_card(page, live)
    page.keyboard.press("b")
    page.locator("#card .said").wait_for()
    page.keyboard.press("a")
    page.locator("details.ambiguous[open]").wait_for()


def ask_for_the_keys(page: Page, live: Live) -> None:
    open_card(page, live)
    page.keyboard.press("?")
    page.locator("dialog#help[open]").wait_for()


WAYS: dict[str, Callable[[Page, Live], None]] = {
    "bulk preview": preview_bulk,
    "import preview": preview_import,
    "import, refused": refuse_import,
    "train, refused": refuse_training,
    "card, blind": hide_what_is_known,
    "card, ambiguous": show_again_and_be_unsure,
    "keys": ask_for_the_keys,
}


# --- the tests


def look(page: Page, name: str) -> list[str]:
    """What is wrong with the page as it stands, in both themes and widths. Leaves it wide and light."""
    found = []
    for width, height in reversed(WIDTHS.items()):
        page.set_viewport_size({"width": width, "height": height})
        for theme in reversed(THEMES):
            page.emulate_media(color_scheme=theme)
            rules = () if theme == "light" else OF_COLOURS
            found += [f"{name}, {theme}, {width}: {violation}" for violation in axe_violations(page, rules=rules)]
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        found += [f"{name}, {width}: {over} px wider than the window"] if over > 0 else []
    return found


def test_no_page_of_a_worked_data_set_has_a_barrier(chromium: Browser, live: Live) -> None:
    pages = addresses(live.home)
    with logged_in(chromium, live) as page:
        found = []
        for name, address in pages.items():
            page.goto(live.url + address)
            found += look(page, name)
        for name, go in WAYS.items():
            go(page, live)
            found += look(page, name)
    assert not found, "\n".join(found)


def test_no_page_of_an_empty_home_has_a_barrier(chromium: Browser, tmp_path: Path) -> None:
    with serve(tmp_path / "home", extra=("--web-only",)) as live:
        with logged_in(chromium, live) as page:
            found = []
            for address in ("/", "/import", "/jobs", "/people", "/settings"):
                page.goto(live.url + address)
                found += look(page, address)
            page.goto(f"{live.url}/people")
            page.get_by_role("button", name="Make an invitation").click()
            invitation = page.locator("#link").inner_text()
            found += look(page, "people, a link just made")
        stranger = chromium.new_page(bypass_csp=True)
        for address in ("/login", "/login/used-up", "/nothing/for/you", invitation.removeprefix(live.url)):
            stranger.goto(live.url + address)
            found += look(stranger, address)
        stranger.goto(f"{live.url}/login")
        stranger.get_by_label("Name").fill("nobody")
        stranger.get_by_label("Password").fill("wrong")
        stranger.get_by_role("button", name="Log in").click()
        stranger.locator(".problem").wait_for()
        found += look(stranger, "login, refused")
        stranger.goto(invitation)
        for name in ("two words", "newcomer"):
            stranger.get_by_label("Your name here").fill(name)
            stranger.get_by_role("button", name="Join").click()
            found += look(stranger, f"join as {name}")
        assert stranger.get_by_role("heading", name="Welcome, newcomer").is_visible()
        stranger.close()
    assert not found, "\n".join(found)
