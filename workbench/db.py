"""The database: engine, sessions that may read, sessions that may write, migrations.

SQLite takes one writer at a time. A session that writes says BEGIN IMMEDIATE at its start: a deferred
transaction that reads first and writes later fails at once when another commit came between. Within one
process writers queue behind a fair lock, because SQLite's own busy handler is not fair.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, text
from sqlalchemy.orm import Session

from workbench.config import Home, bundled

_PRAGMAS = (
    "busy_timeout=15000",  # first: journal_mode itself can meet a lock
    "journal_mode=WAL",
    "synchronous=FULL",  # an answered decision survives a power cut
    "foreign_keys=ON",
    "temp_store=MEMORY",
    "cache_size=-32000",
    "mmap_size=268435456",
    "journal_size_limit=67108864",
)


class FairLock:
    """A lock that serves threads in the order in which they asked."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._next_ticket = 0
        self._now_serving = 0

    def __enter__(self) -> None:
        with self._turn:
            ticket = self._next_ticket
            self._next_ticket += 1
            while self._now_serving != ticket:
                self._turn.wait()

    def __exit__(self, *exc_info: object) -> None:
        with self._turn:
            self._now_serving += 1
            self._turn.notify_all()


class Database:
    """One SQLite file with its sessions. Nothing in here commits but `write`, at its end."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.engine = _make_engine(sqlite_url(home.database))
        self._writer = FairLock()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A snapshot. Any attempt to write raises OperationalError."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA query_only=ON")
            try:
                with Session(connection) as session:
                    yield session
            finally:
                connection.rollback()
                connection.exec_driver_sql("PRAGMA query_only=OFF")

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: committed at the end of the block, rolled back if it raises."""
        with self._writer:
            connection = self.engine.connect().execution_options(begin="BEGIN IMMEDIATE")
            with connection, Session(connection, expire_on_commit=False) as session:
                yield session
                session.commit()
                connection.commit()

    def close(self) -> None:
        self.engine.dispose()


def sqlite_url(path: Path) -> str:
    """The address of a file, whatever its path holds: plainly written, % and ? in it would mean something else."""
    return str(URL.create("sqlite", database=str(path)))


def _make_engine(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 15}, pool_size=16, max_overflow=16)

    @event.listens_for(engine, "connect")
    def _prepare(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # we send BEGIN ourselves
        for pragma in _PRAGMAS:
            dbapi_connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine


def migrate(home: Home) -> None:
    """Bring the database to the newest schema; makes it if absent. Safe to run at every start."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(bundled("migrations")))
    config.attributes["url"] = sqlite_url(home.database)
    command.upgrade(config, "head")
    home.database.chmod(0o600)


def open_database(home: Home) -> Database:
    """The migrated database of `home`."""
    migrate(home)
    return Database(home)


def is_healthy(database: Database) -> bool:
    """Whether SQLite finds its own file whole."""
    with database.read() as session:
        return bool(session.execute(text("PRAGMA quick_check")).scalar() == "ok")
