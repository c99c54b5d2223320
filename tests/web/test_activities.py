"""What people did besides deciding: said in the same transaction, in plain words, to leads and administrators."""

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from tests.commands import call
from tests.conftest import Browser, make_pets
from tests.review_queues import add_queue, counted
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.models import Activity, User, utc_now
from workbench.services import activities, users

BrowserAs = Callable[[str], Browser]


def told(database: Database) -> list[tuple[str, str]]:
    """(who, what) of everything but logins, oldest first."""
    with database.read() as session:
        lines = session.scalars(select(Activity).where(Activity.kind != "login").order_by(Activity.id)).all()
        return [(line.user.name, activities.phrase(line)) for line in lines]


def words(browser: Browser, url: str) -> str:
    page = browser.get(url).get_data(as_text=True)
    entries = page[page.index('id="entries"') : page.index('id="help"')]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", entries)).split())


def test_every_kind_has_words() -> None:
    assert set(activities.KINDS) == set(activities._PHRASES)
    for kind in activities.KINDS:
        assert "{" not in activities.phrase(Activity(kind=kind, detail={})), kind


def test_people_are_managed_in_plain_words(database: Database, browser_as: BrowserAs) -> None:
    admin = browser_as("admin")
    admin.post("/people", {"name": "ann", "role": "reviewer"})
    with database.read() as session:
        number = session.scalars(select(User.id).where(User.name == "ann")).one()
    admin.post(f"/people/{number}/role", {"role": "lead"})
    admin.post(f"/people/{number}/role", {"role": "lead"})
    admin.post(f"/people/{number}/active", {"active": "no"})
    admin.post(f"/people/{number}/active", {"active": "yes"})
    admin.post(f"/people/{number}/link")
    admin.post("/people/invitations", {"role": "viewer", "note": "Bo {how}"})
    admin.post("/people/invitations/1/revoke")
    admin.post("/settings", {"theme": "auto", "password": "correct horse battery"})
    assert told(database) == [
        ("some-admin", phrase)
        for phrase in (
            "made the account ann, reviewer",
            "made a login link for ann",
            "made ann lead, who was reviewer",
            "switched ann off",
            "switched ann on again",
            "made a login link for ann",
            "invited somebody as viewer: “Bo {how}”",
            "revoked the invitation of a viewer: “Bo {how}”",
            "set a new password",
        )
    ]


def test_work_is_told_too(database: Database, home: Home, browser_as: BrowserAs) -> None:
    with database.write() as session:
        dataset = make_pets(session)
        add_queue(session, dataset)
        add_run(session, home, dataset=dataset, user=users.ensure_admin(session))
    lead = browser_as("lead")
    for url, form in (
        ("/d/pets/queues/build", {"recipe": "random", "limit": "3"}),
        ("/d/pets/queues/1/close", {}),
        ("/d/pets/duplicates/scan", {}),
        ("/d/pets/export", {"format": "csv"}),
        ("/d/pets/splits", {"train": "80", "validation": "10", "test": "10"}),
        ("/d/pets/runs", {"arch": "compact", "preset": "quick", "epochs": "1"}),
        ("/jobs/1/cancel", {}),
        ("/jobs/1/retry", {}),
        ("/d/pets/runs/1/promote", {}),
        ("/d/pets/runs/2/cancel", {}),
        ("/import", {"dataset": "birds", "source": "/data/birds.zip"}),
    ):
        assert lead.post(url, form).status_code == 303, url
    assert [phrase for _, phrase in told(database)] == [
        "built the queue Random sample of 3 images",
        "closed the queue Label issues",
        "started a scan for duplicates",
        "exported version 0 as csv",
        "started to build splits",
        "started run 2, compact",
        "cancelled: Scan for duplicates",
        "tried again: Scan for duplicates",
        "promoted run 1",
        "cancelled run 2",
        "started to import birds.zip into birds",
    ]
    page = words(lead, "/activity")
    assert "some-lead promoted run 1" in page
    assert "some-lead logged in by login link" in page


def test_what_was_refused_is_not_told(database: Database, browser_as: BrowserAs) -> None:
    admin = browser_as("admin")
    admin.post("/people", {"name": "two words", "role": "reviewer"})
    admin.post("/people/1/active", {"active": "no"})
    admin.post("/people/invitations", {"role": "viewer", "days": "1000"})
    assert told(database) == []


def test_logins_are_told_without_their_secrets(app: Flask, database: Database, browser_as: BrowserAs) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    with database.write() as session:
        users.set_password(user=users.add_user(session, name="ann", role="viewer"), password="correct horse")
    form = {"name": "ann", "password": "correct horse"}
    assert app.test_client().post("/login", data=form).status_code == 303
    app.test_client().post("/login", data=form | {"password": "wrong horse"})
    with database.read() as session:
        lines = [(line.user.name, line.kind, line.detail) for line in session.scalars(select(Activity))]
    assert lines == [("ann", "login", {"how": "password"})]


def test_nobody_below_a_lead_sees_it(browser_as: BrowserAs) -> None:
    assert browser_as("reviewer").get("/activity").status_code == 403
    assert "Nothing matches" in words(browser_as("lead"), "/activity?kind=backup")


def test_filters(database: Database, browser_as: BrowserAs) -> None:
    lead = browser_as("lead")
    with database.write() as session:
        pets, owls = make_pets(session), make_pets(session, name="owls")
        ann, bob = users.ensure_user(session, "ann"), users.ensure_user(session, "bob")
        activities.record(session, user=ann, kind="scan", dataset=pets)
        activities.record(session, user=bob, kind="export", dataset=owls, version=3, format="csv")
        activities.record(session, user=bob, kind="scan", dataset=owls)
        number = bob.id
    assert words(lead, f"/activity?user={number}").count("bob") == 2
    assert "exported" not in words(lead, "/activity?kind=scan")
    owls_only = words(lead, "/activity?dataset=owls")
    assert (owls_only.count("bob"), "ann" in owls_only) == (2, False)
    tomorrow, today = (f"{utc_now() + timedelta(days=days):%Y-%m-%d}" for days in (1, 0))
    assert "ann started a scan" in words(lead, f"/activity?since={today}&until={today}")
    assert "Nothing matches" in words(lead, f"/activity?since={tomorrow}")
    assert "Nothing matches" in words(lead, "/activity?until=2020-01-01")
    odd = lead.get("/activity?since=yesterday")
    assert (odd.status_code, "“yesterday” is no day" in odd.text) == (422, True)
    assert lead.get("/activity?dataset=gone").status_code == 404


def test_pages_follow_each_other_and_cost_the_same(
    database: Database, browser_as: BrowserAs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.web import activities as pages

    monkeypatch.setattr(pages, "PER_PAGE", 3)
    lead, costs = browser_as("lead"), []
    for number in range(5):
        with database.write() as session:
            user = users.ensure_user(session, f"user-{number}")
            activities.record(session, user=user, kind="backup", file=f"{number}.zip")
        with counted(database) as statements:
            lead.get("/activity?kind=backup")
        costs.append(len(statements))
    assert costs == [costs[0]] * 5
    page = lead.get("/activity?kind=backup").get_data(as_text=True)
    found = re.search(r'href="([^"]+)">Older', page)
    assert found is not None
    assert re.findall(r"(\d)\.zip", words(lead, "/activity?kind=backup")) == ["4", "3", "2"]
    assert re.findall(r"(\d)\.zip", words(lead, unescape(found[1]))) == ["1", "0"]


def test_nothing_of_it_can_be_changed(session: Session, alice: User) -> None:
    activities.record(session, user=alice, kind="scan")
    for statement in ("UPDATE activities SET kind = 'login'", "DELETE FROM activities"):
        with pytest.raises((IntegrityError, OperationalError), match="append-only"):
            session.execute(text(statement))
    with pytest.raises(ValueError, match="no kind of activity"):
        activities.record(session, user=alice, kind="dancing")


def test_the_command_line_is_told(
    database: Database, home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.write() as session:
        make_pets(session)

    def say(*arguments: Any) -> Any:
        answer = call(capsys, monkeypatch, *arguments, "--home", home.root, "--json")
        assert answer.status == 0, answer.err
        return answer.document

    say("user", "add", "dora", "--role", "lead")
    link = say("user", "invite", "--role", "admin", "--note", "Ann", "--port", "9000")
    assert (link["role"], link["note"]) == ("admin", "Ann")
    assert link["url"].startswith("http://127.0.0.1:9000/join/")
    say("login-link", "dora")
    say("queue", "build", "random", "--dataset", "pets", "--limit", "3")
    say("backup", tmp_path / "all.zip")
    assert told(database) == [
        ("admin", phrase)
        for phrase in (
            "made the account dora, lead",
            "invited somebody as admin: “Ann”",
            "made a login link for dora",
            "built the queue Random sample of 3 images",
            "wrote a backup to all.zip",
        )
    ]
    with database.read() as session:
        vias = [line.detail.get("via") for line in session.scalars(select(Activity).order_by(Activity.id))]
    assert vias == ["command line", None, "command line", "command line", "command line"]
