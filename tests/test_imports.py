"""Importing into a data set: what is recorded, refused, known, resumed, and what is left behind when nothing comes."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.conftest import FER2013
from tests.drawing import draw, write_files, write_pets
from workbench import storage
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.errors import Cancelled, Invalid
from workbench.models import Attribute, Class, Dataset, Decision, DuplicateGroup, Image, Import, User, Vote
from workbench.queries import datasets as dataset_queries
from workbench.services import checks, datasets, decisions, users, versions
from workbench.worker.context import Context
from workbench.worker.imports import import_source


@pytest.fixture
def context(database: Database, home: Home) -> Context:
    return Context(database, home)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_pets(tmp_path / "source")


def run(context: Context, source: Path, **options: Any) -> dict[str, Any]:
    return import_source(context, source=str(source), dataset=options.pop("dataset", "pets"), **options)


def list_images(context: Context, dataset: str = "pets") -> list[tuple[str, str | None, str | None, str]]:
    """(path, label, split, status) by id."""
    with context.database.read() as session:
        query = (
            select(Image.path, Class.name, Image.split, Image.status)
            .join(Dataset, Dataset.id == Image.dataset_id)
            .outerjoin(Class, Class.id == Image.label_id)
            .where(Dataset.name == dataset)
            .order_by(Image.id)
        )
        return [tuple(row) for row in session.execute(query)]


def count(context: Context, model: type) -> int:
    with context.database.read() as session:
        return len(session.scalars(select(model)).all())


def test_a_folder_comes_in_with_classes_splits_and_one_line_in_the_log(context: Context, source: Path) -> None:
    answer = run(context, source)

    seconds = answer.pop("seconds")
    assert answer == {
        "dataset": "pets", "import": 1, "format": "folder", "found": 12, "imported": 12, "known": 0, "dropped": 0,
        "refused": [], "exact_duplicates": 0, "classes": {"cat": 4, "dog": 4, "owl": 4},
        "splits": {"test": 6, "train": 6}, "unused": [],
    }  # fmt: skip
    assert seconds > 0
    assert list_images(context)[:3] == [
        ("test/cat/0.png", "cat", "test", "active"),
        ("test/cat/1.png", "cat", "test", "active"),
        ("test/dog/0.png", "dog", "test", "active"),
    ]
    with context.database.read() as session:
        (line,) = session.scalars(select(Decision))
        assert (line.kind, line.detail, session.get_one(User, line.user_id).name) == ("import", {"import": 1}, "admin")
        row = session.get_one(Import, 1)
        assert (row.status, row.found, row.imported, row.source) == ("done", 12, 12, str(source))
        dataset = dataset_queries.get_dataset(session, "pets")
        assert len(versions.states_at(session, dataset)) == 12
        assert versions.states_at(session, dataset, 0) == []
        assert checks.check(session).ok


def test_files_are_referenced_in_place_or_stored(context: Context, source: Path, home: Home, tmp_path: Path) -> None:
    run(context, source)
    assert not home.objects.exists()
    run(context, source, dataset="stored", copy=True)
    archive = tmp_path / "source.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(source.rglob("*.png")):
            file.write(path, path.relative_to(source))
    run(context, archive, dataset="zipped")

    assert list_images(context, "zipped") == list_images(context, "stored") == list_images(context)
    assert len([path for path in home.objects.rglob("*") if path.is_file()]) == 12
    with context.database.read() as session:
        locations = {image.dataset_id: image.location for image in session.scalars(select(Image))}
        assert locations == {1: str(source / "train/owl/1.png"), 2: "object", 3: "object"}
        for image in session.scalars(select(Image)):
            assert storage.read_bytes(home, image) == (source / image.path).read_bytes()


def test_every_file_is_accounted_for_with_a_reason(context: Context, tmp_path: Path) -> None:
    files = {
        "cat/1.png": draw(1), "cat/2.jpg": draw(2), "cat/3.png": b"", "cat/4.png": draw(4, size=40)[:200],
        "cat/notes.txt": b"hello", "cat/.DS_Store": b"x", "dog/1.svg": b"<svg/>", f"{'x' * 61}/1.png": draw(5),
        "a|b/1.png": draw(6),
    }  # fmt: skip
    answer = run(context, write_files(tmp_path / "source", files))

    assert (answer["found"], answer["imported"]) == (8, 2)
    assert answer["refused"] == [
        {"path": "a|b/1.png", "reason": "“a|b” cannot be a class name: no | and no control characters"},
        {"path": "cat/3.png", "reason": "the file is empty"},
        {"path": "cat/4.png", "reason": answer["refused"][2]["reason"]},
        {"path": "cat/notes.txt", "reason": "not an image (.txt file)"},
        {"path": "dog/1.svg", "reason": "not a supported image: a document of markup (SVG or HTML)"},
        {"path": f"{'x' * 61}/1.png", "reason": "the class name has more than 60 characters"},
    ]
    assert "damaged or cut short" in answer["refused"][2]["reason"]
    assert answer["classes"] == {"cat": 2}
    with context.database.read() as session:
        types = dict(session.execute(select(Image.path, Image.media_type)).all())
    assert types == {"cat/1.png": "image/png", "cat/2.jpg": "image/png"}


def test_a_second_import_of_the_same_changes_nothing(context: Context, source: Path) -> None:
    run(context, source)
    before = list_images(context)

    answer = run(context, source)

    assert (answer["imported"], answer["known"], answer["refused"], answer["found"]) == (0, 12, [], 12)
    assert list_images(context) == before
    assert count(context, Decision) == 1


def test_a_second_import_of_others_grows_the_data_set_and_unites_classes(context: Context, tmp_path: Path) -> None:
    run(context, write_files(tmp_path / "one", {"cat/1.png": draw(1), "dog/1.png": draw(2)}))
    answer = run(context, write_files(tmp_path / "two", {"ant/9.png": draw(3), "cat/9.png": draw(1)}), split="test")

    assert answer["classes"] == {"cat": 2, "dog": 1, "ant": 1}
    assert (answer["splits"], answer["exact_duplicates"]) == ({"test": 2, "none": 2}, 1)
    with context.database.read() as session:
        assert [group.size for group in session.scalars(select(DuplicateGroup))] == [2]


def test_a_known_path_with_other_bytes_or_another_label_is_refused_and_the_image_stays(
    context: Context, tmp_path: Path
) -> None:
    table = b"path,label\n1.png,cat\n2.png,cat\n3.png,cat\n"
    pictures = {f"{number}.png": draw(number) for number in (1, 2, 3)}
    run(context, write_files(tmp_path / "one", {"labels.csv": table, **pictures}))
    before = list_images(context)

    changed = {"labels.csv": table.replace(b"2.png,cat", b"2.png,dog"), **pictures, "1.png": draw(9)}
    answer = run(context, write_files(tmp_path / "two", changed))

    assert answer["refused"] == [
        {"path": "1.png", "reason": "the data set has another file under this path; the image it has stays"},
        {
            "path": "2.png",
            "reason": "the data set has this image with the label cat; change labels with `workbench decide`",
        },
    ]
    assert (answer["known"], answer["classes"]) == (1, {"cat": 3})
    assert list_images(context) == before


def test_a_label_that_was_decided_on_or_renamed_since_is_still_known(context: Context, source: Path) -> None:
    run(context, source)
    with context.database.write() as session:
        dataset, bob = dataset_queries.get_dataset(session, "pets"), users.ensure_user(session, "bob")
        image = session.get_one(Image, 1)
        dog = datasets.get_class(session, dataset, "dog")
        decisions.decide(session, image=image, user=bob, verdict="relabel", class_id=dog.id)
        owl = datasets.get_class(session, dataset, "owl")
        datasets.edit_class(session, dataset=dataset, user=bob, cls=owl, name="eule")

    assert (run(context, source)["known"], run(context, source)["refused"]) == (12, [])


def test_rows_that_name_one_path_twice_are_all_accounted_for(context: Context, tmp_path: Path) -> None:
    table = b"path,label\n1.png,cat\n1.png,cat\n1.png,dog\ngone.png,cat\ngone.png,cat\n"
    answer = run(context, write_files(tmp_path / "source", {"labels.csv": table, "1.png": draw(1)}))

    assert answer["imported"] == 1
    assert [row["path"] for row in answer["refused"]] == ["1.png", "gone.png", "gone.png (again)"]
    assert answer["refused"][1]["reason"] == "there is no such file"


def test_map_drop_and_split(context: Context, source: Path) -> None:
    answer = run(context, source, maps={"cat": "feline", "ant": "bug"}, drops=["owl"], split="train")

    assert (answer["imported"], answer["dropped"], answer["found"]) == (8, 4, 12)
    assert answer["classes"] == {"feline": 4, "dog": 4}
    assert (answer["splits"], answer["unused"]) == ({"train": 8}, ["ant"])


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "."),
        ({"a.txt": b"x", "b.txt": b"y"}, ": all 2 files were refused, the first (a.txt): not an image (.txt file)."),
        ({"owl/1.png": draw(1)}, ": all 1 images are of classes that were dropped."),
    ],
)  # fmt: skip
def test_a_source_without_images_leaves_no_empty_data_set(
    context: Context, tmp_path: Path, files: dict[str, bytes], sentence: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()

    with pytest.raises(Invalid) as caught:
        run(context, write_files(source, files), drops=["owl"])

    assert str(caught.value) == f"There is nothing to import in {source}{sentence}"
    assert [count(context, model) for model in (Dataset, Import, Class, Decision)] == [0, 0, 0, 0]


def test_a_source_that_is_not_there_changes_nothing(context: Context, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="There is no file or folder"):
        run(context, tmp_path / "absent")
    with pytest.raises(Invalid, match="votes file"):
        run(context, write_pets(tmp_path / "source"), votes=str(tmp_path / "absent.csv"))
    assert count(context, Dataset) == 0


def test_fer2013_csv_with_its_votes(context: Context, tmp_path: Path) -> None:
    pixels = [" ".join(str((row * 7 + step) % 256) for step in range(16)) for row in range(3)]
    (tmp_path / "fer2013.csv").write_text(
        f"emotion,pixels,Usage\n3,{pixels[0]},Training\n0,{pixels[1]},PublicTest\n9,{pixels[2]},Training\n"
    )
    (tmp_path / "plus.csv").write_text(
        "Usage,Image name,neutral,happiness,anger,NF\n"
        "Training,fer0.png,1,9,0,0\nPublicTest,,0,0,8,2\nTraining,x,1,1,1,1\n"
    )

    answer = run(context, tmp_path / "fer2013.csv", votes=str(tmp_path / "plus.csv"))

    assert (answer["format"], answer["imported"], answer["votes_matched"]) == ("fer2013", 2, 2)
    assert answer["classes"] == {"angry": 1, "happy": 1}
    assert [row["path"] for row in answer["refused"]] == ["train/row00002.png"]
    with context.database.read() as session:
        found = session.execute(
            select(Image.path, Vote.option, Class.name, Vote.count)
            .join(Vote, Vote.image_id == Image.id)
            .outerjoin(Class, Class.id == Vote.class_id)
            .order_by(Image.id, Vote.option)
        )
        assert [tuple(row) for row in found] == [
            ("train/row00000.png", "happiness", "happy", 9),
            ("train/row00000.png", "neutral", None, 1),
            ("validation/row00001.png", "NF", None, 2),
            ("validation/row00001.png", "anger", "angry", 8),
        ]


def test_votes_and_attributes_can_come_later_and_replace_the_former(
    context: Context, source: Path, tmp_path: Path
) -> None:
    run(context, source, attributes="{number}.png")
    for votes in ("3", "5"):
        (tmp_path / "votes.csv").write_text(
            f"split,label,file,cat,dog\ntrain,cat,0.png,{votes},0\ntrain,no,7.png,1,1\n"
        )
        answer = run(context, source, votes=str(tmp_path / "votes.csv"))
    (tmp_path / "more.csv").write_text("path,number,camera\ntrain/cat/0.png,zero,front\n")
    run(context, source, attributes=str(tmp_path / "more.csv"))

    assert (answer["votes_matched"], answer["known"]) == (1, 12)
    with context.database.read() as session:
        (vote,) = session.scalars(select(Vote))
        assert (session.get_one(Image, vote.image_id).path, vote.option, vote.count) == ("train/cat/0.png", "cat", 5)
        query = select(Attribute).where(Attribute.image_id == vote.image_id).order_by(Attribute.name)
        assert [(row.name, row.value) for row in session.scalars(query)] == [("camera", "front"), ("number", "zero")]
        assert len(session.scalars(select(Attribute)).all()) == 13


def test_columns_of_a_csv_become_status_votes_and_attributes(context: Context, tmp_path: Path) -> None:
    table = (
        "path,label,status,votes:cat,camera\n1.png,cat,,3,front\n2.png,cat|dog,,,\n3.png,dog,excluded,,\n4.png,,,,\n"
    )
    files = {f"{number}.png": draw(number) for number in range(1, 5)}
    run(context, write_files(tmp_path / "source", {"labels.csv": table.encode(), **files}))

    assert list_images(context) == [
        ("1.png", "cat", None, "active"),
        ("2.png", None, None, "ambiguous"),
        ("3.png", "dog", None, "excluded"),
        ("4.png", None, None, "active"),
    ]
    with context.database.read() as session:
        assert session.get_one(Image, 2).ambiguous_ids == session.get_one(Image, 2).first_ambiguous_ids == [1, 2]
        assert [(row.image_id, row.option, row.class_id, row.count) for row in session.scalars(select(Vote))] == [
            (1, "cat", 1, 3)
        ]
        assert [(row.image_id, row.name, row.value) for row in session.scalars(select(Attribute))] == [
            (1, "camera", "front")
        ]
        assert checks.check(session).ok


def test_an_image_of_a_merged_class_shows_the_class_it_was_merged_into(context: Context, tmp_path: Path) -> None:
    run(context, write_files(tmp_path / "one", {"cat/1.png": draw(1), "dog/1.png": draw(2)}))
    with context.database.write() as session:
        dataset, admin = dataset_queries.get_dataset(session, "pets"), users.ensure_admin(session)
        cat, dog = (datasets.get_class(session, dataset, name) for name in ("cat", "dog"))
        datasets.merge_class(session, dataset=dataset, user=admin, cls=cat, into=dog)
    run(context, write_files(tmp_path / "two", {"cat/2.png": draw(3)}))

    assert [label for _, label, _, _ in list_images(context)] == ["dog", "dog", "dog"]
    with context.database.read() as session:
        assert checks.check(session).ok


def test_classes_are_numbered_as_people_count(context: Context, tmp_path: Path) -> None:
    files = {f"{name}/1.png": draw(number) for number, name in enumerate(["10", "9", "1", "two"])}
    assert list(run(context, write_files(tmp_path / "source", files))["classes"]) == ["1", "9", "10", "two"]


# --- resuming ------------------------------------------------------------------------------------------------------


class StopAfter:
    """Progress that stops the import once so many images are in, as a user's Cancel does."""

    def __init__(self, images: int) -> None:
        self.images = images

    def __call__(self, done: int, total: int, message: str = "") -> None:
        if done >= self.images:
            raise Cancelled("Cancelled.")


def write_many(folder: Path, number: int) -> Path:
    """`number` files of 20 pictures and one that is none."""
    pictures = [draw(each, size=4) for each in range(20)]
    files = {f"train/{each % 3}/{each:05d}.png": pictures[each % 20] for each in range(number)}
    return write_files(folder, {**files, "train/0/notes.txt": b"x"})


def list_rows(context: Context) -> list[tuple[Any, ...]]:
    """All that an import wrote about images, in order."""
    with context.database.read() as session:
        columns = (
            Image.id,
            Image.path,
            Image.import_id,
            Image.label_id,
            Image.split,
            Image.pixel_sha256,
            Image.location,
        )
        rows = [tuple(row) for row in session.execute(select(*columns).order_by(Image.id))]
        classes = [(cls.id, cls.name, cls.position) for cls in session.scalars(select(Class).order_by(Class.id))]
        lines = [(line.kind, line.detail) for line in session.scalars(select(Decision).order_by(Decision.id))]
        return [*rows, *classes, *lines]


def test_an_import_that_was_stopped_goes_on_and_ends_with_the_same_rows(
    context: Context, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = write_many(tmp_path / "source", 2500)
    with pytest.raises(Cancelled):
        run(Context(context.database, context.home, progress=StopAfter(1000)), source)
    with context.database.read() as session:
        dataset = dataset_queries.get_dataset(session, "pets")
        assert session.get_one(Import, 1).status == "failed"
        assert len(session.scalars(select(Image)).all()) == 999
        assert versions.states_at(session, dataset) == []

    answer = run(context, source)

    assert (answer["import"], answer["found"], answer["imported"], answer["known"]) == (1, 2501, 2500, 0)
    assert answer["refused"] == [{"path": "train/0/notes.txt", "reason": "not an image (.txt file)"}]
    assert answer["exact_duplicates"] == 2480
    undisturbed_home = Home.at(tmp_path_factory.mktemp("undisturbed"))
    undisturbed = Context(open_database(undisturbed_home), undisturbed_home)
    run(undisturbed, source)
    assert list_rows(context) == list_rows(undisturbed)
    undisturbed.database.close()


def test_an_unfinished_import_with_other_options_begins_anew(context: Context, tmp_path: Path) -> None:
    source = write_many(tmp_path / "source", 1500)
    with pytest.raises(Cancelled):
        run(Context(context.database, context.home, progress=StopAfter(1000)), source)

    answer = run(context, source, maps={"0": "zero"})

    assert (answer["imported"], answer["known"]) == (1500, 0)
    assert answer["classes"]["zero"] == 500


def test_an_unfinished_import_that_was_reviewed_keeps_its_options(context: Context, tmp_path: Path) -> None:
    source = write_many(tmp_path / "source", 1500)
    with pytest.raises(Cancelled):
        run(Context(context.database, context.home, progress=StopAfter(1000)), source)
    with context.database.write() as session:
        bob = users.ensure_user(session, "bob")
        decisions.decide(session, image=session.get_one(Image, 1), user=bob, verdict="confirm")

    with pytest.raises(Invalid, match="finish it with its first options"):
        run(context, source, maps={"0": "zero"})
    assert run(context, source)["imported"] == 1500


def test_kill_minus_nine_and_again(tmp_path: Path, context: Context) -> None:
    source = write_many(tmp_path / "source", 4000)
    command = [
        *(sys.executable, "-c", "from workbench.cli import main; main()", "import", str(source), "--dataset", "pets"),
        *("--copy", "--json", "--home", str(context.home.root)),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list_images(context)) < 1000:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 0 < len(list_images(context)) <= 4000

    finished = subprocess.run(command, capture_output=True, text=True, check=True)

    answer = json.loads(finished.stdout)
    assert (answer["imported"], answer["found"], len(answer["refused"]), answer["import"]) == (4000, 4001, 1, 1)
    assert len({path for path, *_ in list_images(context)}) == 4000
    assert count(context, Decision) == 1
    with context.database.read() as session:
        assert checks.check(session).ok


def test_objects_that_a_power_cut_emptied_are_mended_by_importing_again(
    context: Context, source: Path, home: Home
) -> None:
    run(context, source, copy=True)
    lost = next(path for path in home.objects.rglob("*") if path.is_file())
    lost.write_bytes(b"")

    run(context, source, copy=True)

    assert lost.stat().st_size > 0


# --- command line --------------------------------------------------------------------------------------------------


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from workbench.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_answers_json_and_says_what_no_image_met(tmp_path: Path, source: Path) -> None:
    home = str(tmp_path / "home")
    done = call(
        "import", str(source), "--dataset", "pets", "--map", "cat=feline", "--drop", "ant", "--json", "--home", home
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["classes"] == {"feline": 4, "dog": 4, "owl": 4}
    assert done.stderr == "No image is of the class ant that --map or --drop names.\n"


def test_the_command_refuses_with_one_sentence(tmp_path: Path) -> None:
    done = call("import", str(tmp_path / "no"), "--dataset", "pets", "--map", "cat", "--home", str(tmp_path / "home"))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "workbench: “cat” is not of the form OLD=NEW.\n")


@pytest.mark.fer
@pytest.mark.slow
def test_fer2013_comes_in_whole(context: Context) -> None:
    archive = FER2013 / "fer2013.zip"
    if not archive.exists():
        pytest.skip("FER2013 is not beside the repository")

    answer = run(context, archive, votes=str(FER2013 / "ferplus.csv"))

    assert (answer["imported"], answer["refused"], answer["votes_matched"]) == (32137, [], 32137)
    assert answer["exact_duplicates"] == 1519
    assert answer["splits"] == {"train": 28558, "validation": 3579}
    with (FER2013 / "ferplus.csv").open() as file:
        rows = list(csv.DictReader(file))
    labels = [row["label"] for row in rows]
    assert answer["classes"] == {name: labels.count(name) for name in sorted(set(labels))}
    with context.database.read() as session:
        groups = session.scalars(select(DuplicateGroup)).all()
        assert (len(groups), sum(group.size for group in groups)) == (1270, 2789)
        assert sum(group.spanning for group in groups) == 269
        assert sum(group.conflicting for group in groups) == 47
