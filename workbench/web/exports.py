"""Versions and exports."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from workbench.web.boundary import page
from workbench.web.loaders import load_dataset

blueprint = Blueprint("exports", __name__)


@blueprint.get("/d/<name>/export")
def index(name: str) -> ResponseReturnValue:
    return page("error.html", dataset=load_dataset(name), code=404, sentence="This page is being written.")
