"""Jobs: what runs, how far it is, what became of it."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from workbench.queries import jobs as queries
from workbench.web.boundary import db, page

blueprint = Blueprint("jobs", __name__)


@blueprint.get("/jobs")
def index() -> ResponseReturnValue:
    return page("error.html", code=404, sentence="This page is being written.")


@blueprint.get("/jobs/badge")
def badge() -> ResponseReturnValue:
    """How many jobs are queued or running, for the head of every page; empty when none is."""
    return str(queries.count_open_jobs(db()) or "")
