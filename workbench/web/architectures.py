"""The architectures that a training can be asked for."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from workbench.services import architectures
from workbench.web.boundary import page

blueprint = Blueprint("architectures", __name__)


@blueprint.get("/architectures")
def index() -> ResponseReturnValue:
    return page("architectures.html", families=architectures.list_families(), group=architectures.GROUP)
