"""Exports: what is written for each format and version, and that nothing half done is left."""

import csv
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from tests.drawing import draw, write_files, write_pets
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Cancelled, Invalid, NotFound
from workbench.models import Image
from workbench.queries import datasets as dataset_queries
from workbench.queries import decisions as log
from workbench.services import datasets, decisions, imports, users, versions
from workbench.services.importers.folder import FolderSource
from workbench.services.importers.trees import FolderTree
from workbench.worker.context import Context
from workbench.worker.exports import export_dataset
from workbench.worker.imports import import_source


@pytest.fixture
def context(database: Database, home: Home) -> Context:
    return Context(database, home)


@pytest.fixture
def pictures(context: Context, tmp_path: Path) -> Path:
    """The source of the data set `pets`: 12 pictures, one relabelled, one ambiguous, one excluded."""
    source = write_pets(tmp_path / "source")
    import_source(context, source=str(source), dataset="pets")
    with context.database.write() as session:
        dataset, bob = dataset_queries.get_dataset(session, "pets"), users.ensure_user(session, "bob")
        images = list(session.scalars(select(Image).order_by(Image.id)))
        cat, dog, owl = (datasets.get_class(session, dataset, name) for name in ("cat", "dog", "owl"))
        decisions.decide(session, image=images[0], user=bob, verdict="relabel", class_id=dog.id)
        decisions.decide(session, image=images[1], user=bob, verdict="ambiguous", class_ids=[cat.id, owl.id])
        decisions.decide(session, image=images[2], user=bob, verdict="exclude")
        imports.write_votes(session, dataset, {images[0].id: {"cat": 4, "dog": 6}}, maps={})
    return source


def export(context: Context, destination: Path, **options: Any) -> dict[str, Any]:
    return export_dataset(context, dataset="pets", destination=str(destination), **options)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def list_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


LABELS = """\
path,label,split,status,source,decisions
test/cat/0.png,dog,test,active,decision,1
test/cat/1.png,cat|owl,test,ambiguous,decision,1
test/dog/0.png,dog,test,excluded,decision,1
test/dog/1.png,dog,test,active,imported,0
test/owl/0.png,owl,test,active,imported,0
test/owl/1.png,owl,test,active,imported,0
train/cat/0.png,cat,train,active,imported,0
train/cat/1.png,cat,train,active,imported,0
train/dog/0.png,dog,train,active,imported,0
train/dog/1.png,dog,train,active,imported,0
train/owl/0.png,owl,train,active,imported,0
train/owl/1.png,owl,train,active,imported,0
"""


def test_csv_holds_every_image_its_bytes_and_what_was_decided(context: Context, pictures: Path, tmp_path: Path) -> None:
    answer = export(context, tmp_path / "out", format="csv")

    assert (tmp_path / "out" / "labels.csv").read_text() == LABELS
    assert list_files(tmp_path / "out" / "images") == list_files(pictures)
    for path in list_files(pictures):
        assert (tmp_path / "out" / "images" / path).read_bytes() == (pictures / path).read_bytes()
    with context.database.read() as session:
        dataset = dataset_queries.get_dataset(session, "pets")
        version, content_hash = log.get_last_id(session, dataset_id=dataset.id), versions.content_hash(session, dataset)
    assert answer == {
        "dataset": "pets", "format": "csv", "destination": str(tmp_path / "out"), "version": version,
        "content_hash": content_hash, "images": 11, "excluded": 1, "ambiguous": 1, "unlabelled": 0,
        "classes": {"cat": 2, "dog": 4, "owl": 4}, "splits": {"test": 5, "train": 6}, "files": 12, "missing": [],
    }  # fmt: skip


def test_the_manifest_names_the_version_and_the_classes(context: Context, pictures: Path, tmp_path: Path) -> None:
    answer = export(context, tmp_path / "out", format="csv")

    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["classes"] == [
        {"name": "cat", "colour": "#E69F00", "key": "1", "retired": False, "images": 2},
        {"name": "dog", "colour": "#56B4E9", "key": "2", "retired": False, "images": 4},
        {"name": "owl", "colour": "#009E73", "key": "3", "retired": False, "images": 4},
    ]
    shared = ("dataset", "version", "content_hash", "images", "excluded", "ambiguous", "splits", "files", "missing")
    assert {key: manifest[key] for key in shared} == {key: answer[key] for key in shared}
    assert (manifest["tool"], manifest["tool_version"], manifest["distinct_files"]) == (
        "curation-workbench",
        "0.1.0",
        12,
    )
    assert manifest["bytes"] == sum(path.stat().st_size for path in pictures.rglob("*.png"))


def test_folder_holds_the_active_images_by_split_and_class(context: Context, pictures: Path, tmp_path: Path) -> None:
    export(context, tmp_path / "out")

    files = list_files(tmp_path / "out")
    assert files == [
        "labels.csv", "manifest.json", "test/dog/0.png", "test/dog/1.png", "test/owl/0.png", "test/owl/1.png",
        "train/cat/0.png", "train/cat/1.png", "train/dog/0.png", "train/dog/1.png", "train/owl/0.png",
        "train/owl/1.png",
    ]  # fmt: skip
    assert (tmp_path / "out" / "labels.csv").read_text() == LABELS
    answer = import_source(context, source=str(tmp_path / "out"), dataset="again")
    assert (answer["format"], answer["imported"], answer["refused"]) == ("folder", 10, [])
    assert answer["classes"] == {"dog": 4, "owl": 4, "cat": 2}


def test_files_of_one_name_and_odd_class_names_do_not_meet(context: Context, tmp_path: Path) -> None:
    table = "path,label\na/1.png,x/y\nb/1.png,x/y\nc/1.PNG,x/y\nd/1.png,x:y\ne/1.png,\nf/1.png,train\n"
    files = {f"{name}/1.{'PNG' if name == 'c' else 'png'}": draw(ord(name)) for name in "abcdef"}
    import_source(
        context, source=str(write_files(tmp_path / "source", {"labels.csv": table.encode(), **files})), dataset="pets"
    )

    export(context, tmp_path / "out")

    assert list_files(tmp_path / "out") == [
        "labels.csv", "manifest.json", "none/1.png", "none/train/1.png", "none/x_y-2/1.png", "none/x_y/1-2.png",
        "none/x_y/1-3.PNG", "none/x_y/1.png",
    ]  # fmt: skip
    entries = FolderSource(FolderTree(tmp_path / "out")).entries()
    assert [(entry.labels, entry.split) for entry in entries] == [
        ((), None), (("train",), None), *[(("x_y",), None)] * 3, (("x_y-2",), None)
    ]  # fmt: skip


def test_without_splits_there_is_no_split_level(context: Context, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"cat/1.png": draw(1), "dog/1.png": draw(2)})
    import_source(context, source=str(source), dataset="pets")

    export(context, tmp_path / "out")

    assert list_files(tmp_path / "out")[:1] + list_files(tmp_path / "out")[1:2] == ["cat/1.png", "dog/1.png"]


@pytest.mark.parametrize("format_", ["csv", "folder"])
def test_a_zip_holds_the_same_and_imports_the_same(
    context: Context, pictures: Path, tmp_path: Path, format_: str
) -> None:
    export(context, tmp_path / "plain", format=format_)
    for name in ("one.zip", "two.zip"):
        export(context, tmp_path / name, format=format_)

    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert sorted(archive.namelist()) == list_files(tmp_path / "plain")
        assert archive.testzip() is None
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    plain = import_source(context, source=str(tmp_path / "plain"), dataset="a")
    zipped = import_source(context, source=str(tmp_path / "one.zip"), dataset="b")
    same = ("format", "imported", "classes", "splits", "refused")
    assert {key: zipped[key] for key in same} == {key: plain[key] for key in same}
    assert plain["format"] == format_


def test_parquet_embeds_the_images(context: Context, pictures: Path, tmp_path: Path) -> None:
    answer = export(context, tmp_path / "pets.parquet", format="parquet")

    table = pq.read_table(tmp_path / "pets.parquet")
    rows = table.to_pylist()
    assert len(rows) == answer["files"] == 12
    assert rows[0] == {
        "image": {"bytes": (pictures / "test/cat/0.png").read_bytes(), "path": "0.png"},
        "path": "test/cat/0.png", "label": "dog", "split": "test", "status": "active", "source": "decision",
        "decisions": 1, "votes": [{"option": "cat", "count": 4}, {"option": "dog", "count": 6}],
    }  # fmt: skip
    text = [",".join(str(row[column]) for column in LABELS.splitlines()[0].split(",")) for row in rows]
    assert text == LABELS.splitlines()[1:]
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == table.schema.names
    manifest = json.loads(pq.read_metadata(tmp_path / "pets.parquet").metadata[b"workbench"])
    assert manifest["content_hash"] == answer["content_hash"]


def test_parquet_into_a_folder(context: Context, pictures: Path, tmp_path: Path) -> None:
    export(context, tmp_path / "out", format="parquet")

    assert list_files(tmp_path / "out") == ["images.parquet", "manifest.json"]
    assert pq.read_table(tmp_path / "out" / "images.parquet").num_rows == 12


def test_an_older_version_is_written_as_it_stood(context: Context, pictures: Path, tmp_path: Path) -> None:
    with context.database.write() as session:
        dataset, bob = dataset_queries.get_dataset(session, "pets"), users.ensure_user(session, "bob")
        datasets.edit_class(
            session, dataset=dataset, user=bob, cls=datasets.get_class(session, dataset, "owl"), name="eule"
        )
    now, then = (
        export(context, tmp_path / "now", format="csv"),
        export(context, tmp_path / "then", format="csv", version=1),
    )

    assert list(now["classes"]) == ["cat", "dog", "eule"]
    assert then["classes"] == {"cat": 4, "dog": 4, "owl": 4}
    assert (then["version"], then["excluded"]) == (1, 0)
    assert {row["decisions"] for row in read_csv(tmp_path / "then" / "labels.csv")} == {"0"}
    with pytest.raises(NotFound, match="has no version 99"):
        export(context, tmp_path / "no", version=99)


def test_a_file_that_changed_or_vanished_is_missing_and_the_rest_is_written(
    context: Context, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "train/cat/0.png").unlink()
    (pictures / "train/cat/1.png").write_bytes(draw(99))

    answer = export(context, tmp_path / "out", format="csv")

    assert [row["path"] for row in answer["missing"]] == ["train/cat/0.png", "train/cat/1.png"]
    assert "has changed since it was imported" in answer["missing"][1]["reason"]
    assert (answer["files"], len(read_csv(tmp_path / "out" / "labels.csv"))) == (10, 12)
    again = import_source(context, source=str(tmp_path / "out"), dataset="again")
    assert [row["reason"] for row in again["refused"]] == ["there is no such file"] * 2


def test_a_place_that_is_taken_is_refused_and_left_alone(context: Context, pictures: Path, tmp_path: Path) -> None:
    before = list_files(pictures)
    with pytest.raises(Invalid, match=r"is not empty; name a new folder\.$"):
        export(context, pictures)
    (tmp_path / "file.zip").write_bytes(b"mine")
    with pytest.raises(Invalid, match="is there already"):
        export(context, tmp_path / "file.zip")
    with pytest.raises(Invalid, match="is not a format"):
        export(context, tmp_path / "out", format="xml")
    with pytest.raises(NotFound, match="no data set"):
        export_dataset(context, dataset="nope", destination=str(tmp_path / "out"))

    assert list_files(pictures) == before
    assert (tmp_path / "file.zip").read_bytes() == b"mine"
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_and_new_parents_are_fine(context: Context, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    export(context, tmp_path / "empty")
    export(context, tmp_path / "a" / "b" / "c")
    assert list_files(tmp_path / "empty") == list_files(tmp_path / "a" / "b" / "c")


@pytest.mark.parametrize("name", ["out", "out.zip", "out.parquet"])
def test_an_export_that_is_stopped_or_was_killed_leaves_nothing_half_done(
    context: Context, pictures: Path, tmp_path: Path, name: str
) -> None:
    def stop(done: int, total: int, message: str = "") -> None:
        raise Cancelled("Cancelled.")

    format_ = "parquet" if name.endswith("parquet") else "csv"
    folder = tmp_path / "exports"
    write_files(folder, {f".{name}.partial": b"left by a kill"})
    with pytest.raises(Cancelled):
        export(Context(context.database, context.home, progress=stop), folder / name, format=format_)
    assert list(folder.iterdir()) == []

    export(context, folder / name, format=format_)
    assert [path.name for path in folder.iterdir()] == [name]


def test_a_data_set_without_images_is_not_exported(context: Context, tmp_path: Path) -> None:
    with context.database.write() as session:
        datasets.ensure_dataset(session, "pets")
    with pytest.raises(Invalid, match="pets has no images to export"):
        export(context, tmp_path / "out")


def test_the_command_answers_json(context: Context, pictures: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from workbench.cli import main; main()", "export", str(tmp_path / "out")]
    command += ["--dataset", "pets", "--format", "csv", "--version", "1", "--home", str(context.home.root)]

    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    again = subprocess.run(command, capture_output=True, text=True, check=False)

    assert json.loads(done.stdout)["images"] == 12
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == f"workbench: “{tmp_path / 'out'}” is not empty; name a new folder.\n"
