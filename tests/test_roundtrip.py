"""Import -> decide -> export -> import again gives the same data set, whatever was decided and undone."""

import csv
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.drawing import draw, write_files
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.errors import Invalid, WorkbenchError
from workbench.models import Class, Dataset, Image, User
from workbench.queries import datasets as dataset_queries
from workbench.services import checks, datasets, decisions, exports, users, versions
from workbench.services.decisions import Line
from workbench.worker.context import Context
from workbench.worker.imports import import_source

PATHS = [
    "train/cat/1.png",
    "train/cat/2.png",
    "train/dog/1.png",
    "validation/owl/1.png",
    "test/owl/a, b.png",
    "loose.png",
]
Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["confirm", "relabel", "ambiguous", "exclude", "restore", "split", "bulk", "undo", "undo", "redo", "rename",
             "merge", "add", "retire", "comment"]
        ),
        st.integers(0, 5),
        st.integers(0, 5),
    ),
    max_size=14,
)  # fmt: skip


@dataclass
class Bench:
    """One home for all examples; each has data sets of its own."""

    folder: Path
    home: Home
    database: Database
    number: int = 0


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("roundtrip")
    write_files(folder / "source", {path: draw(number) for number, path in enumerate(PATHS)})
    home = Home.at(folder / "home")
    database = open_database(home)
    yield Bench(folder, home, database)
    database.close()


@settings(max_examples=20, deadline=None)
@given(steps=STEPS)
def test_an_export_imports_to_the_same_data_set(bench: Bench, steps: list[Step]) -> None:
    bench.number += 1
    old, new = f"pets {bench.number}", f"again {bench.number}"
    _import(bench, bench.folder / "source", old)
    _decide(bench.database, old, steps)

    first = _export(bench, old)
    answer = _import(bench, bench.folder / old / "labels.csv", new)
    second = _export(bench, new)

    assert (answer["refused"], answer["imported"]) == ([], len(PATHS))
    assert [_content(row) for row in second] == [_content(row) for row in first]
    assert {(row["source"], row["decisions"]) for row in second} == {("imported", "0")}
    _compare(bench.database, old, new)


def _import(bench: Bench, source: Path, dataset: str) -> dict[str, Any]:
    return import_source(Context(bench.database, bench.home), source=str(source), dataset=dataset)


def _decide(database: Database, name: str, steps: list[Step]) -> None:
    with database.write() as session:
        dataset = dataset_queries.get_dataset(session, name)
        user = users.ensure_user(session, "bob")
        for kind, a, b in steps:
            with suppress(WorkbenchError), session.begin_nested():  # what the rules forbid in this state is refused
                STEP_KINDS.get(kind, _verdict)(session, dataset, user, kind, a, b)


def _pick(session: Session, dataset: Dataset, a: int) -> Image:
    images = list(session.scalars(select(Image).where(Image.dataset_id == dataset.id).order_by(Image.id)))
    return images[a % len(images)]


def _classes(session: Session, dataset: Dataset, *positions: int) -> list[Class]:
    classes = dataset_queries.list_open_classes(session, dataset.id)
    if not classes:
        raise Invalid("All classes are retired.")
    return [classes[position % len(classes)] for position in positions]


def _verdict(session: Session, dataset: Dataset, user: User, kind: str, a: int, b: int) -> None:
    image = _pick(session, dataset, a)
    ids = [cls.id for cls in _classes(session, dataset, b, b + 1)]
    decisions.decide(session, image=image, user=user, verdict=kind, class_id=ids[0], class_ids=ids, text="hm")


def _split(session: Session, dataset: Dataset, user: User, kind: str, a: int, b: int) -> None:
    split = ("train", "validation", "test", None)[b % 4]
    line = Line("split", _pick(session, dataset, a).id, detail={"split": split})
    decisions.submit(session, dataset=dataset, user=user, lines=[line])


def _bulk(session: Session, dataset: Dataset, user: User, kind: str, a: int, b: int) -> None:
    (cls,) = _classes(session, dataset, b)
    images = {_pick(session, dataset, a + step).id for step in range(3)}
    decisions.submit(
        session, dataset=dataset, user=user, lines=[Line("relabel", each, cls.id) for each in sorted(images)]
    )


def _undo(session: Session, dataset: Dataset, user: User, kind: str, a: int, b: int) -> None:
    (decisions.undo_last if kind == "undo" else decisions.redo_last)(session, dataset=dataset, user=user)


def _change_class(session: Session, dataset: Dataset, user: User, kind: str, a: int, b: int) -> None:
    one, other = _classes(session, dataset, a, b)
    if kind == "rename":
        datasets.edit_class(session, dataset=dataset, user=user, cls=one, name=f"été {b}", colour=f"#00{a}{b}FF")
    elif kind == "merge":
        datasets.merge_class(session, dataset=dataset, user=user, cls=one, into=other)
    elif kind == "add":
        datasets.add_class(session, dataset=dataset, user=user, name=f"new {a}")
    else:
        datasets.retire_class(session, dataset=dataset, user=user, cls=one)


STEP_KINDS: dict[str, Callable[[Session, Dataset, User, str, int, int], None]] = {
    "split": _split,
    "bulk": _bulk,
    "undo": _undo,
    "redo": _undo,
    **dict.fromkeys(("rename", "merge", "add", "retire"), _change_class),
}


def _export(bench: Bench, dataset: str) -> list[dict[str, Any]]:
    folder = bench.folder / dataset
    exports.export(bench.database, bench.home, dataset=dataset, destination=folder, format_="csv")
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _compare(database: Database, old: str, new: str) -> None:
    with database.read() as session:
        both = [dataset_queries.get_dataset(session, name) for name in (old, new)]
        assert _looks(session, both[0]) == _looks(session, both[1])
        assert versions.content_hash(session, both[0]) == versions.content_hash(session, both[1])
        assert [checks.check_dataset(session, each).differences for each in both] == [(), ()]


def _content(row: dict[str, Any]) -> tuple[Any, ...]:
    classes = tuple(sorted(row["label"].split("|")))
    return row["path"], classes, row["split"], row["status"]


def _looks(session: Session, dataset: Dataset) -> list[tuple[str, str, str]]:
    return [(cls.name, cls.colour, cls.key) for cls in dataset_queries.list_open_classes(session, dataset.id)]
