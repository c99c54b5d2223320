"""Fixtures that most tests share: a real migrated database in a temporary home, a data set of tiny images."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.db import Database, open_database
from workbench.models import Dataset, Image, Import, User
from workbench.services import datasets, users

FER2013 = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "fer2013"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path / "home")


@pytest.fixture
def database(home: Home) -> Iterator[Database]:
    database = open_database(home)
    yield database
    database.close()


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """A session that writes; what it did is rolled back unless the test commits it."""
    with database.write() as session:
        yield session


@pytest.fixture
def alice(session: Session) -> User:
    """Leads."""
    return users.add_user(session, name="alice", role="lead")


@pytest.fixture
def bob(session: Session) -> User:
    """Reviews."""
    return users.add_user(session, name="bob", role="reviewer")


@pytest.fixture
def pets(session: Session) -> Dataset:
    """A data set with classes cat, dog, owl and six images: two of each, the first of each pair in train."""
    return make_pets(session)


def make_pets(session: Session, *, per_class: int = 2, name: str = "pets") -> Dataset:
    dataset = datasets.ensure_dataset(session, name)
    classes = datasets.ensure_classes(session, dataset, ["cat", "dog", "owl"])
    source = Import(dataset_id=dataset.id, source="drawn", format="folder", options={}, status="done")
    session.add(source)
    session.flush()
    for cls in classes.values():
        for number in range(per_class):
            split = "train" if number % 2 == 0 else "test"
            fingerprint = f"{dataset.id:08d}{cls.id:08d}{number:048d}"
            session.add(
                Image(
                    dataset_id=dataset.id, import_id=source.id, path=f"{cls.name}/{number}.png", location="object",
                    file_sha256=fingerprint, pixel_sha256=fingerprint, width=8, height=8, mode="L",
                    media_type="image/png", size_bytes=100, first_label_id=cls.id, base_label_id=cls.id,
                    label_id=cls.id, first_split=split, split=split,
                )
            )  # fmt: skip
    session.flush()
    return dataset
