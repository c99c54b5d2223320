"""The pages of audits: drawing, progress, result, the verdicts behind a figure, the report and its PDF."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from tests.conftest import Browser, make_pets
from workbench.db import Database
from workbench.models import Audit, Dataset, Image, QueueItem, User
from workbench.services import audits, decisions, users

BrowserAs = Callable[[str], Browser]


def _judge(session: Session, audit: Audit, user: User, *, most: int | None = None) -> None:
    """Every fifth label is wrong."""
    query = select(Image).join(QueueItem, QueueItem.image_id == Image.id).where(QueueItem.queue_id == audit.queue_id)
    for number, image in enumerate(session.scalars(query.order_by(QueueItem.position).limit(most)).all()):
        chosen = {"verdict": "confirm"} if number % 5 else {"verdict": "exclude"}
        decisions.decide(session, image=image, user=user, queue_id=audit.queue_id, **chosen)  # type: ignore[arg-type] - words


def _draw(session: Session, dataset: Dataset, *, judged: bool = True) -> int:
    user = users.ensure_user(session, "bob", role="reviewer")
    audit = audits.open_audit(session, audits.plan_audit(session, dataset, size=30), user=user)
    if judged:
        _judge(session, audit, user)
    return audit.id


@pytest.fixture
def zoo(database: Database) -> str:
    with database.write() as session:
        make_pets(session, per_class=20, name="zoo")
    return "/d/zoo/audits"


def _draw_in(database: Database, *, judged: bool = True) -> int:
    with database.write() as session:
        return _draw(session, session.scalars(select(Dataset).where(Dataset.name == "zoo")).one(), judged=judged)


def test_a_lead_draws_a_sample_and_others_do_not(zoo: str, browser_as: BrowserAs) -> None:
    lead = browser_as("lead")
    assert "No audit yet" in lead.get(zoo).text
    answer = lead.post(zoo, {"size": "24", "opinions": "1", "assisted": "yes"})
    assert (answer.status_code, answer.location) == (303, f"{zoo}/1")
    page = lead.get(f"{zoo}/1").text
    assert "24 of 24 verdicts missing" in page
    assert "Review 24 images" in page
    assert "Draw the sample" not in browser_as("viewer").get(zoo).text
    assert browser_as("reviewer").post(zoo, {"size": "24"}).status_code == 403


def test_home_tells_the_rate_of_an_audit_once_it_is_done(zoo: str, database: Database, browser_as: BrowserAs) -> None:
    audit_id = _draw_in(database, judged=False)
    with database.write() as session:
        audit, user = session.get_one(Audit, audit_id), users.ensure_user(session, "bob", role="reviewer")
        _judge(session, audit, user, most=25)
    under_way = browser_as("reviewer").get("/d/zoo/").text
    assert "</a> is under way: 25 of 30 images judged." in under_way
    assert "labels of version" not in under_way
    with database.write() as session:
        _judge(session, session.get_one(Audit, audit_id), session.get_one(User, user.id))
    done = browser_as("reviewer").get("/d/zoo/").text
    assert "under way" not in done
    assert "· n 30, about" in done


def test_a_wrong_size_keeps_what_was_typed(zoo: str, browser_as: BrowserAs) -> None:
    for typed, said in (("3", "A sample holds 20"), ("many", "whole number"), ("9" * 5000, "whole number")):
        answer = browser_as("lead").post(zoo, {"size": typed})
        assert (answer.status_code, said in answer.text, f'value="{typed}"' in answer.text) == (422, True, True)


def test_the_result_its_verdicts_and_what_waits_stays_hidden(
    zoo: str, database: Database, browser_as: BrowserAs
) -> None:
    _draw_in(database)
    viewer = browser_as("viewer")
    page = viewer.get(f"{zoo}/1").text
    assert "20.0 %" in page
    assert "of the labels are wrong" in page
    assert "✓ complete" in page
    wrong = viewer.get(f"{zoo}/1/verdicts?kind=excluded").text
    assert "6 verdicts" in wrong
    rows = viewer.get(f"{zoo}/1/verdicts?format=csv").text.splitlines()
    assert rows[0] == "image,path,split,given,verdict,shows,wrong,stands_for,line"
    assert len(rows) == 31
    total = sum(float(row.split(",")[7]) for row in rows[1:])
    assert total == pytest.approx(60, abs=0.01)
    assert viewer.get(f"{zoo}/1/verdicts?kind=maybe").status_code == 404

    _draw_in(database, judged=False)
    assert "No such verdicts" in viewer.get(f"{zoo}/2/verdicts").text


def test_every_figure_of_the_report_leads_to_its_verdicts_and_comes_again(
    zoo: str, database: Database, browser_as: BrowserAs
) -> None:
    _draw_in(database)
    viewer = browser_as("viewer")
    page = viewer.get(f"{zoo}/1/report").text
    links = set(re.findall(r'href="(/d/zoo/audits/1/verdicts[^"]+)"', page))
    versions = {re.search(r"version=(\d+)", link)[1] for link in links}  # type: ignore[index] - all have one
    assert len(links) >= 7
    assert len(versions) == 1
    assert {viewer.get(link.replace("&amp;", "&")).status_code for link in links} == {200}

    address = f"{zoo}/1/report?version={versions.pop()}"
    before = _main(viewer.get(address).text)
    pdf = viewer.get(address.replace("report?", "report.pdf?")).data
    assert pdf.startswith(b"%PDF")
    with database.write() as session:  # what is decided later changes no report of an older version
        user = users.ensure_user(session, "bob", role="reviewer")
        for image in session.scalars(select(Image).limit(20)).all():
            decisions.decide(session, image=image, user=user, verdict="exclude")
    assert _main(viewer.get(address).text) == before
    assert viewer.get(address.replace("report?", "report.pdf?")).data == pdf


def _main(page: str) -> str:
    return page[page.index("<main") : page.index("</main>")]


@pytest.mark.parametrize("count", [1, 3])
def test_the_list_costs_the_same_at_one_and_three(
    count: int, zoo: str, database: Database, browser_as: BrowserAs
) -> None:
    for _ in range(count):
        _draw_in(database)
    viewer = browser_as("viewer")
    viewer.get(zoo)
    statements: list[str] = []

    def listen(*args: object) -> None:
        statements.append(str(args[2]))

    event.listen(database.reader, "before_cursor_execute", listen)
    page = viewer.get(zoo).text
    event.remove(database.reader, "before_cursor_execute", listen)
    assert page.count("✓ complete") == count
    assert sum(statement.startswith("SELECT") for statement in statements) == 6
