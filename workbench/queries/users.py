"""Reading accounts, invitations, and what people did besides deciding."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session, joinedload

from workbench.models import Activity, Invitation, LoginLink, QueueItem, User


def get_user(session: Session, name: str) -> User | None:
    return session.scalar(select(User).where(User.name == name))


def find_user(session: Session, name: str) -> User | None:
    """The user of that name; where there is none, the one whose name differs in letter case only."""
    exact = get_user(session, name)
    if exact is not None:
        return exact
    wanted = fold_name(name)
    return next((user for user in list_users(session) if fold_name(user.name) == wanted), None)


def fold_name(name: str) -> str:
    """The same for every spelling that reads like the name: letter case and compatibility forms are ignored."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def list_users(session: Session) -> list[User]:
    return list(session.scalars(select(User).order_by(User.name)))


def count_active_admins(session: Session) -> int:
    return session.scalar(select(func.count()).where(User.role == "admin", User.active)) or 0


def has_password_account(session: Session) -> bool:
    query = select(User.id).where(User.active, User.password_hash.is_not(None)).limit(1)
    return session.scalar(query) is not None


def release_leases(session: Session, user_id: int) -> None:
    """What somebody held in any queue goes to the others at once."""
    session.execute(
        update(QueueItem)
        .where(QueueItem.lease_user_id == user_id)
        .values(lease_user_id=None, lease_until=None)
        .execution_options(synchronize_session=False)
    )


def drop_login_links(session: Session, user_id: int) -> None:
    """Links that were never used."""
    session.execute(delete(LoginLink).where(LoginLink.user_id == user_id, LoginLink.used_at.is_(None)))


def get_invitation(session: Session, token_sha256: str) -> Invitation | None:
    return session.scalar(select(Invitation).where(Invitation.token_sha256 == token_sha256))


def list_invitations(session: Session, *, limit: int = 100) -> list[Invitation]:
    """The newest first, with who made and who used them."""
    query = select(Invitation).options(joinedload(Invitation.made_by), joinedload(Invitation.used_by))
    return list(session.scalars(query.order_by(Invitation.id.desc()).limit(limit)))


@dataclass(frozen=True)
class ActivityFilter:
    """Which activities: all of them where nothing is said."""

    user_id: int | None = None
    dataset_id: int | None = None
    kinds: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None


def list_activities(
    session: Session, wanted: ActivityFilter, *, before: int | None = None, limit: int = 50
) -> list[Activity]:
    """The newest first; `before` is the one that the page before ended with."""
    query = select(Activity).options(joinedload(Activity.user)).order_by(Activity.id.desc()).limit(limit)
    if wanted.user_id is not None:
        query = query.where(Activity.user_id == wanted.user_id)
    if wanted.dataset_id is not None:
        query = query.where(Activity.dataset_id == wanted.dataset_id)
    if wanted.kinds:
        query = query.where(Activity.kind.in_(wanted.kinds))
    if wanted.since is not None:
        query = query.where(Activity.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(Activity.at < wanted.until)
    if before is not None:
        query = query.where(Activity.id < before)
    return list(session.scalars(query))
