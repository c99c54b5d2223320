"""Accounts, one-time login links, invitations, and what people did besides deciding."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from workbench.models.metadata import Base, utc_now

ROLES = ("viewer", "reviewer", "lead", "admin")  # each may do what the ones before it may


class User(Base):
    """A person. `password_hash` is none until they set one; `settings` holds theme and key preferences."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    password_hash: Mapped[str | None]
    active: Mapped[bool] = mapped_column(default=True)
    session_epoch: Mapped[int] = mapped_column(default=0)  # raised to end every session of this user
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    def may(self, role: str) -> bool:
        return self.active and ROLES.index(self.role) >= ROLES.index(role)


class LoginLink(Base):
    """A link that logs one user in once. Only the hash of its token is kept."""

    __tablename__ = "login_links"

    token_sha256: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class Invitation(Base):
    """A link by which somebody makes an account of their own, once. Only the hash of its token is kept."""

    __tablename__ = "invitations"

    id: Mapped[int] = mapped_column(primary_key=True)
    token_sha256: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    note: Mapped[str] = mapped_column(default="")  # whom it is for
    made_by_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    made_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
    used_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))

    made_by: Mapped[User] = relationship(foreign_keys=[made_by_id], viewonly=True)
    used_by: Mapped[User | None] = relationship(foreign_keys=[used_by_id], viewonly=True)


class Activity(Base):
    """One thing that somebody did besides deciding: accounts, roles, queues, runs, exports. Append-only by triggers.

    `kind` is a word such as "role"; `detail` says what it was about, in words and ids.
    """

    __tablename__ = "activities"
    __table_args__ = (Index(None, "user_id", "id"), Index(None, "dataset_id", "id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=utc_now)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    dataset_id: Mapped[int | None]  # not a foreign key: what was done stays when a data set goes
    kind: Mapped[str]
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)

    user: Mapped[User] = relationship(viewonly=True)
