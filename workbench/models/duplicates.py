"""Duplicates: hashes, pairs that are the same picture, and the groups they form."""

from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from workbench.models.metadata import Base

NOTHING_LEFT = 4  # the rank after conflicting and spanning, conflicting, spanning, neither


class ImageHash(Base):
    """What a scan computed from a picture, by its pixels: once for all its copies, kept between scans.

    A fingerprint to compare it by, or measures of how well it can be seen.
    """

    __tablename__ = "image_hashes"

    pixel_sha256: Mapped[str] = mapped_column(primary_key=True)
    algorithm: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[bytes]


class DuplicatePair(Base):
    """Two images that a scan holds for the same picture. `a_id < b_id`.

    transform: what makes b out of a, as `ml.dedup.transforms.Transform` says it. evidence: log-odds that they are one
    picture before the reviewers' verdicts were learned from; `p` is what came out after.
    """

    __tablename__ = "duplicate_pairs"
    __table_args__ = (UniqueConstraint("a_id", "b_id"), Index(None, "dataset_id"), Index(None, "b_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    a_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    b_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    how: Mapped[str]  # what proposed the pair: hashes, features
    score: Mapped[float]
    p: Mapped[float]
    transform: Mapped[dict[str, Any] | None]
    evidence: Mapped[float] = mapped_column(server_default="0")


class DuplicateGroup(Base):
    """Images judged to be the same picture. `key` names its members, so that a verdict outlives a new scan.

    `settled_action` names the decision that settled it; undoing that action opens the group again.
    A near group holds every exact copy of its pictures; the exact groups inside it stay, with `within_id` naming the
    near group, so that a reviewer meets each picture in one group.
    """

    __tablename__ = "duplicate_groups"
    __table_args__ = (
        UniqueConstraint("dataset_id", "key"),
        Index(None, "dataset_id", "settled_action", "rank", "id"),
        Index(None, "settled_action"),
        Index(None, "within_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    key: Mapped[str]
    kind: Mapped[str]  # exact, near
    score: Mapped[float]
    p: Mapped[float]
    size: Mapped[int]
    remaining: Mapped[int] = mapped_column(default=0, server_default="0")  # images that are not excluded
    conflicting: Mapped[bool]  # its images carry different labels, excluded ones left out
    spanning: Mapped[bool]  # its images stand in different splits, excluded ones left out
    rank: Mapped[int]  # conflicting and spanning groups first; NOTHING_LEFT when fewer than two images remain
    settled_action: Mapped[str | None]
    verdict: Mapped[str | None]
    detail: Mapped[dict[str, Any] | None]
    within_id: Mapped[int | None] = mapped_column(ForeignKey("duplicate_groups.id", ondelete="SET NULL"))


class DuplicateMember(Base):
    """An image in a group. `apart`: the verdict that settled the group says that it is another picture."""

    __tablename__ = "duplicate_members"
    __table_args__ = (Index(None, "image_id"),)

    group_id: Mapped[int] = mapped_column(ForeignKey("duplicate_groups.id", ondelete="CASCADE"), primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    apart: Mapped[bool] = mapped_column(default=False, server_default="0")
