"""Home: the data sets, and for one of them what to do next."""

from flask import Blueprint, redirect, request, url_for
from flask.typing import ResponseReturnValue

from workbench.queries import datasets as queries
from workbench.web.boundary import db, page
from workbench.web.loaders import load_dataset

blueprint = Blueprint("home", __name__)


@blueprint.get("/")
def datasets() -> ResponseReturnValue:
    """All data sets; straight to the only one, unless the reader asked for the list."""
    found = queries.list_datasets(db())
    if len(found) == 1 and not request.args.get("all"):
        return redirect(url_for("home.show", name=found[0].name), 303)
    return page("datasets.html", datasets=found)


@blueprint.get("/d/<name>/")
def show(name: str) -> ResponseReturnValue:
    return page("home.html", dataset=load_dataset(name))
