"""Bringing images in: an upload or a path, a preview of the classes, the report."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from workbench.web.boundary import page

blueprint = Blueprint("imports", __name__)


@blueprint.get("/import")
def new() -> ResponseReturnValue:
    return page("error.html", code=404, sentence="This page is being written.")
