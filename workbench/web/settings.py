"""What each person has set for themselves: theme, password, the keys of the review card."""

from functools import partial
from typing import Any

import flask_login
from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Invalid
from workbench.services import activities, keys, outlooks, users
from workbench.web.accounts import Visitor, me, me_or_none
from workbench.web.boundary import db, done, page

blueprint = Blueprint("settings", __name__)


@blueprint.app_context_processor
def _context() -> dict[str, Any]:
    """`keys.undo` is the key that the one who asks has for it, `key_sign` how it is written on a button."""
    user = me_or_none()
    return {"keys": keys.get_keys(user), "key_sign": keys.sign, "class_keys": partial(keys.get_class_keys, user)}


@blueprint.get("/settings")
def show() -> ResponseReturnValue:
    return _show()


def _show(*, status: int = 200, fields: dict[str, str] | None = None, problem: str = "") -> ResponseReturnValue:
    typed = {name.removeprefix("key_"): value for name, value in request.form.items() if name.startswith("key_")}
    return page(
        "settings.html",
        status=status,
        fields=fields or {},
        problem=problem,
        actions=keys.ACTIONS,
        typed=keys.get_keys(me()) | typed,
        digits=request.form.get("digits", keys.get_digits(me())),
        worth=request.form.get("worth", outlooks.get_worth(me())),
    )


@blueprint.post("/settings")
def save() -> ResponseReturnValue:
    """Theme, single-key shortcuts, when a queue is hardly worth it any more, password."""
    user = me()
    theme = request.form.get("theme", "auto")
    if theme not in ("auto", "light", "dark"):
        raise Invalid("A theme is auto, light or dark.")
    try:
        worth = {"worth": outlooks.read_worth(request.form["worth"])} if "worth" in request.form else {}
    except Invalid as error:
        return _show(status=error.status, fields=error.fields)
    user.settings = {**user.settings, "theme": theme, "keys": request.form.get("keys") == "on", **worth}
    if password := request.form.get("password", ""):
        try:
            users.set_password(user=user, password=password)
        except Invalid as error:
            return _show(status=error.status, fields=error.fields)
        activities.record(db(), user=user, kind="password")
        flask_login.login_user(Visitor(user), remember=True)  # the other sessions end, this one goes on
    return done(url_for("settings.show"), "Settings saved.")


@blueprint.post("/settings/keys")
def save_keys() -> ResponseReturnValue:
    """The keys of the card, or back to the defaults."""
    if request.form.get("reset"):
        keys.reset_keys(me())
        return done(url_for("settings.show", _anchor="keys"), "The keys are the defaults again.")
    typed = {name.removeprefix("key_"): value for name, value in request.form.items() if name.startswith("key_")}
    try:
        keys.set_keys(me(), typed=typed, digits=request.form.get("digits", "class"))
    except Invalid as error:
        return _show(status=error.status, fields=error.fields, problem=str(error))
    return done(url_for("settings.show", _anchor="keys"), "Keys saved.")
