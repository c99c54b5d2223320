"""The review card: deciding, what comes next, undo, blind, conflicts, answers that were lost on their way."""

import json
import re

import pytest
from flask import Flask
from sqlalchemy import select

from tests.conftest import Browser, make_pets
from tests.review_queues import CARD, BrowserAs, add_queue, answer, counted, field, image_of
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.models import Dataset, Decision, Image, Queue, QueueItem, Vote
from workbench.queries import datasets
from workbench.services import users


@pytest.fixture
def queue(database: Database) -> int:
    """Six pets, all suggested to be dogs: items 1 and 2 are labelled cat, 3 and 4 dog, 5 and 6 owl."""
    with database.write() as session:
        return add_queue(session, make_pets(session)).id


@pytest.fixture
def reviewer(browser_as: BrowserAs, queue: int) -> Browser:
    return browser_as("reviewer")


def text(browser: Browser, url: str) -> str:
    return browser.get(url).get_data(as_text=True)


def test_the_card_says_what_is_known_and_what_each_key_does(reviewer: Browser) -> None:
    page = text(reviewer, CARD)
    assert "cat is right" in page
    assert "it is dog" in page
    assert "because the test says so" in page
    assert "P(wrong) <b>0.75</b>" in page
    assert '<b>0</b> of 6 <span class="outlook">' in page
    assert re.search(r"about [34] wrong left <span class=\"range\">\[[0-3], 6\]", page), (
        "six labels, each wrong with 0.75"
    )
    for key in ("1", "2", "3", "Enter", "Space", "a", "u", "c", "z", "Shift+Z", "ArrowRight", "s", "d", "b", "g", "/"):
        assert f'data-key="{key}"' in page, key


def test_a_plain_browser_is_sent_to_the_next_card(reviewer: Browser, database: Database) -> None:
    sent = answer(reviewer, 1, class_id=3)
    assert (sent.status_code, sent.location) == (303, f"{CARD}/items/2")
    assert image_of(database, 1) == {"label": "owl", "status": "active", "done": True}


def test_htmx_gets_only_the_next_card_with_its_address(reviewer: Browser) -> None:
    sent = answer(reviewer, 1, htmx=True, verdict="confirm")
    page = sent.get_data(as_text=True)
    assert (sent.status_code, sent.headers["HX-Push-Url"]) == (200, f"{CARD}/items/2")
    assert page.strip().startswith('<article id="card"')
    assert "<html" not in page
    assert "<b>1</b> of 6" in page


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"verdict": "confirm"}, {"label": "cat", "status": "active", "done": True}),
        ({"class_id": 2}, {"label": "dog", "status": "active", "done": True}),
        ({"verdict": "relabel", "class_id": 2}, {"label": "dog", "status": "active", "done": True}),
        ({"verdict": "exclude"}, {"label": "cat", "status": "excluded", "done": True}),
        ({"verdict": "ambiguous", "class_ids": [1, 3]}, {"label": None, "status": "ambiguous", "done": True}),
    ],
)
def test_each_verdict(reviewer: Browser, database: Database, fields: dict, expected: dict) -> None:
    answer(reviewer, 1, **fields)
    assert image_of(database, 1) == expected


def test_the_key_of_the_given_label_confirms_it(reviewer: Browser, database: Database) -> None:
    answer(reviewer, 1, class_id=1)
    with database.read() as session:
        assert session.query(Decision.kind).order_by(Decision.id.desc()).first() == ("confirm",)


def test_an_answer_leases_the_next_image_so_that_another_reviewer_gets_the_one_after(
    reviewer: Browser, app: Flask
) -> None:
    answer(reviewer, 1, verdict="confirm")
    carol = Browser(app, "carol", "reviewer")
    assert "Image 3 of 6" in text(carol, CARD)
    assert "Image 2 of 6" in text(reviewer, CARD)


def test_sending_an_answer_twice_counts_once(reviewer: Browser, database: Database) -> None:
    page = text(reviewer, CARD)
    form = {"revision": field(page, "revision"), "action": field(page, "action"), "class_id": 3}
    first = reviewer.post(f"{CARD}/items/1/decide", form, htmx=True)
    again = reviewer.post(f"{CARD}/items/1/decide", form, htmx=True)
    assert (first.status_code, again.status_code) == (200, 200)
    assert "Image 2 of 6" in again.get_data(as_text=True)
    with database.read() as session:
        assert session.query(Decision).count() == 1


def test_another_answer_under_the_same_action_is_not_lost_silently(reviewer: Browser, database: Database) -> None:
    page = text(reviewer, CARD)
    form = {"revision": field(page, "revision"), "action": field(page, "action")}
    reviewer.post(f"{CARD}/items/1/decide", {**form, "class_id": 3}, htmx=True)
    other = reviewer.post(f"{CARD}/items/1/decide", {**form, "class_id": 2}, htmx=True)
    assert other.status_code == 409
    assert "You decided on this just now" in other.get_data(as_text=True)
    assert image_of(database, 1)["label"] == "owl"


def test_a_conflict_shows_what_the_other_reviewer_decided_and_the_next_answer_replaces_it(
    reviewer: Browser, app: Flask, database: Database
) -> None:
    page = text(reviewer, f"{CARD}/items/1")
    answer(Browser(app, "carol", "reviewer"), 1, class_id=3)
    form = {"revision": field(page, "revision"), "action": field(page, "action"), "verdict": "exclude"}

    conflict = reviewer.post(f"{CARD}/items/1/decide", form, htmx=True)

    words = conflict.get_data(as_text=True)
    assert conflict.status_code == 409
    assert "carol decided on this just now" in words
    assert "Yours was not saved" in words
    assert image_of(database, 1) == {"label": "owl", "status": "active", "done": True}
    form |= {"revision": field(words, "revision"), "action": field(words, "action")}
    assert reviewer.post(f"{CARD}/items/1/decide", form).status_code == 303
    assert image_of(database, 1)["status"] == "excluded"


def test_one_class_is_not_ambiguous(reviewer: Browser, database: Database) -> None:
    sent = answer(reviewer, 1, verdict="ambiguous", class_ids=[2])
    page = sent.get_data(as_text=True)
    assert sent.status_code == 422
    assert "Ambiguous needs two or more classes." in page
    assert 'name="class_ids" value="2" checked' in page
    assert image_of(database, 1)["done"] is False


@pytest.mark.parametrize("fields", [{}, {"verdict": "bless"}, {"class_id": 77}, {"verdict": "relabel"}])
def test_nonsense_is_refused_and_changes_nothing(reviewer: Browser, database: Database, fields: dict) -> None:
    assert answer(reviewer, 1, **fields).status_code == 422
    assert image_of(database, 1)["done"] is False


def test_undo_goes_back_to_the_image_and_says_what_it_undid(reviewer: Browser, database: Database) -> None:
    answer(reviewer, 1, class_id=3)
    undone = reviewer.client.post(
        "/d/pets/undo", headers={"X-CSRFToken": reviewer.token, "HX-Request": "true", "HX-Target": "card"}
    )
    assert "Image 1 of 6" in undone.get_data(as_text=True)
    assert undone.headers["HX-Push-Url"] == f"{CARD}/items/1"
    assert json.loads(undone.headers["HX-Trigger"]) == {"said": "Took back: cat → owl."}
    assert image_of(database, 1) == {"label": "cat", "status": "active", "done": False}


def test_redo_brings_it_back_and_goes_on(reviewer: Browser, database: Database) -> None:
    answer(reviewer, 1, class_id=3)
    assert reviewer.post("/d/pets/undo").location == f"{CARD}/items/1"
    assert reviewer.post("/d/pets/redo").location == f"{CARD}/items/2"
    assert image_of(database, 1) == {"label": "owl", "status": "active", "done": True}


def test_undo_with_nothing_to_undo_says_so(reviewer: Browser) -> None:
    refused = reviewer.post("/d/pets/undo", htmx=True)
    assert (refused.status_code, refused.get_data(as_text=True)) == (422, "There is nothing of yours left to undo.")


def test_later_goes_on_and_comes_back_at_the_end(reviewer: Browser) -> None:
    assert reviewer.post(f"{CARD}/items/1/skip").location == f"{CARD}/items/2"
    for item in range(2, 7):
        last = answer(reviewer, item, verdict="confirm")
    assert last.location == f"{CARD}/items/1"


def test_a_comment_stays_on_the_card(reviewer: Browser, database: Database) -> None:
    sent = reviewer.post(f"{CARD}/items/1/comment", {"text": "hand over the mouth"}, htmx=True)
    page = sent.get_data(as_text=True)
    assert "Image 1 of 6" in page
    assert "“hand over the mouth”" in page
    assert image_of(database, 1)["done"] is False
    empty = reviewer.post(f"{CARD}/items/1/comment", {"text": "  "}, htmx=True)
    assert empty.status_code == 422
    assert "The comment is empty." in empty.get_data(as_text=True)


def test_blind_hides_all_that_others_said_until_decided(reviewer: Browser, database: Database) -> None:
    with database.write() as session:
        session.add(Vote(image_id=1, option="cat", class_id=1, count=7))
    assert "cat 7" in text(reviewer, CARD)

    hidden = reviewer.post(f"{CARD}/items/1/blind", htmx=True).get_data(as_text=True)

    for word in ("cat 7", "is right", "it is dog", "P(wrong)", "because the test says so", "cat/0.png", "labelled"):
        assert word not in hidden, word
    answer(reviewer, 1, class_id=3)
    assert "Image 2 of 6" in text(reviewer, CARD)
    assert "P(wrong)" not in text(reviewer, CARD)
    assert "P(wrong)" in text(reviewer, f"{CARD}/items/1")
    reviewer.post(f"{CARD}/items/2/blind")
    assert "P(wrong)" in text(reviewer, CARD)


def test_a_decided_image_can_be_decided_again(reviewer: Browser, database: Database) -> None:
    answer(reviewer, 1, class_id=3)
    page = text(reviewer, f"{CARD}/items/1")
    assert "You decided just now" in page
    assert "A new answer replaces it." in page
    answer(reviewer, 1, class_id=2)
    assert image_of(database, 1)["label"] == "dog"


def test_an_excluded_image_can_be_restored(reviewer: Browser, database: Database) -> None:
    answer(reviewer, 1, verdict="exclude")
    assert ">Restore<" in text(reviewer, f"{CARD}/items/1").replace("</kbd>Restore", "</kbd>>Restore")
    answer(reviewer, 1, verdict="restore")
    assert image_of(database, 1)["status"] == "active"


def test_the_strip_shows_the_last_decisions_and_leads_back(reviewer: Browser) -> None:
    answer(reviewer, 1, class_id=3)
    answer(reviewer, 2, verdict="exclude")
    page = text(reviewer, CARD)
    strip = page[page.index('class="strip"') :]
    assert strip.index("excluded") < strip.index("cat</span> → ")
    assert reviewer.get(f"{CARD}/images/1").location == f"{CARD}/items/1"
    reviewer.post("/d/pets/undo")
    page = text(reviewer, CARD)
    assert "excluded" not in page[page.index('class="strip"') :]


def test_the_end_says_what_was_found_and_what_is_next(reviewer: Browser, database: Database) -> None:
    with database.write() as session:
        add_queue(session, datasets.get_dataset(session, "pets"), title="Another one")
    answer(reviewer, 1, class_id=3)
    answer(reviewer, 2, verdict="exclude")
    answer(reviewer, 3, verdict="ambiguous", class_ids=[1, 2])
    for item in (4, 5):
        answer(reviewer, item, verdict="confirm")
    last = answer(reviewer, 6, htmx=True, verdict="confirm")
    page = last.get_data(as_text=True)
    assert last.headers["HX-Push-Url"] == CARD
    assert "All 6 images decided." in page
    assert "3 were wrong, 50 %." in page
    for number, words in ((3, "label was right"), (1, "relabelled"), (1, "ambiguous"), (1, "excluded")):
        assert f'<dt>{words}</dt><dd class="figure">{number}</dd>' in page
    assert "Train on the new labels" not in page


def test_the_end_names_the_next_queue(reviewer: Browser, database: Database) -> None:
    with database.write() as session:
        dataset = make_pets(session, name="more")
        add_queue(session, dataset, title="First")
        add_queue(session, dataset, title="Second")
        session.query(QueueItem).filter(QueueItem.queue_id == 2).update({"done_action": "x"})
    assert "Second</a>" in text(reviewer, "/d/more/queues/2")


def test_the_end_waits_for_what_others_hold(reviewer: Browser, app: Flask) -> None:
    carol = Browser(app, "carol", "reviewer")
    body = {"answers": [], "holding": [6], "want": 0}
    carol.client.post(f"{CARD}/answers", json=body, headers={"X-CSRFToken": carol.token})
    for item in range(1, 6):
        answer(reviewer, item, verdict="confirm")
    assert "1 image is with another reviewer." in text(reviewer, CARD)


def test_a_closed_queue_says_so(queue: int, browser_as: BrowserAs) -> None:
    lead = browser_as("lead")
    assert lead.post(f"{CARD}/close").location == "/d/pets/"
    assert "This queue was closed just now." in text(lead, CARD)


def test_a_group_is_settled_on_its_own_page(reviewer: Browser, database: Database) -> None:
    from workbench.services import duplicates
    from workbench.services.duplicates import FoundGroup

    with database.write() as session:
        dataset = datasets.get_dataset(session, "pets")
        duplicates.refresh_near_groups(session, dataset, [FoundGroup([1, 2], score=0.9, p=0.9)])
        session.get_one(QueueItem, 1).group_id = 1
    assert reviewer.get(CARD).location == "/d/pets/duplicates/1"
    assert reviewer.get(f"{CARD}/items/1", htmx=True).headers["HX-Redirect"] == "/d/pets/duplicates/1"


def test_a_run_adds_what_it_says_its_neighbours_and_examples(reviewer: Browser, database: Database, home: Home) -> None:
    with database.write() as session:
        dataset = datasets.get_dataset(session, "pets")
        run = add_run(session, home, dataset=dataset, user=users.ensure_user(session, "alice"), mistakes={})
        session.get_one(Queue, 1).run_id = run.id
    page = text(reviewer, CARD)
    assert "What the model says" in page
    assert "Like it" in page


def test_copies_are_shown_with_split_and_label(reviewer: Browser, database: Database) -> None:
    assert "no other image has these pixels" in text(reviewer, CARD)
    with database.write() as session:
        session.get_one(Image, 6).pixel_sha256 = session.get_one(Image, 1).pixel_sha256
    assert "test · owl" in text(reviewer, CARD)


def test_an_unlabelled_image_cannot_be_confirmed(reviewer: Browser, database: Database) -> None:
    with database.write() as session:
        image = session.get_one(Image, 1)
        image.label_id = image.base_label_id = image.first_label_id = None
    assert "no label to confirm" in text(reviewer, CARD)
    assert "choose a class" in answer(reviewer, 1, verdict="confirm").get_data(as_text=True)


def test_names_are_escaped(reviewer: Browser, database: Database) -> None:
    with database.write() as session:
        session.get_one(Image, 1).path = "<script>ü.png"
        session.get_one(QueueItem, 1).reason = "<b>bold</b>"
    page = text(reviewer, CARD)
    assert "<script>ü" not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page


def test_a_viewer_sees_the_card_but_decides_nothing(queue: int, browser_as: BrowserAs) -> None:
    viewer = browser_as("viewer")
    page = text(viewer, CARD)
    assert "reviewers decide here" in page
    assert "/decide" not in page
    for url in (f"{CARD}/items/1/decide", f"{CARD}/items/1/skip", f"{CARD}/items/1/comment", "/d/pets/undo"):
        assert viewer.post(url, {"verdict": "confirm"}).status_code == 403


def test_a_stranger_learns_nothing_and_may_log_in(queue: int, app: Flask) -> None:
    seen = app.test_client().get(CARD)
    assert seen.status_code == 404
    assert f'name="next" value="{CARD}"' in seen.get_data(as_text=True)


def test_items_of_other_queues_and_data_sets_are_not_found(reviewer: Browser, database: Database) -> None:
    with database.write() as session:
        add_queue(session, make_pets(session, name="others"))
    assert reviewer.get("/d/pets/queues/2").status_code == 404
    assert reviewer.get(f"{CARD}/items/7").status_code == 404
    assert reviewer.get("/d/pets/queues/2/images/1").status_code == 303


def test_a_card_costs_the_same_however_much_was_decided(reviewer: Browser, database: Database) -> None:
    def cost() -> int:
        with counted(database) as statements:
            reviewer.get(CARD)
        return len(statements)

    answer(reviewer, 1, verdict="confirm")
    one = cost()
    for item in (3, 4, 5):
        answer(reviewer, item, class_id=1)
    assert cost() == one
    assert one <= 20


def test_building_a_queue_leads_to_it(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        make_pets(session)
    lead = browser_as("lead")
    with counted(database) as statements:
        made = lead.post("/d/pets/queues/build", {"recipe": "random", "limit": "4", "split": ""})
    begun = statements.index("BEGIN IMMEDIATE")  # planning may take a second; nobody's decision waits for it
    assert [line.split()[0] for line in statements[begun:]] == ["BEGIN", "SELECT", *["INSERT"] * 3]
    assert (made.status_code, made.location) == (303, "/d/pets/queues/1")
    assert "4 images to look at" in text(lead, "/d/pets/queues/1")


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"recipe": "sorcery"}, "is not a recipe"),
        ({"recipe": "random", "limit": "many"}, "The number of images is a whole number"),
        ({"recipe": "random", "limit": "0"}, "at least one image"),
        ({"recipe": "label_issues"}, "no finished run yet"),
        ({"recipe": "random", "force": "yes"}, "random knows no “force”"),
        ({"recipe": "random", "random": "many"}, "random knows no “random”"),
        ({"recipe": "cold_start", "home": "here"}, "cold-start knows no “home”"),
        ({"recipe": "cold_start", "seed": "-1"}, "A seed is a whole number"),
        ({"recipe": "random", "run": "9"}, "There is no such run here"),
    ],
)
def test_a_queue_that_cannot_be_built_is_refused_with_the_reason(
    browser_as: BrowserAs, database: Database, form: dict, words: str
) -> None:
    with database.write() as session:
        make_pets(session)
    refused = browser_as("lead").post("/d/pets/queues/build", form)
    assert refused.status_code in (404, 422)
    assert words in refused.get_data(as_text=True)
    with database.read() as session:
        assert session.query(Queue).count() == 0


def test_a_recipe_that_finds_nothing_says_so_on_the_page_it_came_from(
    browser_as: BrowserAs, database: Database
) -> None:
    with database.write() as session:
        make_pets(session)
    lead = browser_as("lead")
    came_from = {"Referer": "http://localhost/d/pets/"}
    answer = lead.post("/d/pets/queues/build", {"recipe": "near-duplicates"}, headers=came_from)
    assert (answer.status_code, answer.location) == (303, "/d/pets/")
    assert "There is nothing to review" in lead.get("/d/pets/").get_data(as_text=True)
    with database.read() as session:
        assert session.query(Queue).count() == 0


def test_only_leads_build_and_close(queue: int, browser_as: BrowserAs) -> None:
    reviewer = browser_as("reviewer")
    assert reviewer.post("/d/pets/queues/build", {"recipe": "random"}).status_code == 403
    assert reviewer.post(f"{CARD}/close").status_code == 403


def test_a_data_set_with_no_class_left_open_still_shows_its_card(reviewer: Browser, database: Database) -> None:
    with database.write() as session:
        dataset: Dataset = datasets.get_dataset(session, "pets")
        for cls in datasets.list_classes(session, dataset.id):
            cls.retired = True
    page = text(reviewer, CARD)
    assert "no label to confirm" in page
    assert "no suggestion" in page


def test_the_label_itself_is_no_suggestion(queue: int, browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        for item in session.scalars(select(QueueItem)):
            item.suggested_id = session.get_one(Image, item.image_id).label_id
    assert '<dt>Suggested</dt><dd class="big"><span class="meta">nothing</span>' in text(browser_as("reviewer"), CARD)
