"""Queues for the tests of the review pages, and what a page's form would send."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event, select
from sqlalchemy.orm import Session

from tests.conftest import Browser
from workbench.db import Database
from workbench.models import Class, Dataset, Image, Queue, QueueItem

BrowserAs = Callable[[str], Browser]
CARD = "/d/pets/queues/1"


def add_queue(session: Session, dataset: Dataset, *, suggest: str | None = "dog", title: str = "Label issues") -> Queue:
    """All images of the data set in their order; every one is suggested to be `suggest`."""
    images = list(session.scalars(select(Image).where(Image.dataset_id == dataset.id).order_by(Image.id)))
    cls = session.scalar(select(Class).where(Class.dataset_id == dataset.id, Class.name == suggest))
    queue = Queue(dataset_id=dataset.id, recipe="label_issues", title=title, size=len(images), expected_hits=3.0)
    session.add(queue)
    session.flush()
    for position, image in enumerate(images):
        session.add(
            QueueItem(
                queue_id=queue.id, image_id=image.id, position=position, score=0.9, p_wrong=0.75,
                given_id=image.label_id, suggested_id=cls.id if cls else None, reason="because the test says so",
            )
        )  # fmt: skip
    session.flush()
    return queue


def field(page: str, name: str) -> str:
    """The value of the first hidden field of that name."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, f"the page has no field {name}"
    return found[1]


def answer(browser: Browser, item: int, *, htmx: bool = False, **fields: Any) -> Any:
    """Open a card and send its form with these fields."""
    page = browser.get(f"{CARD}/items/{item}").get_data(as_text=True)
    form = {"revision": field(page, "revision"), "action": field(page, "action"), **fields}
    return browser.post(f"{CARD}/items/{item}/decide", form, htmx=htmx)


def image_of(database: Database, item: int) -> dict[str, Any]:
    """Label, status and revision of an item's image, and whether the item is done."""
    with database.read() as session:
        row = session.get_one(QueueItem, item)
        image = session.get_one(Image, row.image_id)
        return {
            "label": image.label.name if image.label else None,
            "status": image.status,
            "done": row.done_action is not None,
        }


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that run meanwhile."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    engines = (database.engine, database.reader)  # for writing, for reading
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield statements
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)
