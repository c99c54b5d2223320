"""The database: engine, sessions that may read, sessions that may write, migrations.

SQLite takes one writer at a time. A session that writes says BEGIN IMMEDIATE at its start: a deferred
transaction that reads first and writes later fails at once when another commit came between. Within one
process writers queue behind a fair lock, because SQLite's own busy handler is not fair.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session

from workbench.config import Home, bundled
from workbench.errors import Busy

_PATIENCE_S = 15.0  # a writer's, before it gives up
_PRAGMAS = (
    f"busy_timeout={round(1000 * _PATIENCE_S)}",  # first: journal_mode itself can meet a lock
    "journal_mode=WAL",
    "synchronous=FULL",  # an answered decision survives a power cut
    "foreign_keys=ON",
    "temp_store=MEMORY",
    "cache_size=-32000",
    "mmap_size=0",  # SQLite maps the file anew after every commit of another connection: 0.4 ms a decision
    "journal_size_limit=67108864",
)


class FairLock:
    """A lock that serves threads in the order in which they asked. Whoever releases it wakes the next one only."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()  # each is opened when it is its thread's turn
        self._is_held = False

    def acquire(self, timeout: float) -> bool:
        """Wait for one's turn; false if it did not come within that many seconds."""
        turn = threading.Lock()
        with self._guard:
            if not self._is_held:
                self._is_held = True
                return True
            turn.acquire()
            self._waiting.append(turn)
        if turn.acquire(timeout=timeout):
            return True
        with self._guard:
            if turn not in self._waiting:  # it came just now
                return True
            self._waiting.remove(turn)
            return False

    def release(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_held = False


class Database:
    """One SQLite file with its sessions. Nothing in here commits but `write`, at its end."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.engine = _make_engine(sqlite_url(home.database), _PRAGMAS)
        self.reader = _make_engine(sqlite_url(home.database), (*_PRAGMAS, "query_only=ON"))
        self._writer = FairLock()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A snapshot. Any attempt to write raises OperationalError."""
        with self.reader.connect() as connection, Session(connection, autoflush=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: committed at the end of the block, rolled back if it raises.

        Raises Busy if its turn does not come within 15 seconds, in this process or among several: whoever waits
        longest is told first, and nobody waits for the waiting of others.
        """
        asked = time.monotonic()
        if not self._writer.acquire(_PATIENCE_S):
            raise Busy
        try:
            connection = self.engine.connect().execution_options(begin="BEGIN IMMEDIATE")
            with connection, Session(connection, expire_on_commit=False) as session:
                self._limit_wait(connection, _PATIENCE_S - (time.monotonic() - asked))
                yield session
                session.commit()
                connection.commit()
        finally:
            self._writer.release()

    @staticmethod
    def _limit_wait(connection: Connection, seconds: float) -> None:
        """How long SQLite waits for another process: what is left of our patience, where waiting used some of it up."""
        if seconds < _PATIENCE_S - 1:
            dbapi_connection: Any = connection.connection.dbapi_connection
            dbapi_connection.execute(f"PRAGMA busy_timeout={max(1, round(1000 * seconds))}")
            connection.info["impatient"] = True
        elif connection.info.pop("impatient", False):
            dbapi_connection = connection.connection.dbapi_connection
            dbapi_connection.execute(f"PRAGMA {_PRAGMAS[0]}")

    def close(self) -> None:
        self.engine.dispose()
        self.reader.dispose()


class Savepoint:
    """A place in a transaction to go back to. `Session.begin_nested` does as much, at five times the cost."""

    def __init__(self, session: Session) -> None:
        self._session = session
        session.flush()
        self._say("SAVEPOINT here")

    def keep(self) -> None:
        self._session.flush()
        self._say("RELEASE here")

    def undo(self) -> None:
        """Rows that the session holds are read again: they may show what was not kept."""
        with self._session.no_autoflush:
            for added in list(self._session.new):
                self._session.expunge(added)
            self._say("ROLLBACK TO here")
            self._say("RELEASE here")
            for held in list(self._session):
                try:
                    self._session.refresh(held)
                except InvalidRequestError:  # it was added since
                    self._session.expunge(held)

    def _say(self, statement: str) -> None:
        self._session.connection().exec_driver_sql(statement)


def sqlite_url(path: Path) -> str:
    """The address of a file, whatever its path holds: plainly written, % and ? in it would mean something else."""
    return str(URL.create("sqlite", database=str(path)))


def _make_engine(url: str, pragmas: Sequence[str]) -> Engine:
    engine = create_engine(
        url, connect_args={"timeout": _PATIENCE_S}, pool_size=16, max_overflow=16, pool_use_lifo=True
    )

    @event.listens_for(engine, "connect")
    def _prepare(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # we send BEGIN ourselves
        for pragma in pragmas:
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
