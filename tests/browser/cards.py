"""What the tests of the card share: a server over small queues, browsers of several people, the log as it stands."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect
from sqlalchemy import select

from tests.browser.conftest import Problems, open_page
from tests.drawn import make_stripes
from tests.live import Live, serve
from tests.review_queues import add_queue
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.models import Dataset, Decision, Image, Queue, QueueItem
from workbench.services import decisions, users

PEOPLE = {"ann": "reviewer", "bob": "reviewer", "lea": "lead"}
SHOWN = "#card[data-item='{}']"


@dataclass
class Desk:
    """A running server over a home to which a test adds queues of its own."""

    live: Live
    database: Database
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def add_queue(self, *, images: int = 12, **changes: Any) -> "Card":
        """A data set of stripes with one queue over all of it; every image is suggested to be `columns`."""
        name = f"stripes{next(self.numbers)}"
        with self.database.write() as session:
            dataset = make_stripes(session, self.database.home, per_class=images // 3, name=name)
            queue = add_queue(session, dataset, suggest="columns")
            for key, value in changes.items():
                setattr(queue, key, value)
            ids = list(session.scalars(select(QueueItem.id).where(QueueItem.queue_id == queue.id)))
            return Card(self, name, queue.id, ids)

    @contextmanager
    def browser(self, chromium: Browser, who: str = "ann", *, quiet: bool = True, **options: Any) -> Iterator[Page]:
        """Somebody's browser, logged in. quiet: it may not complain about anything, as it does without network."""
        context = chromium.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        page, problems = self.open(context, who)
        yield page
        page.screenshot(path=self.live.home.parent / "last.png")
        context.close()
        if quiet:
            assert problems == Problems()

    def open(self, context: BrowserContext, who: str) -> tuple[Page, Problems]:
        page, problems = open_page(context)
        page.set_default_timeout(8_000)
        self.log_in(page, who)
        return page, problems

    def log_in(self, page: Page, who: str) -> None:
        """By a link of their own, whoever was logged in before."""
        with self.database.write() as session:
            link = users.make_login_link(session, user=users.ensure_user(session, who))
        page.goto(f"{self.live.url}/login/{link}")


@dataclass(frozen=True)
class Card:
    """One queue: its address, its items in their order."""

    desk: Desk
    name: str
    queue_id: int
    items: list[int]

    @property
    def url(self) -> str:
        return f"{self.desk.live.url}/d/{self.name}/queues/{self.queue_id}"

    def go(self, page: Page) -> None:
        """Open the queue, and wait until the next cards stand ready."""
        with page.expect_response(lambda answer: answer.url.endswith("/answers")):
            page.goto(self.url)
        page.wait_for_load_state("networkidle")  # the cards behind it and their pictures are there too

    def log(self) -> list[tuple[int, str, str]]:
        """(number of the item, kind, who) of each line about an image of the queue, as it was written."""
        with self.desk.database.read() as session:
            rows = session.execute(
                select(QueueItem.id, Decision.kind, Decision.user_id)
                .join(Dataset, Dataset.id == Decision.dataset_id)
                .join(QueueItem, QueueItem.image_id == Decision.image_id)
                .where(Dataset.name == self.name, QueueItem.queue_id == self.queue_id)
                .order_by(Decision.id)
            )
            names = {user.id: user.name for user in users.queries.list_users(session)}
            return [(self.items.index(item), kind, names[user]) for item, kind, user in rows]

    def kinds(self) -> list[tuple[int, str]]:
        return [(number, kind) for number, kind, _ in self.log()]

    def image(self, number: int) -> Image:
        with self.desk.database.read() as session:
            item = session.get_one(QueueItem, self.items[number])
            image = session.get_one(Image, item.image_id)
            _ = image.label.name if image.label else None
            return image

    def decide(self, who: str, number: int, verdict: str) -> None:
        """As somebody does elsewhere, on the page of the image."""
        with self.desk.database.write() as session:
            item = session.get_one(QueueItem, self.items[number])
            user = users.ensure_user(session, who)
            decisions.decide(session, image=session.get_one(Image, item.image_id), user=user, verdict=verdict)

    def queue(self) -> Queue:
        with self.desk.database.read() as session:
            return session.get_one(Queue, self.queue_id)

    def shows(self, page: Page, number: int) -> None:
        """Wait until this item is on the screen."""
        expect(page.locator(SHOWN.format(self.items[number]))).to_be_visible()


@contextmanager
def open_desk(folder: Path) -> Iterator[Desk]:
    database = open_database(Home.at(folder / "home"))
    with database.write() as session:
        for name, role in PEOPLE.items():
            users.ensure_user(session, name, role=role)
    with serve(folder / "home", extra=("--web-only",)) as live:
        yield Desk(live, database)
    database.close()


def wait_until_saved(page: Page) -> None:
    """Until nothing of this user is kept in the browser any more."""
    page.wait_for_function("() => !Object.keys(localStorage).some((name) => name.startsWith('workbench.unsent.'))")


def count_kept(page: Page) -> int:
    found: int = page.evaluate(
        "() => Object.keys(localStorage).filter((name) => name.startsWith('workbench.unsent.')).length"
    )
    return found


def accept_leaving(page: Page) -> list[str]:
    """Answer "leave" when the browser asks; returns what it asked."""
    asked: list[str] = []

    def answer(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", answer)
    return asked
