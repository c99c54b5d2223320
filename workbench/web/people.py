"""Accounts: who is here, roles, invitations, login links."""

from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Invalid
from workbench.models import ROLES, User, utc_now
from workbench.queries import datasets
from workbench.queries import users as queries
from workbench.services import activities, invitations, users
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, page
from workbench.web.loaders import load_invitation, load_user

blueprint = Blueprint("people", __name__)
ROLE_WORDS = {
    "viewer": "looks",
    "reviewer": "looks and decides",
    "lead": "also imports, trains, builds queues, edits classes, invites reviewers",
    "admin": "also manages people",
}
_STATES = ("open", "used", "expired", "revoked")


@blueprint.get("/people")
@needs("lead")
def index() -> ResponseReturnValue:
    return _show()


def _show(*, error: Invalid | None = None, form: str = "", made: dict[str, Any] | None = None) -> Response:
    """form: which one is shown again with what was typed. made: a link, shown in this answer and never again."""
    now = utc_now()
    found = [(each, invitations.find_state(each, now=now)) for each in queries.list_invitations(db())]
    return page(
        "people.html",
        status=error.status if error else HTTPStatus.OK,
        people=queries.list_users(db()),
        datasets=datasets.list_datasets(db()),
        invitations=sorted(found, key=lambda pair: _STATES.index(pair[1])),
        may_invite=invitations.list_roles(me()),
        roles=ROLES,
        role_words=ROLE_WORDS,
        typed=request.form if error and form else {},
        form=form,
        problem=str(error) if error else "",
        fields=error.fields if error else {},
        made=made,
    )


@blueprint.post("/people/invitations")
@needs("lead")
def invite() -> ResponseReturnValue:
    form = request.form
    try:
        invitation, token = invitations.invite(
            db(),
            user=me(),
            role=form.get("role", ""),
            note=form.get("note", ""),
            days=form.get("days", invitations.DAYS, type=int),
        )
    except Invalid as error:
        return _show(error=error, form="invite")
    link = url_for("joining.show", token=token, _external=True)
    return _show(made={"link": link, "invitation": invitation, "user": None})


@blueprint.post("/people/invitations/<int:invitation_id>/revoke")
@needs("lead")
def revoke(invitation_id: int) -> ResponseReturnValue:
    invitations.revoke(db(), invitation=load_invitation(invitation_id), user=me())
    return done(url_for("people.index"), "Revoked: its link lets nobody in any more.")


@blueprint.post("/people")
@needs("admin")
def add() -> ResponseReturnValue:
    """A new account, with its first login link: nobody can log in without one."""
    try:
        user = users.add_user(db(), name=request.form.get("name", ""), role=request.form.get("role", ""))
    except Invalid as error:
        return _show(error=error, form="add")
    activities.record(db(), user=me(), kind="account", name=user.name, role=user.role)
    return _show(made=_make_link(user))


@blueprint.post("/people/<int:user_id>/link")
@needs("admin")
def make_link(user_id: int) -> ResponseReturnValue:
    """Shown once, in the answer itself: it is stored nowhere and in no address."""
    user = load_user(user_id)
    try:
        return _show(made=_make_link(user))
    except Invalid as error:
        return _show(error=error)


def _make_link(user: User) -> dict[str, Any]:
    token = users.make_login_link(db(), user=user)
    activities.record(db(), user=me(), kind="login_link", name=user.name)
    return {"link": url_for("accounts.use_link", token=token, _external=True), "user": user, "invitation": None}


@blueprint.post("/people/<int:user_id>/role")
@needs("admin")
def change_role(user_id: int) -> ResponseReturnValue:
    user = load_user(user_id)
    before = user.role
    try:
        users.change_role(db(), user=user, role=request.form.get("role", ""))
    except Invalid as error:
        return _show(error=error)
    if user.role != before:
        activities.record(db(), user=me(), kind="role", name=user.name, role=user.role, before=before)
    return done(url_for("people.index"), f"{user.name} is {user.role} now.")


@blueprint.post("/people/<int:user_id>/active")
@needs("admin")
def set_active(user_id: int) -> ResponseReturnValue:
    user = load_user(user_id)
    active = request.form.get("active") == "yes"
    if user.id == me().id and not active:
        return _show(error=Invalid("You cannot switch your own account off."))
    try:
        users.set_active(db(), user=user, active=active)
    except Invalid as error:
        return _show(error=error)
    activities.record(db(), user=me(), kind="switched_on" if active else "switched_off", name=user.name)
    return done(url_for("people.index"), f"{user.name} is switched {'on' if active else 'off'}.")
