"""What a run's answers rest on: where it looks in an image, and how it does when images get worse."""

import base64
from typing import Any

from flask import Blueprint, Response, request, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import NotFound
from workbench.models import Dataset, Image, Run
from workbench.queries import datasets, explaining, run_pages
from workbench.services import confusions, explain_requests, saliency, stress
from workbench.services.confusions import Surest
from workbench.services.evaluations import judge
from workbench.services.explain_requests import Look
from workbench.web import charts
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, home, page, wants_fragment
from workbench.web.charts import LineChart, Series
from workbench.web.loaders import load_dataset, load_image, load_queue, load_run
from workbench.web.run_results import describe_run

blueprint = Blueprint("explaining", __name__)

REGIONS = {"top": "Top quarter", "eyes": "Eyes: second quarter", "lower": "Lower half"}
_KINDS = {"own": ("its own map", "a"), "other": ("another image's map", "b"), "random": ("random maps", "quiet")}


# --- one image ----------------------------------------------------------------------------------------------------


@blueprint.get("/d/<name>/images/<int:image_id>/saliency")
def look(name: str, image_id: int) -> ResponseReturnValue:
    """The map to lay over the image, with its test; the key h shows it on the card and on the image's page."""
    dataset = load_dataset(name)
    return _show(dataset, load_image(image_id, dataset))


@blueprint.post("/d/<name>/images/<int:image_id>/saliency")
@needs("reviewer")
def ask(name: str, image_id: int) -> ResponseReturnValue:
    """Have the run's maps made, this image's first."""
    dataset = load_dataset(name)
    image = load_image(image_id, dataset)
    run_id = _find_run_id(dataset)
    if run_id is None:
        raise NotFound("There is no run yet that could be asked where it looks; train one first.")
    run = load_run(run_id, dataset)
    explain_requests.ask(db(), home(), kind="explain", dataset=dataset, run=run, user=me(), image=image)
    if wants_fragment():
        return _show(dataset, image)
    return done(url_for(".look", name=name, image_id=image_id, queue=request.args.get("queue")))


def _show(dataset: Dataset, image: Image) -> Response:
    found: Look = explain_requests.look(db(), home(), dataset=dataset, image=image, run_id=_find_run_id(dataset))
    return page(
        "images/saliency.html",
        block="saliency",
        dataset=dataset,
        image=image,
        look=found,
        map=f"data:image/png;base64,{base64.b64encode(found.png).decode()}" if found.png else "",
        queue_id=request.args.get("queue", type=int),
        scale=max(1, 480 // max(image.width, image.height)),
    )


def _find_run_id(dataset: Dataset) -> int | None:
    """The run that the queue was built from, else the promoted one."""
    queue_id = request.args.get("queue", type=int)
    return (load_queue(queue_id, dataset).run_id if queue_id else None) or dataset.promoted_run_id


@blueprint.get("/d/<name>/runs/<int:run_id>/saliency/<int:image_id>")
def overlay(name: str, run_id: int, image_id: int) -> ResponseReturnValue:
    """The map of one image as a picture that is clear where the run does not look."""
    dataset = load_dataset(name)
    run, image = load_run(run_id, dataset), load_image(image_id, dataset)
    maps = saliency.load_maps(home(), run.id)
    row = maps.find(image.id) if maps else None
    if maps is None or row is None:
        raise NotFound("This run has no map of this image yet.")
    response = Response(saliency.paint(maps.maps[row]), mimetype="image/png")
    response.headers["Cache-Control"] = "private, max-age=0, must-revalidate"
    response.add_etag()
    return response.make_conditional(request)


# --- one run ------------------------------------------------------------------------------------------------------


@blueprint.get("/d/<name>/runs/<int:run_id>/rests-on")
def show(name: str, run_id: int) -> ResponseReturnValue:
    """Maps with their test, and the curves under stress; htmx asks for the block again while they are being made."""
    dataset = load_dataset(name)
    run = load_run(run_id, dataset)
    if run.metrics is None:
        return done(url_for("runs.show", name=name, run_id=run_id))
    jobs = {
        kind: explaining.find_job(db(), kind=kind, dataset_id=dataset.id, run_id=run.id)
        for kind in ("explain", "stress")
    }
    return page(
        "runs/rests_on.html",
        block="rests_on",
        **describe_run(dataset, run),
        jobs=jobs,
        is_open=any(job is not None and not job.is_over for job in jobs.values()),
        has_model=explain_requests.has_model(home(), run),
        classes={cls.name: cls for cls in datasets.list_classes(db(), dataset.id)},
        **_describe_maps(run),
        **_describe_stress(run),
    )


@blueprint.post("/d/<name>/runs/<int:run_id>/<any(explain, stress):kind>")
@needs("lead")
def start(name: str, run_id: int, kind: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    explain_requests.ask(db(), home(), kind=kind, dataset=dataset, run=load_run(run_id, dataset), user=me())
    return done(url_for(".show", name=name, run_id=run_id))


def _describe_maps(run: Run) -> dict[str, Any]:
    test, maps = saliency.read_test(home(), run.id), saliency.load_maps(home(), run.id)
    if test is None or maps is None:
        return {"test": None, "verdict": None, "curves": [], "examples": [], "images": {}, "mapped_count": 0}
    examples = _list_examples(run)
    ids = [one.image_id for _, right, wrong in examples for one in (right, wrong) if one]
    return {
        "test": test,
        "verdict": saliency.judge_test(test),
        "curves": [_draw_test(test, "deletion", "Blurred first"), _draw_test(test, "insertion", "Shown first")],
        "examples": examples,
        "images": {id_: image for id_, image in run_pages.get_images(db(), ids).items() if maps.find(id_) is not None},
        "mapped_count": len(maps.image_ids),
    }


def _draw_test(test: dict[str, Any], name: str, title: str) -> LineChart:
    lines = [Series(words, test[name][kind], drawn) for kind, (words, drawn) in _KINDS.items()]
    x = [share * (len(test["fractions"]) - 1) for share in test["fractions"]]
    return charts.line_chart(
        f"{title}: probability of the class", lines, x=x, x_name="Eighths of the image", percent=True
    )


def _list_examples(run: Run) -> list[tuple[str, Surest | None, Surest | None]]:
    try:
        return confusions.list_surest(judge(db(), home(), run))
    except NotFound:
        return []


def _describe_stress(run: Run) -> dict[str, Any]:
    found = stress.read_stress(home(), run.id)
    masked = stress.list_masked(db(), run, masks=tuple(REGIONS))
    if found is None:
        return {"stress": None, "stress_curves": [], "weakest": "", "masked": masked, "regions": REGIONS}
    chance = run.metrics["baseline"]["accuracy"] if run.metrics else None
    return {
        "stress": found,
        "stress_curves": [_draw_stress(curve, found["plain"], chance) for curve in found["curves"]],
        "weakest": stress.say_weakest(found),
        "masked": masked,
        "regions": REGIONS,
    }


def _draw_stress(curve: dict[str, Any], plain: dict[str, Any], chance: float | None) -> LineChart:
    """The image as it is stands at 0, also between darker and lighter."""
    points = sorted([{"strength": 0, **plain}, *curve["points"]], key=lambda point: float(point["strength"]))
    line = Series("accuracy", [one["accuracy"] for one in points], "a", [(one["low"], one["high"]) for one in points])
    return charts.line_chart(
        f"{curve['title']}, {curve['unit']}",
        [line],
        x=[float(one["strength"]) for one in points],
        x_name=curve["unit"],
        percent=True,
        baseline=(chance, "chance") if chance is not None else None,
        y_range=(0.0, plain["high"]),  # the same for all, so that they can be compared
    )
