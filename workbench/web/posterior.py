"""What the posterior would change, and the labels that leads keep from it."""

from typing import Any

import numpy as np
from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Invalid, NotFound
from workbench.models import SPLITS, Class, Dataset, Run
from workbench.queries import datasets, image_lists
from workbench.queries import runs as queries
from workbench.services import decisions, keeping, posterior_changes, posterior_gains
from workbench.services.posterior_changes import ChangeFilter, Changes
from workbench.services.posteriors import Posteriors, find_posteriors, has_posteriors
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, home, page
from workbench.web.loaders import load_dataset, load_run

blueprint = Blueprint("posterior", __name__)
PAGE = 60
PAIRS = 14
MOST_SURE = 0.999  # shown of what is stored in half precision
KEPT = {"no": "not overruled", "yes": "overruled"}
FIELDS = ("run", "given", "into", "p_from", "split", "kept")


@blueprint.get("/d/<name>/posterior")
def show(name: str) -> ResponseReturnValue:
    return _show(load_dataset(name))


def _show(dataset: Dataset, *, problem: str = "", status: int = 200) -> ResponseReturnValue:
    run_id = request.args.get("run", dataset.promoted_run_id, type=int)
    learned = find_posteriors(home(), run_id) if run_id else None
    classes = {cls.id: cls for cls in datasets.list_classes(db(), dataset.id)}
    basics: dict[str, Any] = {"dataset": dataset, "classes": classes, "run_id": run_id, "learned": learned}
    if learned is None:
        return page("posterior.html", **basics, problem=problem)
    changes = _list_changes(dataset, learned, run_id)
    wanted = parse_filter(changes)
    matching = posterior_changes.choose(changes, wanted)
    of_split = posterior_changes.choose(changes, ChangeFilter(split=wanted.split))
    kept_args = {name: value for name in FIELDS if (value := request.args.get(name))}
    shown = posterior_changes.take_page(matching, after=_parse_cursor(), limit=PAGE)
    images = {image.id: image for image in image_lists.get_images(db(), shown.image_ids.tolist())}
    return page(
        "posterior.html",
        status=status,
        problem=problem,
        **basics,
        wanted=wanted,
        kept_args=kept_args,
        any_pair={name: value for name, value in kept_args.items() if name not in ("given", "into")},
        runs=_list_runs(dataset),
        pairs=posterior_changes.count_pairs(changes, wanted)[:PAIRS],
        total=len(of_split.image_ids),
        overruled=int(of_split.kept.sum()),
        matching=len(matching.image_ids),
        rows=_list_rows(shown, images, classes),
        following=_make_cursor(shown) if len(matching.image_ids) and len(shown.image_ids) == PAGE else None,
        is_first="after" not in request.args,
        splits=(*SPLITS, "none"),
        kept_choices=KEPT,
        most=keeping.MOST,
        action=decisions.new_action(),
    )


def _list_changes(dataset: Dataset, learned: Posteriors, run_id: int | None) -> Changes:
    return posterior_changes.list_changes(db(), dataset, learned, is_promoted=run_id == dataset.promoted_run_id)


def _list_runs(dataset: Dataset) -> list[int]:
    """The runs that verdicts taught something of."""
    return [run.id for run in queries.list_done_runs(db(), dataset_id=dataset.id) if has_posteriors(home(), run.id)]


def _list_rows(shown: Changes, images: dict[int, Any], classes: dict[int, Class]) -> list[dict[str, Any]]:
    sure = np.minimum(shown.p.astype(np.float64).round(3), MOST_SURE)
    columns = (shown.image_ids, shown.given, shown.into, sure, shown.kept)
    return [
        {"image": images[image_id], "given": classes[given], "into": classes[into], "p": p, "kept": kept}
        for image_id, given, into, p, kept in zip(*(each.tolist() for each in columns), strict=True)
        if image_id in images
    ]


def parse_filter(changes: Changes) -> ChangeFilter:
    """What cannot be read lets all through. Unless told otherwise it is about the images that teach."""
    usual = "train" if (changes.splits == "train").any() else None
    split, kept = request.args.get("split", usual), request.args.get("kept")
    return ChangeFilter(
        given=request.args.get("given", type=int),
        into=request.args.get("into", type=int),
        p_from=request.args.get("p_from", 0.0, type=float),
        split=split if split in (*SPLITS, "none") else None,
        kept={"yes": True, "no": False}.get(kept or ""),
    )


def _parse_cursor() -> tuple[float, int] | None:
    p, _, image_id = request.args.get("after", "").partition(":")
    try:
        return float(p), int(image_id)
    except ValueError:
        return None


def _make_cursor(shown: Changes) -> str:
    return f"{shown.p[-1]!s}:{shown.image_ids[-1]}"


@blueprint.post("/d/<name>/posterior/keep")
@needs("lead")
def keep(name: str) -> ResponseReturnValue:
    """Keep the labels of some images from the posterior, or leave them to it again."""
    dataset = load_dataset(name)
    keeps = request.form.get("verb") != "release"
    image_ids = request.form.getlist("image", type=int)
    if request.form.get("everything") == "yes":
        image_ids = _list_matching(dataset)
    try:
        changed = keeping.keep_labels(
            db(), dataset=dataset, user=me(), image_ids=image_ids, keeps=keeps, action=request.form.get("action")
        )
    except Invalid as invalid:
        return _show(dataset, problem=str(invalid), status=invalid.status)
    images = f"{changed:,} image{'' if changed == 1 else 's'}"
    words = f"{images} will teach their given label" if keeps else f"{images} left to the posterior again"
    return done(_find_way_back(dataset), f"{words}. One undo in the history takes it back.")


def _list_matching(dataset: Dataset) -> list[int]:
    run_id = request.args.get("run", dataset.promoted_run_id, type=int)
    learned = find_posteriors(home(), run_id) if run_id else None
    if learned is None:
        return []
    changes = _list_changes(dataset, learned, run_id)
    found: list[int] = posterior_changes.choose(changes, parse_filter(changes)).image_ids.tolist()
    return found


def _find_way_back(dataset: Dataset) -> str:
    """The page of the image that was kept from there, else the list with its filter."""
    image_id = request.form.get("back", type=int)
    if image_id:
        return url_for("images.show", name=dataset.name, image_id=image_id)
    kept: dict[str, Any] = {name: value for name in FIELDS if (value := request.args.get(name))}
    return url_for("posterior.show", name=dataset.name, **kept)


# --- what it bought ---------------------------------------------------------------------------------------------


def describe_posterior(run: Run) -> dict[str, Any]:
    """For the page of a run that was taught the posterior: the runs that part its gain, and the parts."""
    trio = posterior_gains.find_trio(db(), run)
    gain = None
    if trio is not None and len(trio.done) > 1:
        try:
            gain = posterior_gains.part_gain(db(), home(), trio)
        except (Invalid, NotFound):  # no image that all of them left unseen, or the predictions of one are gone
            gain = None
    return {"trio": trio, "posterior_gain": gain}


@blueprint.post("/d/<name>/runs/<int:run_id>/posterior")
@needs("lead")
def train_missing(name: str, run_id: int) -> ResponseReturnValue:
    """The runs that are missing to tell decisions and posterior apart."""
    dataset = load_dataset(name)
    run = load_run(run_id, dataset)
    made = posterior_gains.ask_for_missing(db(), dataset=dataset, user=me(), run=run)
    names = " and ".join(f"run {each.id}" for each in made)
    words = f"Queued: {names}." if made else "They are there already, or on their way."
    return done(url_for("run_parts.training", name=name, run_id=run_id), words)
