"""Following an invitation: a name, perhaps a password, and one is in."""

from flask import Blueprint, Response, redirect, request, session, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Invalid, NotFound
from workbench.services import invitations, users
from workbench.web.accounts import check_tries, enter, show_login
from workbench.web.boundary import begin_writing, db, page

blueprint = Blueprint("joining", __name__)


@blueprint.get("/join/<token>")
def show(token: str) -> ResponseReturnValue:
    check_tries("join")
    return _show(token)


def _show(token: str, *, error: Invalid | None = None) -> Response:
    try:
        invitation = invitations.find_open(db(), token)
    except NotFound as refused:
        return show_login(status=404, problem=str(refused))
    return page(
        "join.html",
        status=error.status if error else 200,
        invitation=invitation,
        token=token,
        name=request.form.get("name", ""),
        problem=str(error) if error else "",
        fields=error.fields if error else {},
    )


@blueprint.post("/join/<token>")
def join(token: str) -> ResponseReturnValue:
    """The password is hashed before the writer is taken; the invitation is looked at again once it is held."""
    check_tries("join")
    password = request.form.get("password", "")
    try:
        invitations.find_open(db(), token)
        password_hash = users.hash_password(password) if password else None
        begin_writing()
        user = invitations.join(db(), token, name=request.form.get("name", ""), password_hash=password_hash)
    except (Invalid, NotFound) as error:
        return _show(token, error=error if isinstance(error, Invalid) else None)
    session.clear()  # what a former user of this browser left
    enter(user)
    session["welcome"] = True
    return redirect(url_for("home.datasets"), 303)
