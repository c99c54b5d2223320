"""Accounts: who is here, roles, login links."""

from flask import Blueprint, Response, request, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Invalid
from workbench.models import ROLES, User
from workbench.queries import users as queries
from workbench.services import users
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, page
from workbench.web.loaders import load_user

blueprint = Blueprint("people", __name__)
ROLE_WORDS = {
    "viewer": "looks",
    "reviewer": "looks and decides",
    "lead": "also imports, trains, builds queues, edits classes",
    "admin": "also manages people",
}


@blueprint.get("/people")
@needs("admin")
def index() -> ResponseReturnValue:
    return _show()


def _show(*, status: int = 200, error: Invalid | None = None, link: str = "", link_for: User | None = None) -> Response:
    return page(
        "people.html",
        status=status,
        people=queries.list_users(db()),
        roles=ROLES,
        role_words=ROLE_WORDS,
        typed=request.form,
        problem=str(error) if error else "",
        fields=error.fields if error else {},
        link=link,
        link_for=link_for,
    )


@blueprint.post("/people")
@needs("admin")
def add() -> ResponseReturnValue:
    """A new account, with its first login link: nobody can log in without one."""
    try:
        user = users.add_user(db(), name=request.form.get("name", ""), role=request.form.get("role", ""))
    except Invalid as error:
        return _show(status=error.status, error=error)
    return _show(link=_make_link(user), link_for=user)


@blueprint.post("/people/<int:user_id>/link")
@needs("admin")
def make_link(user_id: int) -> ResponseReturnValue:
    """Shown once, in the answer itself: it is stored nowhere and in no address."""
    user = load_user(user_id)
    try:
        return _show(link=_make_link(user), link_for=user)
    except Invalid as error:
        return _show(status=error.status, error=error)


def _make_link(user: User) -> str:
    return url_for("accounts.use_link", token=users.make_login_link(db(), user=user), _external=True)


@blueprint.post("/people/<int:user_id>/role")
@needs("admin")
def change_role(user_id: int) -> ResponseReturnValue:
    user = load_user(user_id)
    try:
        users.change_role(db(), user=user, role=request.form.get("role", ""))
    except Invalid as error:
        return _show(status=error.status, error=error)
    return done(url_for("people.index"), f"{user.name} is {user.role} now.")


@blueprint.post("/people/<int:user_id>/active")
@needs("admin")
def set_active(user_id: int) -> ResponseReturnValue:
    user = load_user(user_id)
    active = request.form.get("active") == "yes"
    if user.id == me().id and not active:
        return _show(status=422, error=Invalid("You cannot switch your own account off."))
    try:
        users.set_active(db(), user=user, active=active)
    except Invalid as error:
        return _show(status=error.status, error=error)
    return done(url_for("people.index"), f"{user.name} is switched {'on' if active else 'off'}.")
