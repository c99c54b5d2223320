"""The list of data sets, the home page, and which one thing it says to do next."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from flask import Flask
from sqlalchemy import event, select

from tests.conftest import Browser, make_pets
from workbench.db import Database
from workbench.models import Class, Dataset, Image, Job, Queue, QueueItem, Run, User, utc_now
from workbench.queries.duplicates import GroupCounts
from workbench.services import decisions, homes, opinions, users
from workbench.services.homes import Coverage, QueueLine, choose_step, measure_seconds, timedelta_words
from workbench.web.home import draw_trend

BrowserAs = Callable[[str], Browser]


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            statements.append(statement)

    event.listen(database.reader, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(database.reader, "before_cursor_execute", note)


def add_queue(database: Database, *, title: str = "Label issues", recipe: str = "label_issues") -> None:
    """A queue of all pets, one wrong label in three expected."""
    with database.write() as session:
        images = list(session.scalars(select(Image).order_by(Image.id)))
        queue = Queue(
            dataset_id=images[0].dataset_id, recipe=recipe, title=title, size=len(images), expected_hits=len(images) / 3
        )
        session.add(queue)
        session.flush()
        for position, image in enumerate(images):
            session.add(
                QueueItem(
                    queue_id=queue.id, image_id=image.id, position=position, score=0.5, reason="drawn",
                    given_id=image.label_id,
                )
            )  # fmt: skip


def add_run(database: Database, *, accuracy: float = 0.61, promote: bool = True) -> None:
    metrics = {
        "split": "test", "accuracy": accuracy, "low": accuracy - 0.02, "high": accuracy + 0.02, "n": 3579,
        "baseline": {"class": "cat", "accuracy": 0.25},
    }  # fmt: skip
    with database.write() as session:
        dataset = session.scalars(select(Dataset)).one()
        run = Run(
            dataset_id=dataset.id, arch="compact", preset="quick", config={}, status="done", decision_id=0,
            content_hash="0", metrics=metrics,
        )  # fmt: skip
        session.add(run)
        session.flush()
        dataset.promoted_run_id = run.id if promote else dataset.promoted_run_id


def text_of(browser: Browser, url: str = "/d/pets/") -> str:
    answer = browser.get(url)
    assert answer.status_code == 200
    return " ".join(answer.get_data(as_text=True).split())


def test_the_only_data_set_opens_at_once_unless_the_list_was_asked_for(
    browser_as: BrowserAs, database: Database
) -> None:
    browser = browser_as("viewer")
    assert "A lead imports images" in text_of(browser, "/")
    with database.write() as session:
        make_pets(session)
    answer = browser.get("/")
    assert (answer.status_code, answer.location) == (303, "/d/pets/")
    html = text_of(browser, "/?all=1")
    assert ("cat, dog, owl" in html, "not trained" in html, "0.0 %" in html) == (True, True, True)


def test_the_list_costs_the_same_for_1_and_3_data_sets(browser_as: BrowserAs, database: Database) -> None:
    browser = browser_as("viewer")
    costs = []
    for names in (["one"], ["two", "three"]):
        with database.write() as session:
            for name in names:
                make_pets(session, per_class=1, name=name)
        with counted(database) as statements:
            browser.get("/?all=1")
        costs.append(len(statements))
    assert costs == [4, 4]


def test_a_stranger_and_an_unknown_data_set_get_404(app: Flask, browser_as: BrowserAs) -> None:
    assert app.test_client().get("/d/pets/").status_code == 404
    assert browser_as("viewer").get("/d/pets/").status_code == 404


def test_home_tells_queues_model_decisions_and_coverage(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        make_pets(session)
    add_run(database, accuracy=0.55)
    add_run(database, accuracy=0.61)
    add_queue(database)
    with database.write() as session:
        ann = users.ensure_user(session, "ann")
        cat, dog = session.scalars(select(Image).order_by(Image.id)).all()[1:3]
        owl = session.scalars(select(Class).where(Class.name == "owl")).one()
        decisions.decide(session, image=cat, user=ann, verdict="relabel", class_id=owl.id)
        decisions.decide(session, image=dog, user=ann, verdict="exclude")
        decisions.undo_last(session, dataset=session.get_one(Dataset, dog.dataset_id), user=ann)
        item = session.scalars(select(QueueItem).where(QueueItem.position == 4)).one()
        item.lease_user_id, item.lease_until = ann.id, utc_now() + timedelta(minutes=5)
    html = text_of(browser_as("lead"))
    assert "61.0 % [59.0, 63.0] · n 3,579" in html
    assert "always saying cat is right 25.0 % of the time" in html
    assert '5<span class="meta"> of 6</span>' in html
    assert '33 %<span class="meta"> expected</span>' in html
    assert '<td class="meta">ann</td>' in html
    assert "Last 1 decision<" in html  # what was undone does not count
    assert "Most common corrections" in html
    assert '<polyline class="line"' in html
    assert "Build a queue" in html


def test_the_error_rate_is_told_from_verdicts_given_in_the_random_queue_alone(
    browser_as: BrowserAs, database: Database
) -> None:
    with database.write() as session:
        make_pets(session, per_class=14)
    add_queue(database, title="Random sample", recipe="random")
    with database.write() as session:
        ann = users.ensure_user(session, "ann")
        images = list(session.scalars(select(Image).order_by(Image.id)))
        owl = session.scalars(select(Class).where(Class.name == "owl")).one()
        for number, image in enumerate(images[:20]):  # five wrong in twenty
            verdict = {"verdict": "relabel", "class_id": owl.id} if number < 5 else {"verdict": "confirm"}
            decisions.decide(session, image=image, user=ann, queue_id=1, **verdict)  # type: ignore[arg-type]
        for image in images[20:]:
            decisions.decide(session, image=image, user=ann, verdict="exclude")
    html = text_of(browser_as("viewer"))
    assert "wrong labels 25.0 % [11.2, 46.9] in a random 20" in html
    assert '25 %<span class="meta"> so far</span>' in html


def test_home_costs_the_same_for_1_and_3_queues(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        make_pets(session)
    browser = browser_as("reviewer")
    costs = []
    for more in (1, 2):
        for _ in range(more):
            add_queue(database)
        with counted(database) as statements:
            browser.get("/d/pets/")
        costs.append(len(statements))
    assert costs[1] <= costs[0]  # what is left in the data set is known the second time


def test_a_viewer_is_offered_nothing_that_changes_the_data_set(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        make_pets(session)
    add_queue(database)
    html = text_of(browser_as("viewer"))
    assert ("Look at the images" in html, "Build a queue" in html, 'aria-label="Review' in html) == (True, False, False)


def test_an_empty_data_set_asks_a_lead_to_import(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        make_pets(session, per_class=0)
    assert "/import?dataset=pets" in text_of(browser_as("lead"))
    assert "There is nothing in this data set yet." in text_of(browser_as("reviewer"))


def groups(*, conflicting: int = 0, opened: int = 0) -> GroupCounts:
    return GroupCounts(
        groups=opened, images=2 * opened, conflicting=conflicting, spanning=0, open=opened, exact=0, removable=opened
    )


def coverage(*, images: int = 100, splits: dict[str | None, int] | None = None) -> Coverage:
    return Coverage(
        found=images, imported=images, refused=0, known=0, dropped=0, images=images, excluded=0, reviewed=0,
        splits={"train": images} if splits is None else splits, newest_import_id=1,
    )  # fmt: skip


LINE = QueueLine(Queue(id=7, title="Label issues", size=420), 420, 1 / 3, is_measured=False, minutes=20.4, present=[])


@pytest.mark.parametrize(
    ("changes", "role", "what"),
    [
        ({"coverage": coverage(images=0)}, "lead", "import"),
        ({"coverage": coverage(images=0)}, "reviewer", "wait"),
        ({"jobs": [Job(kind="import", title="Import")]}, "lead", "job"),
        ({"scanned": False}, "lead", "scan"),
        ({"groups": groups(conflicting=2, opened=3)}, "lead", "duplicates"),
        ({"coverage": coverage(splits={None: 100})}, "lead", "split"),
        ({"runs": []}, "lead", "train"),
        ({"runs": [], "jobs": [Job(kind="train", title="Train")]}, "lead", "job"),
        ({"runs": []}, "reviewer", "review"),
        ({}, "lead", "review"),
        ({"fresh": 50}, "lead", "train"),
        ({"fresh": 50}, "reviewer", "review"),
        ({"fresh": 50, "disputed": 3}, "lead", "adjudicate"),
        ({"disputed": 3}, "reviewer", "review"),
        ({"lines": []}, "lead", "build"),
        ({"lines": []}, "reviewer", "wait"),
        ({"lines": [], "groups": groups(opened=3)}, "reviewer", "duplicates"),
        ({}, "viewer", "look"),
    ],
)
def test_the_next_thing(changes: dict[str, object], role: str, what: str) -> None:
    settled: dict[str, object] = {
        "coverage": coverage(), "groups": groups(), "scanned": True, "runs": [Run(id=1)], "lines": [LINE], "jobs": [],
        "fresh": 0, "disputed": 0,
    }  # fmt: skip
    user = User(name="ann", role=role, active=True)
    assert choose_step(user=user, **{**settled, **changes}).what == what  # type: ignore[arg-type]


def test_the_promise_of_a_queue_says_what_it_brings_and_how_long() -> None:
    assert homes._promise(LINE) == "About 140 of 420 images to change, about 20 minutes."
    assert [timedelta_words(minutes) for minutes in (1, 119, 180)] == ["1 minute", "119 minutes", "3 hours"]


def test_seconds_per_decision_leave_out_breaks_bulk_actions_and_scripts() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    verdicts = []
    for number in range(30):
        at += timedelta(seconds=600 if number == 10 else 3)
        verdicts.append(SimpleNamespace(user_id=1, at=at, action=f"a{number}"))
    verdicts += [SimpleNamespace(user_id=2, at=at, action="bulk")] * 40
    verdicts += [SimpleNamespace(user_id=3, at=at + timedelta(milliseconds=n), action=f"s{n}") for n in range(40)]
    assert measure_seconds(verdicts[::-1]) == 3.0  # type: ignore[arg-type]
    assert measure_seconds(verdicts[:5][::-1]) is None  # type: ignore[arg-type]
    assert measure_seconds([]) is None


def test_the_trend_needs_two_measured_runs_and_stays_in_its_picture() -> None:
    runs = [Run(id=n, metrics={"accuracy": a, "low": a - 0.1, "high": a + 0.1}) for n, a in ((1, 0.4), (2, 0.6))]
    assert draw_trend(runs[:1]) is None
    assert draw_trend([*runs[:1], Run(id=3, metrics=None)]) is None
    trend = draw_trend(runs)
    assert trend is not None
    assert trend.line == "6.0,61.0 294.0,23.0"
    assert (round(trend.low, 3), round(trend.high, 3)) == (0.3, 0.7)


def test_a_queue_says_how_it_asks_and_what_waits_for_a_lead(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        make_pets(session)
    add_queue(database, title="Three opinions", recipe="random")
    add_queue(database, title="Hidden", recipe="random")
    with database.write() as session:
        asked, hidden = session.get_one(Queue, 1), session.get_one(Queue, 2)
        asked.opinions, asked.blind, hidden.blind = 3, True, True
        for item in session.scalars(select(QueueItem).where(QueueItem.queue_id == asked.id)):
            item.wants = 3
        session.get_one(Image, 1).disputed = True
    lead, reviewer = text_of(browser_as("lead")), text_of(browser_as("reviewer"))
    assert "Three opinions</a> <span" in lead
    assert ">3 opinions</span>" in lead
    assert 'Hidden</a> <span class="tag">blind</span>' in lead
    assert 'href="/d/pets/adjudication">waits for you: 1</a>' in lead
    assert 'href="/d/pets/adjudication">waits for a lead: 1</a>' in reviewer


def test_a_queue_is_built_to_ask_several_blind_with_gold_among_them(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        dataset = make_pets(session, per_class=20)
        lead = users.add_user(session, name="lena", role="lead")
        gold = list(session.scalars(select(Image.id).where(Image.dataset_id == dataset.id).limit(5)))
        opinions.set_gold(session, dataset=dataset, user=lead, image_ids=gold)
    browser = browser_as("lead")
    page = text_of(browser)
    assert "Several reviewers, blind, gold images" in page
    assert 'value="filter"' not in page  # it is built where the filter is seen
    form = {"recipe": "random", "limit": "20", "opinions": "2", "gold": "10"}
    assert browser.post("/d/pets/queues/build", form).status_code == 303
    with database.read() as session:
        queue = session.scalars(select(Queue)).one()
        wants = sorted(session.scalars(select(QueueItem.wants)))
    assert (queue.size, queue.opinions, queue.blind) == (20, 2, True)
    assert set(wants) == {0, 2}
    assert wants.count(2) == 20
    assert browser.post("/d/pets/queues/build", form | {"opinions": "99"}).status_code == 422
    assert browser.post("/d/pets/queues/build", form | {"gold": "many"}).status_code == 422
    browser.post("/d/pets/queues/build", {"recipe": "random", "blind": "yes"})
    with database.read() as session:
        blind = session.scalars(select(Queue).order_by(Queue.id.desc())).first()
        assert blind is not None
        assert (blind.opinions, blind.blind) == (1, True)


def test_the_form_says_what_each_recipe_needs(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        make_pets(session)
    text = browser_as("lead").get("/d/pets/").get_data(as_text=True)
    for words in ("Find wrong labels", "Look where opinions differ", "Teach the model", "Measure and tidy up"):
        assert f"<legend>{words}</legend>" in text
    tag = r'value="(\w+)" disabled[^>]*><span><strong>[^<]*</strong> <span class="tag">needs ([^<]*)<'
    needs = dict(re.findall(tag, text))
    assert {needs[name] for name in ("label_issues", "confusion", "uncertain", "active")} == {"a run"}
    assert (needs["disputed"], "random" in needs) == ("disputed images", False)
    assert 'value="filter"' not in text  # the images page makes these
    viewer = browser_as("viewer").get("/d/pets/").get_data(as_text=True)
    assert "Build a queue" not in viewer


def test_a_long_queue_is_not_the_best_for_being_long() -> None:
    def hits(*, rate: float | None, opened: int) -> float:
        queue = Queue(title="a queue", size=opened)
        return QueueLine(queue, open=opened, rate=rate, is_measured=False, minutes=1, present=[]).next_hits

    assert (
        hits(rate=0.95, opened=200) > hits(rate=0.5, opened=7000) > hits(rate=1.0, opened=3) > hits(rate=None, opened=9)
    )
