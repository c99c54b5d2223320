"""Audits: random samples whose verdicts tell how many labels of a version are wrong."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from workbench.models.metadata import Base, utc_now


class Audit(Base):
    """A sample drawn from one version, reviewed blind in a queue of its own.

    `decision_id` and `content_hash` name the version whose labels it judges. `frame` is what it was drawn from, counted
    instead of listed: {"cells": [[class id, split or none, level, stratum, images], ...], "levels": [...], "left_out":
    {...}}. A level is a P(wrong) that the promoted run `run_id` gave then; without a run there is only level 0. Within
    a stratum every image was as likely to be drawn as any other, so that frame, sample and log give every figure again.
    """

    __tablename__ = "audits"

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    queue_id: Mapped[int] = mapped_column(ForeignKey("queues.id"), index=True)
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    decision_id: Mapped[int]
    content_hash: Mapped[str]
    size: Mapped[int]
    margin: Mapped[float]  # half of the interval's width that was asked for, a share
    opinions: Mapped[int] = mapped_column(default=1)  # reviewers that each image is asked of
    seed: Mapped[int]
    frame: Mapped[dict[str, Any]]
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class AuditItem(Base):
    """One image of a sample: its cell of the frame, and what the run said that had not learnt from it."""

    __tablename__ = "audit_items"

    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="CASCADE"), primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    cell: Mapped[int]
    predicted_id: Mapped[int | None] = mapped_column(ForeignKey("classes.id"))  # none where it was trained on the image
    confidence: Mapped[float | None]
