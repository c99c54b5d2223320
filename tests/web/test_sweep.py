"""The sweep grid: what it shows, settling as one action, marks, conflicts."""

import re
from typing import Any

import pytest
from flask import Flask

from tests.conftest import Browser, make_pets
from tests.review_queues import CARD, BrowserAs, add_queue, answer, counted, field, image_of
from workbench.db import Database
from workbench.models import Decision, QueueItem
from workbench.services import sweeps

SWEEP = f"{CARD}/sweep"


@pytest.fixture
def queue(database: Database) -> int:
    """Six pets, all suggested to be dogs: items 1 and 2 are labelled cat, 3 and 4 dog, 5 and 6 owl."""
    with database.write() as session:
        return add_queue(session, make_pets(session)).id


@pytest.fixture
def reviewer(browser_as: BrowserAs, queue: int) -> Browser:
    return browser_as("reviewer")


def read_form(browser: Browser, url: str = SWEEP) -> dict[str, Any]:
    """What the grid's form would send as it stands."""
    page = browser.get(url).get_data(as_text=True)
    items = re.findall(r'name="item" value="(\d+)"', page)
    form: dict[str, Any] = {"class_id": field(page, "class_id"), "action": field(page, "action"), "item": items}
    for item in items:
        form |= {f"revision_{item}": field(page, f"revision_{item}"), f"mark_{item}": ""}
    return form


def test_it_asks_about_the_class_that_most_items_are_believed_to_be(reviewer: Browser, database: Database) -> None:
    page = reviewer.get(SWEEP).get_data(as_text=True)
    assert "Are all of these" in page
    assert "dog (6)" in page
    assert page.count('class="cell"') == 6
    assert "6 as dog" in page
    assert "Settle all 6" in page


def test_without_a_suggestion_the_label_is_what_is_believed(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        add_queue(session, make_pets(session, per_class=3), suggest=None)
        session.get_one(QueueItem, 4).done_action = "x"
    form = read_form(browser_as("reviewer"))
    assert (form["class_id"], form["item"]) == ("1", ["1", "2", "3"])
    owls = read_form(browser_as("reviewer"), f"{SWEEP}?class_id=3")
    assert owls["item"] == ["7", "8", "9"]


def test_forty_at_most(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        add_queue(session, make_pets(session, per_class=15))
    assert len(read_form(browser_as("reviewer"))["item"]) == sweeps.SIZE


def test_one_action_settles_all_and_one_undo_takes_it_back(reviewer: Browser, database: Database) -> None:
    form = read_form(reviewer) | {"mark_5": "3", "mark_6": "exclude"}

    sent = reviewer.post(SWEEP, form)

    assert (sent.status_code, sent.location) == (303, f"{SWEEP}?class_id=2")
    assert [image_of(database, item)["label"] for item in range(1, 7)] == ["dog", "dog", "dog", "dog", "owl", "owl"]
    assert image_of(database, 6)["status"] == "excluded"
    with database.read() as session:
        kinds = [row[0] for row in session.query(Decision.kind).order_by(Decision.image_id)]
        assert kinds == ["relabel", "relabel", "confirm", "confirm", "confirm", "exclude"]
        assert session.query(Decision.action).distinct().count() == 1
    assert "Settled 6 images at once" in reviewer.get(SWEEP).get_data(as_text=True)
    assert reviewer.post("/d/pets/undo").location == SWEEP
    assert [image_of(database, item)["done"] for item in range(1, 7)] == [False] * 6


def test_what_is_left_for_later_stays_in_the_queue(reviewer: Browser, database: Database) -> None:
    sent = reviewer.post(SWEEP, read_form(reviewer) | {"mark_2": "later"}, htmx=True)
    page = sent.get_data(as_text=True)
    assert page.strip().startswith('<article id="sweep"')
    assert "<html" not in page
    assert re.findall(r'name="item" value="(\d+)"', page) == ["2"]
    assert image_of(database, 2)["done"] is False


def test_all_left_for_later_is_nothing_to_settle(reviewer: Browser) -> None:
    form = read_form(reviewer)
    refused = reviewer.post(SWEEP, form | {f"mark_{item}": "later" for item in form["item"]})
    assert refused.status_code == 422
    assert "there is nothing to settle" in refused.get_data(as_text=True)


def test_a_conflict_settles_nothing_keeps_the_marks_and_leaves_out_what_was_decided(
    reviewer: Browser, app: Flask, database: Database
) -> None:
    form = read_form(reviewer) | {"mark_3": "exclude"}
    answer(Browser(app, "carol", "reviewer"), 1, class_id=3)

    conflict = reviewer.post(SWEEP, form)

    page = conflict.get_data(as_text=True)
    assert conflict.status_code == 409
    assert "Somebody decided on 1 of these meanwhile; nothing is settled yet." in page
    assert re.findall(r'name="item" value="(\d+)"', page) == ["2", "3", "4", "5", "6"]
    assert "4 as dog, 1 excluded" in page
    assert image_of(database, 2)["done"] is False


def test_sending_it_twice_counts_once(reviewer: Browser, database: Database) -> None:
    form = read_form(reviewer)
    assert reviewer.post(SWEEP, form).status_code == 303
    assert reviewer.post(SWEEP, form).status_code == 303
    with database.read() as session:
        assert session.query(Decision).count() == 6


@pytest.mark.parametrize("mark", ["bless", "77"])
def test_nonsense_is_refused_and_changes_nothing(reviewer: Browser, database: Database, mark: str) -> None:
    assert reviewer.post(SWEEP, read_form(reviewer) | {"mark_1": mark}).status_code == 422
    assert image_of(database, 2)["done"] is False


def test_items_of_another_queue_are_not_settled_here(reviewer: Browser, database: Database) -> None:
    with database.write() as session:
        add_queue(session, make_pets(session, name="others"))
    form = read_form(reviewer) | {"item": ["1", "7"], "revision_7": "0", "mark_7": ""}
    assert reviewer.post(SWEEP, form).status_code == 409
    assert image_of(database, 7)["done"] is False


def test_the_grid_holds_its_images_so_that_another_reviewer_gets_others(
    browser_as: BrowserAs, app: Flask, database: Database
) -> None:
    with database.write() as session:
        add_queue(session, make_pets(session, per_class=15))
    form = read_form(browser_as("reviewer"))
    assert browser_as("reviewer").post(f"{SWEEP}/lease", {"item": form["item"]}, htmx=True).status_code == 204
    assert read_form(Browser(app, "carol", "reviewer"))["item"] == ["41", "42", "43", "44", "45"]


def test_nothing_left_says_so(reviewer: Browser) -> None:
    reviewer.post(SWEEP, read_form(reviewer))
    page = reviewer.get(SWEEP).get_data(as_text=True)
    assert "Nothing left to sweep" in page


def test_a_viewer_looks_but_does_not_settle(queue: int, browser_as: BrowserAs) -> None:
    viewer = browser_as("viewer")
    page = viewer.get(SWEEP).get_data(as_text=True)
    assert "Settle all" not in page
    assert viewer.post(SWEEP, {"class_id": 2}).status_code == 403
    assert viewer.post(f"{SWEEP}/lease", {}).status_code == 403


def test_the_grid_costs_the_same_for_three_images_and_forty(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        add_queue(session, make_pets(session, per_class=1))
        add_queue(session, make_pets(session, per_class=15, name="more"))
    browser, costs = browser_as("viewer"), []
    for url in (SWEEP, "/d/more/queues/2/sweep"):
        browser.get(url)
        with counted(database) as statements:
            assert browser.get(url).status_code == 200
        costs.append(len(statements))
    assert costs[0] == costs[1] <= 12
