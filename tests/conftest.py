"""Fixtures that most tests share: a real migrated database in a temporary home, a data set of tiny images."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from workbench.app import create_app
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


@pytest.fixture
def app(database: Database) -> Flask:
    app = create_app(database)
    app.config["TESTING"] = True
    return app


class Browser:
    """A logged-in test client that sends the CSRF token as the pages do."""

    def __init__(self, app: Flask, name: str, role: str) -> None:
        database: Database = app.extensions["workbench"]
        with database.write() as session:
            user = users.ensure_user(session, name, role=role)
            token = users.make_login_link(session, user=user)
        self.client = app.test_client()
        answer = self.client.get(f"/login/{token}")
        assert answer.status_code == 303
        page = self.client.get("/settings").get_data(as_text=True)
        found = re.search(r'"X-CSRFToken": "([^"]+)"', page)
        assert found is not None
        self.token = found[1]

    def get(self, url: str, *, htmx: bool = False, **kwargs: Any) -> TestResponse:
        headers = {"HX-Request": "true"} if htmx else {}
        return self.client.get(url, headers=headers, **kwargs)

    def post(self, url: str, data: dict[str, Any] | None = None, *, htmx: bool = False, **kwargs: Any) -> TestResponse:
        headers = {"X-CSRFToken": self.token} | ({"HX-Request": "true"} if htmx else {}) | kwargs.pop("headers", {})
        return self.client.post(url, data=data or {}, headers=headers, **kwargs)


@pytest.fixture
def browser_as(app: Flask) -> Callable[[str], Browser]:
    """`browser_as("reviewer")` is a browser logged in as somebody of that role."""
    return lambda role: Browser(app, f"some-{role}", role)
