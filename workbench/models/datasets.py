"""Data sets and their classes."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from workbench.models.metadata import Base, utc_now

# Okabe-Ito first, then hues that stay apart for colour-blind readers. Never the only signal: each class has a key too.
CLASS_COLOURS = (
    "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2",
    "#D55E00", "#CC79A7", "#8C8C8C", "#7A5195", "#A6761D",
)  # fmt: skip


class Dataset(Base):
    """A named set of images with one set of classes."""

    __tablename__ = "datasets"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    note: Mapped[str] = mapped_column(default="")
    promoted_run_id: Mapped[int | None]
    scanned_at: Mapped[datetime | None]  # when the newest scan for near copies ended
    compared_to: Mapped[int | None]  # the highest image id among the pictures that it compared with each other
    calibration: Mapped[dict[str, Any] | None]  # what it learned about this data set's pictures and verdicts
    frozen_split: Mapped[str | None]  # read by evaluation only; derived from the log, as is the next
    own_flags: Mapped[dict[str, Any] | None]  # split -> what was forced on it, frozen, from a model's own flags

    classes: Mapped[list["Class"]] = relationship(order_by="Class.position", viewonly=True)


class Class(Base):
    """One class. `name`, `position`, `colour`, `key`, `retired`, `merged_into_id` are derived from decisions."""

    __tablename__ = "classes"
    __table_args__ = (
        UniqueConstraint("dataset_id", "name"),
        Index(None, "dataset_id", "position"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    name: Mapped[str]
    position: Mapped[int]
    colour: Mapped[str]
    key: Mapped[str] = mapped_column(default="")
    retired: Mapped[bool] = mapped_column(default=False)
    merged_into_id: Mapped[int | None] = mapped_column(ForeignKey("classes.id"))
    # what the class was when it came into being; the replay starts here
    first_name: Mapped[str]
    first_position: Mapped[int]
    first_colour: Mapped[str]
    first_key: Mapped[str] = mapped_column(default="")
    added_by: Mapped[str | None]  # the action that added it; none when it came with an import

    @property
    def is_open(self) -> bool:
        """Whether reviewers may choose it."""
        return not self.retired and self.merged_into_id is None
