"""Images with their materialised state, votes and attributes."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from workbench.models.datasets import Class
from workbench.models.metadata import Base

SPLITS = ("train", "validation", "test")
STATUSES = ("active", "ambiguous", "excluded")


class Image(Base):
    """One picture. The `first_*` columns are what the import said; the state beside them is the log replayed.

    `location` is "object" when the bytes are stored in the home folder by `file_sha256`, else the absolute path
    of the file that was imported in place. `label_id` is none while an image is ambiguous or unlabelled;
    `base_label_id` is the label before class merges, so that a merge is undone without reading the log.
    """

    __tablename__ = "images"
    __table_args__ = (
        UniqueConstraint("dataset_id", "path"),
        Index(None, "dataset_id", "pixel_sha256"),
        Index(None, "dataset_id", "label_id", "id"),
        Index(None, "dataset_id", "split", "id"),
        Index(None, "dataset_id", "status", "id"),
        Index(None, "dataset_id", "label_source", "id"),
        Index(None, "dataset_id", "predicted_id", "id"),
        Index(None, "dataset_id", "confidence", "id"),
        Index(None, "dataset_id", "p_wrong", "id"),
        Index(None, "dataset_id", "decided_at", "id"),
        Index("ix_images_disputed", "dataset_id", "id", sqlite_where=text("disputed")),
        Index("ix_images_gold", "dataset_id", "id", sqlite_where=text("gold_id IS NOT NULL")),
        Index("ix_images_keeps_label", "dataset_id", "id", sqlite_where=text("keeps_label")),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    import_id: Mapped[int] = mapped_column(ForeignKey("imports.id"))
    path: Mapped[str]
    location: Mapped[str]
    file_sha256: Mapped[str]
    pixel_sha256: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    mode: Mapped[str]
    media_type: Mapped[str]
    size_bytes: Mapped[int]

    first_label_id: Mapped[int | None] = mapped_column(ForeignKey("classes.id"))
    first_split: Mapped[str | None]
    first_status: Mapped[str] = mapped_column(default="active")
    first_ambiguous_ids: Mapped[list[int] | None]

    base_label_id: Mapped[int | None] = mapped_column(ForeignKey("classes.id"))
    label_id: Mapped[int | None] = mapped_column(ForeignKey("classes.id"))
    label_source: Mapped[str] = mapped_column(default="imported")  # imported, decision, consensus
    status: Mapped[str] = mapped_column(default="active")
    ambiguous_ids: Mapped[list[int] | None]
    split: Mapped[str | None]
    revision: Mapped[int] = mapped_column(default=0)  # id of the newest decision that touched it, undone or not
    decided_at: Mapped[datetime | None]
    disputed: Mapped[bool] = mapped_column(default=False)  # reviewers contradict each other; waits for a lead
    gold_id: Mapped[int | None] = mapped_column(ForeignKey("classes.id"))  # the class that a lead knows it to be

    keeps_label: Mapped[bool] = mapped_column(default=False)  # it teaches its label whatever the posterior says

    # what the promoted run says, copied here so that pages filter and sort by SQL
    predicted_id: Mapped[int | None] = mapped_column(ForeignKey("classes.id"))
    confidence: Mapped[float | None]
    p_wrong: Mapped[float | None]

    label: Mapped[Class | None] = relationship(foreign_keys=[label_id], viewonly=True)
    first_label: Mapped[Class | None] = relationship(foreign_keys=[first_label_id], viewonly=True)
    predicted: Mapped[Class | None] = relationship(foreign_keys=[predicted_id], viewonly=True)


def _count(context: Any) -> int:
    """What an import says is what counts, until decisions carry votes over."""
    return int(context.get_current_parameters()["count"])


class Vote(Base):
    """How many raters chose one option for an image; `class_id` is none for options outside the classes.

    `first_count` is what the import said, 0 for an option that came with a decision; `count` is that and what
    decisions carried over from copies, the log replayed.
    """

    __tablename__ = "votes"

    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    option: Mapped[str] = mapped_column(primary_key=True)
    class_id: Mapped[int | None] = mapped_column(ForeignKey("classes.id"))
    count: Mapped[int]
    first_count: Mapped[int] = mapped_column(default=_count, server_default="0")


class Attribute(Base):
    """A named fact about an image that is not its label."""

    __tablename__ = "attributes"
    __table_args__ = (Index(None, "name", "value", "image_id"),)

    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
