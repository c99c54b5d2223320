"""Jobs: what runs in the background, how far it is, and what became of it."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from workbench.models.metadata import Base, utc_now

JOB_STATUSES = ("queued", "running", "done", "failed", "cancelled")


class Job(Base):
    """One piece of background work. DBOS carries it out; this row is what pages and the command line show.

    `kind` and `params` say what to do (see workbench/worker/handlers.py); `result` what came out.
    """

    __tablename__ = "jobs"
    __table_args__ = (Index(None, "status"), Index(None, "dataset_id", "id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    kind: Mapped[str]
    title: Mapped[str]
    params: Mapped[dict[str, Any]] = mapped_column(default=dict)
    status: Mapped[str] = mapped_column(default="queued")
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    message: Mapped[str] = mapped_column(default="")
    error: Mapped[str] = mapped_column(default="")
    log: Mapped[str] = mapped_column(default="")
    result: Mapped[dict[str, Any] | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    @property
    def is_over(self) -> bool:
        return self.status in ("done", "failed", "cancelled")
