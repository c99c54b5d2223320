"""Accounts: who is here, roles, login links."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from workbench.web.boundary import page

blueprint = Blueprint("people", __name__)


@blueprint.get("/people")
def index() -> ResponseReturnValue:
    return page("error.html", code=404, sentence="This page is being written.")
