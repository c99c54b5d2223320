"""Invitations: who may make them, a link that is used once, joining with and without a password."""

import re
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from tests.conftest import Browser, make_pets
from tests.review_queues import field
from workbench.db import Database
from workbench.errors import Conflict, Forbidden, Invalid, NotFound
from workbench.models import Activity, Invitation, User, utc_now
from workbench.services import invitations, users

BrowserAs = Callable[[str], Browser]


def invite(browser: Browser, **form: str) -> str:
    """The path of the link that the page shows."""
    answer = browser.post("/people/invitations", {"role": "reviewer", **form})
    found = re.search(r'data-copy="http://localhost(/join/[^"]+)"', answer.get_data(as_text=True))
    assert found is not None, answer.status_code
    return found[1]


def join(client: FlaskClient, link: str, **form: str) -> TestResponse:
    token = field(client.get(link).get_data(as_text=True), "csrf_token")
    return client.post(link, data={"csrf_token": token, **form})


def user_of(database: Database, name: str) -> User:
    with database.read() as session:
        return session.scalars(select(User).where(User.name == name)).one()


def test_somebody_is_invited_joins_and_is_welcomed_once(app: Flask, database: Database, browser_as: BrowserAs) -> None:
    with database.write() as session:
        make_pets(session)
    lead, guest = browser_as("lead"), app.test_client()
    link = invite(lead, note="Ann from the clinic")
    page = guest.get(link).get_data(as_text=True)
    assert ("some-lead invites you as a reviewer." in page, "/join/" in lead.get("/people").text) == (True, False)

    answer = join(guest, link, name="ann", password="correct horse battery")

    assert (answer.status_code, answer.location) == (303, "/")
    first = guest.get("/", follow_redirects=True).get_data(as_text=True)
    assert "Welcome, ann" in first
    assert "says that its label is right" in first
    assert "You have no password" not in first
    assert "Welcome, ann" not in guest.get("/d/pets/").get_data(as_text=True)
    assert user_of(database, "ann").role == "reviewer"
    again = app.test_client().post("/login", data={"name": "ann", "password": "correct horse battery"})
    assert again.status_code == 400  # no token
    people = lead.get("/people").get_data(as_text=True)
    assert "Ann from the clinic" in people
    assert "used by ann" in people


def test_the_password_that_was_chosen_lets_one_in(app: Flask, database: Database, browser_as: BrowserAs) -> None:
    join(app.test_client(), invite(browser_as("lead")), name="ann", password="correct horse battery")
    with database.read() as session:
        found = users.check_password(session, name="ann", password="correct horse battery")
        assert found is not None
        assert found.name == "ann"


def test_a_name_alone_suffices_and_the_page_says_how_to_get_in_again(
    app: Flask, database: Database, browser_as: BrowserAs
) -> None:
    guest = app.test_client()
    join(guest, invite(browser_as("lead"), role="viewer"), name="ann", password="")
    page = guest.get("/", follow_redirects=True).get_data(as_text=True)
    assert "You can look at everything" in page
    assert "You have no password: this browser is your only way in." in page
    assert user_of(database, "ann").password_hash is None


def test_what_was_typed_stays_when_it_cannot_be_used(app: Flask, browser_as: BrowserAs) -> None:
    link, guest = invite(browser_as("lead")), app.test_client()
    for form, words in (
        ({"name": "two words", "password": ""}, "1 to 60 letters, digits"),
        ({"name": "Some-Lead", "password": ""}, "This name is taken."),
        ({"name": "ann", "password": "short"}, "At least 10 characters."),
    ):
        answer = join(guest, link, **form)
        page = answer.get_data(as_text=True)
        assert (answer.status_code, words in page, f'value="{form["name"]}"' in page) == (422, True, True)
        assert form["password"] == "" or form["password"] not in page
    assert join(guest, link, name="ann").status_code == 303


def test_a_link_is_used_once(app: Flask, browser_as: BrowserAs) -> None:
    link = invite(browser_as("lead"))
    guest = app.test_client()
    late = field(guest.get(link).get_data(as_text=True), "csrf_token")
    assert join(app.test_client(), link, name="ann").status_code == 303
    answer = guest.post(link, data={"csrf_token": late, "name": "bob"})
    assert (answer.status_code, "was used, was revoked or has expired" in answer.text) == (404, True)
    assert guest.get("/settings").status_code == 404


def test_two_at_the_same_moment_and_one_gets_in(app: Flask, database: Database, browser_as: BrowserAs) -> None:
    link = invite(browser_as("lead"))
    clients = [app.test_client() for _ in range(6)]
    tokens = [field(client.get(link).get_data(as_text=True), "csrf_token") for client in clients]
    statuses: list[int] = []
    start = threading.Barrier(len(clients))

    def rush(number: int) -> None:
        start.wait()
        form = {"csrf_token": tokens[number], "name": f"guest-{number}", "password": "correct horse battery"}
        statuses.append(clients[number].post(link, data=form).status_code)

    threads = [threading.Thread(target=rush, args=(number,)) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [303, 404, 404, 404, 404, 404]
    with database.read() as session:
        assert len(session.scalars(select(User).where(User.name.startswith("guest-"))).all()) == 1


def test_a_revoked_link_lets_nobody_in(app: Flask, database: Database, browser_as: BrowserAs) -> None:
    lead = browser_as("lead")
    link = invite(lead, note="eve")
    with database.read() as session:
        number = session.scalars(select(Invitation.id)).one()
    assert lead.post(f"/people/invitations/{number}/revoke").status_code == 303
    answer = app.test_client().get(link)
    assert (answer.status_code, "was used, was revoked or has expired" in answer.text) == (404, True)
    assert "revoked" in lead.get("/people").text


def test_leads_invite_reviewers_and_revoke_their_own(database: Database, browser_as: BrowserAs) -> None:
    lead, admin, reviewer = browser_as("lead"), browser_as("admin"), browser_as("reviewer")
    refused = lead.post("/people/invitations", {"role": "lead"})
    assert (refused.status_code, "Your role lead does not let you invite a lead" in refused.text) == (403, True)
    assert reviewer.post("/people/invitations", {"role": "viewer"}).status_code == 403
    invite(admin, role="admin")
    with database.read() as session:
        number = session.scalars(select(Invitation.id)).one()
    assert lead.post(f"/people/invitations/{number}/revoke").status_code == 403
    assert "Revoke<" not in lead.get("/people").text
    assert admin.post(f"/people/invitations/{number}/revoke").status_code == 303
    assert admin.post("/people/invitations/999/revoke").status_code == 404


def test_a_bad_invitation_keeps_what_was_typed(browser_as: BrowserAs) -> None:
    answer = browser_as("lead").post("/people/invitations", {"role": "reviewer", "note": "for <Ann>", "days": "900"})
    page = answer.get_data(as_text=True)
    assert (answer.status_code, "1 to 90 days." in page, 'value="for &lt;Ann&gt;"' in page) == (422, True, True)


def test_states_follow_the_clock_and_whoever_made_it(session: Session, alice: User, bob: User) -> None:
    now = utc_now()
    made, token = invitations.invite(session, user=alice, role="viewer", now=now)
    assert invitations.find_state(made, now=now + timedelta(days=6)) == "open"
    assert invitations.find_state(made, now=now + timedelta(days=7)) == "expired"
    with pytest.raises(NotFound, match="has expired"):
        invitations.join(session, token, name="eve", now=now + timedelta(days=8))
    users.change_role(session, user=alice, role="reviewer")
    session.refresh(made)
    assert invitations.find_state(made, now=now) == "revoked"
    users.change_role(session, user=alice, role="lead")
    users.set_active(session, user=alice, active=False)
    assert invitations.find_state(made, now=now) == "revoked"
    users.set_active(session, user=alice, active=True)
    joined = invitations.join(session, token, name="eve", now=now)
    assert (joined.role, invitations.find_state(made, now=now)) == ("viewer", "used")
    with pytest.raises(Conflict, match="used already"):
        invitations.revoke(session, invitation=made, user=alice)
    with pytest.raises(Forbidden, match="does not let you invite"):
        invitations.invite(session, user=bob, role="viewer")
    with pytest.raises(Invalid, match="is not a role"):
        invitations.invite(session, user=alice, role="king")
    with pytest.raises(Invalid, match="at most 200"):
        invitations.invite(session, user=alice, role="viewer", note="x" * 201)


def test_only_the_hash_of_a_link_is_kept(session: Session, alice: User) -> None:
    made, token = invitations.invite(session, user=alice, role="viewer", note="  for\n Ann ")
    assert (made.note, token in made.token_sha256, len(made.token_sha256)) == ("for Ann", False, 64)
    told = [(line.kind, line.detail) for line in session.scalars(select(Activity))]
    assert told == [("invitation", {"role": "viewer", "note": "for Ann"})]


def test_somebody_who_is_in_already_is_told_so(app: Flask, browser_as: BrowserAs) -> None:
    link = invite(browser_as("lead"))
    page = browser_as("viewer").get(link).get_data(as_text=True)
    assert "You are logged in as some-viewer. Joining makes a second account" in page
