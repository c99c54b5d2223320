"""Logging in, roles, CSRF, headers: the security of every page."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.conftest import Browser
from workbench.db import Database
from workbench.errors import Invalid
from workbench.models import User
from workbench.services import users
from workbench.serving import make_server
from workbench.web import accounts


def link_for(database: Database, name: str = "ann", role: str = "reviewer") -> str:
    with database.write() as session:
        return users.make_login_link(session, user=users.ensure_user(session, name, role=role))


def test_a_stranger_is_sent_to_the_login_page(app: Flask) -> None:
    answer = app.test_client().get("/jobs?x=1")
    assert (answer.status_code, answer.location) == (303, "/login?next=/jobs?x%3D1")


def test_a_login_link_works_once(app: Flask, database: Database) -> None:
    token = link_for(database)
    assert app.test_client().get(f"/login/{token}").location == "/"

    second = app.test_client().get(f"/login/{token}")
    assert second.status_code == 404
    assert "was used or has expired" in second.get_data(as_text=True)


def test_a_link_preview_does_not_use_up_a_login_link(app: Flask, database: Database) -> None:
    token = link_for(database)
    assert app.test_client().head(f"/login/{token}").status_code == 405
    assert app.test_client().get(f"/login/{token}").status_code == 303


def test_a_post_without_the_csrf_token_is_refused(browser_as: Callable[[str], Browser]) -> None:
    browser = browser_as("admin")
    answer = browser.client.post("/settings", data={"theme": "dark"})
    assert answer.status_code == 400
    assert "CSRF" in answer.get_data(as_text=True)


def test_settings_are_kept_and_a_plain_browser_gets_a_303(browser_as: Callable[[str], Browser]) -> None:
    browser = browser_as("viewer")
    answer = browser.post("/settings", {"theme": "dark", "csrf_token": browser.token})
    assert (answer.status_code, answer.location) == (303, "/settings")
    assert 'data-theme="dark"' in browser.get("/settings").get_data(as_text=True)


def test_a_short_password_is_refused_with_the_field_named(browser_as: Callable[[str], Browser]) -> None:
    answer = browser_as("viewer").post("/settings", {"theme": "dark", "password": "short"})
    assert answer.status_code == 422
    assert "At least 10 characters." in answer.get_data(as_text=True)


def test_log_in_by_password_and_only_to_paths_of_this_server(app: Flask, database: Database) -> None:
    with database.write() as session:
        users.set_password(user=users.ensure_user(session, "ann"), password="correct horse")
    app.config["WTF_CSRF_ENABLED"] = False
    client = app.test_client()
    form = {"name": "ann", "password": "correct horse", "next": "https://elsewhere.example/"}
    assert client.post("/login", data=form).location == "/"
    assert client.post("/login", data=form | {"next": "//elsewhere.example"}).location == "/"
    assert client.post("/login", data=form | {"next": "/jobs"}).location == "/jobs"
    wrong = client.post("/login", data=form | {"password": "wrong horse"})
    assert wrong.status_code == 422
    assert "do not fit together" in wrong.get_data(as_text=True)


def test_guessing_passwords_is_limited(app: Flask) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    client = app.test_client()
    answers = [client.post("/login", data={"name": "eve", "password": str(n)}).status_code for n in range(9)]
    assert answers == [422] * 8 + [429]


def test_guessing_with_made_up_names_is_limited_too_and_fills_no_memory(app: Flask) -> None:
    with app.test_request_context("/login", environ_base={"REMOTE_ADDR": "192.0.2.1"}):
        for number in range(12_000):
            accounts._limit_tries(f"192.0.2.{number} {number}")
        assert len(accounts._tries) == 10_000
    app.config["WTF_CSRF_ENABLED"] = False
    client = app.test_client()
    for _ in range(100):
        accounts._limit_tries("127.0.0.1", most=100)
    assert client.post("/login", data={"name": "somebody-else", "password": "x"}).status_code == 429


def test_checking_a_password_holds_no_writer(app: Flask, database: Database) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    with database.write():
        assert app.test_client().post("/login", data={"name": "eve", "password": "x"}).status_code == 422


def test_only_an_upload_may_be_large(app: Flask, browser_as: Callable[[str], Browser]) -> None:
    head = '--B\r\nContent-Disposition: form-data; name="source_file"; filename="large.txt"\r\n\r\n'
    large: dict[str, Any] = {"data": head.encode() + bytes(17 * 2**20) + b"\r\n--B--\r\n"}
    large["content_type"] = "multipart/form-data; boundary=B"
    stranger = app.test_client().post("/import/preview", **large)
    assert (stranger.status_code, stranger.location.partition("?")[0]) == (303, "/login")
    lead = browser_as("lead")
    headers = {"X-CSRFToken": lead.token}
    answer = lead.client.post("/import", headers=headers, **large)
    assert answer.status_code == 413
    assert "more than the workbench accepts" in answer.get_data(as_text=True)
    answer = lead.client.post("/import/preview", headers=headers, **large)
    assert answer.status_code == 422
    assert "An upload is a .zip or .csv file." in answer.get_data(as_text=True)


def test_server_and_application_take_requests_of_the_same_size(app: Flask, database: Database) -> None:
    server = make_server(database, host="127.0.0.1", port=0)
    assert server.adj.max_request_body_size == app.config["MAX_CONTENT_LENGTH"]
    server.close()


def test_the_session_of_a_switched_off_user_ends(browser_as: Callable[[str], Browser], database: Database) -> None:
    browser = browser_as("reviewer")
    assert browser.get("/settings").status_code == 200
    with database.write() as session:
        users.set_active(session, user=users.ensure_user(session, "some-reviewer"), active=False)
    assert browser.get("/settings").status_code == 303


def test_the_last_administrator_stays(session, alice: User) -> None:
    admin = users.ensure_admin(session)
    with pytest.raises(Invalid, match="last administrator"):
        users.change_role(session, user=admin, role="viewer")
    with pytest.raises(Invalid, match="last administrator"):
        users.set_active(session, user=admin, active=False)


def test_every_page_carries_the_policy(app: Flask) -> None:
    headers = app.test_client().get("/login").headers
    assert "script-src 'self';" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert (headers["X-Content-Type-Options"], headers["X-Frame-Options"]) == ("nosniff", "DENY")


def test_an_unknown_page_is_a_404_with_a_way_back(browser_as: Callable[[str], Browser]) -> None:
    answer = browser_as("viewer").get("/d/nowhere/images")
    assert answer.status_code == 404
    assert "There is no data set “nowhere”" in answer.get_data(as_text=True)
