"""Hostile users and bad luck: many at once, kills, full disks, odd names, files that are traps."""

import contextlib
import http.client
import http.cookiejar
import re
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from ml.images import Unreadable, inspect
from tests import live
from tests.commands import call
from tests.conftest import Browser, make_pets
from tests.drawing import draw, write_files
from tests.review_queues import add_queue
from workbench.app import create_app
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.errors import Invalid, explain
from workbench.models import Decision, Image, Job, QueueItem
from workbench.queries import datasets as dataset_queries
from workbench.services import checks, datasets, import_previews, jobs, users
from workbench.services.importers import open_source, tables, trees
from workbench.worker.jobs import run_job

BrowserAs = Callable[[str], Browser]


# --- many at once -----------------------------------------------------------------------------------------------


@dataclass
class Reviewer:
    """One browser over real HTTP. `answered`: the actions that the server said it had taken."""

    url: str
    login: str
    answered: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()), urllib.request.ProxyHandler({})
        )
        self.open(self.login)

    def open(self, path: str, form: dict[str, str] | None = None) -> str:
        data = urllib.parse.urlencode(form).encode() if form is not None else None
        with self._opener.open(self.url + path, data, timeout=30) as answer:
            return str(answer.read().decode())

    def work(self, stop: threading.Event) -> None:
        """Confirm one image after the other until told to stop, the queue is done or the server is gone."""
        while not stop.is_set():
            try:
                page = self.open("/d/pets/queues/1")
                if 'name="revision"' not in page:
                    return
                self._decide(page)
            except (OSError, EOFError, http.client.HTTPException) as error:
                if not stop.is_set():
                    self.faults.append(repr(error))
                return

    def _decide(self, page: str) -> None:
        form = {name: read_field(page, name) for name in ("csrf_token", "revision", "action")}
        target = re.search(r'action="(/d/pets/queues/1/items/\d+/decide)"', page)
        assert target is not None
        try:
            self.open(target[1], {**form, "verdict": "confirm"})
        except urllib.error.HTTPError as error:
            with error:
                (self.refused if error.code == 409 else self.faults).append(form["action"])
            return
        self.answered.append(form["action"])


def read_field(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, name
    return found[1]


def test_eight_browsers_an_import_and_a_bulk_verdict_at_once_then_a_kill(
    database: Database, home: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "many", {f"cat/{number:04d}.png": draw(number) for number in range(1200)})
    with database.write() as session:
        dataset = make_pets(session, per_class=400)
        add_queue(session, dataset)
        make_pets(session, per_class=50, name="birds")
        logins = [
            users.make_login_link(session, user=users.ensure_user(session, name, role="lead"))
            for name in ("ann", "ben") * 4
        ]
        job = jobs.enqueue(session, kind="import", user=users.ensure_admin(session), dataset="many", source=str(source),
                           copy=True)  # fmt: skip
    stop = threading.Event()
    with live.serve(home.root) as server:
        reviewers = [Reviewer(server.url, f"/login/{token}") for token in logins]
        threads = [threading.Thread(target=reviewer.work, args=(stop,)) for reviewer in reviewers]
        for thread in threads:
            thread.start()
        time.sleep(2)
        exclude_birds(reviewers[0])
        time.sleep(3)
        stop.set()
        server.process.kill()
        server.process.wait()
        for thread in threads:
            thread.join()
    answered = Counter(action for reviewer in reviewers for action in reviewer.answered)
    assert [fault for reviewer in reviewers for fault in reviewer.faults] == []
    assert len(answered) > 20
    with live.serve(home.root) as server:
        assert live.fetch(server.url + "/health")[0] == 200
        deadline = time.monotonic() + 30
        while not read_job(database, job.id).is_over and time.monotonic() < deadline:
            time.sleep(0.1)
    assert (read_job(database, job.id).status, read_job(database, job.id).error) == ("done", "")
    check_log(database, answered, refused={action for reviewer in reviewers for action in reviewer.refused})


def exclude_birds(reviewer: Reviewer) -> None:
    page = reviewer.open("/settings")
    form = {"csrf_token": read_field(page, "csrf_token"), "verdict": "exclude", "everything": "yes"}
    preview = reviewer.open("/d/birds/images/bulk", form)
    stamp, action = read_field(preview, "stamp"), read_field(preview, "action")
    reviewer.open("/d/birds/images/bulk/apply", {**form, "stamp": stamp, "action": action})


def read_job(database: Database, job_id: int) -> Job:
    with database.read() as session:
        return session.get_one(Job, job_id)


def check_log(database: Database, answered: Counter[str], *, refused: set[str]) -> None:
    with database.read() as session:
        birds = dataset_queries.get_dataset(session, "birds")
        pets = dataset_queries.get_dataset(session, "pets")
        logged = Counter(
            session.scalars(
                select(Decision.action).where(Decision.dataset_id == pets.id, Decision.image_id.is_not(None))
            )
        )
        images = Counter(
            session.scalars(select(Decision.image_id).where(Decision.dataset_id == pets.id, Decision.kind == "confirm"))
        )
        assert {action: logged[action] for action in answered} == dict.fromkeys(answered, 1)
        assert refused & set(logged) == set()
        assert set(images.values()) == {1}
        done = select(QueueItem.image_id).where(QueueItem.done_action.is_not(None))
        assert set(session.scalars(done)) == set(images)
        statuses = select(Image.status).where(Image.dataset_id == birds.id).distinct()
        assert session.scalars(statuses).all() == ["excluded"]
        assert checks.check(session).ok


# --- the disk ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def remount(folder: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", folder], check=True)


def test_an_import_onto_a_full_disk_says_so_and_goes_on_when_there_is_room(
    small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_files(tmp_path / "many", {f"cat/{number:04d}.png": draw(number, size=40) for number in range(1500)})
    words = ("import", source, "--dataset", "many", "--copy", "--json", "--home", small_disk / "home")
    refused = call(capsys, monkeypatch, *words)
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.splitlines()[-1].startswith("workbench: The disk is full.")
    remount(small_disk, "size=40m")
    answer = call(capsys, monkeypatch, *words)
    assert (answer.status, answer.document["imported"], answer.document["refused"]) == (0, 1500, [])
    assert call(capsys, monkeypatch, "check", "--home", small_disk / "home").status == 0


def test_a_job_on_a_full_disk_ends_with_that_sentence_once_there_is_room(small_disk: Path, tmp_path: Path) -> None:
    home = Home.at(small_disk / "home")
    database = open_database(home)
    source = write_files(tmp_path / "many", {f"cat/{number:04d}.png": draw(number, size=40) for number in range(1500)})
    with database.write() as session:
        admin = users.ensure_admin(session)
        job = jobs.enqueue(session, kind="import", user=admin, dataset="many", source=str(source), copy=True)
    assert run_job_or_fail(database, home, job.id) in ("failed", "unknown")
    remount(small_disk, "size=40m")
    with database.write() as session:
        session.get_one(Job, job.id).status = "queued"
    assert run_job(database, home, job.id) == "done"
    database.close()


def run_job_or_fail(database: Database, home: Home, job_id: int) -> str:
    """unknown: not even the failure could be noted; then the worker's sweep ends the job later."""
    try:
        status = run_job(database, home, job_id)
    except OperationalError:
        return "unknown"
    assert read_job(database, job_id).error.startswith("The disk is full.")
    return status


def test_a_decision_on_a_full_disk_is_refused_whole_and_works_afterwards(small_disk: Path) -> None:
    home = Home.at(small_disk / "home")
    database = open_database(home)
    with database.write() as session:
        add_queue(session, make_pets(session))
    browser = Browser(create_app(database), "ann", "reviewer")
    page = browser.get("/d/pets/queues/1/items/1").get_data(as_text=True)
    form = {"revision": read_field(page, "revision"), "action": read_field(page, "action"), "verdict": "confirm"}
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("BEGIN")
    fill(small_disk / "ballast")
    refused = browser.post("/d/pets/queues/1/items/1/decide", form)
    assert refused.status_code == 503
    assert "The disk is full. Nothing was half done" in refused.get_data(as_text=True)
    htmx = browser.post("/d/pets/queues/1/items/1/decide", form, htmx=True)
    assert htmx.get_data(as_text=True) == "The disk is full. Nothing was half done: make room, then try again."
    assert browser.get("/d/pets/queues/1").status_code == 200
    with database.read() as session:
        assert session.scalars(select(Decision.kind)).all() == []
    (small_disk / "ballast").unlink()
    assert browser.post("/d/pets/queues/1/items/1/decide", form).status_code == 303
    with database.read() as session:
        assert session.scalars(select(Decision.kind)).all() == ["confirm"]
        assert checks.check(session).ok
    database.close()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (2**16, 2**12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass


def test_a_home_that_cannot_be_written_is_one_sentence(small_disk: Path) -> None:
    assert call_status(small_disk / "home").returncode == 0
    remount(small_disk, "ro")
    for home in ("home", "new"):
        answer = call_status(small_disk / home)
        assert answer.returncode == 1
        assert answer.stderr.startswith("workbench: The data folder cannot be written.")
        assert len(answer.stderr.splitlines()) == 1


def call_status(home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench", "status", "--home", str(home)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_errors_of_the_machine_are_told_from_those_of_the_program() -> None:
    assert explain(PermissionError(13, "Permission denied", "/data")) == (
        "“/data” may not be read or written by this user; check who owns it."
    )
    assert explain(OSError(28, "No space left on device")) == explain(sqlite_error(sqlite3.SQLITE_FULL))
    assert explain(sqlite_error(sqlite3.SQLITE_IOERR_WRITE)) == explain(OSError(5, "Input/output error"))
    assert explain(sqlite_error(sqlite3.SQLITE_CONSTRAINT)) is None
    assert (explain(ValueError("x")), explain(None)) == (None, None)


def sqlite_error(code: int) -> Exception:
    error = sqlite3.OperationalError("as the database says it")
    error.sqlite_errorcode = code
    return error


# --- traps among the files --------------------------------------------------------------------------------------


def test_a_csv_without_line_ends_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_MAX_LINE", 2**20)
    path = tmp_path / "wide.csv"
    path.write_bytes(b"path,label\n" + b"a" * 2**24)
    tracemalloc.start()
    with pytest.raises(Invalid, match="a line of more than 1 million characters"), open_source(path) as source:
        list(source.entries())
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


def test_a_preview_does_not_keep_the_pixels_of_what_it_counts(tmp_path: Path) -> None:
    path = tmp_path / "fer2013.csv"
    pixels = " ".join(["200"] * 48 * 48)
    path.write_text("emotion,pixels,Usage\n" + "".join(f"{row % 7},{pixels},Training\n" for row in range(2000)))
    tracemalloc.start()
    seen = import_previews.preview(path)
    assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 4
    tracemalloc.stop()
    assert (seen.entries, seen.is_whole, seen.splits) == (2000, True, {"train": 2000})


def test_an_archive_that_lists_too_much_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "list.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat/1.png", draw(1))
    data = bytearray(path.read_bytes())
    end = data.rfind(b"PK\5\6")
    data[end + 12 : end + 16] = (trees.MAX_DIRECTORY_BYTES + 1).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(Invalid, match="unpack it and import parts"):
        trees.open_tree(path)


def test_an_archive_of_100_000_names_is_looked_through_in_seconds(tmp_path: Path) -> None:
    path = tmp_path / "names.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(100_000):
            archive.writestr(zipfile.ZipInfo(f"cat/{number}.png"), b"")
    began = time.monotonic()
    seen = import_previews.preview(path)
    assert (seen.entries, seen.classes) == (100_000, {"cat": 100_000})
    assert time.monotonic() - began < 20


def test_a_picture_that_claims_to_be_huge_is_refused_undecoded() -> None:
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    tracemalloc.start()
    with pytest.raises(Unreadable, match="pixels"):
        inspect(data)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


# --- odd names --------------------------------------------------------------------------------------------------

NAMES = (
    "two words", "Gesichter & Käuze", "100 %", "a#b?c=d&e", 'say "hi"', "it's", "<b>bold", "%2e%2e", "...",
    "日本語", "a;b,c:d", "+plus+", "{{ 7*7 }}",
)  # fmt: skip
PAGES = (
    "", "images", "classes", "duplicates", "duplicates/bulk", "runs", "runs/new", "compare", "history", "export",
    "queues/1", "queues/1/sweep", "images/1", "colours.css",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_page_of_a_data_set_opens_whatever_its_name(database: Database, browser_as: BrowserAs, name: str) -> None:
    with database.write() as session:
        add_queue(session, make_pets(session, name=name))
    browser = browser_as("lead")
    start = browser.get("/").location
    assert start is not None
    for page in PAGES:
        answer = browser.get(start + page)
        assert answer.status_code == 200, page
        assert name in _without_entities(answer.get_data(as_text=True)) or page == "colours.css", page
        links = set(re.findall(r'(?:href|action|hx-get|hx-post)="(/d/[^"]*)"', answer.get_data(as_text=True)))
        assert all(_without_entities(link).startswith(start) for link in links), page
        for script in ("<b>bold", "49</"):
            assert script not in answer.get_data(as_text=True)


def _without_entities(text: str) -> str:
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&#34;", '"'), ("&#39;", "'"), ("&amp;", "&")):
        text = text.replace(entity, character)
    return text


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "a\\b", "a\nb", "a\0b", "a\x1bb", "a\ud800b", "x" * 81])
def test_names_that_no_address_can_hold_are_refused(name: str) -> None:
    with pytest.raises(Invalid, match="1 to 80 characters"):
        datasets.read_dataset_name(name)


CLASS_NAMES = ('"><script>alert(1)</script>', 'it\'s "x"', "a:b;c{}", "}*{display:none", "=1+1", "Ärger 😠", "x" * 60)


def test_class_names_stay_words(app: Flask, database: Database, browser_as: BrowserAs) -> None:
    browser = browser_as("lead")
    with database.write() as session:
        dataset = make_pets(session)
        add_queue(session, dataset)
    for name in CLASS_NAMES:
        assert browser.post("/d/pets/classes", {"name": name}).status_code == 303, name
    for page in ("", "images", "classes", "history", "queues/1", "queues/1/sweep", "images/1", "export", "runs/new"):
        text = browser.get(f"/d/pets/{page}").get_data(as_text=True)
        assert "<script>alert" not in text, page
    css = browser.get("/d/pets/colours.css").get_data(as_text=True)
    assert re.fullmatch(r"(\.class-\d+ \{ --class: #[0-9A-Fa-f]{6}; \}\n?)+", css)
    with database.read() as session:
        ids = {cls.name: cls.id for cls in dataset_queries.list_classes(session, 1)}
    for item, name in enumerate(CLASS_NAMES[:3], start=1):
        page = browser.get(f"/d/pets/queues/1/items/{item}").get_data(as_text=True)
        form = {"revision": read_field(page, "revision"), "action": read_field(page, "action"), "class_id": ids[name]}
        assert browser.post(f"/d/pets/queues/1/items/{item}/decide", form, htmx=True).status_code == 200
        undone = browser.post("/d/pets/undo", htmx=True)
        assert undone.status_code in (200, 204)
        undone.headers.get("HX-Trigger", "").encode("latin-1")


@pytest.mark.parametrize("name", ["a|b", "", "a\nb", "a\0b", "x" * 61])
def test_class_names_that_break_lines_are_refused(database: Database, browser_as: BrowserAs, name: str) -> None:
    with database.write() as session:
        make_pets(session)
    answer = browser_as("lead").post("/d/pets/classes", {"name": name})
    assert answer.status_code == 422
    assert "1 to 60 characters" in answer.get_data(as_text=True)


def test_colours_that_are_none_are_refused(database: Database, browser_as: BrowserAs) -> None:
    with database.write() as session:
        make_pets(session)
    for colour in ("red; } * { display: none", "#12345", "url(//evil.example)", "#123456; x: y"):
        answer = browser_as("lead").post("/d/pets/classes/1", {"colour": colour})
        assert answer.status_code == 422, colour


def test_a_home_whose_path_has_blanks_and_umlauts(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "Bilder & Käuze %20#1?" / "home dir")
    with live.serve(home.root) as server:
        assert live.fetch(server.login_url)[0] == 200
