"""Seeking in the log: every filter, alone and with others, finds what reading all of it finds."""

import csv
import io
import itertools
import json
import random
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from tests.commands import call
from tests.conftest import make_pets
from tests.review_queues import add_queue
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.models import Dataset, Decision, Image, utc_now
from workbench.models.states import undone_actions
from workbench.queries import log_lines
from workbench.queries.log_lines import LogFilter, Sight
from workbench.services import decisions, log_exports, opinions, users
from workbench.services.decisions import Line

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """300 actions of four people in ten days, about twelve images and two data sets; one line in six undone."""
    database = open_database(Home.at(tmp_path_factory.mktemp("log")))
    with database.write() as session:
        write_log(session)
    yield database
    database.close()


def write_log(session: Session) -> None:
    rng = random.Random(3)
    make_pets(session, name="others")
    dataset = make_pets(session, per_class=4)
    people = [users.ensure_user(session, f"user-{number}").id for number in range(4)]
    images = list(session.scalars(select(Image.id).where(Image.dataset_id == dataset.id)))
    for queue_id in (1, 2):
        queue = add_queue(session, dataset, title=f"Queue {queue_id}")
        queue.opinions, queue.closed_at = 2, utc_now() if queue_id == 1 else None
    made: list[str] = []
    for number in range(300):
        kind = rng.choice(("confirm", "confirm", "relabel", "exclude", "comment", "opinion", "gold", "undo"))
        image_ids = rng.sample(images, rng.choice((1, 1, 1, 5))) if kind not in ("undo", "opinion") else []
        action = f"{number:032x}"
        session.add_all(
            Decision(
                dataset_id=dataset.id if number % 11 else 1,
                user_id=rng.choice(people),
                at=BEGIN + number * timedelta(minutes=48),
                action=action,
                kind=kind,
                image_id=image_id,
                class_id=None,
                detail=make_detail(kind, rng),
                undoes=rng.choice(made) if kind == "undo" else None,
                queue_id=rng.choice((1, 2)) if kind == "opinion" else rng.choice((1, 2, None)),
                role="reviewer",
            )
            for image_id in image_ids or [rng.choice(images) if kind == "opinion" else None]
        )
        session.flush()
        made.append(action)
        if kind == "undo" and number % 2:
            made.remove(rng.choice(made))


def make_detail(kind: str, rng: random.Random) -> dict[str, Any] | None:
    if kind == "comment":
        return {"text": "=1+1"}
    if kind == "opinion":
        return {"verdict": "exclude", "of": 2} | ({"gold": True} if rng.random() < 0.3 else {})
    return None


def fits(line: Decision, wanted: LogFilter, *, undone: set[str], paths: dict[int, str]) -> bool:
    """The same question, asked of one line in plain words."""
    if not wanted.sight.all:
        hidden = line.queue_id == 2 or (line.detail or {}).get("gold", False)
        is_veiled = line.kind in ("opinion", "comment") and line.user_id != wanted.sight.user_id
        if line.kind == "gold" or (is_veiled and hidden):
            return False
    return (
        line.dataset_id == wanted.dataset_id
        and wanted.user_id in (None, line.user_id)
        and (not wanted.kinds or line.kind in wanted.kinds)
        and wanted.queue_id in (None, line.queue_id)
        and wanted.image_id in (None, line.image_id)
        and wanted.path.lower() in paths.get(line.image_id or 0, "").lower()
        and (wanted.since is None or line.at >= wanted.since)
        and (wanted.until is None or line.at < wanted.until)
        and (wanted.counts is None or wanted.counts == (line.action not in undone))
    )


CHOICES: dict[str, tuple[Any, ...]] = {
    "user_id": (None, 1, 3),
    "kinds": ((), ("comment",), ("confirm", "relabel", "opinion")),
    "queue_id": (None, 2),
    "path": ("", "CAT/", "dog/1"),
    "since": (None, BEGIN + timedelta(days=3)),
    "counts": (None, True, False),
    "image_id": (None, 9),
}
SIGHTS = (Sight(all=True), Sight(user_id=2))


@pytest.mark.parametrize("sight", SIGHTS, ids=("lead", "reviewer"))
@pytest.mark.parametrize("few", [500, 1], ids=("few images", "many images"))
def test_every_filter_finds_what_reading_all_finds(
    written: Database, sight: Sight, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "_FEW_IMAGES", few)
    with written.read() as session:
        lines = list(session.scalars(select(Decision).order_by(Decision.id)))
        undos = [line for line in lines if line.kind == "undo" and line.dataset_id == 2]
        undone = undone_actions((line.action, line.undoes or "") for line in undos)
        paths = {image.id: image.path for image in session.scalars(select(Image))}
        found_some = 0
        for values in itertools.product(*CHOICES.values()):
            given = dict(zip(CHOICES, values, strict=True))
            until = BEGIN + timedelta(days=8) if given["since"] else None
            wanted = LogFilter(2, sight, until=until, **given)
            right = [line for line in lines if fits(line, wanted, undone=undone, paths=paths)]
            newest = {line.action: line.id for line in right}
            found = log_lines.find_actions(session, wanted, limit=1000)
            assert found == log_lines.Found(sorted(newest.values(), reverse=True), None, None), wanted
            assert log_lines.count_lines(session, wanted) == (len(right), None), wanted
            found_some += bool(right)
    assert found_some > 100


def test_pages_follow_each_other_whatever_is_sought(written: Database) -> None:
    with written.read() as session:
        for wanted in (LogFilter(2, Sight(all=True)), LogFilter(2, Sight(all=True), kinds=("comment", "gold"))):
            whole = log_lines.find_actions(session, wanted, limit=1000).line_ids
            pages: list[int] = []
            before = None
            while True:
                found = log_lines.find_actions(session, wanted, before=before, limit=7)
                pages += found.line_ids
                before = found.before
                if before is None:
                    break
            assert pages == whole
            assert len(pages) > 14


def test_a_long_search_is_cut_short_and_goes_on(written: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = LogFilter(2, Sight(all=True), counts=False)
    with written.read() as session:
        whole = log_lines.find_actions(session, wanted, limit=1000).line_ids
        monkeypatch.setattr(log_lines, "SCANNED", 100)
        number, since = log_lines.count_lines(session, wanted)
        assert (0 < number < len(whole), since is not None) == (True, True)
        first = log_lines.find_actions(session, wanted, limit=1000)
        head = session.scalars(select(Decision.id).order_by(Decision.id.desc())).first() or 0
        assert (first.before, first.line_ids) == (head - 99, [line for line in whole if line >= head - 99])
        assert first.looked_to == session.get_one(Decision, head - 99).at
        pages, before = list(first.line_ids), first.before
        while before is not None:
            found = log_lines.find_actions(session, wanted, before=before, limit=1000)
            pages, before = pages + found.line_ids, found.before
    assert pages == whole


def test_more_than_anybody_counts(written: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "COUNTED", 20)
    with written.read() as session:
        assert log_lines.count_lines(session, LogFilter(2, Sight(all=True))) == (21, None)


def test_a_clock_that_was_set_back_hides_nothing(session: Session, pets: Dataset) -> None:
    bob = users.ensure_user(session, "bob").id
    for number, minute in enumerate((0, 10, 20, -15, -5, 25)):
        at = BEGIN + timedelta(minutes=minute)
        session.add(Decision(dataset_id=pets.id, user_id=bob, at=at, action=f"{number}", kind="comment"))
    session.flush()
    after = log_lines.find_actions(session, LogFilter(pets.id, since=BEGIN))
    until = log_lines.find_actions(session, LogFilter(pets.id, until=BEGIN))
    assert (after.line_ids, until.line_ids) == ([6, 3, 2, 1], [5, 4])


def test_what_stands_in_a_path_is_taken_literally(session: Session, pets: Dataset, bob: Any) -> None:
    image = session.get_one(Image, 1)
    image.path = "100%_a/b.png"
    decisions.decide(session, image=image, user=bob, verdict="confirm")
    for words, number in (("100%_A/", 1), ("%", 1), ("_a", 1), ("0a", 0), ("b_png", 0)):
        assert log_lines.count_lines(session, LogFilter(pets.id, path=words))[0] == number, words


def test_each_question_is_answered_along_its_index(written: Database) -> None:
    ways = {
        "ix_decisions_image_id_id": LogFilter(2, image_id=9, kinds=("comment",), user_id=1),
        "ix_decisions_queue": LogFilter(2, queue_id=2, kinds=("comment",), user_id=1),
        "ix_decisions_kind": LogFilter(2, kinds=("comment",), user_id=1),
        "ix_decisions_user_id_id": LogFilter(2, user_id=1),
        "ix_decisions_dataset_id_id": LogFilter(2),
    }
    with written.read() as session:
        for index, wanted in ways.items():
            way = log_lines._choose_way(session, wanted)
            statement = log_lines._hops(way.index, way.conditions)
            given = {**way.values, "bound": 10**9, "floor": 0, "most": 50}
            plan = session.execute(text(f"EXPLAIN QUERY PLAN {statement.text}"), given).all()
            of_lines = [row[3] for row in plan if row[3].split()[1:2] == ["d"]]
            assert [index in step for step in of_lines] == [True] * 2, (index, of_lines)


# --- as a file


def save(database: Database, wanted: LogFilter, format_: str) -> str:
    return "".join(log_exports.FORMATS[format_](log_exports.read_log(database, wanted)))


@pytest.mark.parametrize("kinds", [(), ("comment", "opinion")])
@pytest.mark.parametrize("sight", SIGHTS, ids=("lead", "reviewer"))
def test_a_file_holds_what_is_found_and_nothing_else(
    written: Database, sight: Sight, kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "_CHUNK", 20)
    wanted = LogFilter(2, sight, kinds=kinds, since=BEGIN + timedelta(days=1))
    lines = [json.loads(line) for line in save(written, wanted, "jsonl").splitlines()]
    with written.read() as session:
        actions = set(log_lines.find_actions(session, wanted, limit=1000).line_ids)
        number, _ = log_lines.count_lines(session, wanted)
    numbers = [line["line"] for line in lines]
    assert (numbers == sorted(set(numbers)), len(numbers), actions <= set(numbers)) == (True, number, True)
    assert any("gold" in line["detail"] for line in lines) == sight.all
    rows = list(csv.DictReader(io.StringIO(save(written, wanted, "csv"))))
    assert [int(row["line"]) for row in rows] == numbers
    assert {row["text"] for row in rows if row["kind"] == "comment"} == {"'=1+1"}
    assert {row["counts"] for row in rows} == {"yes", "no"}


def test_no_cell_becomes_a_formula(session: Session, pets: Dataset, database: Database) -> None:
    """Names and comments as somebody might choose them; numbers and plain words stay as they are."""
    risky = ("=1+1", "+1", "-1", "@SUM(A1)", "\tx", '=HYPERLINK("http://evil.example")', "plain = text", 'ünï,"code"')
    cells = [log_exports._write_cell(words) for words in risky]
    assert cells == [f"'{words}" for words in risky[:6]] + list(risky[6:])
    assert [log_exports._write_cell(value) for value in (None, 3.5, True, {}, ["a", "b"], 7)] == [
        "", "3.5", "yes", "", "a|b", "7",
    ]  # fmt: skip


def test_an_ambiguous_verdict_and_a_queue_are_named(database: Database) -> None:
    with database.write() as session:
        pets = make_pets(session)
        bob = users.ensure_user(session, "-bob")
        add_queue(session, pets, title="=Sad ones")
        image = session.get_one(Image, 1)
        decisions.decide(session, image=image, user=bob, verdict="ambiguous", class_ids=[1, 3], queue_id=1)
    [row] = csv.DictReader(io.StringIO(save(database, LogFilter(1), "csv")))
    kept = {key: row[key] for key in ("user", "role", "kind", "path", "classes", "queue", "counts")}
    assert kept == {
        "user": "'-bob", "role": "reviewer", "kind": "ambiguous", "path": "cat/0.png", "classes": "cat|owl",
        "queue": "'=Sad ones", "counts": "yes",
    }  # fmt: skip


def test_a_long_log_takes_no_more_memory_than_a_short_one(database: Database) -> None:
    with database.write() as session:
        make_pets(session)
        bob = users.ensure_user(session, "bob").id
        row = {"dataset_id": 1, "user_id": bob, "at": utc_now(), "kind": "comment", "detail": {"text": "x" * 200}}
        session.bulk_insert_mappings(Decision, [row | {"action": f"{number}"} for number in range(20_000)])  # type: ignore[arg-type]
    tracemalloc.start()
    size = sum(len(part) for part in log_exports.write_csv(log_exports.read_log(database, LogFilter(1))))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (size > 9_000_000, peak < 6_000_000) == (True, True), (size, peak)


def test_the_command_writes_the_same(
    database: Database, home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.write() as session:
        pets = make_pets(session)
        ann, bob = users.ensure_user(session, "ann"), users.ensure_user(session, "bob")
        first = decisions.decide(session, image=session.get_one(Image, 1), user=ann, verdict="exclude")
        decisions.decide(session, image=session.get_one(Image, 2), user=bob, verdict="comment", text="blurred")
        decisions.undo(session, dataset=pets, user=ann, action=first)
        lines = [Line("confirm", image_id, 1) for image_id in (1, 2)]
        decisions.submit(session, dataset=pets, user=bob, lines=lines, queue_id=None)

    def listed(*options: str | Path) -> list[str]:
        answer = call(
            capsys, monkeypatch, "log", "--dataset", "pets", "--format", "jsonl", "--home", home.root, *options
        )
        assert answer.status == 0, answer.err
        return [f"{line['user']} {line['kind']}" for line in map(json.loads, answer.out.splitlines())]

    whole = ["ann exclude", "bob comment", "ann undo", "bob confirm", "bob confirm"]
    assert listed() == whole
    assert listed("--user", "bob", "--kind", "comment", "--kind", "undo") == ["bob comment"]
    assert listed("--undone") == ["ann exclude"]
    assert listed("--counting", "--path", "cat/0") == ["bob confirm"]
    today = f"{utc_now():%Y-%m-%d}"
    assert (listed("--since", today, "--until", today), listed("--until", "2020-01-01")) == (whole, [])
    document = call(capsys, monkeypatch, "log", "--dataset", "pets", "--json", "--home", home.root).document
    assert [line["counts"] for line in document["lines"]] == [False, True, True, True, True]
    plain = call(capsys, monkeypatch, "log", "--dataset", "pets", "--home", home.root).out
    assert plain.splitlines()[0] == ",".join(log_exports.COLUMNS)
    unknown = call(capsys, monkeypatch, "log", "--dataset", "pets", "--user", "eve", "--home", home.root)
    assert (unknown.status, unknown.err) == (1, "workbench: There is no user “eve”.\n")


def test_gold_images_are_for_leads_to_know(database: Database) -> None:
    with database.write() as session:
        pets = make_pets(session)
        lea = users.ensure_user(session, "lea", role="lead")
        opinions.set_gold(session, dataset=pets, user=lea, image_ids=[1, 2])
        sights = (Sight(all=True), Sight(user_id=lea.id + 1), Sight())
        found = [log_lines.count_lines(session, LogFilter(pets.id, sight))[0] for sight in sights]
    assert found == [2, 0, 0]
