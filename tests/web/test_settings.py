"""The settings page: theme and password, and the keys of the card, which the card then shows."""

import re

import pytest
from flask import Flask

from tests.conftest import Browser, make_pets
from tests.review_queues import CARD, BrowserAs, add_queue
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.models import Queue, User
from workbench.queries import datasets
from workbench.services import keys

KEYS = {f"key_{action.name}": action.key for action in keys.ACTIONS} | {"digits": "class"}


@pytest.fixture
def ann(browser_as: BrowserAs, database: Database) -> Browser:
    with database.write() as session:
        add_queue(session, make_pets(session))
    return browser_as("reviewer")


def read(browser: Browser, url: str) -> str:
    return browser.get(url).get_data(as_text=True)


def list_keys(page: str) -> list[str]:
    return re.findall(r'data-key="([^"]+)"', page)


def test_the_page_shows_every_action_with_its_key(ann: Browser) -> None:
    page = read(ann, "/settings")
    for action in keys.ACTIONS:
        assert action.words in page
        assert f'name="key_{action.name}" class="record" value="{action.key}"' in page


def test_a_key_that_was_changed_is_on_the_card_s_button_and_the_old_one_is_free(ann: Browser) -> None:
    sent = ann.post("/settings/keys", {**KEYS, "key_confirm": "y", "key_undo": "Shift+U", "key_stretch": ""})
    assert (sent.status_code, sent.location) == (303, "/settings#keys")
    card = read(ann, CARD)
    assert '<button id="confirm" class="main_answer" name="verdict" value="confirm" data-key="y"' in card
    assert "<kbd>⇧U</kbd> Undo" in card
    assert "<kbd>⇧U</kbd> undoes" in card
    assert {"Enter", "z", "t"} & set(list_keys(card)) == set()
    assert {"1", "2", "3", "y", "Shift+U"} <= set(list_keys(card))


def test_what_is_refused_keeps_what_was_typed(ann: Browser) -> None:
    sent = ann.post("/settings/keys", {**KEYS, "key_comment": "z", "key_blind": "q"})
    page = sent.get_data(as_text=True)
    assert sent.status_code == 422
    assert "z would do two things: “Write a comment” and “Undo what you did last”. Give one another key." in page
    assert 'name="key_blind" class="record" value="q"' in page
    assert page.count("The same key twice.") == 2
    assert "z" in list_keys(read(ann, CARD))


def test_back_to_the_defaults(ann: Browser) -> None:
    ann.post("/settings/keys", {**KEYS, "key_confirm": "y", "digits": "ranking"})
    assert ann.post("/settings/keys", {**KEYS, "key_confirm": "v", "reset": "yes"}).status_code == 303
    assert "Enter" in list_keys(read(ann, CARD))


def test_one_person_s_keys_are_nobody_else_s(ann: Browser, app: Flask) -> None:
    ann.post("/settings/keys", {**KEYS, "key_confirm": "y"})
    assert "Enter" in list_keys(read(Browser(app, "bob", "reviewer"), CARD))


def test_theme_keys_and_password_leave_the_card_s_keys_alone(ann: Browser, database: Database) -> None:
    ann.post("/settings/keys", {**KEYS, "key_confirm": "y"})
    assert ann.post("/settings", {"theme": "dark"}).status_code == 303
    with database.read() as session:
        assert session.query(User.settings).filter_by(name="some-reviewer").scalar() == {
            "theme": "dark", "keys": False, "card_keys": {"confirm": "y"}, "digits": "class",
        }  # fmt: skip
    assert 'data-keys="off"' in read(ann, CARD)
    assert "Single-key shortcuts are switched off above" in read(ann, "/settings")


@pytest.mark.parametrize("fields", [{"theme": "pink"}, {"password": "short"}])
def test_a_theme_or_password_that_cannot_be(ann: Browser, fields: dict[str, str]) -> None:
    assert ann.post("/settings", fields).status_code == 422


def test_digits_by_the_model_s_ranking(ann: Browser, database: Database, home: Home) -> None:
    """Owl is likeliest for the first cat: the buttons stand in that order; a blind card does not tell."""
    with database.write() as session:
        dataset = datasets.get_dataset(session, "pets")
        run = add_run(session, home, dataset=dataset, user=session.query(User).first(), mistakes={"cat/0.png": "owl"})
        session.get_one(Queue, 1).run_id = run.id
    ann.post("/settings/keys", {**KEYS, "digits": "ranking"})
    shown = re.findall(r'<button id="class_\d+".*?data-key="(\d)".*?<span class="name">(\w+)', read(ann, CARD))
    assert shown == [("1", "owl"), ("2", "cat"), ("3", "dog")]
    ann.post(f"{CARD}/items/1/blind")
    hidden = re.findall(r'<button id="class_\d+".*?data-key="(\d)".*?<span class="name">(\w+)', read(ann, CARD))
    assert hidden == [("1", "cat"), ("2", "dog"), ("3", "owl")]


def test_the_threshold_is_kept_and_the_card_tells_when_a_queue_falls_below_it(ann: Browser) -> None:
    """Six labels, each wrong with 0.75: at most a hundred in a hundred, never fewer than ten."""
    assert 'name="worth" class="worth" inputmode="numeric" pattern="[0-9]*" value="10"' in read(ann, "/settings")
    assert "in 100</span>" not in read(ann, CARD)

    assert ann.post("/settings", {"theme": "auto", "keys": "on", "worth": "100"}).status_code == 303

    assert 'value="100"' in read(ann, "/settings")
    assert re.search(r"next 6: about [345], below your 100 in 100", read(ann, CARD))
    assert re.search(r"next 6: about [345], below your 100 in 100", read(ann, CARD + "/sweep"))
    assert re.search(r"next 6: about [345], below your 100 in 100", read(ann, "/d/pets/"))


@pytest.mark.parametrize("typed", ["101", "-1", "many", "", "9" * 5000])
def test_a_threshold_that_is_no_share_of_a_hundred_is_refused(ann: Browser, typed: str) -> None:
    answer = ann.post("/settings", {"theme": "dark", "worth": typed})
    page = answer.get_data(as_text=True)
    assert (answer.status_code, f'value="{typed}"' in page) == (422, True)
    assert "Give a whole number, 0 to 100." in page
    assert '<html lang="en" data-theme="auto">' in read(ann, "/settings")
