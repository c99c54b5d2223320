"""Two runs side by side, on the same images by the same labels: what bought the difference; promoting the second."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from workbench.errors import Invalid, NotFound
from workbench.models import SPLITS, Dataset, Run
from workbench.queries import datasets, run_pages
from workbench.queries import runs as queries
from workbench.services import activities, comparisons, confusions, controls, gains, promotions
from workbench.services.comparisons import Pair
from workbench.services.promotions import Examination
from workbench.web import charts
from workbench.web.accounts import me, needs
from workbench.web.boundary import begin_writing, db, done, home, page
from workbench.web.charts import IntervalBar
from workbench.web.loaders import load_dataset, load_run

blueprint = Blueprint("comparing", __name__)

FLIPPED_IMAGES = 24
# how two runs differ on an image: of what a comparison calls it, what the recipe does, its title, in words
FLIPS = (
    ("b_right", "fixed", "Fixed", "wrong before, right now"),
    ("a_right", "broken", "Broken", "right before, wrong now"),
    ("both_wrong", "other", "Still wrong, differently", "another wrong class than before"),
)
STEPS = {
    "labels": ("Better labels to judge by", "the same run, judged by today's labels"),
    "retraining": ("Retraining", "other settings, on the labels that were learned before"),
    "curation": ("Curation", "the same settings, on the labels that were learned after"),
    "model": ("The model", "curation and retraining together"),
    "whole": ("Together", ""),
}


@blueprint.get("/d/<name>/compare")
def show(name: str) -> ResponseReturnValue:
    """Two runs on the same images by the same, newest labels."""
    dataset = load_dataset(name)
    first, second, split = parse_compare(request.args)
    if first is None or second is None or first == second:
        problem = "Choose two different runs." if request.args else ""
        return _show_choice(dataset, first, second, split=split, problem=problem)
    return show_pair(dataset, load_run(first, dataset), load_run(second, dataset), split=split)


def parse_compare(args: MultiDict[str, str]) -> tuple[int | None, int | None, str | None]:
    """`a` and `b`, or two `run` from the list's boxes: the older one is a."""
    ticked = sorted(args.getlist("run", type=int))
    if len(ticked) == 2:
        return ticked[0], ticked[1], None
    return args.get("a", type=int), args.get("b", type=int), args.get("split") or None


def show_pair(
    dataset: Dataset, run_a: Run, run_b: Run, *, split: str | None = None, problem: str = "", status: int = 200
) -> ResponseReturnValue:
    """problem: why the second was not promoted."""
    try:
        pair = comparisons.judge_pair(db(), home(), run_a=run_a, run_b=run_b, split=split)
    except (Invalid, NotFound) as error:
        words = str(error)
        return _show_choice(dataset, run_a.id, run_b.id, split=split, problem=words, gate=_examine(run_b, run_a))
    return page(
        "runs/compare.html",
        status=status,
        problem="",
        refused=problem,
        **_basics(dataset, run_a.id, run_b.id, split=split),
        **_compare(dataset, pair),
    )


def _show_choice(
    dataset: Dataset,
    first: int | None,
    second: int | None,
    *,
    split: str | None,
    problem: str,
    gate: Examination | None = None,
) -> ResponseReturnValue:
    """Without a comparison: which two? gate: whether the second may be promoted, where it can be asked."""
    return page(
        "runs/compare.html",
        status=422 if problem else 200,
        problem=problem,
        refused="",
        found=None,
        gate=gate,
        run_b=load_run(second, dataset) if gate and second else None,
        **_basics(dataset, first, second, split=split),
    )


def _basics(dataset: Dataset, first: int | None, second: int | None, *, split: str | None) -> dict[str, Any]:
    choices = queries.list_done_runs(db(), dataset_id=dataset.id)
    return {"dataset": dataset, "choices": choices, "a": first, "b": second, "split": split, "splits": SPLITS}


def _examine(run_b: Run, run_a: Run) -> Examination | None:
    """Whether the second may take the place of the first; none where the first is not the promoted one."""
    promoted = load_promoted(run_b)
    if run_b.status != "done" or (promoted is not None and promoted.id != run_a.id):
        return None
    return promotions.examine(db(), home(), run_b)


def load_promoted(run: Run) -> Run | None:
    return queries.get_promoted(db(), db().get_one(Dataset, run.dataset_id))


def _compare(dataset: Dataset, pair: Pair) -> dict[str, Any]:
    found = comparisons.compare_pair(db(), pair)
    names = (f"run {pair.run_a.id}", f"run {pair.run_b.id}")
    return {
        "found": found,
        "run_a": pair.run_a,
        "run_b": pair.run_b,
        "gate": _examine(pair.run_b, pair.run_a),
        "bars": [_side_bar(found["a_accuracy"]), _side_bar(found["b_accuracy"])],
        "gain": _explain(pair),
        "differences": controls.list_differences(pair.run_a, pair.run_b),
        "per_class": [
            (row, charts.paired_bars(row["class"], row["a_recall"], row["b_recall"], names=names))
            for row in found["per_class"]
        ],
        "change": _draw_change(pair),
        "strips": _list_strips(found["flipped"], pair),
        "classes": {cls.name: cls for cls in datasets.list_classes(db(), dataset.id)},
    }


def _side_bar(side: Mapping[str, float]) -> IntervalBar:
    return charts.interval_bar(side["accuracy"], low=side["low"], high=side["high"])


# --- what bought it ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One step of what bought the difference. The bar's numbers stand in a viewBox 100 wide."""

    title: str
    words: str
    found: dict[str, Any]
    zero: float
    value: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        return not self.found["low"] <= 0 <= self.found["high"]

    @property
    def is_whole(self) -> bool:
        return bool(self.found["part"] == "whole")


@dataclass(frozen=True)
class Gain:
    found: dict[str, Any]
    steps: list[Step]
    parting: controls.Parting


def _explain(pair: Pair) -> Gain | None:
    """None where no image had a label at the time of the older run."""
    parting = controls.part(db(), pair.run_a, pair.run_b)
    try:
        found = gains.explain_gain(db(), home(), pair, parting=parting)
    except (Invalid, NotFound):
        return None
    return Gain(found, list_steps(found["parts"]), parting)


def list_steps(parts: Sequence[dict[str, Any]]) -> list[Step]:
    """All on one scale, so that their bars can be compared."""
    least = min(0.0, *(part["low"] for part in parts))
    span = max(0.0, *(part["high"] for part in parts)) - least or 1.0

    def place(value: float) -> float:
        return float(round(100 * (value - least) / span, 2))

    keys = ("difference", "low", "high")
    return [Step(*STEPS[part["part"]], part, place(0.0), *(place(part[key]) for key in keys)) for part in parts]


@blueprint.post("/d/<name>/compare/control")
@needs("lead")
def train_control(name: str) -> ResponseReturnValue:
    """Ask for the run that parts curation from retraining: the settings of the second on the labels of the first."""
    dataset = load_dataset(name)
    run_a, run_b = (load_run(request.form.get(side, 0, type=int), dataset) for side in ("a", "b"))
    run = controls.ask_for_control(db(), dataset=dataset, user=me(), run_a=run_a, run_b=run_b)
    activities.record(db(), user=me(), kind="run_started", dataset=dataset, run=run.id, arch=run.arch)
    return done(url_for("runs.show", name=name, run_id=run.id), f"Run {run.id}, the control, is queued.")


# --- which images -----------------------------------------------------------------------------------------------


def _draw_change(pair: Pair) -> charts.Matrix | None:
    """How the matrix changed; none where the two runs know different classes."""
    if pair.a.class_ids != pair.b.class_ids:
        return None
    before, after = (confusions.count_confusions(judged).tolist() for judged in (pair.a, pair.b))
    return charts.change_matrix(before, after, pair.a.class_names)


@dataclass(frozen=True)
class Strip:
    """Images whose prediction flipped in one way, some of them shown with both predictions. kind: as the recipe's."""

    kind: str
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


def _list_strips(flipped: Mapping[str, list[int]], pair: Pair) -> list[Strip]:
    shown = {key: spread(flipped[key], most=FLIPPED_IMAGES) for key, *_ in FLIPS}
    images = run_pages.get_images(db(), [image_id for ids in shown.values() for image_id in ids])
    return [
        Strip(
            kind,
            title,
            words,
            len(flipped[key]),
            [images[image_id] for image_id in shown[key]],
            confusions.said_of(pair.a, shown[key]),
            confusions.said_of(pair.b, shown[key]),
        )
        for key, kind, title, words in FLIPS
    ]


# --- promoting the second ---------------------------------------------------------------------------------------


@blueprint.post("/d/<name>/runs/<int:run_id>/promote")
@needs("lead")
def promote(name: str, run_id: int) -> ResponseReturnValue:
    """If the test or a reason lets it; else the comparison, with the field for a reason."""
    dataset = load_dataset(name)
    run = load_run(run_id, dataset)
    reason = request.form.get("reason", "")
    examination = promotions.examine(db(), home(), run)
    champion = load_promoted(run)
    if not examination.passes and not reason.strip() and champion is not None:
        return show_pair(dataset, champion, run, problem=str(promotions.refusal(run, examination)), status=422)
    begin_writing()
    run = load_run(run_id, load_dataset(name))
    promotions.promote(db(), home(), run, user=me(), reason=reason, examination=examination)
    return done(url_for("runs.show", name=name, run_id=run_id), f"Run {run_id} is promoted; its queues are open.")
