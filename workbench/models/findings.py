"""Findings: what a scan says about an image, and which scans there were."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from workbench.models.metadata import Base, utc_now

# kind -> what it says of an image; in the order of the pages
FINDINGS = {
    "missing": "file gone or changed",
    "blank": "blank",
    "dark": "too dark",
    "bright": "too bright",
    "low_contrast": "low contrast",
    "blurred": "blurred",
    "odd_size": "odd size",
    "odd_shape": "odd shape",
    "no_face": "no face",
    "several_faces": "several faces",
    "outlier": "unlike the others",
}
SCANS_OF_FINDINGS = {
    "quality": ("missing", "blank", "dark", "bright", "low_contrast", "blurred", "odd_size", "odd_shape"),
    "faces": ("no_face", "several_faces"),
    "outliers": ("outlier",),
}


class Finding(Base):
    """One thing that a scan says about an image; it never changes the image.

    Whether it is settled is not stored but read from the image: a reviewer has decided on it, or it is excluded.
    """

    __tablename__ = "findings"
    __table_args__ = (
        UniqueConstraint("image_id", "kind"),
        Index(None, "dataset_id", "kind", "score", "image_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    kind: Mapped[str]  # one of FINDINGS
    score: Mapped[float]  # 0 to 1, the surest or gravest highest; comparable within a kind
    reason: Mapped[str]
    found_at: Mapped[datetime] = mapped_column(default=utc_now)


class Scan(Base):
    """The newest scan of a kind: what it looked at, and by which limits it judged."""

    __tablename__ = "scans"
    __table_args__ = (UniqueConstraint("dataset_id", "kind"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    kind: Mapped[str]  # one of SCANS_OF_FINDINGS
    at: Mapped[datetime] = mapped_column(default=utc_now)
    newest_image_id: Mapped[int]  # images that came later were not looked at
    images: Mapped[int]
    detail: Mapped[dict[str, Any]]  # the limits and what they were chosen from
