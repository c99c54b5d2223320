"""The migrated database is what the models say, and says it by name."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import OperationalError

from workbench.config import Home
from workbench.db import Database, Savepoint, open_database
from workbench.models import Base, User


def test_migrations_end_at_the_models(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_every_constraint_has_a_name() -> None:
    unnamed = [
        (table.name, type(constraint).__name__)
        for table in Base.metadata.tables.values()
        for constraint in table.constraints
        if constraint.name is None
    ]
    assert unnamed == []


def test_constraints_reach_the_database(database: Database) -> None:
    uniques = {
        (table, tuple(unique["column_names"]))
        for table in Base.metadata.tables
        for unique in inspect(database.engine).get_unique_constraints(table)
    }
    assert ("images", ("dataset_id", "path")) in uniques
    assert ("classes", ("dataset_id", "name")) in uniques
    assert ("duplicate_pairs", ("a_id", "b_id")) in uniques


def test_opening_twice_changes_nothing(home: Home) -> None:
    first = open_database(home)
    with first.write() as session:
        session.add(User(name="ann", role="admin"))
    first.close()
    second = open_database(home)
    with second.read() as session:
        assert session.scalar(text("SELECT count(*) FROM users")) == 1
    second.close()


def test_a_reading_session_cannot_write(database: Database) -> None:
    with database.read() as session:
        session.add(User(name="ann", role="admin"))
        with pytest.raises(OperationalError, match="readonly"):
            session.flush()


def test_a_failed_block_leaves_nothing(database: Database) -> None:
    def write_and_fail() -> None:
        with database.write() as session:
            session.add(User(name="ann", role="admin"))
            session.flush()
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_and_fail()
    with database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM users")) == 0


def test_files_of_a_home_are_private(home: Home, database: Database) -> None:
    home.secret_key()
    assert [oct(path.stat().st_mode & 0o777) for path in (home.root, home.database, home.root / "secret_key")] == [
        "0o700",
        "0o600",
        "0o600",
    ]


def test_writers_are_served_in_turn(database: Database) -> None:
    """Eight threads, each reading before it writes: a deferred transaction would fail with “database is locked”."""
    import threading

    def add(number: int) -> None:
        for round_ in range(20):
            with database.write() as session:
                session.scalar(text("SELECT count(*) FROM users"))
                session.add(User(name=f"user-{number}-{round_}", role="viewer"))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM users")) == 160


def test_what_a_savepoint_does_not_keep_is_gone_and_the_rest_stays(database: Database) -> None:
    with database.write() as session:
        ann = User(name="ann", role="viewer")
        session.add(ann)
        first = Savepoint(session)
        ann.role = "reviewer"
        session.add(User(name="bob", role="viewer"))
        session.flush()
        session.add(User(name="cem", role="viewer"))  # never flushed
        first.undo()
        assert (ann.role, ann in session) == ("viewer", True)
        second = Savepoint(session)
        ann.role = "lead"
        second.keep()
    with database.read() as session:
        assert [(user.name, user.role) for user in session.query(User)] == [("ann", "lead")]
