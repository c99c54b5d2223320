"""Queues: the review card, the sweep grid, deciding, undo."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from workbench.web.boundary import page
from workbench.web.loaders import load_dataset

blueprint = Blueprint("review", __name__)


@blueprint.get("/d/<name>/queues/<int:queue_id>")
def card(name: str, queue_id: int) -> ResponseReturnValue:
    return page("error.html", dataset=load_dataset(name), code=404, sentence="This page is being written.")
