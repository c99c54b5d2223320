"""Agreement: the figures, the pairs, a confusion's images, a reviewer; who sees whose."""

import re
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from tests.conftest import Browser, make_pets
from tests.opinion_queues import ask_several, decide, have_said, list_images
from tests.review_queues import counted
from workbench.db import Database
from workbench.models import Dataset, Job, Queue, User, utc_now
from workbench.services import opinions, users
from workbench.web.agreement import say_verdict

BrowserAs = Callable[[str], Browser]
AGREEMENT = "/d/pets/agreement"


@pytest.fixture
def asked(database: Database) -> dict[str, int]:
    """Three have said what six images are, a gold one among them, in a queue that is over; name -> user id."""
    with database.write() as session:
        dataset = make_pets(session)
        lead = users.ensure_user(session, "lena", role="lead")
        opinions.set_gold(session, dataset=dataset, user=lead, image_ids=[list_images(session, dataset)[5].id])
        said = {"anna": "ccddoo", "ben": "cdddoc", "some-reviewer": "dcdoxo"}
        queue = ask_several(session, dataset, asks=3, gold=[5])
        people = have_said(session, dataset, queue, said, seconds=2.0)
        queue.closed_at = utc_now()
        return {name: user.id for name, user in people.items()}


def words(html: str) -> str:
    """What a reader sees, on one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_before_anybody_was_asked(database: Database, browser_as: BrowserAs) -> None:
    with database.write() as session:
        make_pets(session)
    lead = words(browser_as("lead").get(AGREEMENT).text)
    assert "Nobody was asked blind yet" in lead
    assert "Build a queue that asks several" in lead
    viewer = words(browser_as("viewer").get(f"{AGREEMENT}?source=all").text)
    assert "No two people have decided on the same image" in viewer
    assert "Build a queue" not in viewer


def test_one_reviewer_alone(database: Database, browser_as: BrowserAs) -> None:
    with database.write() as session:
        dataset = make_pets(session)
        have_said(session, dataset, ask_several(session, dataset), {"anna": "ccd"})
    page = words(browser_as("lead").get(AGREEMENT).text)
    assert "No image has two opinions yet" in page
    assert "3 opinions so far" in page
    assert re.search(r"anna 3 – 2.0|anna 3 – –", page)


def test_one_class_alone_is_not_called_agreement(database: Database, browser_as: BrowserAs) -> None:
    with database.write() as session:
        dataset = make_pets(session)
        have_said(session, dataset, ask_several(session, dataset), {"anna": "cc", "ben": "cc"})
    page = words(browser_as("lead").get(AGREEMENT).text)
    assert "alpha – only one class was ever said · n 2 images" in page
    assert "1.00" not in page
    assert "nan" not in page.lower()


def test_a_lead_sees_everybody(asked: dict[str, int], browser_as: BrowserAs) -> None:
    html = browser_as("lead").get(AGREEMENT).text
    page = words(html)
    assert re.search(r"alpha 0\.\d\d \[-?\d\.\d\d, \d\.\d\d\] · n 5 images · 3 reviewers", page)
    assert "ask several, and settle what they differ on" in page
    assert f"{AGREEMENT}/pair/{asked['anna']}/{asked['ben']}" in html
    for user_id in asked.values():
        assert f"{AGREEMENT}/reviewers/{user_id}" in html
    assert re.search(r"anna 6 – 2\.0 \d+ % 100 % \[\d+, 100\] · n \d 100 % \[21, 100\] · n 1 0", page)
    assert "ben 6 – 2.0" in page
    assert "Settle 4 disputed images" in page


def test_a_reviewer_sees_themselves_and_a_viewer_nobody(asked: dict[str, int], browser_as: BrowserAs) -> None:
    own = browser_as("reviewer").get(AGREEMENT).text
    assert "You and the others" in own
    assert "Your work" in own
    assert f"/reviewers/{asked['some-reviewer']}" in own
    assert f"/reviewers/{asked['anna']}" not in own
    assert f"/pair/{asked['anna']}/" not in own

    looking = browser_as("viewer").get(AGREEMENT).text
    assert "By class" in looking
    assert "Most confused" in looking
    assert "/reviewers/" not in looking
    assert "/pair/" not in looking
    assert "anna" not in looking


def test_figures_of_others_are_for_leads(asked: dict[str, int], browser_as: BrowserAs) -> None:
    reviewer = browser_as("reviewer")
    mine, anna, ben = asked["some-reviewer"], asked["anna"], asked["ben"]
    assert reviewer.get(f"{AGREEMENT}/reviewers/{mine}").status_code == 200
    assert reviewer.get(f"{AGREEMENT}/pair/{anna}/{mine}").status_code == 200
    for address in (f"reviewers/{anna}", f"pair/{anna}/{ben}", f"images?one=1&other=2&by={anna}&and={ben}"):
        answer = reviewer.get(f"{AGREEMENT}/{address}")
        assert (answer.status_code, "you see your own" in answer.text) == (403, True), address
    assert browser_as("lead").get(f"{AGREEMENT}/pair/{anna}/{ben}").status_code == 200


def test_two_side_by_side_lead_to_their_images(asked: dict[str, int], browser_as: BrowserAs) -> None:
    lead = browser_as("lead")
    html = lead.get(f"{AGREEMENT}/pair/{asked['anna']}/{asked['ben']}").text
    assert re.search(r"kappa 0\.\d\d \[", words(html))
    assert "They say the same of 80 % of them" in words(html)
    (cell,) = re.findall(r'href="([^"]+)" title="anna said cat, ben dog"', html)
    assert words(lead.get(cell.replace("&amp;", "&")).text).count("anna says cat , ben dog") == 1


def test_images_of_a_confusion(asked: dict[str, int], browser_as: BrowserAs) -> None:
    viewer = browser_as("viewer")
    link = re.findall(r'href="(/d/pets/agreement/images[^"]+)"', viewer.get(AGREEMENT).text)[0].replace("&amp;", "&")
    page = viewer.get(link).text
    assert "One says cat , another dog" in words(page)
    assert page.count("/adjudication/") == 2
    assert viewer.get(f"{AGREEMENT}/images?one=1&other=bird").status_code == 404
    assert viewer.get(f"{AGREEMENT}/images").status_code == 404


@pytest.mark.parametrize("source", ["blind", "all"])
def test_images_of_a_blind_queue_that_is_open_are_for_leads(
    database: Database, browser_as: BrowserAs, source: str
) -> None:
    """All of them: one that has all its opinions may be sent back to somebody who could read them here."""
    with database.write() as session:
        dataset = make_pets(session)
        for name, letter in (("anna", "c"), ("ben", "d")):
            decide(session, dataset, list_images(session, dataset)[0], name, letter)
        have_said(session, dataset, ask_several(session, dataset), {"anna": "cd", "ben": "dd"})
    address = f"{AGREEMENT}/images?one=1&other=2&source={source}"
    assert "1 image" in words(browser_as("lead").get(address).text)
    for role in ("reviewer", "viewer"):
        browser = browser_as(role)
        assert "0 images" in words(browser.get(address).text)
        assert browser.get(f"{AGREEMENT}?source={source}").text.count("<img") == 0
    with database.write() as session:
        session.scalars(select(Queue)).one().closed_at = utc_now()
    assert "1 image" in words(browser_as("viewer").get(address).text)


@pytest.mark.parametrize("source", ["blind", "all"])
def test_no_figure_of_a_reviewer_moves_with_an_answer_in_a_queue_that_is_open(
    database: Database, browser_as: BrowserAs, source: str
) -> None:
    """Or they would know by answering what is gold and what the others said."""
    reviewer = browser_as("reviewer")
    with database.write() as session:
        dataset = make_pets(session)
        lead = users.ensure_user(session, "lena", role="lead")
        opinions.set_gold(session, dataset=dataset, user=lead, image_ids=[list_images(session, dataset)[0].id])
        queue = ask_several(session, dataset, gold=[0])
        people = have_said(session, dataset, queue, {"anna": "cc", "some-reviewer": "cd"})
        mine, anna = people["some-reviewer"].id, people["anna"].id
    figures = (
        (AGREEMENT, "Your work"),
        (f"{AGREEMENT}/reviewers/{mine}", "none met yet"),
        (f"{AGREEMENT}/pair/{mine}/{anna}", "some-reviewer and anna"),
    )
    for address, told in figures:
        page = words(reviewer.get(f"{address}?source={source}").text)
        assert told in page
        assert "shows here once the queue that asks is closed: 1 queue is open" in page
        assert not re.search(r"· n \d", page)
        assert "kappa 0" not in page
    assert "not the label at import 50 %" in words(reviewer.get(f"{AGREEMENT}/reviewers/{mine}").text)
    assert "· n 1" in words(browser_as("lead").get(f"{AGREEMENT}?source={source}").text)
    with database.write() as session:
        session.scalars(select(Queue)).one().closed_at = utc_now()
    page = words(reviewer.get(f"{AGREEMENT}/reviewers/{mine}?source={source}").text)
    assert "right on gold · [21, 100] · n 1 100 %" in page
    assert "with most others · [0, 79] · n 1 0 %" in page
    assert "once the queue" not in page


def test_all_verdicts_say_that_they_are_not_independent(
    asked: dict[str, int], database: Database, browser_as: BrowserAs
) -> None:
    with database.write() as session:
        dataset = session.scalars(select(Dataset)).one()
        for name in ("anna", "ben"):
            decide(session, dataset, list_images(session, dataset)[0], name, "o")
    lead = browser_as("lead")
    assert "⚑ Not independent" in lead.get(f"{AGREEMENT}?source=all").text
    assert "⚑ Not independent" not in lead.get(AGREEMENT).text


def test_a_reviewer_over_time(database: Database, browser_as: BrowserAs) -> None:
    with database.write() as session:
        dataset = make_pets(session, per_class=50)
        letters = ("cdo" * 50)[:140]
        said = {"anna": letters, "ben": letters}
        people = have_said(session, dataset, ask_several(session, dataset), said, seconds=3)
        anna = people["anna"].id
    page = browser_as("lead").get(f"{AGREEMENT}/reviewers/{anna}").text
    assert "Agrees with most of the others" in page
    assert "Seconds per card" in page
    assert "Right on gold images" not in page.split("Over time")[1].split("Hundreds")[0]
    assert re.search(r"101–140 40 3\.0 100 % \[91, 100\] · n 40 –", words(page))
    nobody = browser_as("admin")
    with database.read() as session:
        admin = session.scalars(select(User.id).where(User.name == "some-admin")).one()
    assert "has not decided on any image" in nobody.get(f"{AGREEMENT}/reviewers/{admin}").text


def test_a_lead_has_the_consensus_computed(asked: dict[str, int], database: Database, browser_as: BrowserAs) -> None:
    answer = browser_as("lead").post(f"{AGREEMENT}/consensus")
    with database.read() as session:
        job = session.scalars(select(Job)).one()
        assert (job.kind, job.params) == ("consensus", {"dataset": "pets"})
        assert answer.location == f"/jobs/{job.id}"
    assert browser_as("reviewer").post(f"{AGREEMENT}/consensus").status_code == 403


@pytest.mark.parametrize(
    ("value", "low", "verdict"),
    [
        (0.9, 0.85, "One reviewer’s word is enough."),
        (0.9, 0.75, "One reviewer’s word will mostly do; ask several where it matters."),
        (0.5, 0.4, "One reviewer’s word is not enough here: ask several, and settle what they differ on."),
        (None, None, ""),
    ],
)
def test_what_alpha_means(value: float | None, low: float | None, verdict: str) -> None:
    assert say_verdict(SimpleNamespace(alpha=SimpleNamespace(value=value, low=low))) == verdict


@pytest.mark.parametrize("address", ["", "?source=all"])
def test_the_page_costs_the_same_for_one_image_and_for_six(
    database: Database, browser_as: BrowserAs, address: str
) -> None:
    numbers = []
    lead = browser_as("lead")
    for name, letters in (("one", "c"), ("six", "ccddoo")):
        with database.write() as session:
            dataset = make_pets(session, name=name)
            said = {"anna": letters, "ben": "dddddd"[: len(letters)]}
            have_said(session, dataset, ask_several(session, dataset), said)
        with counted(database) as statements:
            assert lead.get(f"/d/{name}/agreement{address}").status_code == 200
        numbers.append(len(statements))
    assert numbers[0] == numbers[1]


def test_every_way_leads_here(asked: dict[str, int], browser_as: BrowserAs) -> None:
    home = browser_as("viewer").get("/d/pets/").text
    assert f'href="{AGREEMENT}"' in home
    assert "4 images are disputed" in home
    assert f'href="{AGREEMENT}"' in browser_as("admin").get("/people").text
