"""Queues and their items."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from workbench.models.datasets import Class
from workbench.models.images import Image
from workbench.models.metadata import Base, utc_now


class Queue(Base):
    """An ordered work list made by a recipe, shared by reviewers."""

    __tablename__ = "queues"

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    recipe: Mapped[str]
    title: Mapped[str]
    params: Mapped[dict[str, Any]] = mapped_column(default=dict)
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    automatic: Mapped[bool] = mapped_column(default=False)  # rebuilt after each promoted run
    size: Mapped[int] = mapped_column(default=0)
    done: Mapped[int] = mapped_column(default=0)  # items that are settled, and of these
    hits: Mapped[int] = mapped_column(default=0)  # those whose verdict changed the image; both kept with each decision
    opinions: Mapped[int] = mapped_column(default=1)  # reviewers that each image is asked of; above 1 they are blind
    blind: Mapped[bool] = mapped_column(default=False)  # label and predictions are hidden until decided
    after_line: Mapped[int] = mapped_column(default=0)  # newest decision when it was opened: later ones settle items
    expected_hits: Mapped[float | None]  # verdicts that change an image: the sum of P(hit), if known
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    closed_at: Mapped[datetime | None]


class QueueItem(Base):
    """One image (or one duplicate group, shown by its first image) to look at, and why.

    Done when a verdict on the image, newer than the queue, counts: `done_action` is its action, `done_line` its line,
    `hit` whether it changed what the image was. `wants` is how many reviewers' opinions it takes: 1 for an ordinary
    verdict, more for that many blind ones (`opinions` are in), 0 for a hidden gold item, which every reviewer meets
    once and which is never done. `is_random`: drawn from all images that nobody had decided on, whatever the recipe
    says, so that its verdict tells of all of them; it stands among the others, and lists name it after them.
    """

    __tablename__ = "queue_items"
    __table_args__ = (
        UniqueConstraint("queue_id", "position"),
        Index(None, "queue_id", "done_action", "position"),
        Index(None, "image_id"),
        Index(None, "done_action"),
        Index(None, "queue_id", "done_line"),
        Index(None, "lease_user_id", "lease_until"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    queue_id: Mapped[int] = mapped_column(ForeignKey("queues.id", ondelete="CASCADE"))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    group_id: Mapped[int | None] = mapped_column(ForeignKey("duplicate_groups.id", ondelete="SET NULL"))
    position: Mapped[int]
    score: Mapped[float]
    p_wrong: Mapped[float | None]
    given_id: Mapped[int | None] = mapped_column(ForeignKey("classes.id"))  # the label when the queue was built
    suggested_id: Mapped[int | None] = mapped_column(ForeignKey("classes.id"))
    reason: Mapped[str]
    is_random: Mapped[bool] = mapped_column(default=False)
    wants: Mapped[int] = mapped_column(default=1)
    opinions: Mapped[int] = mapped_column(default=0)
    done_action: Mapped[str | None]
    done_line: Mapped[int | None]
    hit: Mapped[bool | None]
    lease_user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    lease_until: Mapped[datetime | None]

    image: Mapped[Image] = relationship(viewonly=True)
    given: Mapped[Class | None] = relationship(foreign_keys=[given_id], viewonly=True)
    suggested: Mapped[Class | None] = relationship(foreign_keys=[suggested_id], viewonly=True)

    @property
    def asks_opinions(self) -> bool:
        """Whether an answer is one opinion of several, or measures its reviewer, instead of settling the image."""
        return self.wants != 1 and self.done_action is None


class Opinion(Base):
    """What a reviewer said about an image of a queue that asks several, or about a gold image. The log replayed.

    `class_id` for confirm and relabel, `classes` for ambiguous. A second opinion of the same reviewer in the same
    queue takes the place of the first.
    """

    __tablename__ = "opinions"
    __table_args__ = (
        Index(None, "queue_id", "image_id"),
        Index(None, "user_id", "image_id"),
    )

    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    queue_id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    line_id: Mapped[int]
    verdict: Mapped[str]
    class_id: Mapped[int | None] = mapped_column(ForeignKey("classes.id"))
    classes: Mapped[list[int] | None]
    is_gold: Mapped[bool] = mapped_column(default=False)
