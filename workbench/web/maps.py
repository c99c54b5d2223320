"""The map: its page, what the page's script draws, and what is done with what somebody chose on it."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import numpy as np
from flask import Blueprint, Response, make_response, request, url_for
from flask.typing import ResponseReturnValue
from numpy.typing import NDArray

from workbench.errors import Conflict, Invalid, NotFound, NothingToReview
from workbench.models import Dataset
from workbench.queries import datasets, image_lists, jobs
from workbench.services import activities, bulk_decisions, map_pictures, map_states, maps, queue_plans, queues
from workbench.services.jobs import enqueue
from workbench.services.map_states import MODES, States
from workbench.services.maps import METHODS, SIDE, Map, ShownMap
from workbench.services.predictions import load_predictions, nearest
from workbench.services.recipes import chosen
from workbench.web.accounts import me, needs
from workbench.web.boundary import begin_writing, db, done, find_shown_page, home, page, say
from workbench.web.loaders import load_dataset, load_image

blueprint = Blueprint("maps", __name__)
LOOKED_AT = 400  # tiles of a page
SIMILAR = 200
_SHOWN = 8  # regions before the fold
_FOR_GOOD = "private, max-age=31536000, immutable"  # the address names the file


@blueprint.get("/d/<name>/map")
def show(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    shown = maps.find_shown(db(), home(), dataset)
    states = map_states.load_states(db(), dataset, shown) if shown else None
    mode = _read_mode()
    return page(
        "map/index.html",
        dataset=dataset,
        classes={cls.id: cls for cls in datasets.list_classes(db(), dataset.id)},
        shown=shown,
        states=states,
        pictures=_load_pictures(states),
        first_regions=_SHOWN,
        job=jobs.find_open_job(db(), kind="map", dataset_id=dataset.id),
        modes=MODES,
        mode=mode,
        methods=METHODS,
        most=chosen.MOST,
    )


def _read_mode() -> str:
    mode = request.args.get("by") or "label"
    if mode not in MODES:
        raise Invalid(f"“{mode}” is nothing that a map is coloured by; use {', '.join(MODES)}.")
    return mode


def _load_pictures(states: States | None) -> dict[int, Any]:
    """The images that stand for the regions, by id."""
    wanted = [image_id for region in (states.regions if states else ()) for image_id in region.image_ids]
    return {image.id: image for image in image_lists.get_images(db(), wanted)}


# --- what the script draws ----------------------------------------------------------------------------------------


@blueprint.get("/d/<name>/map/points")
def points(name: str) -> ResponseReturnValue:
    """N and the cells of a side, where each cell begins, then x and y, ids and regions of all points."""
    shown = maps.get_shown(db(), home(), load_dataset(name))
    made: Map = shown.map
    head = np.array([len(made.image_ids), SIDE], "<u4")
    parts = (head, made.cells.astype("<u4"), made.points.astype("<u2"), made.image_ids.astype("<u4"))
    response = _send(b"".join(part.tobytes() for part in (*parts, made.regions.astype(np.uint8))))
    if request.args.get("v") == shown.stamp:
        response.headers["Cache-Control"] = _FOR_GOOD
    return response


@blueprint.get("/d/<name>/map/states")
def states(name: str) -> ResponseReturnValue:
    """A byte for each point and way of colouring, in the order of the ways: its place in the legend."""
    found = _load_states(load_dataset(name))[1]
    response = Response()
    response.set_etag(found.stamp)
    if found.stamp in request.if_none_match:
        response.status_code = HTTPStatus.NOT_MODIFIED
        return response
    response = _send(b"".join(found.values[mode].tobytes() for mode in MODES))
    response.set_etag(found.stamp)
    response.headers["Cache-Control"] = "private, no-cache"
    return response


@blueprint.get("/d/<name>/map/density.png")
def density(name: str) -> ResponseReturnValue:
    """What stands for the map where nothing draws it."""
    shown, found = _load_states(load_dataset(name))
    mode = _read_mode()
    response = _send(map_pictures.paint_density(shown.map.points, found.values[mode], found.legends[mode]))
    response.mimetype = "image/png"
    return response


def _send(data: bytes) -> Response:
    response = make_response(data)
    response.mimetype = "application/octet-stream"
    return response


def _load_states(dataset: Dataset) -> tuple[ShownMap, States]:
    shown = maps.get_shown(db(), home(), dataset)
    return shown, map_states.load_states(db(), dataset, shown)


# --- making it ----------------------------------------------------------------------------------------------------


@blueprint.get("/d/<name>/map/progress")
def progress(name: str) -> ResponseReturnValue:
    """The block that says how far a map is; when it is there, the page is loaded anew."""
    dataset = load_dataset(name)
    job = jobs.find_open_job(db(), kind="map", dataset_id=dataset.id)
    if job is None:
        return done(url_for(".show", name=name))
    return page("map/_progress.html", dataset=dataset, job=job)


@blueprint.post("/d/<name>/map/make")
@needs("lead")
def make(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    method = request.form.get("method") or "neighbours"
    if method not in METHODS:
        raise Invalid(f"“{method}” is not a layout; use {', '.join(METHODS)}.")
    if dataset.promoted_run_id is None:
        raise Conflict("A map shows what a run holds for alike, so it needs one: train first.")
    if jobs.find_open_job(db(), kind="map", dataset_id=dataset.id):
        return done(url_for(".show", name=name), "The map is being made already.")
    enqueue(db(), kind="map", user=me(), dataset=dataset, run=dataset.promoted_run_id, method=method)
    activities.record(db(), user=me(), kind="map_made", dataset=dataset, run=dataset.promoted_run_id)
    return done(url_for(".show", name=name), "The map is being made.")


# --- what is done with what was chosen ----------------------------------------------------------------------------


@blueprint.post("/d/<name>/map/look")
def look(name: str) -> ResponseReturnValue:
    """The chosen images as a grid."""
    dataset = load_dataset(name)
    return _show_images(dataset, _read_chosen(dataset, only_waiting=False), title="Chosen on the map")


@blueprint.get("/d/<name>/map/regions/<int:number>")
def region(name: str, number: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    shown, found = _load_states(dataset)
    rows = np.flatnonzero(shown.map.regions == number - 1)
    if not len(rows):
        raise NotFound(f"The map has no region {number}; it may have been made anew.")
    return _show_images(dataset, _by_risk(shown.map, found, rows), title=f"Region {number}")


def _show_images(dataset: Dataset, image_ids: Sequence[int], *, title: str) -> Response:
    return page(
        "map/images.html",
        dataset=dataset,
        title=title,
        classes={cls.id: cls for cls in datasets.list_classes(db(), dataset.id)},
        found=image_lists.get_images(db(), image_ids[:LOOKED_AT]),
        total=len(image_ids),
        ids=chosen.write_ids(image_ids[: chosen.MOST]),
        most=chosen.MOST,
        most_at_once=bulk_decisions.MOST,
    )


@blueprint.post("/d/<name>/map/queue")
@needs("lead")
def queue(name: str) -> ResponseReturnValue:
    """A queue of the chosen images, the most likely wrong first."""
    dataset = load_dataset(name)
    where = request.form.get("where", "")[:80] or "Chosen on the map"
    return _open_queue(dataset, _read_chosen(dataset, only_waiting=True), where=where)


@blueprint.post("/d/<name>/map/similar/<int:image_id>")
@needs("lead")
def similar(name: str, image_id: int) -> ResponseReturnValue:
    """A queue of the images most like one, most alike first."""
    dataset = load_dataset(name)
    image = load_image(image_id, dataset)
    if dataset.promoted_run_id is None:
        raise Conflict("What is alike is known from a run: train one first.")
    said = load_predictions(home(), dataset.promoted_run_id)
    if not said.features.any():
        raise Conflict("The promoted run came without features, so it cannot say what is alike: train one here.")
    near = nearest(said, image.id, SIMILAR)
    if not near:
        raise Conflict("The promoted run never saw this image, so it cannot say what is like it: train again.")
    return _open_queue(dataset, [image.id, *(found for found, _ in near)], where=f"Like {image.path.split('/')[-1]}")


def _open_queue(dataset: Dataset, image_ids: Sequence[int], *, where: str) -> ResponseReturnValue:
    try:
        plan = queue_plans.plan_queue(
            db(), home(), dataset=dataset, recipe="chosen", images=chosen.write_ids(image_ids) or None, where=where,
            random=0,
        )  # fmt: skip
    except NothingToReview as error:
        say(str(error), kind="problem")
        return done(find_shown_page())
    begin_writing()
    made = queues.open_queue(db(), plan)
    activities.record(db(), user=me(), kind="queue_built", dataset=dataset, title=made.title, size=made.size)
    view = "review.card" if request.form.get("view") == "card" else "sweeps.show"
    said = f"{made.title}: {made.size:,} images to look at."
    if plan.without:
        said += f" Those of {plan.without}, which is frozen, are left out."
    return done(url_for(view, name=dataset.name, queue_id=made.id), said)


def _read_chosen(dataset: Dataset, *, only_waiting: bool) -> list[int]:
    """The images named by the form and those in its regions, most likely wrong first."""
    shown, found = _load_states(dataset)
    numbers = request.form.getlist("region", type=int)
    rows = np.isin(shown.map.regions, np.array(numbers, np.int64) - 1)
    named = request.form.get("images", "")
    if named.strip():
        ids = np.fromiter(map(int, chosen.read_ids(named).split(",")), np.int64)
        rows |= np.isin(shown.map.image_ids, ids)
    if not rows.any():
        raise Invalid("Choose images on the map first: draw around some, or tick regions of the list.")
    if only_waiting:
        rows &= found.waiting
        if not rows.any():
            raise NothingToReview("There is nothing to review: every image that you chose is decided already.")
    return _by_risk(shown.map, found, np.flatnonzero(rows))


def _by_risk(shown: Map, found: States, rows: NDArray[np.intp]) -> list[int]:
    risk = np.nan_to_num(found.p_wrong[rows], nan=-1)
    order = rows[np.lexsort((shown.image_ids[rows], -risk))]
    ids: list[int] = shown.image_ids[order].tolist()
    return ids
