"""The append-only log: the truth from which everything about labels and classes is derived."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from workbench.models.metadata import Base, utc_now
from workbench.models.users import User

VERDICTS = ("confirm", "relabel", "ambiguous", "exclude", "consensus")  # these settle an image
STATEMENTS = ("confirm", "relabel", "ambiguous", "exclude")  # what one reviewer can say that an image is
IMAGE_KINDS = (*VERDICTS, "restore", "split", "comment", "votes", "opinion", "gold", "keep")
CLASS_KINDS = ("class_add", "class_edit", "class_merge", "class_retire", "class_restore")
# besides these: "duplicates" (the verdict on a group), "import" (images came in), "freeze" and "unfreeze" (a split),
# "undo"


class Decision(Base):
    """One line of the log. Triggers refuse UPDATE and DELETE.

    `action` is the client's id of what the reviewer did with one key or button: all lines of a bulk action share it,
    sending it twice counts once, and `undoes` of a later line points at it. Undo of an undo is redo.
    `class_id`: the class confirmed, chosen, edited or merged away. `detail`: {"classes": [...]} for ambiguous,
    {"text"} for comment, {"split"}, {"into"} for class_merge, the changed fields for class_edit,
    {"group", "verdict", "images"} for duplicates, with {"apart", "rest"} where some of the images are other pictures
    (ids, and the key of a group of the others), {"votes": [[option, class id or none, count], ...]} for votes carried
    over to an image, {"import"} for import, {"split", "images", "reason"} for freeze and unfreeze. A verdict that was
    forced on a frozen split carries {"forced": {"split", "reason"}} besides.
    An "opinion" is a statement given blind: {"verdict": one of STATEMENTS, "classes": [...] of an ambiguous one,
    "of": how many the queue asks for}; the image follows when as many reviewers say the same. With {"gold": true} it
    answers a hidden gold item and changes nothing. "gold" makes an image one whose class is known, `class_id` none
    takes that back. "keep": {"keeps": true}, whatever the posterior says of an image that nobody has decided on, it
    teaches its given label; {"keeps": false} takes that back. "consensus" is the class that several opinions come to:
    {"method", "p", "opinions"}.
    """

    __tablename__ = "decisions"
    __table_args__ = (
        Index(None, "image_id", "id"),
        Index(None, "dataset_id", "id"),
        Index(None, "action"),
        Index(None, "undoes"),
        Index(None, "user_id", "id"),
        Index("ix_decisions_queue", "queue_id", "id", sqlite_where=text("queue_id IS NOT NULL")),
        # holds every line, but serves only statements that say kind <> '' too: without statistics SQLite would choose
        # it for others, above all for a reviewer's newest lines, and read all that they ever did
        Index("ix_decisions_kind", "dataset_id", "kind", "user_id", "id", sqlite_where=text("kind <> ''")),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    at: Mapped[datetime] = mapped_column(default=utc_now)
    action: Mapped[str]
    kind: Mapped[str]
    image_id: Mapped[int | None] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    class_id: Mapped[int | None] = mapped_column(ForeignKey("classes.id"))
    detail: Mapped[dict[str, Any] | None]
    undoes: Mapped[str | None]
    queue_id: Mapped[int | None]  # where the reviewer was; not a foreign key: queues come and go, the log stays
    role: Mapped[str | None]  # what the user was then; a lead's verdict settles a dispute
    seconds: Mapped[float | None]  # how long the card was on the screen; none for what was not decided on a card

    user: Mapped[User] = relationship(viewonly=True)
