"""What is left in a queue, where reviewers meet it: the card, the grid, home; and what the decisions bought."""

import json
import re

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.conftest import Browser, make_pets
from tests.review_queues import CARD, BrowserAs, add_queue, counted
from workbench.config import Home
from workbench.db import Database
from workbench.models import Class, Dataset, Image, Queue, QueueItem, Run
from workbench.services import bought, decisions, outlooks, users


@pytest.fixture
def queue(database: Database) -> int:
    """Ninety images, each wrong with 0.75 by P(wrong)."""
    with database.write() as session:
        return add_queue(session, make_pets(session, per_class=30)).id


def text(browser: Browser, url: str) -> str:
    return " ".join(browser.get(url).get_data(as_text=True).split())


def settle(session: Session, *, number: int, wrong: int, queue_id: int | None) -> None:
    """Open items of all classes alike, of which so many are wrong, spread evenly."""
    ann = users.ensure_user(session, "ann")
    owl, dog = (session.scalars(select(Class).where(Class.name == name)).one().id for name in ("owl", "dog"))
    is_open = select(QueueItem).where(QueueItem.done_action.is_(None))
    items = list(session.scalars(is_open.order_by(QueueItem.position % 3, QueueItem.position).limit(number)))
    for place, item in enumerate(items):
        image = session.get_one(Image, item.image_id)
        is_wrong = (place + 1) * wrong // number > place * wrong // number
        said = {"verdict": "relabel", "class_id": dog if image.label_id == owl else owl}
        decisions.decide(
            session, image=image, user=ann, queue_id=queue_id, **(said if is_wrong else {"verdict": "confirm"})
        )  # type: ignore[arg-type]


def left_of(page: str) -> tuple[int, int, int]:
    found = re.search(r'about (\d+) wrong left <span class="range">\[(\d+), (\d+)\]', page)
    assert found is not None
    return int(found[1]), int(found[2]), int(found[3])


def test_verdicts_move_what_is_left_and_make_it_surer(queue: int, browser_as: BrowserAs, database: Database) -> None:
    browser = browser_as("reviewer")
    expected, low, high = left_of(text(browser, CARD))
    assert low < expected < high
    assert 55 < expected < 75  # three quarters of ninety

    with database.write() as session:
        settle(session, number=60, wrong=12, queue_id=queue)
    page = text(browser, CARD)

    after, low_after, high_after = left_of(page)
    assert "<b>60</b> of 90 · 20 % were wrong so far, " in page
    assert re.search(r'P\(wrong\) say: \d\d %">20 % of the last 50</span>', page)
    assert 2 <= low_after < after < high_after < 20
    assert high_after - low_after < high - low


@pytest.mark.parametrize("asked", [{"blind": True}, {"opinions": 2}])
def test_who_judges_blind_is_not_told_how_much_was_wrong(
    queue: int, browser_as: BrowserAs, database: Database, asked: dict[str, int]
) -> None:
    with database.write() as session:
        settle(session, number=60, wrong=12, queue_id=queue)
        for key, value in asked.items():
            setattr(session.get_one(Queue, queue), key, value)

    page = text(browser_as("reviewer"), CARD)

    assert '<p class="progress_line"><b>60</b> of 90</p>' in page
    home = text(browser_as("reviewer"), "/d/pets/")
    assert "told when all are judged: this queue is blind" in home
    assert "wrong left: " not in home


def test_what_was_decided_elsewhere_teaches_nothing_about_the_queue(
    queue: int, browser_as: BrowserAs, database: Database
) -> None:
    browser = browser_as("reviewer")
    with database.write() as session:
        settle(session, number=40, wrong=0, queue_id=None)
    expected, _, _ = left_of(text(browser, CARD))
    assert 25 < expected < 45  # of the fifty that are open, by P(wrong) alone


def test_an_answer_costs_no_statement_for_it_until_twenty_more_are_decided(
    queue: int, browser_as: BrowserAs, database: Database, home: Home
) -> None:
    with database.write() as session:
        dataset, row = session.scalars(select(Dataset)).one(), session.get_one(Queue, queue)
        first = outlooks.look(session, home, dataset, [row])[queue]
        settle(session, number=4, wrong=4, queue_id=queue)
        session.flush()
        with counted(database) as statements:
            kept = outlooks.look(session, home, dataset, [row])[queue]
        assert statements == []
        assert (kept.left.expected, kept.left.of) == (first.left.expected - 4, 86)
        settle(session, number=16, wrong=16, queue_id=queue)
        session.flush()
        with counted(database) as statements:
            outlooks.look(session, home, dataset, [row])
        assert len(statements) == 1


def test_a_part_of_a_long_queue_stands_for_all_of_it(
    queue: int, database: Database, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlooks, "_LONGEST", 60)
    with database.write() as session:
        settle(session, number=45, wrong=9, queue_id=queue)
        dataset, row = session.scalars(select(Dataset)).one(), session.get_one(Queue, queue)
        session.flush()
        left = outlooks.look(session, home, dataset, [row])[queue].left
    assert left.of == 45
    assert left.low <= 9 <= left.high < 30


def test_home_says_what_is_left_in_the_queue_and_in_the_data_set(
    queue: int, browser_as: BrowserAs, database: Database
) -> None:
    with database.write() as session:
        session.get_one(Queue, queue).recipe = "random"
        settle(session, number=60, wrong=12, queue_id=queue)
    page = text(browser_as("viewer"), "/d/pets/")
    assert re.search(r"wrong left: </span><span title=\"With 90 % certainty \d+ to \d+\">about \d <span", page)
    found = re.search(r"<strong>(\d+)</strong> <span class=\"meta\">\[(\d+), (\d+)\]</span> left among 30 images", page)
    assert found is not None
    assert int(found[2]) <= 6 <= int(found[3])


# --- what it bought -----------------------------------------------------------------------------------------------

WHOLE = {"difference": 0.012, "low": 0.002, "high": 0.022, "p": 0.02}
PART = {"queue": 1, "title": "Label issues", "decisions": 40, "changed": 30, "difference": 0.01, "low": 0.001}
REPORT = {
    "run": 2, "against": 1, "split": "test", "n": 3579, "decisions": 40, "changed": 30, "whole": WHOLE,
    "parts": [{**PART, "high": 0.019}], "rest": {"difference": 0.002, "low": -0.004, "high": 0.008}, "sentence": "",
}  # fmt: skip


def add_runs(session: Session) -> None:
    """Two finished runs, the second on a later version and promoted."""
    dataset = session.scalars(select(Dataset)).one()
    for decision_id in (0, 1):
        session.add(
            Run(
                dataset_id=dataset.id, arch="compact", preset="quick", config={}, status="done",
                decision_id=decision_id, content_hash=str(decision_id),
            )
        )  # fmt: skip
    session.flush()
    dataset.promoted_run_id = 2


def test_home_tells_what_the_decisions_bought_queue_by_queue(
    queue: int, browser_as: BrowserAs, database: Database, home: Home
) -> None:
    with database.write() as session:
        add_runs(session)
    browser = browser_as("viewer")
    assert "Being worked out" in text(browser, "/d/pets/")

    folder = home.run_folder(2)
    folder.mkdir(parents=True)
    (folder / bought.FILE).write_text(json.dumps(REPORT))
    page = text(browser, "/d/pets/")

    assert "+1.2 points" in page
    assert "+0.2 to +2.2 with 95 % certainty, on 3,579 images (test)" in page
    assert "40 decisions changed 30 labels in between" in page
    assert '40 · 30</td><td class="number"><span class="good">+1.0</span> <span class="meta">[+0.1, +1.9]' in page
    assert "Training again, besides" in page
    assert 'href="/d/pets/compare?a=1&amp;b=2"' in page


def test_decisions_since_the_promoted_run_wait_for_the_next_training(
    queue: int, browser_as: BrowserAs, database: Database
) -> None:
    with database.write() as session:
        add_runs(session)
        settle(session, number=2, wrong=1, queue_id=queue)
    assert re.search(
        r"\d decisions? ha(s|ve) come since the promoted run learned", text(browser_as("viewer"), "/d/pets/")
    )
