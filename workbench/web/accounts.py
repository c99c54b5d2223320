"""Logging in and out, and who may do what."""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import flask_login
from flask import Blueprint, Flask, Response, abort, current_app, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from werkzeug.exceptions import TooManyRequests

from workbench.errors import Forbidden, NotFound
from workbench.models import User
from workbench.queries.rows import get_row
from workbench.queries.users import fold_name
from workbench.services import activities, users
from workbench.web.boundary import (
    answer_briefly,
    begin_writing,
    db,
    done,
    find_shown_page,
    page,
    safe_target,
    take_messages,
    wants_fragment,
    wants_json,
)
from workbench.web.limits import Limits, key_of_address

blueprint = Blueprint("accounts", __name__)
# tries in five minutes. A name alone is limited too, so that many addresses do not help; an address alone, so that many
# names do not, but an office behind one address stays below it
_MOST_BY_NAME_AND_ADDRESS = 8
_MOST_BY_NAME = 40
_MOST_BY_ADDRESS = 100
_MOST_LINKS = 60
_OPEN_TO_ALL = {"static", "accounts.log_in", "accounts.use_link", "accounts.health", "joining.show", "joining.join"}


class Visitor(flask_login.UserMixin):  # type: ignore[misc]  # flask-login has no types
    """The logged-in user as flask-login wants to see them; the id carries the session epoch."""

    def __init__(self, user: User) -> None:
        self.user = user

    def get_id(self) -> str:
        return f"{self.user.id}:{self.user.session_epoch}"


def install(app: Flask) -> None:
    app.extensions["limits"] = Limits()
    manager = flask_login.LoginManager(app)
    manager.user_loader(_load)
    app.context_processor(_context)
    app.before_request(_require_login)


def _load(visitor_id: str) -> Visitor | None:
    user_id, _, epoch = visitor_id.partition(":")
    user = get_row(db(), User, int(user_id)) if user_id.isdigit() else None
    if user is None or not user.active or str(user.session_epoch) != epoch:
        return None
    return Visitor(user)


def _require_login() -> ResponseReturnValue | None:
    """Strangers learn nothing: neither what there is nor what there is not. Comes before anything else is looked at."""
    if request.endpoint in _OPEN_TO_ALL or current_user.is_authenticated:
        return None
    # a script's or a button's own address is no place to come back to: the page it stands on is
    is_page = request.method in ("GET", "HEAD") and not wants_fragment() and not wants_json()
    wanted = safe_target(request.full_path.removesuffix("?")) if is_page else find_shown_page()
    address = url_for("accounts.log_in", next=wanted if wanted != "/" else None)
    if is_page and request.path == "/":
        return redirect(address, 303)
    sentence = "There is no such page for you. Log in, and you get on where you were."
    brief = answer_briefly(404, sentence)
    if brief is None:
        return show_login(status=404, target=wanted, is_stranger=True)
    brief.headers["HX-Redirect"] = address
    return brief


def show_login(
    *, status: int = 200, target: str = "/", name: str = "", problem: str = "", is_stranger: bool = False
) -> Response:
    return page("login.html", status=status, target=target, name=name, problem=problem, is_stranger=is_stranger)


def _context() -> dict[str, Any]:
    return {"me": me_or_none(), "messages": take_messages, "take_welcome": _take_welcome}


def _take_welcome() -> bool:
    """Whether somebody has just joined, and sees their first page."""
    return bool(session.pop("welcome", False))


def me() -> User:
    """Who is asking."""
    user = me_or_none()
    if user is None:
        abort(401)
    return user


def me_or_none() -> User | None:
    if not current_user or not current_user.is_authenticated:
        return None
    user: User = current_user.user
    return user


def needs(role: str) -> Callable[[Callable[..., ResponseReturnValue]], Callable[..., ResponseReturnValue]]:
    """A view that only this role, or one above it, may call."""

    def decorate(view: Callable[..., ResponseReturnValue]) -> Callable[..., ResponseReturnValue]:
        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> ResponseReturnValue:
            if not me().may(role):
                raise Forbidden(f"This needs the role {role}; you are {me().role}. Ask an administrator.")
            return view(*args, **kwargs)

        return checked

    return decorate


@blueprint.route("/login", methods=["GET", "POST"])
def log_in() -> ResponseReturnValue:
    target = safe_target(request.values.get("next", ""))
    if request.method == "GET":
        return show_login(target=target)
    name = request.form.get("name", "").strip()
    if wait := _count_login(name):
        problem = f"Too many tries. Wait {math.ceil(wait / 60)} min, then try again."
        answer = show_login(status=429, name=name, problem=problem, target=target)
        answer.headers["Retry-After"] = str(math.ceil(wait))
        return answer
    found = users.check_password(db(), name=name, password=request.form.get("password", ""))
    if found is None:
        problem = "Name and password do not fit together. Without a password, ask for a login link."
        return show_login(status=422, name=name, problem=problem, target=target)
    begin_writing()
    enter(db().get_one(User, found.id), how="password")
    _limits().forget(_key_of_login(name))
    return redirect(target, 303)


def _count_login(name: str) -> float:
    """Count a try to log in. 0 if it may go on, else the seconds to wait, which the right password waits too."""
    return (
        count_try("login", most=_MOST_BY_ADDRESS)
        or _limits().take(_key_of_login(name), most=_MOST_BY_NAME_AND_ADDRESS)
        or _limits().take(f"name {fold_name(name)[:100]}", most=_MOST_BY_NAME)
    )


def _key_of_login(name: str) -> str:
    return f"{key_of_address(request.remote_addr)} {fold_name(name)[:100]}"


def count_try(what: str, *, most: int) -> float:
    """Count a try of this address at something. 0 if it may go on, else the seconds to wait."""
    return _limits().take(f"{what} {key_of_address(request.remote_addr)}", most=most)


def _limits() -> Limits:
    found: Limits = current_app.extensions["limits"]
    return found


def enter(user: User, *, how: str = "") -> None:
    """From here on this browser is `user`. how: as the activities tell it; empty where they tell it otherwise."""
    flask_login.login_user(Visitor(user), remember=True)
    if how:
        activities.record(db(), user=user, kind="login", how=how)


@blueprint.get("/login/<token>")
def use_link(token: str) -> ResponseReturnValue:
    check_tries("link")
    try:
        users.find_login_link(db(), token)  # whoever guesses never holds the writer
        begin_writing()
        user = users.use_login_link(db(), token)
    except NotFound as error:
        if me_or_none() is not None:  # the link was opened twice in the same browser
            return redirect(url_for("home.datasets"), 303)
        return show_login(status=404, problem=str(error))
    enter(user, how="login link")
    return redirect(url_for("home.datasets"), 303)


def check_tries(what: str) -> None:
    """Refuse an address that tries one link after the other."""
    if wait := count_try(what, most=_MOST_LINKS):
        raise TooManyRequests("Too many tries. Wait five minutes, then try again.", retry_after=math.ceil(wait))


@blueprint.post("/logout")
def log_out() -> ResponseReturnValue:
    session.clear()
    flask_login.logout_user()
    return done(url_for("accounts.log_in"), "You are logged out.")


@blueprint.get("/health")
def health() -> ResponseReturnValue:
    return {"ok": True}
