"""Whether a run can be believed: what its checks say, and asking its model again."""

from flask import Blueprint, url_for
from flask.typing import ResponseReturnValue

from workbench.services import jobs
from workbench.services.run_checks import CHECKS, check_run, report_checks
from workbench.services.run_checks.facts import Facts
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, home, page
from workbench.web.loaders import load_dataset, load_run
from workbench.web.run_results import describe_run

blueprint = Blueprint("run_checking", __name__)


@blueprint.get("/d/<name>/runs/<int:run_id>/checks")
def show(name: str, run_id: int) -> ResponseReturnValue:
    """Every check with its sentence; the overview asks for the same as a block, so that it need not wait for them."""
    dataset = load_dataset(name)
    run = load_run(run_id, dataset)
    if run.metrics is None:
        return done(url_for("runs.show", name=name, run_id=run_id))
    facts = Facts(db(), home(), run)
    return page(
        "runs/checks.html",
        block="run_checks",
        **describe_run(dataset, run),
        checks=report_checks(check_run(db(), home(), run)),
        titles={check: title for check, (title, _) in CHECKS.items()},
        ways=_list_ways(name, run_id),
        may_probe=not facts.is_external and facts.probe is None,
    )


def _list_ways(name: str, run_id: int) -> dict[str, tuple[str, str]]:
    """Check -> where what it found is looked at or put right."""
    settling = (url_for("duplicates.index", name=name), "Duplicates")
    splitting = (url_for("splits.index", name=name, run=run_id), "Splits and leaks")
    return {
        "copies": splitting,
        "families": splitting,
        "own_flags": splitting,
        "conflicts": settling,
        "half_removed": settling,
        "collapse": (url_for("runs.show", name=name, run_id=run_id), "Its matrix"),
        "vanished": (url_for("history.index", name=name), "History"),
    }


@blueprint.post("/d/<name>/runs/<int:run_id>/checks")
@needs("lead")
def probe(name: str, run_id: int) -> ResponseReturnValue:
    """Ask the model again, as a job: only a worker can load it."""
    dataset = load_dataset(name)
    run = load_run(run_id, dataset)
    jobs.enqueue(db(), kind="probe", user=me(), dataset=dataset, title=f"Check run {run.id}", run=run.id)
    return done(url_for(".show", name=name, run_id=run_id), f"The model of run {run_id} is asked; look again soon.")
