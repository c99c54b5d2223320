"""Images: the grid, one image, its bytes."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from workbench.web.boundary import page
from workbench.web.loaders import load_dataset

blueprint = Blueprint("images", __name__)


@blueprint.get("/d/<name>/images")
def grid(name: str) -> ResponseReturnValue:
    return page("error.html", dataset=load_dataset(name), code=404, sentence="This page is being written.")


@blueprint.get("/images/<int:image_id>/thumbnail/<int:size>")
def thumbnail(image_id: int, size: int) -> ResponseReturnValue:
    raise NotImplementedError
