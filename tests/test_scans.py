"""Scans for near copies: what they find, keep between scans, learn from verdicts, and survive."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests import trained_runs
from tests.commands import call
from tests.drawing import write_files
from tests.drawn import add_image
from tests.gallery import blur, brighten, crop, draw, make_gallery, mirror, png
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.models import Dataset, DuplicateGroup, DuplicateMember, DuplicatePair, Image, Import, User
from workbench.queries import datasets as dataset_queries
from workbench.queries import duplicates as queries
from workbench.queries.duplicates import Bulk
from workbench.services import backups, datasets, decisions, predictions, settling, users
from workbench.worker.context import Context
from workbench.worker.journal import Journal
from workbench.worker.scans import scan_duplicates

Pictures = Mapping[str, Picture.Image]


def scan(database: Database, home: Home, *, name: str = "drawn") -> dict[str, Any]:
    return scan_duplicates(Context(database, home), dataset=name)


def add_pictures(database: Database, home: Home, pictures: Pictures) -> None:
    """As an import leaves them: in train and test by turns, in two classes."""
    with database.write() as session:
        dataset = datasets.ensure_dataset(session, "drawn")
        classes = list(datasets.ensure_classes(session, dataset, ["cat", "dog"]).values())
        source = Import(dataset_id=dataset.id, source="drawn", format="folder", options={}, status="done")
        session.add(source)
        session.flush()
        for number, (path, picture) in enumerate(pictures.items()):
            add_image(
                session, home, dataset, source, path=path, data=png(picture), label_id=classes[number % 5 == 4].id,
                split=("train", "test")[number % 2],
            )  # fmt: skip


def get_drawn(session: Session) -> Dataset:
    return dataset_queries.get_dataset(session, "drawn")


def list_found(database: Database) -> tuple[dict[tuple[str, str], tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Pairs and groups as other homes can have them too: by the paths of their images."""
    with database.read() as session:
        path_of = {image.id: image.path for image in session.scalars(select(Image))}
        pairs = {
            (path_of[pair.a_id], path_of[pair.b_id]): (
                pair.how, round(pair.score, 4), round(pair.p, 4), round(pair.evidence, 3), pair.transform,
            )
            for pair in session.scalars(select(DuplicatePair))
        }  # fmt: skip
        groups = [
            (group.kind, round(group.p, 4), [path_of[each.image_id] for each in list_members(session, group)])
            for group in session.scalars(select(DuplicateGroup))
        ]
    return pairs, sorted(groups, key=str)


def list_members(session: Session, group: DuplicateGroup) -> list[DuplicateMember]:
    query = select(DuplicateMember).where(DuplicateMember.group_id == group.id).order_by(DuplicateMember.image_id)
    return list(session.scalars(query))


def list_near(database: Database) -> list[list[str]]:
    return [paths for kind, _p, paths in list_found(database)[1] if kind == "near"]


@contextmanager
def opened(home: Home) -> Iterator[Database]:
    database = open_database(home)
    try:
        yield database
    finally:
        database.close()


def images_of(session: Session, dataset: Dataset) -> list[Image]:
    return list(session.scalars(select(Image).where(Image.dataset_id == dataset.id).order_by(Image.id)))


def only_group(session: Session, dataset: Dataset, *, kind: str) -> queries.GroupImages:
    (found,) = queries.list_groups(session, dataset.id, state="all", kind=kind)
    return found


def draw_many(count: int, *, first: int = 0) -> dict[str, Picture.Image]:
    return {f"{number:03d}.png": draw(number) for number in range(first, first + count)}


def test_a_scan_finds_copies_and_only_those(database: Database, home: Home) -> None:
    with database.write() as session:
        first_id = images_of(session, make_gallery(session, home))[0].id
    told: list[tuple[int, int, str]] = []
    context = Context(database, home, progress=lambda *args: told.append(args))

    result = scan_duplicates(context, dataset="gallery")

    assert (result["images"], result["pictures"], result["flat"], result["unreadable"]) == (46, 45, 2, 0)
    assert (result["exact_groups"], result["near_groups"]) == (1, 1)
    with database.read() as session:
        dataset = dataset_queries.get_dataset(session, "gallery")
        (near,) = queries.list_groups(session, dataset.id)
        assert [image.id - first_id for image in near.images] == [0, 40, 41, 42, 43]
        assert near.group.p > 0.9
        pairs = list(session.scalars(select(DuplicatePair)))
        assert {bool(pair.transform and pair.transform["mirrored"]) for pair in pairs} == {True, False}
    assert all(0 <= done <= total for done, total, _ in told)

    again = scan_duplicates(context, dataset="gallery")
    assert (again["pairs"], again["near_groups"]) == (result["pairs"], 1)


def test_a_scan_respects_what_reviewers_rejected_until_they_take_it_back(database: Database, home: Home) -> None:
    with database.write() as session:
        make_gallery(session, home)
    context = Context(database, home)
    scan_duplicates(context, dataset="gallery")
    with database.write() as session:
        dataset = dataset_queries.get_dataset(session, "gallery")
        bob = User(name="bob", role="reviewer")
        session.add(bob)
        session.flush()
        group = only_group(session, dataset, kind="near").group
        action = settling.settle(session, dataset=dataset, user=bob, group=group, verdict="not_duplicates")

    assert scan_duplicates(context, dataset="gallery")["near_groups"] == 0
    with database.write() as session:
        assert [each.group.kind for each in queries.list_groups(session, dataset.id)] == ["exact"]
        assert only_group(session, dataset, kind="near").group.verdict == "not_duplicates"  # still there to be undone
        decisions.undo(session, dataset=dataset, user=bob, action=action)
    assert scan_duplicates(context, dataset="gallery")["near_groups"] == 1


def test_a_scan_counts_files_that_are_gone_and_looks_again(database: Database, home: Home) -> None:
    with database.write() as session:
        images = images_of(session, make_gallery(session, home))
        gone = home.objects / images[1].file_sha256[:2] / images[1].file_sha256[2:]
        saved = gone.read_bytes()
        gone.unlink()
    context = Context(database, home)
    assert scan_duplicates(context, dataset="gallery")["unreadable"] == 1
    gone.write_bytes(saved)
    assert scan_duplicates(context, dataset="gallery")["unreadable"] == 0


def test_a_scan_of_nothing_finds_nothing(database: Database, home: Home) -> None:
    with database.write() as session:
        datasets.ensure_dataset(session, "empty")
    result = scan_duplicates(Context(database, home), dataset="empty")
    assert (result["images"], result["pairs"], result["exact_groups"], result["near_groups"]) == (0, 0, 0, 0)


# --- killed -----------------------------------------------------------------------------------------------------

UNTIL = """
import os, signal, sys
from sqlalchemy import event
from workbench.config import Home
from workbench.db import open_database
from workbench.worker import fingerprints, scans
from workbench.worker.context import Context

folder, word, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
fingerprints._CHUNK, scans._CHUNK = 16, 4

def count(text):
    global times
    times -= word in text
    if times == 0:
        os.kill(os.getpid(), signal.SIGKILL)

database = open_database(Home.at(folder))
event.listen(database.engine, "before_cursor_execute", lambda *args: count(args[2]))
scans.scan_duplicates(Context(database, Home.at(folder), progress=lambda *args: count(args[2])), dataset="drawn")
"""


def kill_at(home: Home, word: str, *, times: int = 1) -> None:
    """A scan in a process of its own that is killed when it says, or tells the database, a word for the nth time."""
    command = [sys.executable, "-c", UNTIL, str(home.root), word, str(times)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


def list_journal(home: Home) -> list[str]:
    return sorted(path.name for path in (home.root / "scans").glob("*/*/*.npz"))


def draw_with_copies() -> dict[str, Picture.Image]:
    pictures = draw_many(40)
    for number, change in enumerate((brighten, blur, mirror, crop, brighten, blur)):
        pictures[f"copy {number}.png"] = change(draw(number))
    pictures["copy of a copy.png"] = brighten(mirror(draw(2)))
    pictures["equal.png"] = draw(0)
    return pictures


def test_a_scan_killed_again_and_again_goes_on_and_ends_with_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, calm = Home.at(tmp_path / "killed"), Home.at(tmp_path / "calm")
    with opened(killed) as database:
        add_pictures(database, killed, draw_with_copies())
    shutil.copytree(killed.root, calm.root, dirs_exist_ok=True)
    with opened(calm) as database:
        undisturbed = scan(database, calm)
        wanted = list_found(database)

    kill_at(killed, "Reading pictures", times=2)
    with sqlite3.connect(killed.database) as found:
        assert found.execute("SELECT COUNT(*) FROM image_hashes").fetchone() == (32,)
    kill_at(killed, "Reading pictures")  # of the last 15
    kill_at(killed, "Comparing fingerprints")
    assert list_journal(killed) == []
    kill_at(killed, "Comparing pictures", times=2)
    assert list_journal(killed) == ["candidates.npz", "pairs-0.npz", "pairs-4.npz"]
    kill_at(killed, "Forming groups")
    whole = list_journal(killed)
    assert len(whole) > 3
    for file in (killed.root / "scans").glob("*/*/pairs-4.npz"):
        file.write_bytes(file.read_bytes()[:100])  # as a machine that lost its power may leave it
    kill_at(killed, "INSERT INTO duplicate_members")
    assert list_journal(killed) == whole

    monkeypatch.setattr("workbench.worker.scans._CHUNK", 4)
    with opened(killed) as database:
        assert list_found(database) == ({}, [])  # nothing half stored
        assert scan(database, killed) == undisturbed
        assert list_found(database) == wanted
    assert {"near", "exact"} == {group[0] for group in wanted[1]}
    assert not (killed.root / "scans").exists() or list((killed.root / "scans").iterdir()) == []


def test_a_journal_is_of_one_input_gone_after_the_scan_and_in_no_backup(
    database: Database, home: Home, tmp_path: Path
) -> None:
    add_pictures(database, home, draw_with_copies())
    kill_at(home, "Forming groups")
    (folder,) = (home.root / "scans").glob("*/*")
    backups.make_backup(home, tmp_path / "all.zip", version="1")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert not [name for name in archive.namelist() if "scans" in name or name.endswith(".npz")]
        assert "workbench.sqlite" in archive.namelist()

    add_pictures(database, home, {"new.png": draw(99)})
    kill_at(home, "Forming groups")
    (other,) = (home.root / "scans").glob("*/*")
    assert other != folder
    scan(database, home)
    assert not other.parent.exists()


def test_a_journal_that_another_scan_removed_is_begun_anew(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "1", of=[b"input"])
    journal.once("first", lambda: {"values": np.arange(3)})
    Journal.open(tmp_path / "1", of=[b"input"]).remove()
    assert journal.once("second", lambda: {"values": np.arange(2)})["values"].tolist() == [0, 1]
    assert journal.once("second", lambda: {"values": np.arange(9)})["values"].tolist() == [0, 1]
    journal.remove()
    assert not (tmp_path / "1").exists()


# --- incremental ------------------------------------------------------------------------------------------------


def test_a_second_scan_compares_what_is_new_and_finds_what_a_full_one_finds(tmp_path: Path) -> None:
    first = draw_many(50) | {f"early {number}.png": brighten(draw(number)) for number in range(10)}
    later = draw_many(20, first=200)
    for number, change in enumerate((brighten, blur, mirror, crop) * 4):
        later[f"late {number}.png"] = change(draw(10 + number if number % 3 else 200 + number))
    later |= {f"equal {number}.png": draw(number) for number in range(40, 44)}
    assert (len(first), len(later)) == (60, 40)
    grown, fresh = Home.at(tmp_path / "grown"), Home.at(tmp_path / "fresh")
    with opened(fresh) as database:
        add_pictures(database, fresh, first)
        add_pictures(database, fresh, later)
        full = scan(database, fresh)
        wanted = list_found(database)
    with opened(grown) as database:
        add_pictures(database, grown, first)
        assert scan(database, grown)["compared"] == 60
        add_pictures(database, grown, later)
        added = scan(database, grown)
        assert list_found(database) == wanted
        assert scan(database, grown) == {**added, "compared": 0}
        assert list_found(database) == wanted
    # pixels that were there already are no new picture
    assert (full["compared"], added["compared"], added["pictures"]) == (96, 36, 96)
    assert {**full, "compared": 36} == added
    assert full["near_groups"] >= 16


# --- verdicts ---------------------------------------------------------------------------------------------------


def settle(database: Database, paths: list[str], verdict: str) -> None:
    """A reviewer's verdict on the near group of these images."""
    with database.write() as session:
        dataset = get_drawn(session)
        for found in queries.list_groups(session, dataset.id, kind="near", limit=None):
            if sorted(image.path for image in found.images) == sorted(paths):
                bob = users.ensure_user(session, "bob", role="reviewer")
                settling.settle(session, dataset=dataset, user=bob, group=found.group, verdict=verdict)
                return
    raise AssertionError(f"no group of {paths}")


def get_calibration(database: Database) -> dict[str, Any]:
    with database.read() as session:
        return dict(get_drawn(session).calibration or {})


def forget_scan(database: Database) -> None:
    """The next scan compares everything."""
    with database.write() as session:
        get_drawn(session).compared_to = None


def test_verdicts_refit_the_chances_but_not_those_given_in_bulk(database: Database, home: Home) -> None:
    pictures = draw_many(60)
    for number in range(36):
        pictures[f"copy {number:02d}.png"] = (brighten, crop)[number % 2](draw(number))
    add_pictures(database, home, pictures)
    assert scan(database, home)["verdicts"] == 0
    before, near = get_calibration(database), sorted(list_near(database))
    assert near == [[f"{number:03d}.png", f"copy {number:02d}.png"] for number in range(36)]
    assert (before["slope"], before["bias"], before["verdicts"]) == (1.0, 0.0, 0)

    settle(database, near[0], "not_duplicates")
    for paths in near[1:29]:
        settle(database, paths, "keep_all")
    assert scan(database, home)["verdicts"] == 29
    assert get_calibration(database)["slope"] == 1.0  # too few to learn from
    for paths in near[29:34]:
        settle(database, paths, "keep_all")
    with database.write() as session:
        bob = users.ensure_user(session, "bob", role="reviewer")
        settling.settle_in_bulk(session, get_drawn(session), bob, bulk=Bulk(min_p=0.5))
    incremental = scan(database, home)
    refitted = get_calibration(database)
    assert (incremental["compared"], incremental["verdicts"], refitted["verdicts"]) == (0, 34, 34)
    assert refitted["slope"] < 1.0  # a pair that looked certain was not
    assert sorted(list_near(database)) == near  # the rejected one too, to be undone


def test_a_rejected_pair_stays_rejected_whatever_comes(database: Database, home: Home) -> None:
    add_pictures(database, home, draw_many(40) | {"brighter.png": brighten(draw(0))})
    scan(database, home)
    settle(database, ["000.png", "brighter.png"], "not_duplicates")

    add_pictures(database, home, {"softer.png": blur(draw(0)), "equal.png": draw(0), "new.png": draw(90)})
    assert scan(database, home)["compared"] == 2
    check_apart(database)
    found = list_found(database)
    forget_scan(database)
    assert scan(database, home)["compared"] == 43
    check_apart(database)
    assert list_found(database) == found


def check_apart(database: Database) -> None:
    """No group that counts holds both rejected images, though a third one resembles both."""
    with database.read() as session:
        groups = [
            {image.path for image in each.images}
            for each in queries.list_groups(session, get_drawn(session).id, kind="near", state="open")
        ]
    assert len(groups) == 1
    assert not {"000.png", "brighter.png"} <= groups[0]
    assert ("equal.png" in groups[0]) == ("000.png" in groups[0])


def test_after_another_algorithm_all_is_compared_anew_and_verdicts_still_count(database: Database, home: Home) -> None:
    add_pictures(database, home, draw_many(40) | {"brighter.png": brighten(draw(0))})
    scan(database, home)
    settle(database, ["000.png", "brighter.png"], "keep_all")
    with database.write() as session:
        dataset = get_drawn(session)
        dataset.calibration = {**(dataset.calibration or {}), "algorithm": "older"}
    result = scan(database, home)
    assert (result["compared"], result["verdicts"]) == (41, 1)
    assert scan(database, home) == {**result, "compared": 0}


# --- features ---------------------------------------------------------------------------------------------------


def promote(database: Database, home: Home, *, alike: list[tuple[str, str]], seen: slice = slice(None)) -> None:
    """A run that holds the two images of each pair for the same, all others for unlike; `seen`: what it predicted."""
    with database.write() as session:
        dataset = get_drawn(session)
        run = trained_runs.add_run(session, home, dataset=dataset, user=users.ensure_admin(session))
        dataset.promoted_run_id = run.id
        row_of = {image.path: row for row, image in enumerate(images_of(session, dataset))}
        run_id = run.id
    said = predictions.load_predictions(home, run_id)
    features = np.eye(len(row_of), dtype=np.float16)
    for one, other in alike:
        features[row_of[other]] = features[row_of[one]]
    arrays = {"image_ids", "probs", "out_of_sample", "p_wrong", "suggested", "entropy", "margin"}
    part = {name: getattr(said, name)[seen] for name in arrays}
    predictions.save_predictions(home, run_id, replace(said, features=features[seen], **part))


def draw_crowd() -> dict[str, Picture.Image]:
    """Sixty noisy copies of one picture, more than are compared each with each, among forty others."""
    rng = np.random.default_rng(0)
    base = np.asarray(draw(500), np.float32)
    noisy = [np.clip(base + rng.normal(0, 4, base.shape), 0, 255).astype(np.uint8) for _ in range(60)]
    return draw_many(40) | {f"noisy {number:02d}.png": Picture.fromarray(pixels) for number, pixels in enumerate(noisy)}


def test_what_a_run_holds_for_alike_is_compared_and_kept_if_the_pixels_agree(database: Database, home: Home) -> None:
    add_pictures(database, home, draw_crowd())
    scan(database, home)
    pairs = list_found(database)[0]
    crowd = [f"noisy {number:02d}.png" for number in range(60)]
    missed = [(one, other) for one in crowd for other in crowd if one < other and (one, other) not in pairs]
    assert missed
    assert {found[0] for found in pairs.values()} == {"hashes"}

    promote(database, home, alike=[missed[0], ("000.png", "001.png")])
    for full in (False, False, True):  # found, then known, then found again
        if full:
            forget_scan(database)
        scan(database, home)
        found = list_found(database)[0]
        assert [pair for pair, each in found.items() if each[0] == "features"] == [missed[0]]
        assert found[missed[0]][2] > 0.9
        assert ("000.png", "001.png") not in found
        assert {pair: each for pair, each in found.items() if pair != missed[0]} == pairs


def test_a_run_that_says_nothing_of_some_images_or_of_any_is_no_error(database: Database, home: Home) -> None:
    add_pictures(database, home, draw_with_copies())
    scan(database, home)
    wanted = list_found(database)
    for seen in (slice(0), slice(1), slice(3, None, 3)):
        promote(database, home, alike=[("000.png", "copy 0.png")], seen=seen)
        forget_scan(database)
        scan(database, home)
        assert list_found(database) == wanted
    shutil.rmtree(home.root / "runs")
    scan(database, home)
    assert list_found(database) == wanted


# --- pictures that are none ---------------------------------------------------------------------------------------


def test_tiny_flat_and_transparent_pictures_do_no_harm(database: Database, home: Home) -> None:
    cat = draw(0)
    shade = Picture.linear_gradient("L").resize(cat.size)
    pictures = draw_many(34) | {
        "black.png": Picture.new("L", (48, 48)),
        "line.png": Picture.fromarray(np.asarray(draw(700))[:1]),
        "veiled.png": Picture.merge("RGBA", (cat, cat, cat, shade)),
        "clear.png": Picture.merge("RGBA", (cat, cat, cat, Picture.new("L", cat.size, 0))),
        "nearly opaque.png": Picture.merge("RGBA", (cat, cat, cat, Picture.new("L", cat.size, 250))),
    }
    pictures |= {f"dot {level}.png": Picture.new("L", (1, 1), level) for level in range(0, 250, 5)}
    add_pictures(database, home, pictures)
    result = scan(database, home)
    assert (result["pictures"], result["unreadable"]) == (89, 0)
    assert result["flat"] >= 52  # the dots, black, and what shows nothing but white
    assert list_near(database) == [["000.png", "veiled.png", "nearly opaque.png"]]
    assert scan(database, home) == {**result, "compared": 0}


def test_equal_pictures_cost_no_comparison(database: Database, home: Home) -> None:
    add_pictures(database, home, {f"{number}.png": draw(0) for number in range(300)})
    told: list[tuple[int, int, str]] = []
    context = Context(database, home, progress=lambda *args: told.append(args))
    result = scan_duplicates(context, dataset="drawn")
    assert (result["pictures"], result["pairs"], result["exact_groups"], result["near_groups"]) == (1, 0, 1, 0)
    assert not [each for each in told if each[2] == "Comparing pictures"]


LARGE = """
import json, sys, time
from pathlib import Path
from workbench.config import Home
from workbench.db import open_database
from workbench.worker.context import Context
from workbench.worker.scans import scan_duplicates

home = Home.at(sys.argv[1])
before = time.process_time()
result = scan_duplicates(Context(open_database(home), home), dataset="drawn")
(peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(json.dumps({"result": result, "seconds": time.process_time() - before, "mib": int(peak.split()[1]) / 1024}))
"""


def test_the_largest_picture_that_is_taken_in_is_scanned_in_bounded_time_and_memory(
    database: Database, home: Home
) -> None:
    colours = Picture.merge("RGB", (draw(0), draw(0), brighten(draw(0))))
    large = colours.resize((9400, 9400), Picture.Resampling.NEAREST)
    add_pictures(database, home, draw_many(3) | {"large.png": large})
    done = subprocess.run([sys.executable, "-c", LARGE, str(home.root)], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert list_near(database) == [["000.png", "large.png"]]
    assert said["seconds"] < 5
    assert said["mib"] < 1024


def test_a_picture_beyond_that_is_refused_in_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_files(tmp_path / "in", {"a/small.png": png(draw(0)), "a/large.png": png(Picture.new("1", (10_000, 10_000)))})
    answer = call(capsys, monkeypatch, "import", tmp_path / "in", "--dataset", "x", "--home", tmp_path / "h", "--json")
    assert (answer.status, answer.document["imported"]) == (0, 1)
    assert answer.document["refused"] == [
        {"path": "a/large.png", "reason": "10,000 x 10,000 pixels are more than 89,478,485"}
    ]
