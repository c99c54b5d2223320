"""Alembic's entry: one transaction, foreign keys off while tables are rebuilt, checked at the end."""

from typing import Any

from alembic import context
from sqlalchemy import create_engine, event

from workbench.models import Base


def run() -> None:
    engine = create_engine(context.config.attributes["url"])

    @event.listens_for(engine, "connect")
    def _prepare(dbapi_connection: Any, _record: Any) -> None:
        # With foreign keys ON a batch rebuild of a table deletes every row that refers to it. The pragma is
        # ignored inside a transaction, so it comes first, outside of one.
        dbapi_connection.isolation_level = None
        for pragma in ("busy_timeout=60000", "journal_mode=WAL", "foreign_keys=OFF"):
            dbapi_connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    with engine.connect() as connection:
        context.configure(
            connection=connection, target_metadata=Base.metadata, render_as_batch=True, transactional_ddl=True
        )
        with context.begin_transaction():
            context.run_migrations()
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise RuntimeError(f"the migration would leave {len(broken)} rows that refer to nothing: {broken[:3]}")
    engine.dispose()


run()
