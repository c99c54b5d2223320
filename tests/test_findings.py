"""Scans of single pictures: what they find, keep, and what decisions make of it."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests import trained_runs
from tests.commands import Answer, call
from tests.drawn import add_image, draw_png, make_stripes
from workbench import storage
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Invalid
from workbench.models import Dataset, Finding, Image, Import, QueueItem, Scan, User
from workbench.queries import findings as queries
from workbench.services import decisions, queues, users
from workbench.services.findings import Found, note_scan, replace_findings, show_overview
from workbench.services.predictions import load_predictions, save_predictions
from workbench.worker.context import Context
from workbench.worker.findings import scan_faces, scan_findings, scan_outliers, scan_quality

Run = Callable[..., Answer]


def png(pixels: np.ndarray) -> bytes:
    target = io.BytesIO()
    Picture.fromarray(pixels.astype(np.uint8)).save(target, "PNG")
    return target.getvalue()


FAULTS = {
    "rows/black.png": png(np.zeros((16, 16))),
    "rows/tall.png": png(np.random.default_rng(1).integers(0, 200, (40, 16))),
    "columns/black again.png": png(np.zeros((16, 16))),
    "columns/große.png": png(np.random.default_rng(2).integers(0, 200, (64, 64))),
}


@pytest.fixture
def stripes(database: Database, home: Home) -> int:
    """Eighteen drawn images, and four more with something wrong."""
    with database.write() as session:
        dataset = make_stripes(session, home, per_class=6)
        source = session.scalars(select(Import)).one()
        labels = {image.path.split("/")[0]: image.label_id for image in session.scalars(select(Image))}
        for path, data in FAULTS.items():
            label_id = labels[path.split("/")[0]]
            add_image(session, home, dataset, source, path=path, data=data, label_id=label_id, split="train")
        return dataset.id


def list_found(database: Database) -> dict[str, list[str]]:
    """Kind -> paths."""
    with database.read() as session:
        rows = session.execute(
            select(Finding.kind, Image.path).join(Image, Image.id == Finding.image_id).order_by(Image.path)
        )
        found: dict[str, list[str]] = {}
        for kind, path in rows:
            found.setdefault(kind, []).append(path)
        return found


def find_image(session: Session, path: str) -> Image:
    return session.scalars(select(Image).where(Image.path == path)).one()


EXPECTED = {
    "blank": ["columns/black again.png", "rows/black.png"],
    "odd_size": ["columns/große.png"],
    "odd_shape": ["rows/tall.png"],
}


def test_quality_is_found_for_every_copy_and_nothing_is_changed(database: Database, home: Home, stripes: int) -> None:
    result = scan_quality(Context(database, home), dataset="stripes")
    assert list_found(database) == EXPECTED
    assert (result["images"], result["blank"], result["missing"]) == (22, 2, 0)
    with database.read() as session:
        assert {image.status for image in session.scalars(select(Image))} == {"active"}
        scan = session.scalars(select(Scan)).one()
        assert (scan.kind, scan.images, scan.newest_image_id) == ("quality", 22, 22)


def test_a_second_scan_measures_nothing_anew_and_keeps_what_was_found(
    database: Database, home: Home, stripes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan_quality(Context(database, home), dataset="stripes")
    with database.read() as session:
        before = {(row.image_id, row.kind): (row.id, row.found_at) for row in session.scalars(select(Finding))}
    monkeypatch.delattr("ml.quality.measure")  # nothing may be measured twice
    scan_quality(Context(database, home), dataset="stripes")
    with database.read() as session:
        after = {(row.image_id, row.kind): (row.id, row.found_at) for row in session.scalars(select(Finding))}
    assert after == before
    assert len(after) == 4


def test_a_killed_scan_goes_on_where_it_was(database: Database, home: Home, stripes: int) -> None:
    class Killed(Exception):
        pass

    def stop(done: int, total: int, message: str) -> None:
        raise Killed

    with pytest.raises(Killed):
        scan_quality(Context(database, home, progress=stop), dataset="stripes")
    assert list_found(database) == {}
    scan_quality(Context(database, home), dataset="stripes")
    assert list_found(database) == EXPECTED


def test_a_file_that_is_gone_or_changed_is_a_finding_until_it_is_back(
    database: Database, home: Home, stripes: int
) -> None:
    with database.read() as session:
        gone, changed = find_image(session, "rows/000.png"), find_image(session, "rows/001.png")
    places = [storage.object_path(home, image.file_sha256) for image in (gone, changed)]
    held = [place.read_bytes() for place in places]
    places[0].unlink()
    places[1].write_bytes(held[0])
    scan_quality(Context(database, home), dataset="stripes")
    assert list_found(database) == EXPECTED | {"missing": ["rows/000.png", "rows/001.png"]}
    for place, data in zip(places, held, strict=True):
        place.write_bytes(data)
    scan_quality(Context(database, home), dataset="stripes")
    assert list_found(database) == EXPECTED


def test_decisions_settle_findings_and_undo_opens_them(database: Database, home: Home, stripes: int) -> None:
    scan_quality(Context(database, home), dataset="stripes")
    with database.write() as session:
        user = User(name="ann", role="reviewer")
        session.add(user)
        session.flush()
        dataset = session.get_one(Dataset, stripes)
        first, second = (find_image(session, path) for path in EXPECTED["blank"])
        tall = find_image(session, "rows/tall.png")
        action = decisions.decide(session, image=first, user=user, verdict="exclude")
        decisions.decide(session, image=second, user=user, verdict="confirm")
        tally = queries.count_by_kind(session, stripes)["blank"]
        assert (tally.open, tally.settled, tally.excluded, tally.hits) == (0, 2, 1, 1)
        assert [row.image for row in queries.list_open(session, stripes, kind="odd_shape")] == [tall.id]
        decisions.undo(session, dataset=dataset, user=user, action=action)
        tally = queries.count_by_kind(session, stripes)["blank"]
        assert (tally.open, tally.settled, tally.excluded, tally.hits) == (1, 1, 0, 0)
    scan_quality(Context(database, home), dataset="stripes")
    with database.read() as session:
        assert [row.path for row in queries.list_open(session, stripes, kind="blank")] == ["columns/black again.png"]


def test_drawings_are_no_faces_and_nothing_is_said(database: Database, home: Home, stripes: int) -> None:
    result = scan_faces(Context(database, home), dataset="stripes")
    assert (result["no_face"], result["several_faces"]) == (0, 0)
    with database.read() as session:
        scan = session.scalars(select(Scan)).one()
        assert (scan.detail["no_faces"], scan.detail["looked_at"], scan.detail["with_face"]) == (True, 22, 0)
        assert {row.face for row in show_overview(session, session.get_one(Dataset, stripes)).coverage} == {None}


def test_outliers_need_a_promoted_run(database: Database, home: Home, stripes: int) -> None:
    with pytest.raises(Invalid, match="promote a run"):
        scan_outliers(Context(database, home), dataset="stripes")
    with database.write() as session:
        dataset = session.get_one(Dataset, stripes)
        run = trained_runs.add_run(session, home, dataset=dataset, user=users.ensure_admin(session))
        dataset.promoted_run_id = run.id
    assert scan_outliers(Context(database, home), dataset="stripes")["outlier"] <= 1


def test_every_image_of_a_class_is_accounted_for(database: Database, home: Home, stripes: int) -> None:
    with database.read() as session:
        gone = find_image(session, "rows/000.png")
    storage.object_path(home, gone.file_sha256).unlink()
    assert scan_findings(Context(database, home), dataset="stripes")["missing"] == 1
    with database.write() as session:
        dataset = session.get_one(Dataset, stripes)
        source = session.scalars(select(Import)).one()
        late = draw_png("rows", seed=999)
        add_image(session, home, dataset, source, path="late.png", data=late, label_id=None, split=None)
    with database.read() as session:
        overview = show_overview(session, session.get_one(Dataset, stripes))
    rows = {row.cls.name if row.cls else None: row for row in overview.coverage}
    assert {name: (row.images, row.unseen, row.missing) for name, row in rows.items()} == {
        "rows": (8, 0, 1), "columns": (8, 0, 0), "blank": (6, 0, 0), None: (1, 1, 0),
    }  # fmt: skip
    assert overview.new_images == 1


def test_what_came_between_two_scans_is_told_apart(database: Database, home: Home, stripes: int) -> None:
    """The first pictures show that these are no faces; what came after a scan counts in no column of it."""
    context = Context(database, home)
    scan_quality(context, dataset="stripes")
    with database.write() as session:
        dataset = session.get_one(Dataset, stripes)
        first = find_image(session, "rows/000.png")
        note_scan(session, dataset, kind="faces", newest_image_id=first.id, images=1, detail={"no_faces": True})
        assert show_overview(session, dataset).new_images == 0
        source = session.scalars(select(Import)).one()
        image = add_image(
            session, home, dataset, source, path="rows/late.png", data=FAULTS["rows/black.png"],
            label_id=first.label_id, split="train",
        )  # fmt: skip
        note_scan(session, dataset, kind="faces", newest_image_id=image.id, images=23, detail={})
        everybody = [image.id for image in session.scalars(select(Image).where(Image.label_id == first.label_id))]
        found = [Found(image_id, 1.0, "None") for image_id in everybody]
        replace_findings(session, dataset, kind="no_face", found=found)
        (row,) = (each for each in show_overview(session, dataset).coverage if each.cls and each.cls.name == "rows")
        assert (row.images, row.unseen, row.missing, row.no_face, row.face) == (9, 1, 0, 8, 0)


def test_a_run_without_features_tells_no_outliers(
    database: Database, home: Home, stripes: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.write() as session:
        dataset = session.get_one(Dataset, stripes)
        run = trained_runs.add_run(session, home, dataset=dataset, user=users.ensure_admin(session))
        dataset.promoted_run_id = run.id
    said = load_predictions(home, run.id)
    save_predictions(home, run.id, replace(said, features=np.zeros_like(said.features)))
    with pytest.raises(Invalid, match="came without features"):
        scan_outliers(Context(database, home), dataset="stripes")
    assert "outlier" not in scan_findings(Context(database, home), dataset="stripes")
    everything = call(capsys, monkeypatch, "scan", "all", "--dataset", "stripes", "--home", home.root, "--json")
    assert list(everything.document["scans"]) == ["duplicates", "quality", "faces"]


def test_the_command_line_scans_and_lists(
    database: Database, home: Home, stripes: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*words: str | Path) -> Answer:
        return call(capsys, monkeypatch, *words, "--dataset", "stripes", "--home", home.root, "--json")

    assert list(run("scan", "all").document["scans"]) == ["duplicates", "quality", "faces"]
    document = run("findings", "--kind", "blank").document
    assert document["kinds"] == {"blank": {"open": 2, "settled": 0, "hits": 0}}
    assert [set(each) for each in document["findings"]] == [{"image", "path", "kind", "score", "reason"}] * 2
    assert len(run("findings", "--limit", "1").document["findings"]) == 1
    refused = run("scan", "outliers")
    assert (refused.status, refused.out) == (1, "")
    assert "train and promote a run" in refused.err


def test_a_queue_holds_the_gravest_first_and_no_image_twice(database: Database, home: Home, stripes: int) -> None:
    scan_quality(Context(database, home), dataset="stripes")
    with database.write() as session:
        dataset = session.get_one(Dataset, stripes)
        black = find_image(session, "rows/black.png")
        session.add(Finding(dataset_id=stripes, image_id=black.id, kind="outlier", score=0.7, reason="Far off"))
        decisions.decide(
            session, image=find_image(session, "rows/tall.png"), user=users.ensure_admin(session), verdict="exclude"
        )
        queue = queues.build_queue(session, home, dataset=dataset, recipe="findings")
        items = session.scalars(select(QueueItem).where(QueueItem.queue_id == queue.id).order_by(QueueItem.position))
        listed = [(session.get_one(Image, item.image_id).path, item.reason) for item in items]
        assert queue.title == "Findings"
        assert sorted(path for path, _ in listed) == ["columns/black again.png", "columns/große.png", "rows/black.png"]
        assert dict(listed)["rows/black.png"] == (
            "Blank: All within 0 of 256 grey levels. Unlike the others: Far off. It is labelled rows."
        )
        blank = queues.build_queue(session, home, dataset=dataset, recipe="findings", kind="blank")
        assert (blank.title, blank.size) == ("Blank", 2)
        with pytest.raises(Invalid, match="not a kind of finding"):
            queues.build_queue(session, home, dataset=dataset, recipe="findings", kind="ugly")
