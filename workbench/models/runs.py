"""Training runs."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from workbench.models.metadata import Base, utc_now

RUN_STATUSES = ("queued", "running", "done", "failed", "cancelled")


class Run(Base):
    """One training on one version with one config and seed. Curves, checkpoint and predictions are files in its folder.

    `decision_id` and `content_hash` name the version it was trained on. `metrics` is the evaluation at the end of the
    training, on the split and labels of that version. `promotion` is how it last came to be promoted, or was refused:
    by whom, why, and the test against the run promoted before it (services/promotions.py).
    """

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    arch: Mapped[str]
    preset: Mapped[str]
    config: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(default="queued")
    decision_id: Mapped[int]
    content_hash: Mapped[str]
    from_run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    epochs_done: Mapped[int] = mapped_column(default=0)
    seconds: Mapped[float] = mapped_column(default=0.0)
    images_per_second: Mapped[float | None]
    metrics: Mapped[dict[str, Any] | None]
    error: Mapped[str] = mapped_column(default="")
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    finished_at: Mapped[datetime | None]
    promoted_at: Mapped[datetime | None]
    promotion: Mapped[dict[str, Any] | None]
