"""Two runs side by side, on the same images by the same labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flask import Blueprint, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from workbench.errors import Invalid
from workbench.models import Dataset, Run
from workbench.queries import datasets, run_pages
from workbench.queries import runs as queries
from workbench.services import comparisons, confusions
from workbench.services.evaluations import Judged, judge
from workbench.web import charts
from workbench.web.boundary import db, home, page
from workbench.web.charts import IntervalBar
from workbench.web.loaders import load_dataset, load_run

blueprint = Blueprint("comparing", __name__)

FLIPPED_IMAGES = 24


@blueprint.get("/d/<name>/compare")
def show(name: str) -> ResponseReturnValue:
    """Two runs on the same images by the same, newest labels."""
    dataset = load_dataset(name)
    choices = queries.list_done_runs(db(), dataset_id=dataset.id)
    first, second, split = parse_compare(request.args)
    basics: dict[str, Any] = {"dataset": dataset, "choices": choices, "a": first, "b": second, "split": split}
    if first is None or second is None or first == second:
        problem = "Choose two different runs." if request.args else ""
        return page("runs/compare.html", status=422 if problem else 200, problem=problem, found=None, **basics)
    pair = (load_run(first, dataset), load_run(second, dataset))
    try:
        return page("runs/compare.html", problem="", **basics, **_compare(dataset, *pair, split=split))
    except Invalid as error:
        return page("runs/compare.html", status=422, problem=str(error), found=None, **basics)


def parse_compare(args: MultiDict[str, str]) -> tuple[int | None, int | None, str | None]:
    """`a` and `b`, or two `run` from the list's boxes: the older one is a."""
    ticked = sorted(args.getlist("run", type=int))
    if len(ticked) == 2:
        return ticked[0], ticked[1], None
    return args.get("a", type=int), args.get("b", type=int), args.get("split") or None


def _compare(dataset: Dataset, run_a: Run, run_b: Run, *, split: str | None) -> dict[str, Any]:
    found = comparisons.compare(db(), home(), run_a=run_a, run_b=run_b, split=split)
    judged = _judge_both(run_a, run_b, split=found["split"])
    classes = {cls.name: cls for cls in datasets.list_classes(db(), dataset.id)}
    names = (f"run {run_a.id}", f"run {run_b.id}")
    return {
        "found": found,
        "run_a": run_a,
        "run_b": run_b,
        "bars": [_side_bar(found["a_accuracy"]), _side_bar(found["b_accuracy"])],
        "per_class": [
            (row, charts.paired_bars(row["class"], row["a_recall"], row["b_recall"], names=names))
            for row in found["per_class"]
        ],
        "change": _draw_change(*judged),
        "strips": _list_strips(found["flipped"], *judged),
        "classes": classes,
    }


def _side_bar(side: Mapping[str, float]) -> IntervalBar:
    return charts.interval_bar(side["accuracy"], low=side["low"], high=side["high"])


def _judge_both(run_a: Run, run_b: Run, *, split: str) -> tuple[Judged, Judged]:
    first, second = (judge(db(), home(), run, split=split) for run in (run_a, run_b))
    both = np.intersect1d(first.image_ids, second.image_ids)
    return first.take(np.isin(first.image_ids, both)), second.take(np.isin(second.image_ids, both))


def _draw_change(first: Judged, second: Judged) -> charts.Matrix | None:
    """How the matrix changed; none where the two runs know different classes."""
    if first.class_ids != second.class_ids:
        return None
    before, after = (confusions.count_confusions(judged).tolist() for judged in (first, second))
    return charts.change_matrix(before, after, first.class_names)


@dataclass(frozen=True)
class Strip:
    """Images whose prediction flipped in one way, some of them shown with both predictions."""

    title: str
    words: str
    total: int
    images: list[Any]
    said_a: dict[int, tuple[str, float]]
    said_b: dict[int, tuple[str, float]]


def spread(image_ids: Sequence[int], *, most: int) -> list[int]:
    """Up to `most` of them, evenly from first to last: their order is that of the import, often class by class."""
    count = min(most, len(image_ids))
    return [image_ids[place * len(image_ids) // count] for place in range(count)]


def _list_strips(flipped: Mapping[str, list[int]], first: Judged, second: Judged) -> list[Strip]:
    kinds = (
        ("b_right", "Fixed", "wrong before, right now"),
        ("a_right", "Broken", "right before, wrong now"),
        ("both_wrong", "Still wrong, differently", "another wrong class than before"),
    )
    shown = {kind: spread(flipped[kind], most=FLIPPED_IMAGES) for kind, _, _ in kinds}
    images = run_pages.get_images(db(), [image_id for ids in shown.values() for image_id in ids])
    return [
        Strip(
            title,
            words,
            len(flipped[kind]),
            [images[image_id] for image_id in shown[kind]],
            confusions.said_of(first, shown[kind]),
            confusions.said_of(second, shown[kind]),
        )
        for kind, title, words in kinds
    ]
