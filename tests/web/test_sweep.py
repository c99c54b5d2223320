"""The sweep grid: what it shows, settling as one action, marks, conflicts."""

import re
from typing import Any

import pytest
from flask import Flask

from tests.conftest import Browser, make_pets
from tests.review_queues import CARD, BrowserAs, add_queue, answer, counted, field, image_of
from workbench.db import Database
from workbench.models import Class, Decision, Queue, QueueItem
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
    form: dict[str, Any] = {name: field(page, name) for name in ("user", "class_id", "action", "after")} | {
        "item": items
    }
    for item in items:
        form |= {f"revision_{item}": field(page, f"revision_{item}"), f"mark_{item}": read_mark(page, item)}
    return form


def read_mark(page: str, item: str) -> str:
    chosen = re.search(rf'name="mark_{item}".*?</select>', page, re.DOTALL)
    assert chosen is not None
    found = re.search(r'value="([^"]*)"[^>]* selected', chosen[0])
    return found[1] if found else ""


def send(browser: Browser, form: dict[str, Any], *, to: str = SWEEP) -> Any:
    """As the page's script sends it."""
    return browser.client.post(
        to, data=form, headers={"X-CSRFToken": browser.token, "HX-Request": "true", "Accept": "application/json"}
    )


def test_it_asks_about_the_class_that_most_items_are_believed_to_be(reviewer: Browser, database: Database) -> None:
    page = reviewer.get(SWEEP).get_data(as_text=True)
    assert "Are all of these" in page
    assert "dog (6)" in page
    assert page.count('class="cell"') == 6
    assert "6 dog</span>" in page
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

    assert (sent.status_code, sent.location) == (303, f"{SWEEP}?class_id=2&after=5")
    assert [image_of(database, item)["label"] for item in range(1, 7)] == ["dog", "dog", "dog", "dog", "owl", "owl"]
    assert image_of(database, 6)["status"] == "excluded"
    with database.read() as session:
        kinds = [row[0] for row in session.query(Decision.kind).order_by(Decision.image_id)]
        assert kinds == ["relabel", "relabel", "confirm", "confirm", "confirm", "exclude"]
        assert session.query(Decision.action).distinct().count() == 1
    assert "Settled 6 images at once" in reviewer.get(sent.location).get_data(as_text=True)
    back = reviewer.post("/d/pets/undo").location
    assert back.startswith(f"{SWEEP}?back=")
    assert [image_of(database, item)["done"] for item in range(1, 7)] == [False] * 6


def test_an_undone_sweep_comes_back_as_it_was_marked(reviewer: Browser) -> None:
    form = read_form(reviewer)
    reviewer.post(SWEEP, form | {"mark_4": "later", "mark_5": "3", "mark_6": "exclude"})
    back = reviewer.post("/d/pets/undo", {"grid": "yes"}).location
    again = read_form(reviewer, back)
    assert again["item"] == ["1", "2", "3", "5", "6"]
    assert [again[f"mark_{item}"] for item in again["item"]] == ["", "", "", "3", "exclude"]
    page = reviewer.get(back).get_data(as_text=True)
    assert "3 dog, 1 excluded, 1 owl" in page
    assert "Settled 5 images" in send(reviewer, again).json["sentence"]


def test_what_is_left_for_later_stays_in_the_queue_and_is_not_asked_again(
    reviewer: Browser, database: Database
) -> None:
    sent = reviewer.post(SWEEP, read_form(reviewer) | {"mark_2": "later"})
    assert image_of(database, 2)["done"] is False
    page = reviewer.get(sent.location).get_data(as_text=True)
    assert "All of dog is swept" in page
    assert "1 image of it was left for later: it waits on the card" in page
    assert f'href="{CARD}"' in page
    assert read_form(reviewer, f"{SWEEP}?class_id=2")["item"] == ["2"]  # "Sweep it again"


def test_after_a_class_comes_the_next_that_was_not_swept(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        add_queue(session, make_pets(session), suggest=None)
    browser = browser_as("reviewer")
    seen = []
    url = SWEEP
    for _ in range(3):
        form = read_form(browser, url)
        seen.append((form["class_id"], form["item"]))
        browser.post(SWEEP, form | {f"mark_{form['item'][0]}": "later"})
        page = browser.get(f"{SWEEP}?class_id={form['class_id']}&after={form['after']}").get_data(as_text=True)
        swept = "".join(f"&swept={class_id}" for class_id, _ in seen[:-1])
        ended = browser.get(f"{SWEEP}?class_id={form['class_id']}&after={form['after']}{swept}")
        page = ended.get_data(as_text=True)
        following = re.search(r'primary" data-key="Enter" data-does="The next class" href="([^"]+)"', page)
        url = following[1].replace("&amp;", "&") if following else ""
    assert seen == [("1", ["1", "2"]), ("2", ["3", "4"]), ("3", ["5", "6"])]
    assert url == ""
    assert re.search(r'primary" data-key="Enter" data-does="One at a time" href="/d/pets/queues/1"', page)


def test_all_left_for_later_settles_nothing_and_goes_on(reviewer: Browser, database: Database) -> None:
    form = read_form(reviewer)
    answer = send(reviewer, form | {f"mark_{item}": "later" for item in form["item"]})
    assert (answer.status_code, answer.json["number"]) == (200, 0)
    assert answer.json["sentence"] == "Nothing was settled: all 6 are left for later."
    with database.read() as session:
        assert session.query(Decision).count() == 0


def test_what_others_decided_meanwhile_stays_and_is_shown_and_the_rest_is_settled(
    reviewer: Browser, app: Flask, database: Database
) -> None:
    form = read_form(reviewer) | {"mark_3": "exclude", "mark_2": "3"}
    carol = Browser(app, "carol", "reviewer")
    answer(carol, 1, class_id=3)
    answer(carol, 2, class_id=3)

    told = send(reviewer, form)

    assert told.status_code == 200
    assert told.json["number"] == 4
    assert told.json["sentence"] == (
        "Settled 4 images at once. z takes all of them back. "
        "Somebody decided on 2 of these meanwhile; those stay as they are."
    )
    words = " ".join(re.sub(r"<[^>]+>", " ", told.json["html"]).split())
    assert "carol: owl you: dog" in words
    assert "carol: owl as you say" in words
    assert f'href="{CARD}/items/1"' in told.json["html"]
    assert "6</b> of 6" in told.json["html"]
    assert [image_of(database, item)["label"] for item in range(1, 7)] == ["owl", "owl", "dog", "dog", "dog", "dog"]
    assert image_of(database, 3)["status"] == "excluded"


def test_the_same_is_said_without_a_script(reviewer: Browser, app: Flask) -> None:
    form = read_form(reviewer)
    answer(Browser(app, "carol", "reviewer"), 1, class_id=3)
    page = reviewer.get(reviewer.post(SWEEP, form).location).get_data(as_text=True)
    assert "Somebody decided on 1 of these meanwhile" in page
    assert "cat/0.png: carol says owl, you said dog." in page


def test_a_refusal_settles_nothing_and_keeps_the_marks(reviewer: Browser, database: Database) -> None:
    form = read_form(reviewer)
    with database.write() as session:
        session.get_one(Class, 3).retired = True
    refused = send(reviewer, form | {"mark_5": "3", "mark_6": "exclude"})
    assert refused.status_code == 422
    assert refused.json["html"].strip().startswith('<article id="sweep"')
    assert "1 excluded" in refused.json["html"]
    assert "Your marks are kept." in refused.json["html"]
    assert image_of(database, 1)["done"] is False


def test_the_page_after_is_fetched_ahead_and_held(browser_as: BrowserAs, app: Flask, database: Database) -> None:
    with database.write() as session:
        add_queue(session, make_pets(session, per_class=20))
    bob, carol = browser_as("reviewer"), Browser(app, "carol", "reviewer")
    form = read_form(bob)
    ahead = send(bob, {"class_id": 2, "after": form["after"], "item": form["item"]}, to=f"{SWEEP}/ahead").json
    assert ahead["lost"] == []
    assert re.findall(r'name="item" value="(\d+)"', ahead["html"]) == [str(item) for item in range(41, 61)]
    page = carol.get(SWEEP).get_data(as_text=True)
    assert "60 images more are on another reviewer" in page.replace("\n", " ")
    taken = send(carol, {"class_id": 2, "after": -1, "item": ["1", "41"]}, to=f"{SWEEP}/ahead").json
    assert taken["lost"] == [1, 41]


@pytest.mark.parametrize(("column", "value", "words"), [("opinions", 3, "asks 3 reviewers"), ("blind", True, "blind")])
def test_what_is_asked_one_at_a_time_is_not_swept(
    reviewer: Browser, database: Database, column: str, value: object, words: str
) -> None:
    form = read_form(reviewer)
    with database.write() as session:
        setattr(session.get_one(Queue, 1), column, value)
    page = reviewer.get(SWEEP).get_data(as_text=True)
    assert words in page
    assert 'class="cell"' not in page
    assert f'<a class="button primary" href="{CARD}">One at a time</a>' in page
    assert send(reviewer, form).status_code == 422
    assert send(reviewer, {"class_id": 2}, to=f"{SWEEP}/ahead").status_code == 422
    assert image_of(database, 1)["done"] is False


def test_sending_it_twice_counts_once(reviewer: Browser, database: Database) -> None:
    form = read_form(reviewer)
    first = send(reviewer, form).json
    assert send(reviewer, form).json == first
    assert reviewer.post(SWEEP, form).status_code == 303
    with database.read() as session:
        assert session.query(Decision).count() == 6


def test_what_somebody_else_settled_in_this_browser_is_not_sent_as_mine(
    reviewer: Browser, app: Flask, database: Database
) -> None:
    form = read_form(reviewer)
    refused = send(Browser(app, "carol", "reviewer"), form)
    assert (refused.status_code, "You are logged in as carol now" in refused.json["sentence"]) == (409, True)
    assert "html" not in refused.json
    assert image_of(database, 1)["done"] is False


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
    assert browser_as("reviewer").post(f"{SWEEP}/lease", {"item": form["item"]}, htmx=True).json == {"lost": []}
    assert read_form(Browser(app, "carol", "reviewer"))["item"] == ["41", "42", "43", "44", "45"]


def test_nothing_left_says_so(reviewer: Browser) -> None:
    reviewer.post(SWEEP, read_form(reviewer))
    page = reviewer.get(SWEEP).get_data(as_text=True)
    assert "Nothing left to sweep" in page
    assert "Every image of this queue is decided." in page


def test_a_viewer_looks_but_does_not_settle(queue: int, browser_as: BrowserAs) -> None:
    viewer = browser_as("viewer")
    page = viewer.get(SWEEP).get_data(as_text=True)
    assert "Settle all" not in page
    assert viewer.post(SWEEP, {"class_id": 2}).status_code == 403
    assert viewer.post(f"{SWEEP}/lease", {}).status_code == 403
    assert viewer.post(f"{SWEEP}/ahead", {}).status_code == 403


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


def test_classes_are_counted_among_the_first_only(
    reviewer: Browser, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    monkeypatch.setattr("workbench.queries.sweeps.COUNT_UP_TO", 4)
    assert "dog (4)" in reviewer.get(SWEEP).get_data(as_text=True)
    assert len(read_form(reviewer)["item"]) == 6
