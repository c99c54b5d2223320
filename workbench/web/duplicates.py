"""Duplicate groups: the list, one group, its verdict."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from workbench.web.boundary import page
from workbench.web.loaders import load_dataset

blueprint = Blueprint("duplicates", __name__)


@blueprint.get("/d/<name>/duplicates")
def index(name: str) -> ResponseReturnValue:
    return page("error.html", dataset=load_dataset(name), code=404, sentence="This page is being written.")
