"""Who may call what: every address, by strangers, by each role, without a token, across data sets."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Connection, select
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from tests.conftest import Browser, make_pets
from tests.maps import add_map
from tests.review_queues import add_queue, field
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.models import Class, Dataset, DuplicateGroup, Image, Import, QueueItem
from workbench.services import audits, decisions, duplicates, invitations, jobs, studies, study_files, users

BrowserAs = Callable[[str], Browser]
ROLES = ("viewer", "reviewer", "lead", "admin")
OPEN_TO_ALL = {"static", "accounts.log_in", "accounts.use_link", "accounts.health", "joining.show", "joining.join"}
# what each address needs beyond being logged in; an address that is missing here fails a test
NEEDS = {
    "GET": {
        "activities.index": "lead", "agreement.pair": "lead", "agreement.preview": "lead", "agreement.reviewer": "lead",
        "classes.preview_merge": "lead", "duplicates.preview": "lead", "imports.new": "lead", "imports.preview": "lead",
        "people.index": "lead", "training_forms.new": "lead", "splits.preview": "lead", "studies.new": "lead",
        **dict.fromkeys(
            (
                "architectures.index",
                "audits.index", "audits.pdf", "audits.report", "audits.show", "audits.verdicts",
                "agreement.adjudication", "agreement.case", "agreement.images", "agreement.index",
                "classes.colours", "classes.index", "duplicates.index", "duplicates.scan_state",
                "duplicates.show", "explaining.look", "explaining.overlay", "explaining.show",
                "exports.download", "exports.index", "findings.index", "findings.scan_state",
                "history.index", "history.save",
                "home.datasets", "home.show",
                "maps.density", "maps.points", "maps.progress", "maps.region", "maps.show", "maps.states",
                "images.full", "images.grid", "images.show", "images.thumbnail", "imports.show", "jobs.badge",
                "jobs.index", "jobs.show", "review.card", "review.item", "review.item_of_image", "sweeps.show",
                "run_checking.show", "run_parts.training",
                "run_parts.calibration", "run_parts.copies", "run_parts.groups", "run_parts.measures",
                "posterior.show",
                "run_results.cell", "comparing.show", "runs.index", "runs.live", "runs.progress", "runs.show",
                "settings.show", "splits.index", "studies.index", "studies.show",
            ),
            "viewer",
        ),
    },
    "POST": {
        **dict.fromkeys(("accounts.log_out", "maps.look", "settings.save", "settings.save_keys"), "viewer"),
        **dict.fromkeys(
            (
                "answers.send", "duplicates.settle", "duplicates.undo", "explaining.ask", "exports.start",
                "history.undo",
                "images.apply_bulk",
                "images.decide", "images.preview_bulk", "jobs.cancel", "jobs.retry", "review.blind", "review.comment",
                "review.decide", "review.redo", "review.skip", "review.undo", "sweeps.lease",
                "sweeps.look_ahead", "sweeps.settle",
            ),
            "reviewer",
        ),
        **dict.fromkeys(
            (
                "audits.begin",
                "agreement.ask_another", "agreement.compute", "agreement.settle", "agreement.settle_bulk",
                "agreement.take_back_asking", "agreement.undo",
                "classes.add", "classes.edit", "classes.merge", "classes.move", "classes.retire", "duplicates.scan",
                "findings.scan",
                "duplicates.settle_bulk", "explaining.start", "imports.start", "imports.upload",
                "people.invite", "people.revoke",
                "maps.make", "maps.queue", "maps.similar",
                "queues.build",
                "queues.close", "run_checking.probe", "runs.cancel", "training_forms.create",
                "posterior.keep", "posterior.train_missing",
                "comparing.promote", "comparing.train_control", "runs.retry", "splits.build",
                "splits.freeze", "splits.unfreeze", "studies.cancel", "studies.create", "studies.go_on",
            ),
            "lead",
        ),
        **dict.fromkeys(("people.add", "people.change_role", "people.make_link", "people.set_active"), "admin"),
    },
}  # fmt: skip


BELONGING = {
    *("image_id", "class_id", "queue_id", "group_id", "run_id", "import_id", "audit_id", "study_id"),
}  # parts of addresses that name something of one data set


@dataclass(frozen=True)
class World:
    """Two data sets, each with one of everything: the parts of their addresses."""

    pets: dict[str, Any]
    birds: dict[str, Any]


@pytest.fixture
def world(database: Database, home: Home) -> World:
    with database.write() as session:
        return World(_make(session, home, "pets"), _make(session, home, "birds"))


def _make(session: Session, home: Home, name: str) -> dict[str, Any]:
    dataset = make_pets(session, name=name)
    user = users.ensure_admin(session)
    images = list(session.scalars(select(Image).where(Image.dataset_id == dataset.id).order_by(Image.id)))
    images[1].pixel_sha256 = images[0].pixel_sha256
    session.flush()
    duplicates.refresh_exact_groups(session, dataset)
    queue = add_queue(session, dataset)
    classes = list(session.scalars(select(Class).where(Class.dataset_id == dataset.id)))
    return {
        "name": name,
        "image_id": images[0].id,
        "class_id": classes[0].id,
        "into": classes[1].id,
        "queue_id": queue.id,
        "item_id": session.scalars(select(QueueItem.id).where(QueueItem.queue_id == queue.id)).first(),
        "group_id": session.scalars(select(DuplicateGroup.id).where(DuplicateGroup.dataset_id == dataset.id)).one(),
        "run_id": add_map(home, add_run(session, home, dataset=dataset, user=user)).id,
        "audit_id": _add_audit(session, dataset),
        "study_id": _add_study(session, dataset),
        "import_id": session.scalars(select(Import.id).where(Import.dataset_id == dataset.id)).one(),
        "job_id": jobs.enqueue(session, kind="scan", user=user, dataset=dataset).id,
        "user_id": user.id,
        "other_id": user.id,
        "action": decisions.decide(session, image=images[2], user=user, verdict="confirm"),
        "size": 48,
        "invitation_id": invitations.invite(session, user=user, role="reviewer")[0].id,
        "token": "nobody",
        "ending": "csv",
        "filename": "icon.svg",
        "kind": "explain",
        "number": 1,
    }


def _add_audit(session: Session, dataset: Dataset) -> int:
    plan = audits.plan_audit(session, dataset)
    return audits.open_audit(session, plan, user=users.ensure_admin(session)).id


def _add_study(session: Session, dataset: Dataset) -> int:
    document = study_files.find_document("variations")
    return studies.open_study(session, dataset=dataset, user=users.ensure_admin(session), document=document).id


def list_calls(app: Flask) -> Iterator[tuple[str, str, set[str]]]:
    """(endpoint, method, parts of its address) of everything that can be called."""
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule.endpoint, method, set(rule.arguments)


def build(app: Flask, endpoint: str, arguments: set[str], parts: dict[str, Any]) -> str:
    with app.test_request_context():
        return app.url_for(endpoint, **{name: parts[name] for name in arguments}, _external=False)


@pytest.fixture
def watched(database: Database) -> Iterator[Callable[[], int]]:
    """A number that changes when anybody commits."""
    with database.engine.connect() as connection:

        def read() -> int:
            return _read_version(connection)

        yield read


def _read_version(connection: Connection) -> int:
    version = connection.exec_driver_sql("PRAGMA data_version").scalar_one()
    connection.rollback()
    return int(version)


def _role_of(endpoint: str, method: str) -> str:
    assert endpoint in NEEDS[method], f"say in NEEDS who may call {method} {endpoint}"
    return NEEDS[method][endpoint]


def _plain(answer: TestResponse) -> str:
    """A page without what differs each time: the token, and the address that was asked for."""
    return re.sub(r'name="(csrf_token|next)" value="[^"]*"', "", answer.get_data(as_text=True))


def test_strangers_get_404_on_everything_but_the_way_in(app: Flask, world: World, watched: Callable[[], int]) -> None:
    before = watched()
    unknown = _plain(app.test_client().get("/d/nowhere/at-all"))
    assert "There is no such page for you" in unknown
    for endpoint, method, arguments in list_calls(app):
        url = build(app, endpoint, arguments, world.pets)
        if endpoint in OPEN_TO_ALL or (method == "GET" and url == "/"):
            continue
        answer = app.test_client().open(url, method=method)
        assert (answer.status_code, _plain(answer) == unknown) == (404, True), f"{method} {url}"
        for headers in ({"HX-Request": "true"}, {"Accept": "application/json"}):
            brief = app.test_client().open(url, method=method, headers=headers)
            assert (brief.status_code, brief.headers["HX-Redirect"]) == (404, "/login"), f"{method} {url}"
            assert "There is no such page for you" in brief.text
    assert watched() == before


@pytest.mark.parametrize("url", ["/d/pets/", "/d/gone/", "/d/pets", "/nothing", "/d/pets/images/99999999999999999999"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_what_is_there_and_what_is_not_look_alike_to_a_stranger(
    app: Flask, world: World, url: str, method: str
) -> None:
    answer = app.test_client().open(url, method=method)
    assert (answer.status_code, "Allow" in answer.headers) == (404, False)
    wanted = url if method == "GET" else "/"
    assert field(answer.get_data(as_text=True), "next") == wanted


def test_what_is_open_to_strangers(app: Flask, world: World) -> None:
    client = app.test_client()
    root = client.get("/")
    assert (root.status_code, root.location) == (303, "/login")
    for url in ("/login", "/health", "/static/icon.svg"):
        with client.get(url) as answer:
            assert answer.status_code == 200, url
    refused = {url: client.get(url) for url in ("/login/nobody", "/join/nobody")}
    assert {url: answer.status_code for url, answer in refused.items()} == {"/login/nobody": 404, "/join/nobody": 404}
    assert "This invitation was used, was revoked or has expired" in refused["/join/nobody"].text
    assert client.get("/static/gone.css").status_code == 404


def test_a_stranger_gets_on_where_they_were(app: Flask, database: Database) -> None:
    client = app.test_client()
    assert field(client.get("/d/pets/images?label=1&page=2").text, "next") == "/d/pets/images?label=1&amp;page=2"
    posted = client.post("/d/pets/undo", headers={"Referer": "http://localhost/d/pets/queues/1"})
    assert field(posted.text, "next") == "/d/pets/queues/1"
    polled = client.get("/jobs/badge", headers={"HX-Request": "true", "HX-Current-URL": "http://localhost/d/pets/?a=1"})
    assert polled.headers["HX-Redirect"] == "/login?next=/d/pets/?a%3D1"
    elsewhere = {"HX-Request": "true", "HX-Current-URL": "http://evil.example/d/pets/"}
    assert client.get("/jobs/badge", headers=elsewhere).headers["HX-Redirect"] == "/login"
    doubled = {"HX-Request": "true", "HX-Current-URL": "http://localhost//evil.example/"}
    assert client.get("/jobs/badge", headers=doubled).headers["HX-Redirect"] == "/login"


def test_strangers_never_hold_the_writer(app: Flask, world: World, database: Database) -> None:
    forged = app.test_client()
    forged.set_cookie("remember_token", "1:0|deadbeef")
    with database.write():  # whoever asked for it would wait here for ever
        for client in (app.test_client(), forged):
            assert client.post("/d/pets/undo").status_code == 404
            assert client.post("/nothing").status_code == 404
            assert client.get("/login/nobody").status_code == 404


def test_a_missing_file_of_ours_is_a_404_to_everybody(browser_as: BrowserAs) -> None:
    assert browser_as("viewer").get("/static/gone.css").status_code == 404


def test_roles_below_the_needed_one_are_refused_and_nothing_is_written(
    app: Flask, world: World, browser_as: BrowserAs, watched: Callable[[], int]
) -> None:
    browsers = {role: browser_as(role) for role in ROLES}
    before = watched()
    for endpoint, method, arguments in list_calls(app):
        if endpoint in OPEN_TO_ALL:
            continue
        needed = ROLES.index(_role_of(endpoint, method))
        url = build(app, endpoint, arguments, world.pets)
        for role in ROLES[:needed]:
            answer = browsers[role].post(url) if method == "POST" else browsers[role].get(url)
            assert (answer.status_code, role in answer.text) == (403, True), f"{role}: {method} {url}"
    assert watched() == before


def test_pages_open_for_everybody_who_may_see_them(app: Flask, world: World, browser_as: BrowserAs) -> None:
    asked = {
        "run_results.cell": "?true=cat&predicted=cat",
        "classes.preview_merge": f"?into={world.pets['into']}",
        "agreement.images": f"?one={world.pets['class_id']}&other={world.pets['into']}",
    }
    not_made = {
        "explaining.overlay",
        "images.full",
        "images.thumbnail",
        "exports.download",
        "imports.preview",
        "run_results.cell",
    }
    for role in ROLES:
        browser = browser_as(role)
        for endpoint, method, arguments in list_calls(app):
            if method != "GET" or endpoint in OPEN_TO_ALL | not_made:
                continue
            if ROLES.index(NEEDS["GET"][endpoint]) > ROLES.index(role):
                continue
            url = build(app, endpoint, arguments, world.pets) + asked.get(endpoint, "")
            assert browser.get(url).status_code in (200, 303), f"{role}: {url}"


def test_without_a_token_nothing_is_taken(
    app: Flask, world: World, browser_as: BrowserAs, watched: Callable[[], int]
) -> None:
    browser = browser_as("admin")
    before = watched()
    for endpoint, method, arguments in list_calls(app):
        if method != "POST":
            continue
        url = build(app, endpoint, arguments, world.pets)
        answer = browser.client.post(url, data={"verdict": "confirm"})
        assert answer.status_code == 400, url
        assert "CSRF" in answer.text, url
        wrong = browser.client.post(url, headers={"X-CSRFToken": browser.token[:-3] + "abc"})
        assert wrong.status_code == 400, url
    assert watched() == before


def test_a_get_is_never_taken_for_a_post(app: Flask, browser_as: BrowserAs, world: World) -> None:
    browser = browser_as("admin")
    both = {rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or set())}
    for rule in app.url_map.iter_rules():
        if rule.rule not in both:
            url = build(app, rule.endpoint, set(rule.arguments), world.pets)
            assert browser.get(url).status_code in (404, 405), url


def test_what_belongs_to_another_data_set_is_not_found(
    app: Flask, world: World, browser_as: BrowserAs, watched: Callable[[], int]
) -> None:
    browser = browser_as("admin")
    before = watched()
    tried = 0
    for endpoint, method, arguments in list_calls(app):
        for part in sorted(arguments & BELONGING):
            if "name" not in arguments or endpoint == "review.item_of_image":
                continue
            url = build(app, endpoint, arguments, {**world.pets, part: world.birds[part]})
            answer = browser.post(url, {"verdict": "confirm"}) if method == "POST" else browser.get(url)
            assert answer.status_code == 404, f"{method} {url}"
            tried += 1
    assert tried > 25
    strange_item = f"/d/pets/queues/{world.pets['queue_id']}/items/{world.birds['item_id']}"
    assert browser.get(strange_item).status_code == 404
    for action in ("decide", "skip", "comment", "lease", "blind"):
        assert browser.post(f"{strange_item}/{action}", {"verdict": "confirm"}).status_code == 404, action
    assert watched() == before


def test_classes_and_actions_of_another_data_set_are_refused(world: World, browser_as: BrowserAs) -> None:
    browser = browser_as("lead")
    image = f"/d/pets/images/{world.pets['image_id']}"
    sweep = f"/d/pets/queues/{world.pets['queue_id']}/sweep"
    item = f"/d/pets/queues/{world.pets['queue_id']}/items/{world.pets['item_id']}/decide"
    strange = {"verdict": "relabel", "class_id": world.birds["class_id"]}
    assert browser.post(f"{image}/decide", strange).status_code == 422
    assert browser.post(item, strange).status_code == 422
    assert browser.post(sweep, strange).status_code == 404
    merge = f"/d/pets/classes/{world.pets['class_id']}/merge"
    assert browser.post(merge, {"into": world.birds["class_id"]}).status_code == 404
    assert browser.post(f"/d/pets/history/{world.birds['action']}/undo").status_code in (404, 409)
    bulk = {"verdict": "exclude", "image": world.birds["image_id"]}
    assert browser.post("/d/pets/images/bulk", bulk).status_code in (404, 422)
    queue = {"recipe": "label_issues", "run": world.birds["run_id"]}
    assert browser.post("/d/pets/queues/build", queue).status_code == 404


def test_every_answer_forbids_what_pages_do_not_need(app: Flask, world: World, browser_as: BrowserAs) -> None:
    browser = browser_as("admin")
    for url in ("/d/pets/", "/nothing/here", "/login", "/static/icon.svg", "/jobs/badge", "/d/pets/colours.css"):
        with browser.get(url) as answer:
            headers = answer.headers
        assert headers["X-Content-Type-Options"] == "nosniff", url
        assert "script-src 'self'" in headers["Content-Security-Policy"], url
        assert headers["X-Frame-Options"] == "DENY", url


def _cookies(answer: TestResponse) -> dict[str, str]:
    return {line.partition("=")[0]: line for line in answer.headers.getlist("Set-Cookie")}


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(app: Flask, database: Database) -> None:
    with database.write() as session:
        token = users.make_login_link(session, user=users.ensure_admin(session))
    found = _cookies(app.test_client().get(f"/login/{token}"))
    assert set(found) == {"workbench", "remember_token"}
    for cookie in found.values():
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example",
        "/\n/evil.example", "javascript:alert(1)", " //evil.example", "/d/x\r\nX-Evil: 1", "",
    ],
)  # fmt: skip
def test_a_login_page_never_leads_elsewhere(app: Flask, target: str) -> None:
    page = app.test_client().get("/login", query_string={"next": target}).get_data(as_text=True)
    assert field(page, "next") == "/"


def test_a_login_leads_to_the_page_that_was_asked_for(app: Flask, database: Database) -> None:
    with database.write() as session:
        users.set_password(user=users.ensure_admin(session), password="correct horse battery")
    app.config["WTF_CSRF_ENABLED"] = False
    form = {"name": "admin", "password": "correct horse battery", "next": "/d/eulen & käuze/images?label=1"}
    assert app.test_client().post("/login", data=form).location == "/d/eulen%20&%20k%C3%A4uze/images?label=1"
    assert app.test_client().post("/login", data={**form, "next": "/\t/evil.example"}).location == "/"


def test_a_session_of_a_switched_off_account_ends(app: Flask, database: Database, browser_as: BrowserAs) -> None:
    browser = browser_as("lead")
    assert browser.get("/settings").status_code == 200
    with database.write() as session:
        users.ensure_admin(session)
        users.set_active(session, user=users.ensure_user(session, "some-lead"), active=False)
    for answer in (browser.get("/settings"), browser.post("/d/pets/undo"), browser.post("/d/pets/undo", htmx=True)):
        assert (answer.status_code, "There is no such page for you" in answer.text) == (404, True)


def test_a_session_ends_in_the_middle_of_a_review(world: World, database: Database, browser_as: BrowserAs) -> None:
    browser = browser_as("reviewer")
    item = f"/d/pets/queues/{world.pets['queue_id']}/items/{world.pets['item_id']}"
    page = browser.get(item).get_data(as_text=True)
    form = {"verdict": "exclude", "revision": field(page, "revision"), "action": field(page, "action")}
    with database.write() as session:
        users.set_active(session, user=users.ensure_user(session, "some-reviewer"), active=False)
    answer = browser.post(f"{item}/decide", form, htmx=True)
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (404, "/login")
    with database.read() as session:
        assert session.get_one(Image, world.pets["image_id"]).status == "active"


def test_a_role_that_was_taken_away_holds_from_the_next_answer_on(
    world: World, database: Database, browser_as: BrowserAs
) -> None:
    browser = browser_as("lead")
    assert browser.get("/people").status_code == 200
    with database.write() as session:
        users.change_role(session, user=users.ensure_user(session, "some-lead"), role="viewer")
    answer = browser.get("/people")
    assert (answer.status_code, "This needs the role lead; you are viewer." in answer.text) == (403, True)


def test_a_new_password_ends_the_other_sessions(app: Flask, browser_as: BrowserAs) -> None:
    here, there = browser_as("viewer"), browser_as("viewer")
    here.post("/settings", {"theme": "auto", "password": "correct horse battery"})
    assert (here.get("/settings").status_code, there.get("/settings").status_code) == (200, 404)


def test_logging_out_ends_both_cookies(browser_as: BrowserAs) -> None:
    browser = browser_as("viewer")
    answer = browser.post("/logout")
    assert (answer.status_code, answer.location) == (303, "/login")
    assert "Expires=Thu, 01 Jan 1970" in _cookies(answer)["remember_token"]
    assert "You are logged out." in browser.get("/login").text
    assert browser.get("/settings").status_code == 404


def test_cookies_of_https_go_nowhere_else(app: Flask, database: Database) -> None:
    with database.write() as session:
        tokens = [users.make_login_link(session, user=users.ensure_admin(session)) for _ in range(2)]
    plain = _cookies(app.test_client().get(f"/login/{tokens[0]}"))
    secure = _cookies(app.test_client().get(f"/login/{tokens[1]}", base_url="https://localhost"))
    assert [("Secure" in cookie) for cookie in plain.values()] == [False, False]
    assert [("Secure" in cookie) for cookie in secure.values()] == [True, True]


def test_a_script_reads_its_errors_from_a_document(world: World, browser_as: BrowserAs) -> None:
    reviewer = browser_as("reviewer")
    queue = f"/d/pets/queues/{world.pets['queue_id']}/close"
    answer = reviewer.post(queue, headers={"X-CSRFToken": reviewer.token, "Accept": "application/json"})
    assert (answer.status_code, list(answer.json or {})) == (403, ["sentence"])
    bad = reviewer.client.post(queue, json={})
    assert (bad.status_code, "CSRF" in (bad.json or {})["sentence"]) == (400, True)
