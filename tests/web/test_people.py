"""Who may log in, as what, and the link that lets them in once."""

import re
from collections.abc import Callable

from flask import Flask
from sqlalchemy import select

from tests.conftest import Browser
from workbench.db import Database
from workbench.models import User

BrowserAs = Callable[[str], Browser]


def user_of(database: Database, name: str) -> User:
    with database.read() as session:
        return session.scalars(select(User).where(User.name == name)).one()


def test_leads_look_and_invite_admins_manage(app: Flask, browser_as: BrowserAs) -> None:
    assert app.test_client().get("/people").status_code == 404
    reviewer, lead, admin = browser_as("reviewer"), browser_as("lead"), browser_as("admin")
    assert reviewer.get("/people").status_code == 403
    assert 'href="/people"' not in reviewer.get("/settings").get_data(as_text=True)
    page = lead.get("/people").get_data(as_text=True)
    assert "Invite somebody" in page
    assert [words in page for words in ("Switch off", "Login link<", "Make an account", 'name="role" aria-label')] == [
        False
    ] * 4
    assert "Switch off" in admin.get("/people").get_data(as_text=True)
    assert lead.post("/people", {"name": "eve", "role": "admin"}).status_code == 403


def test_a_new_person_gets_a_link_that_works_once_and_is_shown_once(
    app: Flask, browser_as: BrowserAs, database: Database
) -> None:
    admin = browser_as("admin")
    answer = admin.post("/people", {"name": "björn", "role": "reviewer"})
    html = answer.get_data(as_text=True)
    found = re.search(r'data-copy="http://localhost(/login/[^"]+)"', html)
    assert found is not None
    assert "Login link for björn" in html
    assert "/login/" not in admin.get("/people").get_data(as_text=True)
    assert answer.headers["Cache-Control"] == "no-store"
    assert app.test_client().get(found[1]).status_code == 303
    assert app.test_client().get(found[1]).status_code == 404


def test_a_bad_name_keeps_what_was_typed(browser_as: BrowserAs) -> None:
    answer = browser_as("admin").post("/people", {"name": "two words", "role": "lead"})
    html = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert ("1 to 60 letters, digits" in html, 'value="two words"' in html) == (True, True)
    assert re.search(r'<option value="lead" selected>', html) is not None


def test_role_off_on_and_a_new_link(browser_as: BrowserAs, database: Database) -> None:
    browser_as("reviewer")
    admin = browser_as("admin")
    person = user_of(database, "some-reviewer").id
    assert admin.post(f"/people/{person}/role", {"role": "lead"}).location == "/people"
    assert "some-reviewer is lead now." in admin.get("/people").get_data(as_text=True)
    admin.post(f"/people/{person}/active", {"active": "no"})
    off = admin.post(f"/people/{person}/link")
    assert (off.status_code, "switched off" in off.get_data(as_text=True)) == (422, True)
    admin.post(f"/people/{person}/active", {"active": "yes"})
    assert "/login/" in admin.post(f"/people/{person}/link").get_data(as_text=True)
    assert (user_of(database, "some-reviewer").role, user_of(database, "some-reviewer").active) == ("lead", True)


def test_nobody_locks_everybody_out(browser_as: BrowserAs, database: Database) -> None:
    admin = browser_as("admin")
    me = user_of(database, "some-admin").id
    own = admin.post(f"/people/{me}/active", {"active": "no"})
    assert (own.status_code, "cannot switch your own account off" in own.get_data(as_text=True)) == (422, True)
    last = admin.post(f"/people/{me}/role", {"role": "viewer"})
    assert (last.status_code, "last administrator" in last.get_data(as_text=True)) == (422, True)
    assert admin.post(f"/people/{me}/role", {"role": "king"}).status_code == 422
    assert user_of(database, "some-admin").role == "admin"
