"""The parts of a finished run's page behind its overview, each an address of its own."""

from flask import Blueprint, url_for
from flask.typing import ResponseReturnValue

from workbench.models import Dataset, Run
from workbench.services import training_requests
from workbench.services.curves import read_curves
from workbench.web.boundary import done, home, page
from workbench.web.learning_curves import draw_curves
from workbench.web.loaders import load_dataset, load_run
from workbench.web.run_results import describe_run

blueprint = Blueprint("run_parts", __name__)


@blueprint.get("/d/<name>/runs/<int:run_id>/training")
def training(name: str, run_id: int) -> ResponseReturnValue:
    """How it learned, from what, and how to do it again."""
    dataset, run = _load(name, run_id)
    if run.metrics is None:
        return done(url_for("runs.show", name=name, run_id=run_id))
    return page(
        "runs/training.html",
        **describe_run(dataset, run),
        charts=draw_curves(read_curves(home(), run_id), run.metrics["baseline"]["accuracy"]),
        command=training_requests.command_of(dataset, run),
    )


def _load(name: str, run_id: int) -> tuple[Dataset, Run]:
    dataset = load_dataset(name)
    return dataset, load_run(run_id, dataset)
