"""Imports and what they refused."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from workbench.models.metadata import Base, utc_now


class Import(Base):
    """One source read into a data set. `found = imported + refused + known + dropped` once it is done."""

    __tablename__ = "imports"

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    source: Mapped[str]
    format: Mapped[str]
    options: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(default="running")  # running, done, failed
    found: Mapped[int] = mapped_column(default=0)
    imported: Mapped[int] = mapped_column(default=0)
    refused: Mapped[int] = mapped_column(default=0)
    known: Mapped[int] = mapped_column(default=0)  # same path and same bytes as before: left alone
    dropped: Mapped[int] = mapped_column(default=0)  # of a class that the import was told to leave out
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    finished_at: Mapped[datetime | None]


class Refusal(Base):
    """A file that is not in the data set, and why."""

    __tablename__ = "refusals"
    __table_args__ = (UniqueConstraint("import_id", "path"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    import_id: Mapped[int] = mapped_column(ForeignKey("imports.id", ondelete="CASCADE"))
    path: Mapped[str]
    reason: Mapped[str]
