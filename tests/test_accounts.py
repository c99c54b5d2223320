"""Logging in, roles, CSRF, headers: the security of every page."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from tests.conftest import Browser
from tests.review_queues import add_queue
from workbench.db import Database
from workbench.errors import Invalid, NotFound
from workbench.models import Dataset, QueueItem, User, utc_now
from workbench.services import users
from workbench.serving import check_address, make_server
from workbench.web.limits import Limits, key_of_address


def link_for(database: Database, name: str = "ann", role: str = "reviewer") -> str:
    with database.write() as session:
        return users.make_login_link(session, user=users.ensure_user(session, name, role=role))


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


def test_a_login_link_that_meets_a_busy_writer_says_so_and_is_not_used_up(
    app: Flask, database: Database, browser_as: Callable[[str], Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    token, ann = link_for(database), browser_as("reviewer")
    monkeypatch.setattr("workbench.db._PATIENCE_S", 0.05)
    with database.write():
        for client in (app.test_client(), ann.client):
            answer = client.get(f"/login/{token}")
            assert (answer.status_code, "busy" in answer.text) == (503, True)
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


@pytest.fixture
def ann(app: Flask, database: Database) -> None:
    """Has a password; forms need no token."""
    app.config["WTF_CSRF_ENABLED"] = False
    with database.write() as session:
        users.set_password(user=users.ensure_user(session, "ann"), password="correct horse")


def try_login(app: Flask, name: str, password: str, *, address: str = "192.0.2.1") -> TestResponse:
    form = {"name": name, "password": password}
    return app.test_client().post("/login", data=form, environ_base={"REMOTE_ADDR": address})


def test_guessing_passwords_is_limited_and_then_the_right_one_waits_too(app: Flask, ann: None) -> None:
    statuses = [try_login(app, "ann", f"wrong {number}").status_code for number in range(8)]
    right = try_login(app, "ann", "correct horse")
    assert (statuses, right.status_code) == ([422] * 8, 429)
    assert 290 <= int(right.headers["Retry-After"]) <= 300
    assert "Too many tries. Wait 5 min, then try again." in right.get_data(as_text=True)
    assert try_login(app, "ann", "correct horse", address="192.0.2.2").status_code == 303


def test_another_spelling_of_the_name_is_the_same_name(app: Flask, ann: None) -> None:
    spellings = ("ann", "Ann", "ANN", " ann ", "aNn", "anN", "\uff41nn", "ANn", "aNN")
    assert [try_login(app, name, "wrong").status_code for name in spellings] == [422] * 8 + [429]


def test_many_addresses_guess_one_name_no_further(app: Flask, ann: None) -> None:
    statuses = [try_login(app, "ann", "wrong", address=f"192.0.2.{n // 8}").status_code for n in range(41)]
    assert statuses == [422] * 40 + [429]


def test_one_address_guesses_many_names_no_further(app: Flask, ann: None) -> None:
    limits = app.extensions["limits"]
    for _ in range(99):
        assert limits.take("login 192.0.2.1", most=100) == 0
    assert [try_login(app, name, "x").status_code for name in ("carl", "dora")] == [422, 429]


def test_somebody_who_got_in_begins_anew(app: Flask, ann: None) -> None:
    for _ in range(2):
        statuses = [try_login(app, "ann", "wrong").status_code for _ in range(7)]
        assert (statuses, try_login(app, "ann", "correct horse").status_code) == ([422] * 7, 303)


def test_waiting_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("workbench.web.limits.time.monotonic", lambda: now)
    limits = Limits()
    assert [limits.take("a", most=2) for _ in range(3)] == [0, 0, 300]
    now += 299
    assert limits.take("a", most=2) == 1
    now += 2
    assert [limits.take("a", most=2) for _ in range(3)] == [0, 0, 300]


def test_made_up_names_fill_no_memory() -> None:
    limits = Limits()
    for number in range(12_000):
        limits.take(f"made up {number}", most=8)
    assert len(limits) == 10_000


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        (None, ""),
        ("a socket", "a socket"),
    ],
)
def test_who_counts_as_one_address(address: str | None, key: str) -> None:
    assert key_of_address(address) == key


def test_links_cannot_be_tried_one_after_the_other(app: Flask) -> None:
    client = app.test_client()
    statuses = [client.get(f"/{what}/{number}").status_code for what in ("login", "join") for number in range(61)]
    assert statuses == ([404] * 60 + [429]) * 2
    assert int(client.get("/join/again").headers["Retry-After"]) > 290


def test_a_name_that_nobody_has_takes_as_long_as_any(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every try costs one hash of the same kind: also for names of nobody, without a password, and switched off."""
    with database.write() as session:
        users.ensure_admin(session)
        users.set_password(user=users.add_user(session, name="ann", role="viewer"), password="correct horse")
        users.set_active(session, user=users.ensure_user(session, "ann"), active=False)
        users.add_user(session, name="without", role="viewer")
    costs: list[str] = []
    verify = users._hasher.verify

    def noted(stored: str, password: str) -> bool:
        costs.append(stored.rpartition("$")[0].rpartition("$")[0])
        return verify(stored, password)

    monkeypatch.setattr(type(users._hasher), "verify", lambda _self, stored, password: noted(stored, password))
    with database.read() as session:
        for name in ("ann", "without", "nobody"):
            assert users.check_password(session, name=name, password="correct horse") is None
    assert costs == [users._hasher.hash("x").rpartition("$")[0].rpartition("$")[0]] * 3


def test_letter_case_of_a_name_is_forgiven_but_not_a_second_account(database: Database) -> None:
    with database.write() as session:
        ann = users.add_user(session, name="Ann", role="viewer")
        users.set_password(user=ann, password="correct horse")
        assert users.check_password(session, name="ann", password="correct horse") is ann
        with pytest.raises(Invalid, match="There is a user “Ann” already"):
            users.add_user(session, name="aNN", role="viewer")


def test_checking_a_password_holds_no_writer(app: Flask, database: Database) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    with database.write():
        assert app.test_client().post("/login", data={"name": "eve", "password": "x"}).status_code == 422


def test_only_an_upload_may_be_large(app: Flask, browser_as: Callable[[str], Browser]) -> None:
    head = '--B\r\nContent-Disposition: form-data; name="source_file"; filename="large.txt"\r\n\r\n'
    large: dict[str, Any] = {"data": head.encode() + bytes(17 * 2**20) + b"\r\n--B--\r\n"}
    large["content_type"] = "multipart/form-data; boundary=B"
    stranger = app.test_client().post("/import/preview", **large)
    assert stranger.status_code == 404
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


def test_who_is_switched_off_holds_nothing_any_more(session: Session, pets: Dataset, bob: User) -> None:
    item = session.scalars(select(QueueItem).where(QueueItem.queue_id == add_queue(session, pets).id)).all()[0]
    item.lease_user_id, item.lease_until = bob.id, utc_now() + timedelta(minutes=5)
    token = users.make_login_link(session, user=bob)
    session.flush()
    users.set_active(session, user=bob, active=False)
    session.refresh(item)
    assert (item.lease_user_id, item.lease_until) == (None, None)
    users.set_active(session, user=bob, active=True)
    with pytest.raises(NotFound, match="was used or has expired"):
        users.use_login_link(session, token)


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


@contextmanager
def served(database: Database, *, behind_proxy: bool) -> Iterator[int]:
    """The port of a server in this process."""
    server = make_server(database, host="127.0.0.1", port=0, behind_proxy=behind_proxy)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield int(server.effective_port)
    server.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("behind_proxy", [False, True])
def test_what_a_proxy_says_is_believed_only_if_there_is_one(database: Database, *, behind_proxy: bool) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7", "X-Forwarded-Host": "bench.example"}
    token = link_for(database)
    with served(database, behind_proxy=behind_proxy) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", f"/login/{token}", headers=headers)
        answer = connection.getresponse()
        cookies = answer.headers.get_all("Set-Cookie") or []
        connection.close()
    assert answer.status == 303
    assert [("Secure" in cookie) for cookie in cookies] == [behind_proxy] * 2


def test_a_proxy_makes_the_server_reachable_from_elsewhere(database: Database) -> None:
    check_address(database, "127.0.0.1")
    for host, behind_proxy in (("0.0.0.0", False), ("127.0.0.1", True)):
        with pytest.raises(Invalid, match="no account has a password yet"):
            check_address(database, host, behind_proxy=behind_proxy)
    with database.write() as session:
        users.set_password(user=users.ensure_admin(session), password="correct horse")
    check_address(database, "127.0.0.1", behind_proxy=True)
