"""Adjudication: the list, one case, a lead's verdict, one opinion more, settling in bulk; and what roles may do."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy import select

from tests.conftest import Browser, make_pets
from tests.opinion_queues import ask_several, decide, have_said, list_images
from tests.review_queues import counted, field
from tests.web.test_agreement_page import words
from workbench.config import Home
from workbench.db import Database
from workbench.models import Dataset, Decision, Image
from workbench.services import checks
from workbench.worker.consensus import build_consensus
from workbench.worker.context import Context

BrowserAs = Callable[[str], Browser]
LIST = "/d/pets/adjudication"


@pytest.fixture
def disputed(database: Database) -> list[int]:
    """Four images on which three differ: two with a majority, one without, one that most call unusable."""
    with database.write() as session:
        dataset = make_pets(session)
        said = {"anna": "cdcxoo", "ben": "cddxoo", "cleo": "dcoooo"}
        have_said(session, dataset, ask_several(session, dataset, asks=3), said)
        return [image.id for image in list_images(session, dataset)]


def state(database: Database, image_id: int) -> tuple[str, str, bool]:
    with database.read() as session:
        image = session.get_one(Image, image_id)
        return (image.label.name if image.label else "", image.label_source, image.disputed)


def settle(browser: Browser, image_id: int, *, htmx: bool = False, **fields: object) -> object:
    """Open a case and send its form with these fields."""
    page = browser.get(f"{LIST}/{image_id}").text
    form = {"revision": field(page, "revision"), "action": field(page, "action"), **fields}
    return browser.post(f"{LIST}/{image_id}/settle", form, htmx=htmx)


def test_nothing_is_disputed(database: Database, browser_as: BrowserAs) -> None:
    with database.write() as session:
        make_pets(session)
    page = words(browser_as("lead").get(LIST).text)
    assert "0 images are disputed" in page
    assert "Nothing is disputed" in page
    assert "Begin" not in page
    assert "Nothing to settle by majority" in words(browser_as("lead").get(f"{LIST}/bulk").text)


def test_the_list_shows_who_said_what(disputed: list[int], browser_as: BrowserAs) -> None:
    page = browser_as("lead").get(LIST).text
    assert "4 images are disputed" in page
    assert re.findall(r'href="/d/pets/adjudication/(\d+)">\s*<img', page) == [str(one) for one in disputed[:4]]
    assert "cat anna cat ben dog cleo" in words(page)
    assert "unusable anna" in words(page)
    assert "Begin" in page


def test_the_list_goes_on(disputed: list[int], browser_as: BrowserAs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.services.adjudication.PER_PAGE", 3)
    viewer = browser_as("viewer")
    first = viewer.get(LIST).text
    (more,) = re.findall(r'href="(/d/pets/adjudication\?after=\d+)"', first)
    assert more.endswith(f"after={disputed[2]}")
    second = viewer.get(more).text
    assert re.findall(r'href="/d/pets/adjudication/(\d+)">\s*<img', second) == [str(disputed[3])]
    assert "First page" in second
    assert "The list ends here" in viewer.get(f"{LIST}?after={disputed[5]}").text


def test_one_case_shows_the_opinions_and_the_majority(disputed: list[int], browser_as: BrowserAs) -> None:
    page = browser_as("lead").get(f"{LIST}/{disputed[0]}").text
    assert "1 of 4 disputed" in words(page)
    assert re.search(r"anna cat .*ben cat .*cleo dog", words(page))
    assert "most say cat" in words(page)
    assert "no majority" in words(browser_as("lead").get(f"{LIST}/{disputed[2]}").text)


def test_a_viewer_and_a_reviewer_look_and_a_lead_settles(
    disputed: list[int], database: Database, browser_as: BrowserAs
) -> None:
    for role in ("viewer", "reviewer"):
        browser = browser_as(role)
        page = browser.get(f"{LIST}/{disputed[0]}").text
        assert "Leads settle disputes here" in page
        assert "<button" not in page.split('id="case"')[1].split("</article>")[0].replace("<button type=", "")
        for address in ("settle", "ask", "unask"):
            assert browser.post(f"{LIST}/{disputed[0]}/{address}", {"verdict": "exclude"}).status_code == 403
        assert browser.get(f"{LIST}/bulk").status_code == 403
        assert browser.post(f"{LIST}/bulk", {"method": "majority"}).status_code == 403
        assert browser.post(f"{LIST}/undo").status_code == 403
    assert state(database, disputed[0]) == ("cat", "imported", True)


def test_a_verdict_ends_the_dispute_and_goes_to_the_next(
    disputed: list[int], database: Database, browser_as: BrowserAs
) -> None:
    with database.read() as session:
        classes = {cls.name: cls.id for cls in session.scalars(select(Dataset)).one().classes}
    lead = browser_as("lead")
    answer = settle(lead, disputed[0], class_id=classes["dog"])
    assert (answer.status_code, answer.location) == (303, f"{LIST}/{disputed[1]}")
    assert state(database, disputed[0]) == ("dog", "decision", False)
    assert "Settled: cat → dog." in lead.get(LIST).text

    answer = settle(lead, disputed[1], htmx=True, class_id=classes["cat"])
    assert answer.status_code == 200
    assert answer.text.lstrip().startswith("<article")
    assert answer.headers["HX-Push-Url"] == f"{LIST}/{disputed[2]}"
    assert "1 of 2 disputed" in words(answer.text)
    with database.read() as session:
        line = session.scalars(select(Decision).order_by(Decision.id.desc())).first()
        assert line is not None
        assert (line.kind, line.role) == ("confirm", "lead")

    settle(lead, disputed[3], verdict="exclude")
    last = settle(lead, disputed[2], verdict="ambiguous", class_ids=[classes["cat"], classes["owl"]], htmx=True)
    assert (last.status_code, last.headers["HX-Redirect"]) == (204, LIST)
    assert "0 images are disputed" in lead.get(LIST).text
    with database.read() as session:
        assert checks.check(session).ok


def test_undo_goes_back_to_the_image(disputed: list[int], database: Database, browser_as: BrowserAs) -> None:
    lead = browser_as("lead")
    settle(lead, disputed[0], verdict="exclude")
    answer = lead.post(f"{LIST}/undo")
    assert answer.location == f"{LIST}/{disputed[0]}"
    assert "Took back: excluded." in lead.get(answer.location).text
    assert state(database, disputed[0])[2]
    assert lead.post(f"{LIST}/undo").status_code == 422


def test_what_changed_meanwhile_is_shown_and_not_overwritten(
    disputed: list[int], database: Database, browser_as: BrowserAs
) -> None:
    lead = browser_as("lead")
    page = lead.get(f"{LIST}/{disputed[0]}").text
    with database.write() as session:
        dataset = session.scalars(select(Dataset)).one()
        decide(session, dataset, session.get_one(Image, disputed[0]), "lena", "o", role="lead")
    form = {"revision": field(page, "revision"), "action": field(page, "action"), "verdict": "exclude"}
    answer = lead.post(f"{LIST}/{disputed[0]}/settle", form)
    assert answer.status_code == 409
    assert "Yours was not saved" in answer.text
    assert state(database, disputed[0]) == ("owl", "decision", False)


def test_ambiguous_needs_two_classes(disputed: list[int], browser_as: BrowserAs) -> None:
    answer = settle(browser_as("lead"), disputed[0], verdict="ambiguous", class_ids=[1])
    assert (answer.status_code, "two or more" in answer.text) == (422, True)


def test_one_opinion_more(disputed: list[int], database: Database, browser_as: BrowserAs) -> None:
    lead = browser_as("lead")
    answer = lead.post(f"{LIST}/{disputed[0]}/ask")
    assert answer.location == f"{LIST}/{disputed[1]}"
    page = words(lead.get(f"{LIST}/{disputed[0]}").text)
    assert "1 further opinion was asked for." in page
    assert lead.post(f"{LIST}/{disputed[0]}/ask").status_code == 409
    assert lead.post(f"{LIST}/{disputed[0]}/unask").location == f"{LIST}/{disputed[0]}"
    assert "further opinion was" not in words(lead.get(f"{LIST}/{disputed[0]}").text)
    assert lead.post(f"{LIST}/{disputed[0]}/unask").status_code == 409
    with database.read() as session:
        assert checks.check(session).ok


def test_bulk_by_majority_is_previewed_and_undone_as_one(
    disputed: list[int], database: Database, browser_as: BrowserAs
) -> None:
    lead = browser_as("lead")
    page = lead.get(f"{LIST}/bulk?method=majority").text
    assert "Settle 2 of 4 by majority?" in words(page)
    assert "Left for a lead to look at: 1 without a majority, 1 that come to ambiguous or unusable" in words(page)
    form = {"method": "majority", "p": "0.9", "stamp": field(page, "stamp"), "action": field(page, "action")}
    assert lead.post(f"{LIST}/bulk", form).location == LIST
    assert "Settled 2 images at once." in lead.get(LIST).text
    assert [state(database, one)[1:] for one in disputed[:4]] == [
        ("consensus", False),
        ("consensus", False),
        ("imported", True),
        ("imported", True),
    ]
    lead.post(f"{LIST}/undo")
    assert [state(database, one)[2] for one in disputed[:4]] == [True] * 4
    with database.read() as session:
        assert checks.check(session).ok


def test_an_old_preview_is_refused(disputed: list[int], database: Database, browser_as: BrowserAs) -> None:
    lead = browser_as("lead")
    page = lead.get(f"{LIST}/bulk?method=majority").text
    settle(lead, disputed[0], verdict="exclude")
    form = {"method": "majority", "stamp": field(page, "stamp"), "action": field(page, "action")}
    answer = lead.post(f"{LIST}/bulk", form)
    assert answer.status_code == 409
    assert "Settle 1 of 3 by majority?" in words(answer.text)
    assert state(database, disputed[1])[2]


def test_bulk_by_quality(disputed: list[int], database: Database, home: Home, browser_as: BrowserAs) -> None:
    lead = browser_as("lead")
    before = lead.get(f"{LIST}/bulk?method=quality")
    assert before.status_code == 422
    assert "have it computed first" in before.text
    assert "By reviewer quality" not in lead.get(LIST).text

    build_consensus(Context(database, home), dataset="pets")
    assert "By reviewer quality" in lead.get(LIST).text
    page = lead.get(f"{LIST}/bulk?method=quality&p=0.5").text
    settled = int(re.findall(r"Settle (\d) of 4 by reviewer quality", words(page))[0])
    assert settled > 0
    form = {"method": "quality", "p": "0.5", "stamp": field(page, "stamp"), "action": field(page, "action")}
    lead.post(f"{LIST}/bulk", form)
    with database.read() as session:
        lines = list(session.scalars(select(Decision).where(Decision.kind == "consensus")))
        assert len(lines) == settled
        assert {(line.detail or {})["method"] for line in lines} == {"dawid_skene"}
        assert all((line.detail or {})["opinions"] == 3 for line in lines)


@pytest.mark.parametrize("address", ["method=dice", "method=quality&p=x", "method=quality&p=7"])
def test_unknown_ways_are_refused(disputed: list[int], browser_as: BrowserAs, address: str) -> None:
    answer = browser_as("lead").get(f"{LIST}/bulk?{address}")
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text


def test_the_list_costs_the_same_for_one_and_for_four(database: Database, browser_as: BrowserAs) -> None:
    numbers = []
    viewer = browser_as("viewer")
    for name, letters in (("one", "c"), ("four", "cdoc")):
        with database.write() as session:
            dataset = make_pets(session, name=name)
            other = letters.translate(str.maketrans("cdo", "doc"))
            have_said(session, dataset, ask_several(session, dataset), {"anna": letters, "ben": other})
        with counted(database) as statements:
            assert viewer.get(f"/d/{name}/adjudication").status_code == 200
        numbers.append(len(statements))
    assert numbers[0] == numbers[1]
