"""Queues: building one, from a recipe or from the images that a filter shows, and closing it."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Invalid, NothingToReview
from workbench.models import Dataset
from workbench.services import activities, jobs, queue_plans, queues
from workbench.services.recipes import RECIPES, read_recipe
from workbench.web.accounts import me, needs
from workbench.web.boundary import begin_writing, db, done, find_shown_page, home, say
from workbench.web.loaders import load_dataset, load_queue, load_run

blueprint = Blueprint("queues", __name__)
ASKED = (1, 2, 3, 5)  # how many reviewers the form offers for each image
_NOT_PARAMS = {"csrf_token", "recipe", "run", "limit", "opinions", "blind", "gold", "view"}


@blueprint.post("/d/<name>/queues/build")
@needs("lead")
def build(name: str) -> ResponseReturnValue:
    """Make a queue and open it, as card or as grid; fields that are not about the queue are the recipe's own."""
    dataset = load_dataset(name)
    run_id = request.form.get("run", type=int)
    if RECIPES[read_recipe(request.form.get("recipe", ""))].by_worker:
        return _ask_worker(dataset, run_id)
    try:
        plan = queue_plans.plan_queue(
            db(),
            home(),
            dataset=dataset,
            recipe=request.form.get("recipe", ""),
            run=load_run(run_id, dataset) if run_id else None,
            **_parse_asking(request.form),
            **_parse_params(request.form),
        )
    except NothingToReview as error:
        say(str(error), kind="problem")
        return done(url_for("runs.show", name=name, run_id=run_id) if run_id else find_shown_page())
    begin_writing()
    queue = queues.open_queue(db(), plan)
    activities.record(db(), user=me(), kind="queue_built", dataset=dataset, title=queue.title, size=queue.size)
    view = "sweeps.show" if request.form.get("view") == "sweep" else "review.card"
    drawn = f", {plan.drawn} of them drawn at random" if plan.drawn else ""
    said = f"{queue.title}: {queue.size:,} images to look at{drawn}."
    if plan.without:
        said += f" Those of {plan.without}, which is frozen, are left out."
    return done(url_for(view, name=name, queue_id=queue.id), said)


def _ask_worker(dataset: Dataset, run_id: int | None) -> ResponseReturnValue:
    """For recipes that compare images with each other. What can be refused at once is."""
    recipe = read_recipe(request.form["recipe"])
    asking, params = _parse_asking(request.form), _parse_params(request.form)
    queue_plans.read_asked(db(), dataset=dataset, recipe=recipe, run=run_id, params=params, **asking)
    begin_writing()
    title = f"Choose images of {dataset.name}"
    job = jobs.enqueue(
        db(), kind="queue", user=me(), dataset=dataset, title=title, recipe=recipe, run=run_id, **asking, **params
    )
    return done(url_for("jobs.show", job_id=job.id), "A worker compares the images; it takes some seconds.")


def _parse_asking(form: Mapping[str, str]) -> dict[str, Any]:
    """How many images, and how reviewers are asked about each."""
    return {
        "limit": _parse_number(form.get("limit", ""), "The number of images is a whole number, for example 200."),
        "opinions": _parse_number(form.get("opinions", ""), "The number of reviewers is a whole number.") or 1,
        "gold": _parse_number(form.get("gold", ""), "The share of gold images is a whole number of percent.") or 0,
        "blind": form.get("blind") == "yes",
    }


def _parse_number(words: str, problem: str) -> int | None:
    words = words.strip()
    if not words:
        return None
    if not words.isascii() or not words.isdecimal() or len(words) > 9:
        raise Invalid(problem)
    return int(words)


def _parse_params(form: Mapping[str, str]) -> dict[str, Any]:
    """The recipe's own fields, no others; empty ones are left to its defaults."""
    found = {key: value for key, value in form.items() if key not in _NOT_PARAMS and value.strip()}
    queue_plans.read_params(read_recipe(form.get("recipe", "")), found)
    return found


@blueprint.post("/d/<name>/queues/<int:queue_id>/close")
@needs("lead")
def close(name: str, queue_id: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    queues.close_queue(db(), queue)
    activities.record(db(), user=me(), kind="queue_closed", dataset=dataset, title=queue.title)
    return done(url_for("home.show", name=name), f"Closed: {queue.title}. What was decided in it stays.")
