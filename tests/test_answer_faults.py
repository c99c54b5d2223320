"""Answers of the review card when the disk is full, the database locked, the page stale or open twice."""

import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from tests.conftest import Browser, make_pets
from tests.review_queues import CARD, add_queue, field
from tests.test_faults import fill, remount, small_disk
from workbench import db as db_module
from workbench.app import create_app
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.models import Decision, Image, Queue, QueueItem
from workbench.services import checks

__all__ = ["small_disk"]
_LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


class Tab:
    """One tab with the card open: what its script would send."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.cards = self.ask(want=3)["cards"]

    def ask(self, *answers: dict[str, Any], want: int = 0) -> dict[str, Any]:
        status, document = self.send(*answers, want=want)
        assert status == 200, document
        return document

    def send(self, *answers: dict[str, Any], want: int = 0) -> tuple[int, dict[str, Any]]:
        body = {"answers": list(answers), "holding": [], "want": want}
        answer = self.browser.client.post(f"{CARD}/answers", json=body, headers={"X-CSRFToken": self.browser.token})
        return answer.status_code, answer.get_json()

    def say(self, number: int, verdict: str = "confirm", **more: Any) -> dict[str, Any]:
        """The answer to one of the cards as they were when the tab was opened."""
        card = self.cards[number]
        return {"action": uuid.uuid4().hex, "item": card["item"], "kind": "decide", "verdict": verdict,
                "revision": int(field(card["html"], "revision")), **more}  # fmt: skip


def list_logged(database: Database) -> list[tuple[str, str]]:
    with database.read() as session:
        assert checks.check(session).ok
        rows = session.execute(select(Decision.action, Decision.kind).order_by(Decision.id)).all()
    return [(row.action, row.kind) for row in rows]


@pytest.fixture
def tab(app: Flask, database: Database) -> Tab:
    with database.write() as session:
        add_queue(session, make_pets(session))
    return Tab(Browser(app, "ann", "reviewer"))


# --- the machine ------------------------------------------------------------------------------------------------


def test_answers_on_a_full_disk_are_refused_whole_and_count_once_when_there_is_room(small_disk: Path) -> None:
    database = open_database(Home.at(small_disk / "home"))
    with database.write() as session:
        add_queue(session, make_pets(session))
    tab = Tab(Browser(create_app(database), "ann", "reviewer"))
    answers = [tab.say(0), tab.say(1, "exclude"), {**tab.say(2), "kind": "comment", "text": "blurred"}]
    with sqlite3.connect(database.home.database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    fill(small_disk / "ballast")
    status, document = tab.send(*answers, want=3)
    assert (status, document) == (
        503, {"sentence": "The disk is full. Nothing was half done: make room, then try again."}
    )  # fmt: skip
    assert list_logged(database) == []
    (small_disk / "ballast").unlink()
    assert [each["status"] for each in tab.ask(*answers, want=3)["results"]] == ["saved"] * 3
    assert [each["status"] for each in tab.ask(*answers)["results"]] == ["saved"] * 3
    kinds = ["confirm", "exclude", "comment"]
    assert list_logged(database) == [(each["action"], kind) for each, kind in zip(answers, kinds, strict=True)]
    database.close()


def test_answers_on_a_disk_that_became_read_only_are_refused_with_a_sentence(small_disk: Path) -> None:
    database = open_database(Home.at(small_disk / "home"))
    with database.write() as session:
        add_queue(session, make_pets(session))
    tab = Tab(Browser(create_app(database), "ann", "reviewer"))
    answer = tab.say(0)
    for connection in (database.engine, database.reader):
        connection.dispose()
    remount(small_disk, "ro")
    status, document = tab.send(answer)
    remount(small_disk, "rw")
    assert status == 503
    assert document["sentence"].startswith("The data folder cannot be written.")
    assert tab.ask(answer)["results"][0]["status"] == "saved"
    assert list_logged(database) == [(answer["action"], "confirm")]
    database.close()


@contextmanager
def locked(home: Home) -> Iterator[None]:
    """Another process holds the writer."""
    command = [sys.executable, "-c", _LOCK, str(home.database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer gives up after 0.6 s instead of 15."""
    monkeypatch.setattr(db_module, "_PATIENCE_S", 0.6)
    monkeypatch.setattr(db_module, "_PRAGMAS", ("busy_timeout=600", *db_module._PRAGMAS[1:]))


@pytest.mark.usefixtures("impatient")
def test_a_locked_database_is_a_sentence_and_the_retry_counts_once(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "home")
    database = open_database(home)
    with database.write() as session:
        add_queue(session, make_pets(session))
    tab = Tab(Browser(create_app(database), "ann", "reviewer"))
    answer = tab.say(0)
    with locked(home):
        began = time.monotonic()
        status, document = tab.send(answer)
        assert 0.5 < time.monotonic() - began < 3
        assert (status, set(document)) == (503, {"sentence"})
        assert "too long" in document["sentence"]
        assert tab.browser.get(CARD).status_code == 200
    assert [tab.ask(answer)["results"][0]["status"] for _ in range(2)] == ["saved", "saved"]
    assert list_logged(database) == [(answer["action"], "confirm")]
    database.close()


@pytest.mark.usefixtures("impatient")
def test_nobody_waits_for_the_waiting_of_others(tmp_path: Path) -> None:
    """Eight at once before a locked database: all have their answer in the time of one."""
    home = Home.at(tmp_path / "home")
    database = open_database(home)
    with database.write() as session:
        add_queue(session, make_pets(session, per_class=10))
    app = create_app(database)
    tabs = [Tab(Browser(app, f"user{number}", "reviewer")) for number in range(8)]
    answers = [tab.say(0) for tab in tabs]
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda tab=tab, answer=answer: statuses.append(tab.send(answer)[0]))
        for tab, answer in zip(tabs, answers, strict=True)
    ]
    with locked(home):
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - began < 2
    assert statuses == [503] * 8
    for tab, answer in zip(tabs, answers, strict=True):
        assert tab.ask(answer)["results"][0]["status"] == "saved"
    assert len(list_logged(database)) == 8
    database.close()


# --- the page ---------------------------------------------------------------------------------------------------


def test_two_tabs_with_the_same_card_make_one_decision_and_one_conflict(tab: Tab, database: Database) -> None:
    other = Tab(tab.browser)
    assert not {card["item"] for card in other.cards} & {card["item"] for card in tab.cards}  # each is dealt its own
    other.cards = list(tab.cards)  # unless one opens the address of the other's card
    first, second = tab.say(0, "exclude"), other.say(0)
    assert tab.ask(first)["results"][0]["status"] == "saved"
    result = other.ask(second)["results"][0]
    assert (result["status"], result["item"]) == ("conflict", second["item"])
    assert "excluded" in result["card"]
    assert list_logged(database) == [(first["action"], "exclude")]


def test_the_back_button_shows_an_old_card_whose_answer_is_a_conflict_and_a_new_one_replaces(
    tab: Tab, database: Database
) -> None:
    first, again = tab.say(0), tab.say(0, "exclude")
    tab.ask(first)
    stale = tab.ask(again)["results"][0]
    assert stale["status"] == "conflict"
    now = {**again, "action": uuid.uuid4().hex, "revision": int(field(stale["card"], "revision"))}
    assert tab.ask(now)["results"][0]["status"] == "saved"
    assert list_logged(database) == [(first["action"], "confirm"), (now["action"], "exclude")]


def test_what_was_saved_and_undone_is_not_brought_back_by_a_retry(tab: Tab, database: Database) -> None:
    """The outbox sends an answer again whose answer was lost; the reviewer has undone it meanwhile in another tab."""
    answer = tab.say(0, "exclude")
    tab.ask(answer)
    assert tab.browser.post("/d/pets/undo", htmx=True).status_code in (200, 204)
    assert tab.ask(answer)["results"][0]["status"] == "saved"
    with database.read() as session:
        item = session.get_one(QueueItem, answer["item"])
        assert (item.done_action, session.get_one(Image, item.image_id).status) == (None, "active")
    assert [kind for _, kind in list_logged(database)] == ["exclude", "undo"]


def test_one_conflict_in_a_batch_holds_up_none_of_the_others(tab: Tab, database: Database) -> None:
    answers = [tab.say(0), {**tab.say(1), "revision": 999}, tab.say(2, "relabel", class_id=10**6), tab.say(2)]
    results = tab.ask(*answers, want=2)["results"]
    assert [each["status"] for each in results] == ["saved", "conflict", "refused", "saved"]
    assert [each["action"] for each in results] == [each["action"] for each in answers]
    assert [action for action, _ in list_logged(database)] == [answers[0]["action"], answers[3]["action"]]
    with database.read() as session:
        assert session.get_one(Queue, 1).done == 2


def test_an_action_in_the_same_batch_twice_counts_once(tab: Tab, database: Database) -> None:
    answer = tab.say(0)
    assert [each["status"] for each in tab.ask(answer, answer)["results"]] == ["saved", "saved"]
    assert list_logged(database) == [(answer["action"], "confirm")]


@pytest.mark.parametrize("other", [{"verdict": "exclude"}, {"verdict": "relabel", "class_id": 3}])
def test_an_action_sent_again_as_another_answer_is_a_conflict(
    tab: Tab, database: Database, other: dict[str, Any]
) -> None:
    answer = tab.say(0)
    tab.ask(answer)
    assert tab.ask({**answer, **other})["results"][0]["status"] == "conflict"
    assert list_logged(database) == [(answer["action"], "confirm")]


def test_an_item_that_others_settled_is_dropped_from_the_buffer(tab: Tab, app: Flask) -> None:
    lead = Browser(app, "lea", "lead")
    held = [card["item"] for card in tab.cards]
    body = {"answers": [], "holding": held, "want": 1}
    page = lead.get(f"{CARD}/items/{held[1]}").get_data(as_text=True)
    form = {"revision": field(page, "revision"), "action": uuid.uuid4().hex, "verdict": "exclude"}
    assert lead.post(f"{CARD}/items/{held[1]}/decide", form).status_code == 303
    answer = tab.browser.client.post(f"{CARD}/answers", json=body, headers={"X-CSRFToken": tab.browser.token})
    assert answer.get_json()["lost"] == [held[1]]
    assert {card["item"] for card in answer.get_json()["cards"]}.isdisjoint(held)


@pytest.mark.parametrize(
    "body",
    [
        [], "x", {"answers": 3}, {"answers": [3]}, {"answers": [{"item": "1"}]}, {"answers": [{"item": 1}]},
        {"answers": [{"item": 1, "action": "short"}]}, {"answers": [{"item": True, "action": "a" * 32}]},
        {"answers": [{"item": 1, "action": "a" * 32, "revision": "x"}]},
        {"answers": [{"item": 2**63, "action": "a" * 32}]},
        {"answers": [{"item": 1, "action": "a" * 32, "class_ids": ["1"]}]}, {"holding": ["x"]}, {"want": -1},
        {"want": 10**9}, {"answers": [{"item": 1, "action": "a" * 32}] * 201},
    ],
)  # fmt: skip
def test_what_is_no_answer_at_all_is_refused_with_a_sentence(tab: Tab, database: Database, body: Any) -> None:
    answer = tab.browser.client.post(f"{CARD}/answers", json=body, headers={"X-CSRFToken": tab.browser.token})
    assert answer.status_code == 422
    assert answer.get_json()["sentence"]
    assert list_logged(database) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"verdict": "maybe"}, {"verdict": ""}, {"verdict": "relabel"}, {"verdict": "ambiguous", "class_ids": [1]},
        {"verdict": "ambiguous", "class_ids": [1, 1]}, {"kind": "comment", "text": " "}, {"kind": "dance"},
        {"item": 10**6}, {"verdict": "consensus", "class_id": 1}, {"verdict": "gold", "class_id": 1},
        {"verdict": "split"}, {"verdict": "opinion"}, {"verdict": "undo"}, {"verdict": ["confirm"]},
        {"verdict": {"a": 1}},
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_is_refused_and_leaves_nothing(
    tab: Tab, database: Database, wrong: dict[str, Any]
) -> None:
    result = tab.ask({**tab.say(0), **wrong})["results"][0]
    assert (result["status"], bool(result["sentence"])) == ("refused", True)
    assert list_logged(database) == []
