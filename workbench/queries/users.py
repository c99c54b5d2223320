"""Reading accounts."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from workbench.models import User


def get_user(session: Session, name: str) -> User | None:
    return session.scalar(select(User).where(User.name == name))


def list_users(session: Session) -> list[User]:
    return list(session.scalars(select(User).order_by(User.name)))


def count_active_admins(session: Session) -> int:
    return session.scalar(select(func.count()).where(User.role == "admin", User.active)) or 0


def has_password_account(session: Session) -> bool:
    query = select(User.id).where(User.active, User.password_hash.is_not(None)).limit(1)
    return session.scalar(query) is not None
