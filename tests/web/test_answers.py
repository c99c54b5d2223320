"""The card's script: answers in batches, the next cards held for one reviewer, what cannot be taken."""

import uuid
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from tests.conftest import Browser, make_pets
from tests.review_queues import BrowserAs, add_queue, field, image_of
from workbench.db import Database
from workbench.models import Class, Decision, Image, Opinion, Queue, QueueItem, User
from workbench.queries import datasets
from workbench.services import checks, decisions, users

URL = "/d/pets/queues/1/answers"


@pytest.fixture
def queue(database: Database) -> int:
    """Six pets, all suggested to be dogs: items 1 and 2 are labelled cat, 3 and 4 dog, 5 and 6 owl."""
    with database.write() as session:
        return add_queue(session, make_pets(session)).id


@pytest.fixture
def ann(browser_as: BrowserAs, queue: int) -> Browser:
    return browser_as("reviewer")


def log_in(app: Flask, name: str) -> Browser:
    """A second reviewer beside the first."""
    return Browser(app, name, "reviewer")


def says(item: int, verdict: str = "confirm", **more: Any) -> dict[str, Any]:
    return {"action": uuid.uuid4().hex, "item": item, "kind": "decide", "verdict": verdict, "revision": 0, **more}


def send(
    browser: Browser, *answers: dict[str, Any], holding: tuple[int, ...] = (), want: int = 0, **more: Any
) -> dict[str, Any]:
    body = {"answers": list(answers), "holding": list(holding), "want": want, **more}
    sent = browser.client.post(URL, json=body, headers={"X-CSRFToken": browser.token})
    assert sent.status_code == 200, sent.get_data(as_text=True)
    found: dict[str, Any] = sent.get_json()
    return found


def held_by(database: Database) -> dict[int, str]:
    with database.read() as session:
        query = select(QueueItem.id, User.name).join(User, User.id == QueueItem.lease_user_id)
        return {row[0]: row[1] for row in session.execute(query)}


def is_whole(database: Database) -> bool:
    with database.read() as session:
        return checks.check(session).ok


def test_cards_are_held_ahead_and_shown(ann: Browser, database: Database) -> None:
    found = send(ann, want=3)
    assert [card["item"] for card in found["cards"]] == [1, 2, 3]
    assert set(held_by(database)) == {1, 2, 3}
    assert '<article id="card"' in found["cards"][0]["html"]
    assert "cat is right" in found["cards"][0]["html"]
    assert found["cards"][2]["url"] == "/d/pets/queues/1/items/3"
    assert (found["done"], found["size"], found["ending"], found["results"]) == (0, 6, "", [])


def test_an_answer_is_saved_and_the_next_card_comes_with_it(ann: Browser, database: Database) -> None:
    send(ann, want=2)
    found = send(ann, says(1, "relabel", class_id=3, seconds=2.5), holding=(2,), want=1)
    (result,) = found["results"]
    assert (result["status"], result["sentence"], result["card"]) == ("saved", "", "")
    assert "owl" in result["recent"]
    assert [card["item"] for card in found["cards"]] == [3]
    assert (found["done"], "<b>1</b> of 6" in found["progress"]) == (1, True)
    assert image_of(database, 1) == {"label": "owl", "status": "active", "done": True}
    with database.read() as session:
        line = session.scalars(select(Decision)).one()
    assert (line.seconds, line.role, line.kind) == (2.5, "reviewer", "relabel")


@pytest.mark.parametrize("wants", [1, 2, 0])
@pytest.mark.parametrize(
    "answer",
    [
        {"verdict": "confirm"}, {"verdict": "relabel", "class_id": 1}, {"verdict": "", "class_id": 3},
        {"verdict": "exclude"}, {"verdict": "ambiguous", "class_ids": [3, 1]},
    ],
)  # fmt: skip
def test_sent_twice_it_counts_once_and_is_answered_alike(
    ann: Browser, database: Database, wants: int, answer: dict[str, Any]
) -> None:
    ask_several(database, wants=wants)
    sent = says(1, **answer)
    if wants != 1 and answer["verdict"] == "confirm":
        (refused,) = send(ann, sent)["results"]
        assert (refused["status"], "nothing to confirm" in refused["sentence"]) == ("refused", True)
        return
    first, second = send(ann, sent), send(ann, sent)
    assert [each["results"][0]["status"] for each in (first, second)] == ["saved", "saved"]
    assert second["results"][0]["recent"] == first["results"][0]["recent"] != ""  # foretold, then read from the log
    with database.read() as session:
        assert len(session.scalars(select(Decision)).all()) == 1


def test_one_that_cannot_be_taken_does_not_hold_up_the_others(ann: Browser, app: Flask, database: Database) -> None:
    bob = log_in(app, "bob")
    send(bob, says(2, "relabel", class_id=3))
    found = send(ann, says(1), says(2, "relabel", class_id=2), says(3, "ambiguous", class_ids=[1]), says(4, "exclude"))
    assert [result["status"] for result in found["results"]] == ["saved", "conflict", "refused", "saved"]
    conflict, refused = found["results"][1:3]
    assert "bob decided on this" in conflict["card"]
    assert refused["sentence"] == "Ambiguous needs two or more classes."
    assert refused["sentence"] in refused["card"]
    assert image_of(database, 2)["label"] == "owl"
    assert image_of(database, 3)["done"] is False
    assert is_whole(database)


def test_what_others_hold_or_settled_is_not_given_again(ann: Browser, app: Flask, database: Database) -> None:
    bob = log_in(app, "bob")
    assert [card["item"] for card in send(ann, want=2)["cards"]] == [1, 2]
    assert [card["item"] for card in send(bob, want=2)["cards"]] == [3, 4]
    with database.write() as session:  # a lead settles one of ann's on its own page
        admin = users.ensure_admin(session)
        decisions.decide(session, image=session.get_one(Image, 2), user=admin, verdict="confirm")
    found = send(ann, holding=(1, 2, 3), want=2)
    assert found["lost"] == [2, 3]
    assert [card["item"] for card in found["cards"]] == [5, 6]


def test_later_goes_to_the_end_and_comes_back(ann: Browser, database: Database) -> None:
    send(ann, want=2)
    found = send(ann, {"action": "a" * 32, "item": 1, "kind": "skip"}, holding=(2,), want=1)
    assert [card["item"] for card in found["cards"]] == [3]
    assert 1 not in held_by(database)
    found = send(ann, *[says(item, "exclude") for item in (2, 3, 4, 5, 6)], want=4)
    assert [card["item"] for card in found["cards"]] == [1]


def test_a_comment_is_saved_and_the_image_stays(ann: Browser, database: Database) -> None:
    found = send(ann, {"action": "c" * 32, "item": 1, "kind": "comment", "text": "blurred"}, holding=(1,))
    assert found["results"][0]["status"] == "saved"
    assert send(ann, says(1))["results"][0]["status"] == "saved"  # a comment changes nothing that was seen


def test_leaving_gives_back_what_the_page_held(ann: Browser, database: Database) -> None:
    send(ann, want=4)
    send(ann, says(1), release=[2, 3])
    assert set(held_by(database)) == {1, 4}
    assert image_of(database, 1)["done"] is True


def test_two_pages_of_one_reviewer_hold_different_images(ann: Browser) -> None:
    first, second = send(ann, want=2), send(ann, want=2)
    assert [[card["item"] for card in found["cards"]] for found in (first, second)] == [[1, 2], [3, 4]]
    third = send(ann, want=4)
    assert [card["item"] for card in third["cards"]] == [5, 6]
    assert [card["item"] for card in send(ann, want=2)["cards"]] == [1, 2]  # nothing else is left: perhaps a page died


def test_an_id_used_for_something_else_is_a_conflict(ann: Browser, app: Flask) -> None:
    answer = says(1, "ambiguous", class_ids=[1, 2])
    send(ann, answer)
    for other in ({**answer, "class_ids": [1, 3]}, {**answer, "kind": "comment", "text": "hm"}):
        assert send(ann, other)["results"][0]["status"] == "conflict"
    assert send(log_in(app, "bob"), answer)["results"][0]["status"] == "conflict"


def test_half_a_character_is_not_kept(ann: Browser) -> None:
    comment = {"action": "c" * 32, "item": 1, "kind": "comment", "text": "boo \ud800"}
    assert send(ann, comment)["results"][0]["status"] == "saved"
    assert "boo ?" in ann.get("/d/pets/history").get_data(as_text=True)


def test_the_last_answer_brings_the_ending(ann: Browser) -> None:
    found = send(ann, *[says(item, "exclude") for item in range(1, 7)], want=4)
    assert (found["cards"], found["done"]) == ([], 6)
    assert "All 6 images decided." in found["ending"]


def test_an_undo_by_somebody_else_is_a_change_that_is_seen(ann: Browser, app: Flask, database: Database) -> None:
    bob = log_in(app, "bob")
    send(bob, says(1, "relabel", class_id=3))
    with database.write() as session:
        seen = session.get_one(Image, 1).revision
        user = session.scalars(select(User).where(User.name == "bob")).one()
        decisions.undo_last(session, dataset=datasets.get_dataset(session, "pets"), user=user)
    found = send(ann, says(1, "confirm", revision=seen))
    assert found["results"][0]["status"] == "conflict"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ([], "Send a JSON object"),
        ({"answers": 3}, "answers is a list"),
        ({"answers": [3]}, "names its item"),
        ({"answers": [{"item": 1}]}, "carries an action"),
        ({"answers": [{"item": 1, "action": "x" * 32, "class_ids": ["a"]}]}, "class_ids is a list"),
        ({"answers": [{"item": 1, "action": "x" * 32, "class_id": "a"}]}, "class_id is a whole number"),
        ({"holding": ["1"]}, "holding is a list"),
        ({"holding": [2**70]}, "holding is a list"),
        ({"want": 1000}, "want is a number"),
        ({"want": True}, "want is a number"),
    ],
)
def test_anything_else_is_refused_with_a_sentence(ann: Browser, body: Any, sentence: str) -> None:
    sent = ann.client.post(URL, json=body, headers={"X-CSRFToken": ann.token})
    assert sent.status_code == 422
    assert sentence in sent.get_json()["sentence"]


@pytest.mark.parametrize("kind", ["delete", ""])
def test_an_unknown_kind_or_item_is_refused_alone(ann: Browser, kind: str) -> None:
    found = send(ann, {**says(1), "kind": kind}, says(99))
    statuses = [result["status"] for result in found["results"]]
    assert statuses == ["saved" if kind == "" else "refused", "refused"]


def ask_several(database: Database, *, wants: int) -> None:
    """The queue asks several reviewers about each image, blind; or its first item is a hidden gold one."""
    if wants == 1:
        return
    with database.write() as session:
        queue = session.get_one(Queue, 1)
        items = session.scalars(select(QueueItem).order_by(QueueItem.id)).all()
        queue.opinions, queue.blind = wants or 2, True
        queue.size -= not wants
        for item in items if wants else items[:1]:
            item.wants = wants


def test_two_blind_opinions_that_agree_settle_an_image(ann: Browser, app: Flask, database: Database) -> None:
    ask_several(database, wants=2)
    bob = log_in(app, "bob")
    card = send(ann, want=1)["cards"][0]["html"]
    assert "2 blind opinions per image" in card
    assert "cat is right" not in card
    send(ann, says(1, "relabel", class_id=3))
    assert image_of(database, 1) == {"label": "cat", "status": "active", "done": False}
    assert [card["item"] for card in send(ann, want=1)["cards"]] == [2]  # not the same again
    send(ann, release=[1, 2])
    assert [card["item"] for card in send(bob, want=1)["cards"]] == [1]
    send(bob, says(1, "relabel", class_id=3))
    assert image_of(database, 1) == {"label": "owl", "status": "active", "done": True}
    with database.read() as session:
        image = session.get_one(Image, 1)
        assert (image.label_source, image.disputed) == ("consensus", False)
    assert is_whole(database)


def test_two_blind_opinions_that_differ_wait_for_a_lead(ann: Browser, app: Flask, database: Database) -> None:
    ask_several(database, wants=2)
    bob, cem = log_in(app, "bob"), log_in(app, "cem")
    send(ann, says(1, "relabel", class_id=3))
    send(bob, says(1, "relabel", class_id=2))
    with database.read() as session:
        image = session.get_one(Image, 1)
        assert (image.disputed, image.label_source, image.label.name) == (True, "imported", "cat")
    assert [card["item"] for card in send(cem, want=1)["cards"]] == [2]
    with database.write() as session:
        admin = users.ensure_admin(session)
        decisions.decide(session, image=session.get_one(Image, 1), user=admin, verdict="relabel", class_id=2)
    with database.read() as session:
        image = session.get_one(Image, 1)
        assert (image.disputed, image.label_source, image.label.name) == (False, "decision", "dog")
    assert image_of(database, 1)["done"] is True
    assert is_whole(database)


def test_an_opinion_leaves_the_image_to_the_next_reviewer(ann: Browser, app: Flask, database: Database) -> None:
    ask_several(database, wants=2)
    send(ann, want=6)
    send(ann, *[says(item, "exclude") for item in range(1, 7)])
    assert [card["item"] for card in send(log_in(app, "bob"), want=6)["cards"]] == [1, 2, 3, 4, 5, 6]


def test_a_settled_card_of_a_blind_queue_takes_a_verdict_that_saw_it(
    ann: Browser, app: Flask, database: Database
) -> None:
    ask_several(database, wants=2)
    bob, cem = log_in(app, "bob"), log_in(app, "cem")
    for browser in (ann, bob):
        send(browser, says(1, "relabel", class_id=3))
    stale = says(1, "relabel", class_id=2)
    assert send(cem, stale)["results"][0]["status"] == "conflict"
    seen = field(cem.get("/d/pets/queues/1/items/1").get_data(as_text=True), "revision")
    assert send(cem, says(1, "confirm", revision=int(seen)))["results"][0]["status"] == "saved"
    assert image_of(database, 1) == {"label": "owl", "status": "active", "done": True}
    assert is_whole(database)


def test_an_undone_opinion_opens_the_image_again(ann: Browser, app: Flask, database: Database) -> None:
    ask_several(database, wants=2)
    bob = log_in(app, "bob")
    send(ann, says(1, "exclude"))
    send(bob, says(1, "exclude"))
    assert image_of(database, 1) == {"label": "cat", "status": "excluded", "done": True}
    ann.post("/d/pets/undo")
    assert image_of(database, 1) == {"label": "cat", "status": "active", "done": False}
    assert send(ann, holding=(1,))["lost"] == []  # it is on her screen again
    assert is_whole(database)
    ann.post("/d/pets/redo")
    assert image_of(database, 1)["done"] is True
    assert is_whole(database)


def test_a_gold_item_is_answered_by_everybody_and_changes_nothing(ann: Browser, app: Flask, database: Database) -> None:
    ask_several(database, wants=0)
    bob = log_in(app, "bob")
    for browser in (ann, bob):
        card = send(browser, want=1)["cards"][0]
        assert (card["item"], "2 blind opinions" in card["html"], "is right" in card["html"]) == (1, True, False)
        found = send(browser, says(1, "relabel", class_id=3), release=[1])
        assert ("owl" in found["results"][0]["recent"], "cat" in found["results"][0]["recent"]) == (True, False)
    assert image_of(database, 1) == {"label": "cat", "status": "active", "done": False}
    with database.read() as session:
        owl = session.scalars(select(Class.id).where(Class.name == "owl")).one()
        said = [(each.class_id, each.is_gold) for each in session.scalars(select(Opinion))]
    assert said == [(owl, True), (owl, True)]
    assert [card["item"] for card in send(ann, want=1)["cards"]] == [2]
    assert is_whole(database)


def test_a_viewer_may_not_answer(browser_as: BrowserAs, queue: int) -> None:
    viewer = browser_as("viewer")
    sent = viewer.client.post(URL, json={}, headers={"X-CSRFToken": viewer.token})
    assert (sent.status_code, "reviewer" in sent.get_json()["sentence"]) == (403, True)


def test_answers_kept_by_one_person_are_not_taken_from_another(ann: Browser, database: Database) -> None:
    """Somebody else logged in on the same browser: its cookie is theirs, the answers are not."""
    with database.read() as session:
        mine = session.scalars(select(User.id).where(User.name == "some-reviewer")).one()
    body = {"answers": [says(1)], "holding": [], "want": 0}
    headers = {"X-CSRFToken": ann.token}
    sent = ann.client.post(URL, json={**body, "user": mine + 1}, headers=headers)
    assert (sent.status_code, sent.get_json()["sentence"]) == (
        409, "These answers are another person's. They are kept until that person logs in again.",
    )  # fmt: skip
    assert image_of(database, 1)["done"] is False
    assert ann.client.post(URL, json={**body, "user": mine}, headers=headers).status_code == 200
    assert image_of(database, 1)["done"] is True
