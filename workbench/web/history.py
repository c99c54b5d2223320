"""The log of decisions, and undo of any of them."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from workbench.web.boundary import page
from workbench.web.loaders import load_dataset

blueprint = Blueprint("history", __name__)


@blueprint.get("/d/<name>/history")
def index(name: str) -> ResponseReturnValue:
    return page("error.html", dataset=load_dataset(name), code=404, sentence="This page is being written.")
