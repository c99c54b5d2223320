"""Accounts, passwords and one-time login links."""

import hashlib
import re
import secrets
import unicodedata
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error
from sqlalchemy.orm import Session

from workbench.errors import Invalid, NotFound
from workbench.models import ROLES, LoginLink, User, utc_now
from workbench.queries import users as queries

LINK_LIFETIME = timedelta(hours=24)
MIN_PASSWORD = 10
_hasher = PasswordHasher()
# verified when there is no such user, so that a guess takes equally long; nobody's password
_DUMMY_HASH = "$argon2id$v=19$m=65536,t=3,p=4$3rjkkfboEXxjMasN7tu4yw$r/eEnGOGoIL6jfeYBBQ0m37NvsBzKFomfMam35SQfEY"


def add_user(session: Session, *, name: str, role: str) -> User:
    """A new account without a password; give its owner a login link."""
    name = unicodedata.normalize("NFC", name.strip())
    if not re.fullmatch(r"[\w.@+-]{1,60}", name):
        raise Invalid(
            "A user name has 1 to 60 letters, digits or . @ + - _", name="1 to 60 letters, digits or . @ + - _"
        )
    if role not in ROLES:
        raise Invalid(f"“{role}” is not a role; use {', '.join(ROLES)}.", role=f"Use {', '.join(ROLES)}.")
    if taken := queries.find_user(session, name):
        raise Invalid(f"There is a user “{taken.name}” already.", name="This name is taken.")
    user = User(name=name, role=role)
    session.add(user)
    session.flush()
    return user


def ensure_user(session: Session, name: str, *, role: str = "reviewer") -> User:
    """The user of that name, made if absent."""
    return queries.get_user(session, name) or add_user(session, name=name, role=role)


def ensure_admin(session: Session) -> User:
    """The account that the command line acts as, made at first start."""
    return ensure_user(session, "admin", role="admin")


def change_role(session: Session, *, user: User, role: str) -> None:
    if role not in ROLES:
        raise Invalid(f"“{role}” is not a role; use {', '.join(ROLES)}.")
    _keep_an_admin(session, user, stays=role == "admin")
    user.role = role


def set_active(session: Session, *, user: User, active: bool) -> None:
    """Let a user in or keep them out. Keeping them out ends sessions, links and leases; what they decided stays."""
    _keep_an_admin(session, user, stays=active)
    user.active = active
    user.session_epoch += 1
    if not active:
        queries.drop_login_links(session, user.id)
        queries.release_leases(session, user.id)


def _keep_an_admin(session: Session, user: User, *, stays: bool) -> None:
    is_last = user.role == "admin" and user.active and queries.count_active_admins(session) == 1
    if is_last and not stays:
        raise Invalid("This is the last administrator; make somebody else one first.")


def make_login_link(session: Session, *, user: User, now: datetime | None = None) -> str:
    """A token that logs `user` in once within a day. Only its hash is stored."""
    if not user.active:
        raise Invalid(f"“{user.name}” is switched off; switch the account on first.")
    token = secrets.token_urlsafe(24)
    session.add(LoginLink(token_sha256=digest(token), user_id=user.id, expires_at=(now or utc_now()) + LINK_LIFETIME))
    session.flush()
    return token


def find_login_link(session: Session, token: str, *, now: datetime | None = None) -> LoginLink:
    """The link, if it still logs somebody in."""
    link = session.get(LoginLink, digest(token))
    if link is None or link.used_at is not None or link.expires_at < (now or utc_now()):
        raise NotFound("This login link was used or has expired. Ask for a new one: workbench login-link NAME")
    if not session.get_one(User, link.user_id).active:
        raise NotFound("This account is switched off.")
    return link


def use_login_link(session: Session, token: str, *, now: datetime | None = None) -> User:
    """The user a link belongs to; the link is used up."""
    now = now or utc_now()
    link = find_login_link(session, token, now=now)
    link.used_at = now
    return session.get_one(User, link.user_id)


def set_password(*, user: User, password: str) -> None:
    """Ends every session of the user."""
    user.password_hash = hash_password(password)
    user.session_epoch += 1


def hash_password(password: str) -> str:
    """Takes some 50 ms on purpose: call it while nobody waits for the writer."""
    if len(password) < MIN_PASSWORD:
        raise Invalid(
            f"A password has at least {MIN_PASSWORD} characters.", password=f"At least {MIN_PASSWORD} characters."
        )
    return _hasher.hash(password)


def check_password(session: Session, *, name: str, password: str) -> User | None:
    """The user, if name and password fit; letter case of the name is forgiven. Equally long for names of nobody."""
    user = queries.find_user(session, name)
    stored = (user.password_hash if user and user.active else None) or _DUMMY_HASH
    try:
        _hasher.verify(stored, password)
    except Argon2Error:
        return None
    return user if stored != _DUMMY_HASH else None


def digest(token: str) -> str:
    """What is stored of a token that stands in a link."""
    return hashlib.sha256(token.encode()).hexdigest()
