"""Logging in and out, and who may do what."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from functools import wraps
from typing import Any

import flask_login
from flask import Blueprint, Flask, abort, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from workbench.errors import Forbidden, NotFound
from workbench.models import User
from workbench.services import users
from workbench.web.boundary import db, done, page, take_messages, wants_fragment

blueprint = Blueprint("accounts", __name__)
_MAX_TRIES = 8
_MAX_TRIES_OF_ADDRESS = 100  # with whatever names: an office behind one address stays below it
_WINDOW_S = 300.0
_MAX_COUNTED = 10_000  # names and addresses; made-up names must not fill the memory
_tries: dict[str, deque[float]] = defaultdict(deque)
_counting = threading.Lock()


class Visitor(flask_login.UserMixin):  # type: ignore[misc]  # flask-login has no types
    """The logged-in user as flask-login wants to see them; the id carries the session epoch."""

    def __init__(self, user: User) -> None:
        self.user = user

    def get_id(self) -> str:
        return f"{self.user.id}:{self.user.session_epoch}"


def install(app: Flask) -> None:
    _tries.clear()  # a new application counts anew; a process makes one, but a test run makes hundreds
    manager = flask_login.LoginManager(app)
    manager.user_loader(_load)
    manager.unauthorized_handler(_ask_to_log_in)
    app.context_processor(_context)
    app.before_request(_require_login)


def _load(visitor_id: str) -> Visitor | None:
    user_id, _, epoch = visitor_id.partition(":")
    user = db().get(User, int(user_id)) if user_id.isdigit() else None
    if user is None or not user.active or str(user.session_epoch) != epoch:
        return None
    return Visitor(user)


def _require_login() -> ResponseReturnValue | None:
    open_to_all = {"static", "accounts.log_in", "accounts.use_link", "accounts.health"}
    if request.endpoint is None or request.endpoint in open_to_all or current_user.is_authenticated:
        return None
    return _ask_to_log_in()


def _ask_to_log_in() -> ResponseReturnValue:
    target = url_for("accounts.log_in", next=request.full_path.rstrip("?") if request.method == "GET" else None)
    if wants_fragment():
        response = redirect(target)
        response.status_code = 401
        response.headers["HX-Redirect"] = target
        return response
    return redirect(target, 303)


def _context() -> dict[str, Any]:
    return {"me": me_or_none(), "messages": take_messages}


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
    target = _safe_target(request.values.get("next", ""))
    if request.method == "GET":
        return page("login.html", name="", problem="", target=target)
    name = request.form.get("name", "").strip()
    _limit_tries(f"{request.remote_addr}", most=_MAX_TRIES_OF_ADDRESS)
    _limit_tries(f"{request.remote_addr} {name[:100]}")
    user = users.check_password(db(), name=name, password=request.form.get("password", ""))
    if user is None:
        problem = "Name and password do not fit together. Without a password, ask for a login link."
        return page("login.html", status=422, name=name, problem=problem, target=target)
    flask_login.login_user(Visitor(user), remember=True)
    return redirect(target, 303)


@blueprint.get("/login/<token>")
def use_link(token: str) -> ResponseReturnValue:
    _limit_tries(f"{request.remote_addr} link", most=60)
    try:
        user = users.use_login_link(db(), token)
    except NotFound as error:
        if me_or_none() is not None:  # the link was opened twice in the same browser
            return redirect(url_for("home.datasets"), 303)
        return page("login.html", status=404, name="", problem=str(error), target="/")
    flask_login.login_user(Visitor(user), remember=True)
    return redirect(url_for("home.datasets"), 303)


@blueprint.post("/logout")
def log_out() -> ResponseReturnValue:
    flask_login.logout_user()
    return done(url_for("accounts.log_in"), "You are logged out.")


@blueprint.get("/health")
def health() -> ResponseReturnValue:
    return {"ok": True}


def _safe_target(target: str) -> str:
    """Only paths of this server: a login must not send anybody elsewhere."""
    is_path = target.startswith("/") and not target.startswith("//")
    # browsers read a backslash as a slash and leave tabs and line ends out: each makes // of what does not look like it
    return target if is_path and target.isprintable() and "\\" not in target else "/"


def _limit_tries(key: str, *, most: int = _MAX_TRIES) -> None:
    now = time.monotonic()
    with _counting:
        tries = _tries[key]
        while tries and now - tries[0] > _WINDOW_S:
            tries.popleft()
        is_allowed = len(tries) < most
        if is_allowed:
            tries.append(now)
        if len(_tries) > _MAX_COUNTED:
            del _tries[next(iter(_tries))]
    if not is_allowed:
        abort(429, "Too many tries; wait five minutes.")
