"""What came out of a run: its numbers, its classes, its confusions with their images, what to review next."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from workbench.errors import NotFound
from workbench.models import SPLITS, Dataset, Queue, Run
from workbench.queries import datasets, run_pages
from workbench.queries import runs as queries
from workbench.services import confusions, promotions
from workbench.services.evaluations import Judged, judge
from workbench.services.measures import evaluate
from workbench.services.protection import is_marked
from workbench.web import charts
from workbench.web.boundary import db, home, page
from workbench.web.charts import IntervalBar
from workbench.web.loaders import load_dataset, load_run

blueprint = Blueprint("run_results", __name__)

CELL_IMAGES = 200
PARTS = {  # of a finished run's page: endpoint, title
    "runs.show": "Overview",
    "run_parts.measures": "Measures",
    "run_parts.calibration": "Calibration",
    "run_parts.groups": "Groups",
    "run_parts.training": "Training",
    "run_checking.show": "Checks",
    "explaining.show": "What it rests on",
}
SECONDS_PER_IMAGE = 3.0  # what a reviewer needs for a card, for telling minutes


def measure_bar(metrics: Mapping[str, Any]) -> IntervalBar:
    chance = metrics["baseline"]["accuracy"]
    words = f"Accuracy {metrics['accuracy'] or 0:.1%}, 95 % interval {metrics['low']:.1%} to {metrics['high']:.1%}"
    return charts.interval_bar(
        metrics["accuracy"], low=metrics["low"], high=metrics["high"], baseline=chance, words=words
    )


def describe_run(dataset: Dataset, run: Run) -> dict[str, Any]:
    """What every part of a finished run's page says above itself."""
    return {
        "dataset": dataset,
        "run": run,
        "metrics": run.metrics or {},
        "champion": queries.get_promoted(db(), dataset),
        "by": run_pages.get_user_name(db(), run.created_by_id),
        "parts": PARTS,
    }


def show_results(dataset: Dataset, run: Run) -> dict[str, Any]:
    metrics = run.metrics or {}
    judged = _judge(run)
    champion = queries.get_promoted(db(), dataset)
    found = confusions.list_confusions(judged, metrics["most_confused"]) if judged else []
    shown = [image.image_id for confusion in found for image in confusion.images]
    newest = measure_newest(judged)
    stands = newest is not None and is_same(newest, metrics)
    return {
        "splits": SPLITS,
        "bar": measure_bar(metrics),
        "matrix": charts.matrix(metrics["confusion"], metrics["classes"]),
        "per_class": list_classes(metrics),
        "classes": {cls.name: cls for cls in datasets.list_classes(db(), dataset.id)},
        "confusions": found,
        "images": run_pages.get_images(db(), shown),
        "measured": newest if stands else metrics,  # runs of older versions measured less
        "newest": None if stands else newest,
        "against": _against(champion, run),
        "cleaned": is_marked(dataset, metrics.get("split")),
        "next": _find_next(run),
    }


def _judge(run: Run, split: str | None = None) -> Judged | None:
    """What the run said beside the newest labels; none when its predictions are gone."""
    try:
        return judge(db(), home(), run, split=split)
    except NotFound:
        return None


def _against(champion: Run | None, run: Run) -> str | None:
    """How the run does against the promoted one and whether it may take its place; none where it is that one."""
    if champion is None or champion.id == run.id:
        return None
    return promotions.examine(db(), home(), run).sentence


def measure_newest(judged: Judged | None) -> dict[str, Any] | None:
    """The same predictions by the newest labels; none where they are gone."""
    if judged is None or len(judged.image_ids) == 0:
        return None
    return evaluate(judged.probs, judged.labels, class_names=judged.class_names)


def is_same(found: Mapping[str, Any], metrics: Mapping[str, Any]) -> bool:
    """Whether it is the number of the time of the training."""
    return (found["right"], found["n"]) == (metrics["right"], metrics["n"])


@dataclass(frozen=True)
class ClassRow:
    row: dict[str, Any]
    recall: IntervalBar


def list_classes(metrics: Mapping[str, Any]) -> list[ClassRow]:
    """The classes with most images first."""
    rows = sorted(metrics["per_class"], key=lambda row: -row["support"])
    return [
        ClassRow(row, charts.interval_bar(row["recall"], low=row["recall_low"], high=row["recall_high"]))
        for row in rows
    ]


@dataclass(frozen=True)
class Next:
    """The open queues of a run, and what their images that wait promise; an image in two queues counts once."""

    queues: list[Queue]
    images: int
    wrong: float | None
    minutes: int


def _find_next(run: Run) -> Next | None:
    queues = run_pages.list_queues(db(), run_id=run.id)
    images, wrong = run_pages.count_promised(db(), run_id=run.id)
    if not queues or not images:
        return None
    return Next(queues, images, wrong, max(1, round(images * SECONDS_PER_IMAGE / 60)))


@blueprint.get("/d/<name>/runs/<int:run_id>/cell")
def cell(name: str, run_id: int) -> ResponseReturnValue:
    """The images of one cell of the confusion matrix, by the newest labels, the surest predictions first."""
    dataset = load_dataset(name)
    run = load_run(run_id, dataset)
    true, predicted = request.args.get("true", ""), request.args.get("predicted", "")
    judged = judge(db(), home(), run)
    if not {true, predicted} <= set(judged.class_names):
        raise NotFound("There is no such cell in this run's matrix; its classes may have been merged since.")
    found = confusions.list_cell(judged, true=true, predicted=predicted)
    return page(
        "runs/cell.html",
        dataset=dataset,
        run=run,
        label=true,
        predicted=predicted,
        splits=SPLITS,
        classes={cls.name: cls for cls in datasets.list_classes(db(), dataset.id)},
        found=found[:CELL_IMAGES],
        total=len(found),
        split=judged.split,
        images=run_pages.get_images(db(), [each.image_id for each in found[:CELL_IMAGES]]),
    )
