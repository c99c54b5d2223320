"""check, backup, restore and status, called as users call them."""

import io
import json
import os
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select, text

from tests.commands import Answer, call
from tests.drawn import make_stripes
from tests.test_predictions import make_predictions
from workbench import storage
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.models import Image, Job, User
from workbench.queries import datasets as dataset_queries
from workbench.services import decisions, versions
from workbench.services.predictions import load_predictions, save_predictions

Call = Callable[..., Answer]


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    return lambda *arguments: call(capsys, monkeypatch, *arguments)


@pytest.fixture
def stripes(database: Database, home: Home) -> None:
    """Committed: 15 images with files, one decision."""
    with database.write() as session:
        dataset = make_stripes(session, home, per_class=5)
        image = session.get_one(Image, 1)
        admin = session.scalars(select(User)).one()
        decisions.decide(session, image=image, user=admin, verdict="exclude", action="a1")
        session.add(Job(kind="scan", title="Scan", dataset_id=dataset.id, status="running", done=3, total=9))
    save_predictions(home, 1, make_predictions())


def test_check_agrees_and_says_what_it_looked_at(bench: Call, home: Home, stripes: None) -> None:
    found = bench("check", "--home", home.root, "--json")
    assert (found.status, found.document) == (
        0,
        {
            "ok": True,
            "faults": [],
            "datasets": [{"dataset": "stripes", "images": 15, "decisions": 2, "differences": []}],
        },
    )
    assert bench("check", "--home", home.root).out == (
        "stripes: 15 images, 2 decisions; all rows agree with the log.\n"
    )


def test_check_names_a_planted_difference_and_ends_with_1(
    bench: Call, home: Home, database: Database, stripes: None
) -> None:
    with database.write() as session:
        session.execute(text("UPDATE images SET status = 'active' WHERE id = 1"))

    found = bench("check", "--home", home.root, "--json", "--dataset", "stripes")

    assert found.status == 1
    assert found.document["datasets"][0]["differences"] == [
        {
            "kind": "image",
            "id": 1,
            "name": "rows/000.png",
            "column": "status",
            "stored": "active",
            "replayed": "excluded",
        }
    ]
    assert (
        "image 1 (rows/000.png): status is 'active', the log says 'excluded'" in bench("check", "--home", home.root).out
    )


def test_check_of_an_unknown_data_set_is_refused(bench: Call, home: Home) -> None:
    found = bench("check", "--home", home.root, "--dataset", "cats")
    assert (found.status, found.out) == (1, "")
    assert found.err == "workbench: There is no data set “cats” (there is: none yet).\n"


@pytest.mark.parametrize("name", ["b.zip", "b.tar", "b.tar.gz"])
def test_a_backup_restores_to_an_equal_home(bench: Call, home: Home, stripes: None, tmp_path: Path, name: str) -> None:
    made = bench("backup", tmp_path / name, "--home", home.root, "--json")
    other = Home.at(tmp_path / "other")

    restored = bench("restore", tmp_path / name, "--home", other.root, "--json")

    assert (made.status, restored.status) == (0, 0)
    assert made.document["files"] == restored.document["files"] == 17  # database, 15 images, predictions
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["home", "other", name])
    assert bench("check", "--home", other.root).status == 0
    assert len(load_predictions(other, 1).image_ids) == 5
    database = open_database(other)
    with database.read() as session:
        dataset = dataset_queries.get_dataset(session, "stripes")
        rows = versions.states_at(session, dataset)
        assert [row.status for row in rows] == ["excluded", *["active"] * 14]
        for image in session.scalars(select(Image)):
            assert storage.read_bytes(other, image)
        assert session.scalars(select(Job.status)).all() == ["queued"]  # a worker goes on with it
    database.close()


def test_a_backup_made_while_writing_is_of_one_moment(
    bench: Call, home: Home, database: Database, stripes: None, tmp_path: Path
) -> None:
    stopping = threading.Event()

    def decide() -> None:
        while not stopping.is_set():
            with database.write() as session:
                user = session.scalars(select(User)).one()
                verdict = "restore" if session.get_one(Image, 2).status == "excluded" else "exclude"
                decisions.decide(session, image=session.get_one(Image, 2), user=user, verdict=verdict)

    thread = threading.Thread(target=decide)
    thread.start()
    try:
        assert bench("backup", tmp_path / "b.zip", "--home", home.root).status == 0
    finally:
        stopping.set()
        thread.join()

    assert bench("restore", tmp_path / "b.zip", "--home", tmp_path / "other").status == 0
    assert bench("check", "--home", tmp_path / "other").status == 0


def test_a_backup_never_overwrites_a_file(bench: Call, home: Home, tmp_path: Path) -> None:
    (tmp_path / "thesis.zip").write_text("mine")
    found = bench("backup", tmp_path / "thesis.zip", "--home", home.root)
    assert found.status == 1
    assert "“thesis.zip” exists already" in found.err
    assert (tmp_path / "thesis.zip").read_text() == "mine"


def test_restore_keeps_a_home_that_holds_data_unless_forced(
    bench: Call, home: Home, database: Database, stripes: None, tmp_path: Path
) -> None:
    bench("backup", tmp_path / "b.zip", "--home", home.root)
    with database.write() as session:
        make_stripes(session, home, per_class=2, name="later")
    (home.root / "objects" / "stray").write_text("x")
    (home.root / "consensus").mkdir()
    (home.root / "consensus" / "1.json").write_text("{}")
    database.close()

    refused = bench("restore", tmp_path / "b.zip", "--home", home.root)
    names_then = {path.name for path in home.root.iterdir()}
    forced = bench("restore", tmp_path / "b.zip", "--home", home.root, "--force")

    assert refused.status == 1
    assert "holds data; give another --home, or --force" in refused.err
    assert forced.status == 0
    assert not (home.root / "objects" / "stray").exists()
    assert not (home.root / "consensus").exists()  # of decisions that were replaced
    assert [each["dataset"] for each in bench("status", "--home", home.root, "--json").document["datasets"]] == [
        "stripes"
    ]
    assert not [path.name for path in home.root.iterdir() if path.name.startswith(".restore")]
    assert "workbench.sqlite" in names_then


def write_zip(path: Path, members: dict[str, bytes], *, link: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK if name == link else stat.S_IFREG) << 16
            archive.writestr(info, data)
    return path


GOOD = {"manifest.json": b'{"format": 1}', "workbench.sqlite": b""}


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/evil",
        "objects/../../evil",
        "objects/a\\..\\evil",
        "secret_key",
        "objects",
        "other/x",
        "runs//1",
    ],
)
def test_an_archive_with_a_strange_path_is_refused_and_writes_nothing(bench: Call, tmp_path: Path, name: str) -> None:
    source = write_zip(tmp_path / "bad.zip", {**GOOD, name: b"evil"})
    found = bench("restore", source, "--home", tmp_path / "new")
    assert found.status == 1
    assert "does not belong in a backup" in found.err
    assert list((tmp_path / "new").iterdir()) == []


def test_links_are_refused_in_both_kinds_of_archive(bench: Call, tmp_path: Path) -> None:
    source = write_zip(tmp_path / "bad.zip", {**GOOD, "objects/l": b"/etc/passwd"}, link="objects/l")
    assert "does not belong" in bench("restore", source, "--home", tmp_path / "new").err
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        for name, data in GOOD.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        info = tarfile.TarInfo("objects/l")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    assert "does not belong" in bench("restore", tmp_path / "bad.tar", "--home", tmp_path / "new").err
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"x": b"1"}, "is not a backup made by workbench backup"),
        ({**GOOD, "manifest.json": b"{"}, "is not a backup made by workbench backup"),
        ({**GOOD, "manifest.json": b'{"format": 9}'}, "is not a backup made by workbench backup"),
        ({**GOOD, "workbench.sqlite": b"not a database" * 100}, "cannot be opened"),
    ],
)
def test_what_is_no_backup_is_refused(bench: Call, tmp_path: Path, members: dict[str, bytes], sentence: str) -> None:
    found = bench("restore", write_zip(tmp_path / "bad.zip", members), "--home", tmp_path / "new")
    assert found.status == 1
    assert sentence in found.err
    assert list((tmp_path / "new").iterdir()) == []


def test_a_cut_archive_and_a_missing_one_are_refused(bench: Call, home: Home, stripes: None, tmp_path: Path) -> None:
    bench("backup", tmp_path / "b.tar.gz", "--home", home.root)
    data = (tmp_path / "b.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(data[: len(data) // 2])
    found = bench("restore", tmp_path / "cut.tar.gz", "--home", tmp_path / "new")
    assert found.status == 1
    assert "damaged" in found.err
    assert "There is no file" in bench("restore", tmp_path / "absent", "--home", tmp_path / "new").err


def test_status_of_a_home_with_data(bench: Call, home: Home, stripes: None) -> None:
    document = bench("status", "--home", home.root, "--json").document
    assert document.pop("disk_bytes") == sum(
        (Path(parent) / file).stat().st_size for parent, _, files in os.walk(home.root) for file in files
    )
    assert document == {
        "version": "0.1.0",
        "home": str(home.root),
        "datasets": [{"dataset": "stripes", "images": 15, "decisions": 2, "promoted_run": None, "queues": []}],
        "jobs": [
            {"job": 1, "kind": "scan", "title": "Scan", "status": "running", "done": 3, "total": 9, "message": ""}
        ],
        "runs": [],
    }
    assert json.dumps(document)
    assert "stripes: 15 images, 2 decisions, no run yet." in bench("status", "--home", home.root).out


def test_status_of_an_empty_home_says_what_to_do(bench: Call, home: Home) -> None:
    assert "No data sets yet: workbench import SOURCE --dataset NAME" in bench("status", "--home", home.root).out
