"""Classes: their colours for every page, and adding, renaming, merging, retiring them."""

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue

from workbench.queries import datasets
from workbench.web.boundary import db, page
from workbench.web.loaders import load_dataset

blueprint = Blueprint("classes", __name__)


@blueprint.get("/d/<name>/classes")
def index(name: str) -> ResponseReturnValue:
    return page("error.html", dataset=load_dataset(name), code=404, sentence="This page is being written.")


@blueprint.get("/d/<name>/colours.css")
def colours(name: str) -> ResponseReturnValue:
    """One rule per class, because the policy forbids inline styles."""
    classes = datasets.list_classes(db(), load_dataset(name).id)
    rules = "\n".join(f".class-{cls.id} {{ --class: {cls.colour}; }}" for cls in classes)
    return Response(rules, mimetype="text/css")
