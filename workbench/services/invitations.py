"""Invitations: a link by which somebody makes an account of their own, once."""

import secrets
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from workbench.errors import Conflict, Forbidden, Invalid, NotFound
from workbench.models import ROLES, Invitation, User, utc_now
from workbench.queries import users as queries
from workbench.services import activities, users

DAYS = 7
_MOST_DAYS = 90
_LONGEST_NOTE = 200


def list_roles(user: User) -> tuple[str, ...]:
    """The roles that somebody may invite to: only administrators let leads and administrators in."""
    if user.may("admin"):
        return ROLES
    return ("viewer", "reviewer") if user.may("lead") else ()


def invite(
    session: Session, *, user: User, role: str, note: str = "", days: int = DAYS, now: datetime | None = None
) -> tuple[Invitation, str]:
    """A new invitation and its token, of which only the hash is stored. note: whom it is for."""
    if role not in ROLES:
        raise Invalid(f"“{role}” is not a role; use {', '.join(ROLES)}.", role=f"Use {', '.join(ROLES)}.")
    if role not in list_roles(user):
        raise Forbidden(f"Your role {user.role} does not let you invite a {role}; ask an administrator.")
    if not 1 <= days <= _MOST_DAYS:
        raise Invalid(f"An invitation is open for 1 to {_MOST_DAYS} days.", days=f"1 to {_MOST_DAYS} days.")
    if len(note) > _LONGEST_NOTE:
        raise Invalid(f"A note has at most {_LONGEST_NOTE} characters.", note=f"At most {_LONGEST_NOTE} characters.")
    token = secrets.token_urlsafe(24)
    now = now or utc_now()
    made = Invitation(
        token_sha256=users.digest(token),
        role=role,
        note=" ".join(note.split()),
        made_by_id=user.id,
        made_at=now,
        expires_at=now + timedelta(days=days),
    )
    session.add(made)
    activities.record(session, user=user, kind="invitation", role=role, note=made.note)
    return made, token


def find_state(invitation: Invitation, *, now: datetime) -> str:
    """open, used, revoked or expired. It is revoked as well when who made it may not invite that role any more."""
    if invitation.used_at is not None:
        return "used"
    if invitation.revoked_at is not None or invitation.role not in list_roles(invitation.made_by):
        return "revoked"
    return "open" if now < invitation.expires_at else "expired"


def find_open(session: Session, token: str, *, now: datetime | None = None) -> Invitation:
    """The invitation of a link. NotFound, in the same words, whatever keeps the link from being used."""
    found = queries.get_invitation(session, users.digest(token))
    if found is None or find_state(found, now=now or utc_now()) != "open":
        raise NotFound("This invitation was used, was revoked or has expired. Ask for a new one.")
    return found


def join(
    session: Session, token: str, *, name: str, password_hash: str | None = None, now: datetime | None = None
) -> User:
    """Make the account that a link invites to; the link is used up. The caller's session writes: the second is late."""
    now = now or utc_now()
    found = find_open(session, token, now=now)
    user = users.add_user(session, name=name, role=found.role)
    user.password_hash = password_hash
    found.used_at, found.used_by_id = now, user.id
    activities.record(session, user=user, kind="joined", role=user.role, by=found.made_by.name)
    return user


def revoke(session: Session, *, invitation: Invitation, user: User, now: datetime | None = None) -> None:
    """Leads revoke what they made, administrators anybody's."""
    if not user.may("admin") and invitation.made_by_id != user.id:
        raise Forbidden("You can revoke invitations that you made yourself; for others ask an administrator.")
    now = now or utc_now()
    if find_state(invitation, now=now) == "used":
        raise Conflict("This invitation was used already; switch the account off instead.")
    invitation.revoked_at = invitation.revoked_at or now
    activities.record(session, user=user, kind="revoked", role=invitation.role, note=invitation.note)
