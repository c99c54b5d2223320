"""The history page: wording, folding, filters, pages, undo by whom."""

import csv
import io
import json
import re
from html import unescape

import pytest
from flask import Flask
from sqlalchemy import select

from tests.conftest import Browser, make_pets
from tests.review_queues import BrowserAs, add_queue, counted
from workbench.db import Database
from workbench.models import Dataset, Decision, Image, Queue, QueueItem, utc_now
from workbench.queries import datasets as queries
from workbench.services import cards, datasets, decisions, opinions, users
from workbench.services.decisions import Line

HISTORY = "/d/pets/history"


@pytest.fixture
def pets_there(database: Database) -> None:
    with database.write() as session:
        make_pets(session)


def decide(database: Database, who: str, image: int, **verdict: object) -> str:
    with database.write() as session:
        user = users.ensure_user(session, who)
        return decisions.decide(session, image=session.get_one(Image, image), user=user, **verdict)


def text(browser: Browser, url: str = HISTORY) -> str:
    """The page without its markup, spaces folded."""
    page = browser.get(url).get_data(as_text=True)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page[page.index('id="entries"') :])).split())


def test_nothing_yet(pets_there: None, browser_as: BrowserAs) -> None:
    assert "Nothing here yet" in text(browser_as("viewer"))
    assert "Nothing matches" in text(browser_as("viewer"), f"{HISTORY}?kind=comments")


def test_each_kind_in_plain_words(pets_there: None, database: Database, browser_as: BrowserAs) -> None:
    decide(database, "bob", 1, verdict="relabel", class_id=2)
    decide(database, "bob", 2, verdict="confirm")
    decide(database, "bob", 3, verdict="ambiguous", class_ids=[1, 2])
    decide(database, "bob", 4, verdict="exclude")
    decide(database, "bob", 4, verdict="restore")
    decide(database, "bob", 5, verdict="comment", text="<blurred>")
    page = text(browser_as("viewer"))
    for words in (
        "bob relabelled cat → dog",
        "bob confirmed cat",
        "bob found it ambiguous dog → ? cat or dog",
        "bob excluded it it was dog",
        "bob restored it ✕ excluded → dog",
        "bob wrote: “<blurred>”",
    ):
        assert words in page, words


def test_class_decisions_and_splits_in_plain_words(pets_there: None, database: Database, browser_as: BrowserAs) -> None:
    with database.write() as session:
        dataset, lead = queries.get_dataset(session, "pets"), users.ensure_user(session, "lea", role="lead")
        cat, dog, owl = queries.list_classes(session, dataset.id)
        fox = datasets.add_class(session, dataset=dataset, user=lead, name="fox")
        datasets.edit_class(session, dataset=dataset, user=lead, cls=fox, name="red fox", key="9")
        datasets.merge_class(session, dataset=dataset, user=lead, cls=cat, into=dog)
        datasets.retire_class(session, dataset=dataset, user=lead, cls=owl)
        datasets.restore_class(session, dataset=dataset, user=lead, cls=owl)
        decisions.submit(session, dataset=dataset, user=lead, lines=[Line("split", 1, detail={"split": "test"})])
    page = text(browser_as("viewer"))
    for words in (
        "lea added the class red fox",
        "lea changed the class red fox : called red fox, key 9",
        "lea merged cat into dog",
        "lea retired the class owl",
        "lea brought back the class owl",
        "lea moved it train → test",
    ):
        assert words in page, words


def test_a_verdict_on_duplicates_and_an_import_in_plain_words(
    pets_there: None, database: Database, browser_as: BrowserAs
) -> None:
    from workbench.models import DuplicateGroup
    from workbench.services import duplicates, settling
    from workbench.services.duplicates import FoundGroup

    with database.write() as session:
        dataset, bob = queries.get_dataset(session, "pets"), users.ensure_user(session, "bob")
        duplicates.refresh_near_groups(session, dataset, [FoundGroup([1, 2, 3])])
        group = session.query(DuplicateGroup).one()
        settling.settle(session, dataset=dataset, user=bob, group=group, verdict="not_duplicates")
        duplicates.refresh_near_groups(session, dataset, [FoundGroup([4, 5, 6])])
        other = session.query(DuplicateGroup).filter_by(settled_action=None).one()
        settling.settle(session, dataset=dataset, user=bob, group=other, verdict="keep_best")
        session.add(
            Decision(
                dataset_id=dataset.id, user_id=bob.id, action="in", kind="import", detail={"import": 1}
            )
        )  # fmt: skip
    page = text(browser_as("lead"))
    assert "bob said these are different pictures: 3 copies" in page
    assert "bob kept one of 3 copies" in page
    assert "bob imported 0 images from drawn" in page
    assert page.count("Undo") == 2


def test_a_bulk_action_is_one_line_with_its_shares(pets_there: None, database: Database, browser_as: BrowserAs) -> None:
    with database.write() as session:
        dataset, bob = queries.get_dataset(session, "pets"), users.ensure_user(session, "bob")
        lines = [Line("confirm", 1, 1), Line("confirm", 2, 1), Line("relabel", 3, 1), Line("exclude", 4)]
        action = decisions.submit(session, dataset=dataset, user=bob, lines=lines)
    page = text(browser_as("viewer"))
    assert "bob settled 4 images at once: 2 confirmed cat , 1 excluded, 1 relabelled cat" in page
    with database.write() as session:
        decisions.undo(
            session, dataset=queries.get_dataset(session, "pets"), user=users.ensure_user(session, "bob"), action=action
        )
    assert "bob took back: 4 decisions made at once" in text(browser_as("viewer"))


def test_what_was_taken_back_is_marked_and_can_be_brought_back(
    pets_there: None, database: Database, browser_as: BrowserAs
) -> None:
    action = decide(database, "some-reviewer", 1, verdict="relabel", class_id=2)
    reviewer = browser_as("reviewer")

    undone = reviewer.post(f"{HISTORY}/{action}/undo")

    assert (undone.status_code, undone.location) == (303, HISTORY)
    assert "Took back: cat → dog." in reviewer.get(HISTORY).get_data(as_text=True)
    page = text(reviewer)
    assert "taken back by some-reviewer just now" in page
    assert "some-reviewer took back: a new label dog" in page
    assert "Bring back" in page
    reviewer.post(f"{HISTORY}/{action}/undo")
    assert "some-reviewer brought back: a new label dog" in text(reviewer)
    with database.read() as session:
        assert session.get_one(Image, 1).label_id == 2


def test_before_and_after_follow_what_counts(pets_there: None, database: Database, browser_as: BrowserAs) -> None:
    first = decide(database, "bob", 1, verdict="relabel", class_id=2)
    decide(database, "bob", 1, verdict="relabel", class_id=3)
    assert "bob relabelled dog → owl" in text(browser_as("lead"))
    browser_as("lead").post(f"{HISTORY}/{first}/undo")
    assert "bob relabelled cat → owl" in text(browser_as("lead"))


def test_reviewers_undo_their_own_leads_anybodys_viewers_nothing(
    pets_there: None, database: Database, browser_as: BrowserAs
) -> None:
    action = decide(database, "bob", 1, verdict="exclude")
    assert "Undo" not in text(browser_as("viewer"))
    assert "Undo" not in text(browser_as("reviewer"))
    assert "Undo" in text(browser_as("lead"))
    assert browser_as("viewer").post(f"{HISTORY}/{action}/undo").status_code == 403
    refused = browser_as("reviewer").post(f"{HISTORY}/{action}/undo", htmx=True)
    assert (refused.status_code, refused.get_data(as_text=True)) == (
        403,
        "You can take back what you decided yourself; for others' decisions ask a lead.",
    )
    assert browser_as("lead").post(f"{HISTORY}/{action}/undo").status_code == 303


def test_what_a_lead_took_back_is_for_leads_to_bring_back(
    pets_there: None, database: Database, app: Flask, browser_as: BrowserAs
) -> None:
    action = decide(database, "bob", 1, verdict="exclude")
    bob = Browser(app, "bob", "reviewer")
    assert bob.post(f"{HISTORY}/{action}/undo").status_code == 303
    assert bob.post(f"{HISTORY}/{action}/undo").status_code == 303
    assert browser_as("lead").post(f"{HISTORY}/{action}/undo").status_code == 303
    assert "Bring back" not in text(bob)
    refused = bob.post(f"{HISTORY}/{action}/undo", htmx=True)
    assert (refused.status_code, refused.text) == (403, "Somebody else took this back; ask a lead to bring it back.")
    assert "Bring back" in text(browser_as("lead"))
    assert browser_as("lead").post(f"{HISTORY}/{action}/undo").status_code == 303


def test_actions_of_other_data_sets_and_unknown_ones_are_not_found(
    pets_there: None, database: Database, browser_as: BrowserAs
) -> None:
    with database.write() as session:
        make_pets(session, name="others")
    action = decide(database, "bob", 7, verdict="exclude")
    for wrong in (action, "nothing"):
        assert browser_as("lead").post(f"{HISTORY}/{wrong}/undo").status_code == 404


def test_filters(pets_there: None, database: Database, browser_as: BrowserAs) -> None:
    decide(database, "bob", 1, verdict="relabel", class_id=2)
    decide(database, "eve", 2, verdict="exclude")
    decide(database, "eve", 1, verdict="comment", text="sleeping")
    with database.read() as session:
        eve = users.ensure_user(session, "eve").id
    viewer = browser_as("viewer")
    assert "bob" not in text(viewer, f"{HISTORY}?user={eve}")
    assert "excluded it" not in text(viewer, f"{HISTORY}?kind=labels")
    about = text(viewer, f"{HISTORY}?image=1")
    assert "relabelled" in about
    assert "sleeping" in about
    assert "excluded it" not in about
    assert "sleeping" in text(viewer, f"{HISTORY}?image=1&kind=comments&user={eve}")
    assert viewer.get(f"{HISTORY}?image=99").status_code == 404


def test_pages_follow_each_other_without_gap_or_repeat(
    pets_there: None, database: Database, browser_as: BrowserAs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.web import history

    monkeypatch.setattr(history, "PER_PAGE", 3)
    for number in range(4):
        decide(database, "bob", 1, verdict="comment", text=f"note {number}.")
    with database.write() as session:
        dataset: Dataset = queries.get_dataset(session, "pets")
        user = users.ensure_user(session, "bob")
        lines = [Line("confirm", image, cls) for image, cls in ((1, 1), (2, 1), (3, 2))]
        decisions.submit(session, dataset=dataset, user=user, lines=lines)
    decide(database, "bob", 1, verdict="comment", text="note 4.")
    viewer = browser_as("viewer")
    first = viewer.get(HISTORY).get_data(as_text=True)
    assert [n for n in range(5) if f"note {n}." in first] == [3, 4]
    assert "3 images at once" in first
    start = first.index("before=") + len("before=")
    second = text(viewer, f"{HISTORY}?before={first[start : first.index(chr(34), start)]}")
    assert [n for n in range(5) if f"note {n}." in second] == [0, 1, 2]
    assert "at once" not in second
    assert "Older" not in second


def test_a_page_costs_the_same_for_one_action_and_many(
    pets_there: None, database: Database, browser_as: BrowserAs
) -> None:
    viewer, costs = browser_as("viewer"), []
    for image in (1, 2, 3):
        decide(database, "bob", image, verdict="exclude")
        viewer.get(HISTORY)
        with counted(database) as statements:
            viewer.get(HISTORY)
        costs.append(len(statements))
    assert costs[0] == costs[1] == costs[2] <= 15


def test_the_queue_is_named(database: Database, browser_as: BrowserAs) -> None:
    with database.write() as session:
        dataset = make_pets(session)
        add_queue(session, dataset)
        decisions.decide(
            session,
            image=session.get_one(Image, 1),
            user=users.ensure_user(session, "bob"),
            verdict="confirm",
            queue_id=1,
        )
    assert "in Label issues" in text(browser_as("viewer"))


# --- opinions, gold images, consensus


@pytest.fixture
def blind_queue(database: Database) -> None:
    """Two reviewers asked blind in queue 1; bob called image 1 a dog, lea made image 2 gold and settled image 3."""
    with database.write() as session:
        pets = make_pets(session)
        queue = add_queue(session, pets, title="Blind")
        queue.opinions, queue.blind = 2, True
        items = session.scalars(select(QueueItem).where(QueueItem.queue_id == queue.id).order_by(QueueItem.position))
        first, second, *_ = items.all()
        first.wants = second.wants = 2
        bob, lea = users.ensure_user(session, "bob"), users.ensure_user(session, "lea", role="lead")
        opinions.say(session, item=first, user=bob, verdict="relabel", class_id=2)
        opinions.say(session, item=second, user=bob, verdict="ambiguous", class_ids=[1, 3])
        opinions.set_gold(session, dataset=pets, user=lea, image_ids=[2])
        told = {"method": "majority", "p": 0.9731, "opinions": 3}
        decisions.submit(session, dataset=pets, user=lea, lines=[Line("consensus", 3, 1, told)])


def test_opinions_gold_and_consensus_in_plain_words(
    blind_queue: None, database: Database, browser_as: BrowserAs
) -> None:
    lead = browser_as("lead")
    page = text(lead)
    for words in (
        "bob ’s opinion: dog",
        "bob ’s opinion: ? cat or owl",
        "lea made it a gold image, known to be cat",
        "lea settled it by consensus dog → cat majority, 3 opinions, P 0.97",
    ):
        assert words in page, words
    with database.write() as session:
        item = session.scalars(select(QueueItem).order_by(QueueItem.position)).first()
        opinions.say(session, item=item, user=users.ensure_user(session, "eve"), verdict="relabel", class_id=2)
    assert "eve ’s opinion: dog all 2 agree: cat → dog" in text(lead)
    assert "opinion: dog" in lead.get("/d/pets/images/1").get_data(as_text=True)


def test_others_opinions_stay_hidden_while_their_queue_is_open(
    blind_queue: None, database: Database, app: Flask, browser_as: BrowserAs
) -> None:
    reviewer, viewer, bob = browser_as("reviewer"), browser_as("viewer"), Browser(app, "bob", "reviewer")
    with database.write() as session:
        first = session.scalars(select(QueueItem).order_by(QueueItem.position)).first()
        user = users.ensure_user(session, "bob")
        cards.say_comment(session, item=first, user=user, text="plainly a dog", action=None)
        image = session.get_one(Image, first.image_id)
        eve = users.ensure_user(session, "eve")
        decisions.decide(session, image=image, user=eve, verdict="comment", text="a scratch")
    for browser in (reviewer, viewer):
        assert "’s opinion" not in text(browser)
        seen = text(browser) + browser.get("/d/pets/images/1").text + browser.get(f"{HISTORY}/log.jsonl").text
        assert ("plainly a dog" in seen, "a scratch" in seen) == (False, True)
        assert "gold" not in text(browser)
        assert "opinion: dog" not in browser.get("/d/pets/images/1").get_data(as_text=True)
        for ending in ("csv", "jsonl"):
            saved = browser.get(f"{HISTORY}/log.{ending}").get_data(as_text=True)
            assert ("consensus" in saved, "gold" in saved, "bob" in saved) == (True, False, False)
    assert "bob ’s opinion: dog" in text(bob)
    assert "plainly a dog" in text(bob)
    assert "plainly a dog" in text(browser_as("lead"))
    assert "gold" not in text(bob)
    with database.write() as session:
        session.get_one(Queue, 1).closed_at = utc_now()
    assert "bob ’s opinion: dog" in text(reviewer)
    assert "plainly a dog" in text(reviewer)
    assert "gold" not in text(reviewer)


def test_a_hidden_gold_image_looks_like_any_to_who_answered_it(
    pets_there: None, database: Database, app: Flask, browser_as: BrowserAs
) -> None:
    with database.write() as session:
        queue = add_queue(session, queries.get_dataset(session, "pets"))
        item = session.scalars(select(QueueItem).where(QueueItem.queue_id == queue.id)).first()
        assert item is not None
        item.wants = 0
        opinions.say(session, item=item, user=users.ensure_user(session, "bob"), verdict="relabel", class_id=2)
    bob = Browser(app, "bob", "reviewer")
    assert "bob said dog" in text(bob)
    assert "gold" not in text(bob) + bob.get(f"{HISTORY}/log.jsonl").get_data(as_text=True)
    assert "bob met a hidden gold image and said dog" in text(browser_as("lead"))


# --- seeking and saving


def test_seeking_by_queue_path_day_and_whether_it_counts(
    pets_there: None, database: Database, browser_as: BrowserAs
) -> None:
    with database.write() as session:
        add_queue(session, queries.get_dataset(session, "pets"))
    undone = decide(database, "bob", 1, verdict="exclude", queue_id=1)
    decide(database, "eve", 3, verdict="confirm")
    with database.write() as session:
        bob = users.ensure_user(session, "bob")
        decisions.undo(session, dataset=queries.get_dataset(session, "pets"), user=bob, action=undone)
    viewer, today = browser_as("viewer"), f"{utc_now():%Y-%m-%d}"
    for question, found in (
        ("queue=1", ["excluded"]),
        ("path=DOG/", ["confirmed"]),
        ("path=nothing", []),
        ("counts=no", ["excluded"]),
        ("counts=yes&kind=labels", ["confirmed"]),
        (f"since={today}&until={today}", ["took back", "confirmed", "excluded"]),
        ("until=2020-01-01", []),
    ):
        page = text(viewer, f"{HISTORY}?{question}")
        seen = [words for words in ("took back", "confirmed", "excluded") if f" {words}" in page]
        assert seen == found, question
    for wrong in ("since=soon", "kind=lies", "counts=maybe", "user=bob"):
        assert viewer.get(f"{HISTORY}?{wrong}").status_code == 422, wrong


def test_the_number_of_lines_is_told_and_cut_off(
    pets_there: None, database: Database, browser_as: BrowserAs, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = browser_as("viewer")
    assert "0 lines" in viewer.get(HISTORY).text
    for number in range(3):
        decide(database, "bob", 1, verdict="comment", text=f"note {number}")
    assert "3 lines" in viewer.get(f"{HISTORY}?kind=comments").text
    monkeypatch.setattr("workbench.queries.log_lines.COUNTED", 2)
    assert "More than 2 lines" in viewer.get(HISTORY).text


def test_a_long_search_says_how_far_back_it_looked(
    pets_there: None, database: Database, browser_as: BrowserAs, monkeypatch: pytest.MonkeyPatch
) -> None:
    undone = decide(database, "bob", 1, verdict="exclude")
    with database.write() as session:
        bob = users.ensure_user(session, "bob")
        decisions.undo(session, dataset=queries.get_dataset(session, "pets"), user=bob, action=undone)
    for number in range(5):
        decide(database, "bob", 2, verdict="comment", text=f"note {number}")
    monkeypatch.setattr("workbench.queries.log_lines.SCANNED", 4)
    viewer = browser_as("viewer")
    page = viewer.get(f"{HISTORY}?counts=no").get_data(as_text=True)
    assert ("nothing that fits" in page, "Looked back to" in page, "0 lines since" in page) == (True, True, True)
    found = re.search(r'href="([^"]+)">Look further back', page)
    assert found is not None
    assert "bob excluded it" in text(viewer, unescape(found[1]))


def test_what_is_shown_is_what_is_saved(pets_there: None, database: Database, browser_as: BrowserAs) -> None:
    decide(database, "bob", 1, verdict="relabel", class_id=2)
    decide(database, "eve", 1, verdict="comment", text="=cmd()")
    viewer = browser_as("viewer")
    page = viewer.get(f"{HISTORY}?kind=comments&path=cat").get_data(as_text=True)
    [link] = [unescape(found) for found in re.findall(r'href="([^"]+)">CSV', page)]
    answer = viewer.get(link)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="pets-log.csv"'
    assert answer.mimetype == "text/csv"
    [row] = csv.DictReader(io.StringIO(answer.get_data(as_text=True)))
    assert (row["user"], row["kind"], row["text"], row["path"]) == ("eve", "comment", "'=cmd()", "cat/0.png")
    lines = viewer.get(f"{HISTORY}/log.jsonl")
    assert lines.mimetype == "application/x-ndjson"
    assert [json.loads(line)["kind"] for line in lines.text.splitlines()] == ["relabel", "comment"]
    assert viewer.get(f"{HISTORY}/log.xlsx").status_code == 404
