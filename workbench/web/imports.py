"""Bringing images in: an upload or a path, a preview of the classes, the report."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from workbench.web.boundary import page
from workbench.web.loaders import load_dataset

blueprint = Blueprint("imports", __name__)


@blueprint.get("/import")
def new() -> ResponseReturnValue:
    return page("error.html", code=404, sentence="This page is being written.")


@blueprint.get("/d/<name>/imports/<int:import_id>")
def show(name: str, import_id: int) -> ResponseReturnValue:
    return page("error.html", dataset=load_dataset(name), code=404, sentence="This page is being written.")
