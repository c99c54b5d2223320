"""Studies: several runs asked for together, on one version, with one table."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from workbench.models.metadata import Base, utc_now

STUDY_STATUSES = ("queued", "running", "done", "cancelled", "failed")


class Study(Base):
    """What was asked for: a list of runs, a grid or a search, and the version that all of them are trained on.

    `plan` is the file as plain values (services/study_files.py reads it), `small` whether its runs are tiny ones, and
    `basis` what runs.Basis says. A job carries it out, one run after the other.
    """

    __tablename__ = "studies"

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    plan: Mapped[dict[str, Any]]
    small: Mapped[bool] = mapped_column(default=False)
    basis: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(default="queued")
    error: Mapped[str] = mapped_column(default="")
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    finished_at: Mapped[datetime | None]

    @property
    def is_over(self) -> bool:
        return self.status in ("done", "failed", "cancelled")


class StudyRun(Base):
    """One run of a study: what is asked for, the run that it became, and by what the search judges it.

    `asked` holds the settings that a search chose, by name; what the rest is stands in the plan. `score` is the
    accuracy or loss on validation after its last epoch, `stopped` whether the search stopped it before its end, `error`
    why there is no run or none that ended well.
    """

    __tablename__ = "study_runs"
    __table_args__ = (UniqueConstraint("study_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    number: Mapped[int]  # 1-based
    name: Mapped[str]
    asked: Mapped[dict[str, Any]] = mapped_column(default=dict)
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"), index=True)
    score: Mapped[float | None]
    stopped: Mapped[bool] = mapped_column(default=False)
    error: Mapped[str] = mapped_column(default="")
