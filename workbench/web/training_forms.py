"""Asking for a training: one form, from three clicks to every setting."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Invalid
from workbench.models import Dataset
from workbench.queries import datasets, votes
from workbench.queries import runs as queries
from workbench.services import activities, architectures, data_steps, runs, training_requests
from workbench.services.training_requests import BALANCES, VARIETIES, TrainingRequest
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, page
from workbench.web.loaders import load_dataset

blueprint = Blueprint("training_forms", __name__)

PRESETS = {
    "quick": "minutes: to see where labels and model stand",
    "standard": "a quarter of an hour for 30,000 small images: the one to promote",
    "thorough": "an hour or more: the last points of accuracy",
}
COPIES = {
    "exact": "Leave exact ones out of training",
    "near": "Leave near ones out too, by the newest scan",
    "none": "Train on them: the accuracy will be too high",
}
VARIATIONS = {
    "mirrored": "Yes, with mirror images",
    "unmirrored": "Yes, without mirror images: where left and right mean something, as in digits",
    "none": "No, as they are",
}
BALANCING = {
    "none": "As they come",
    "weigh": "Every class weighs the same: rare classes are found more often, accuracy may fall",
    "draw": "Every class is drawn equally often: rare images are seen again and again",
}
FLAGGED = {
    "keep": "Like any other image",
    "weigh": "Less, the likelier the label is wrong",
    "drop": "Not at all",
}
TARGETS = {
    "labels": "Its label",
    "votes": "The shares of its votes, where a reviewer has not decided",
    "posterior": "The posterior, where a reviewer has not decided: what verdicts on others say of it",
}


@dataclass(frozen=True)
class Setting:
    """A field that is a setting of the training by the same name; left empty, the preset decides."""

    name: str
    words: str
    note: str = ""
    low: float = 0
    high: float = 1
    whole: bool = False
    choices: Mapping[str, str] = field(default_factory=dict)  # a list to choose from instead of a number
    empty: str = "preset"  # what stands in the field while nothing else does

    @property
    def step(self) -> str:
        return "1" if self.whole else "any"

    def parse(self, words: str) -> Any:
        """The value typed. Raises ValueError with what it should be."""
        if self.choices:
            if words not in self.choices:
                raise ValueError("Choose one of these.")
            return words
        try:
            value = (int if self.whole else float)(words) if words.isascii() else None
        except ValueError:
            value = None
        if value is None or not self.low <= value <= self.high:
            kind = "whole number" if self.whole else "number"
            raise ValueError(f"A {kind} from {self.low:,} to {self.high:,}.")
        return value


LEARNING = (
    Setting("epochs", "Epochs", "Passes over the images.", 1, 10_000, whole=True),
    Setting("patience", "Stop early after", "Epochs without a better one on validation.", 0, 10_000, whole=True),
    Setting("seed", "Seed", "Equal seeds give equal runs.", 0, 2**53, whole=True, empty="0"),
    Setting("optimizer", "Optimiser", choices={"adamw": "AdamW", "adam": "Adam", "sgd": "SGD"}),
    Setting("learning_rate", "Learning rate", "Its peak.", 1e-8, 100),
    Setting(
        "schedule",
        "Then the rate",
        choices={
            "cosine": "falls along a cosine",
            "constant": "stays",
            "step": "drops every few epochs",
            "plateau": "drops when the loss stays",
        },
    ),
    Setting("decay", "A drop is to", "Of the rate before."),
    Setting("decay_epochs", "A drop comes after", "So many epochs.", 1, 10_000, whole=True),
    Setting("warmup", "Warm-up", "Share of the steps that lead up to the peak.", 0, 0.9),
    Setting("batch_size", "Batch", "Images in a step, at most.", 1, 65_536, whole=True),
    Setting("label_smoothing", "Label smoothing", "Share of certainty given to the other classes.", 0, 0.9),
    Setting("weight_decay", "Weight decay"),
    Setting("dropout", "Dropout", "Probability of all dropouts.", 0, 0.99, empty="as in the architecture"),
)
VARIATION = (
    Setting("augment.shift", "Shift", "Of the side.", 0, 1),
    Setting("augment.rotation", "Rotation", "Degrees.", 0, 180),
    Setting("augment.zoom", "Zoom", "Of the size.", 0, 0.9),
    Setting("augment.shear", "Shear", "Degrees.", 0, 60),
    Setting("augment.brightness", "Brightness", "Of white."),
    Setting("augment.contrast", "Contrast", "Of the distance to the mean."),
    Setting("augment.erasing", "Erasing", "Share of images that lose a square."),
    Setting(
        "mask",
        "Hide",
        "From every image, when it predicts too.",
        choices={"top": "the top", "eyes": "the eyes' height", "lower": "the lower half"},
        empty="nothing",
    ),
)
BOUNDS = (
    Setting("max_per_class", "At most", "Images of a class.", 0, data_steps.MOST_PER_CLASS, whole=True, empty="all"),
    Setting(
        "fill_per_class",
        "At least",
        "Images of a class, rare ones filled up with variants.",
        0,
        data_steps.MOST_PER_CLASS,
        whole=True,
        empty="what there is",
    ),
)
MACHINE = (
    Setting("image_size", "Image size", "Pixels a side.", 4, 1024, whole=True, empty="by the images"),
    Setting("channels", "Colours", choices={"1": "grey", "3": "colour"}, empty="by the images"),
    Setting(
        "precision",
        "Precision",
        choices={"float32": "float32", "bfloat16": "bfloat16", "float16": "float16"},
        empty="the fastest here",
    ),
    Setting("processes", "Processes", "One for each GPU.", 1, 64, whole=True, empty="1"),
)
RUN = Setting("from_run", "Start from", low=1, high=2**53, whole=True)
JUDGE = Setting("flagged_by", "By", low=1, high=2**53, whole=True)
DOUBT = Setting("flagged_from", "Dropped from P(wrong)", low=0.01)
PLAIN = (*LEARNING, *VARIATION, *BOUNDS, *MACHINE)


@blueprint.get("/d/<name>/runs/new")
@needs("lead")
def new(name: str) -> ResponseReturnValue:
    """Another page may have chosen already what the images are to teach."""
    targets = request.args.get("targets", "")
    typed = {"targets": targets, "promote": "on"} if targets in TARGETS else {}
    return _show_form(load_dataset(name), typed=typed, fields={})


def _show_form(
    dataset: Dataset, *, typed: Mapping[str, str], fields: Mapping[str, str], problem: str = "", status: int = 200
) -> ResponseReturnValue:
    finished = queries.list_done_runs(db(), dataset_id=dataset.id)
    champion = queries.get_promoted(db(), dataset)
    there = {"labels": True, "votes": votes.has_votes(db(), dataset.id), "posterior": champion is not None}
    return page(
        "runs/new.html",
        status=status,
        dataset=dataset,
        typed=dict(typed),
        fields=dict(fields),
        problem=problem,
        presets=PRESETS,
        choices={
            "leave_out": COPIES,
            "vary": VARIATIONS,
            "balance": BALANCING,
            "flagged": FLAGGED,
            "targets": {name: words for name, words in TARGETS.items() if there[name]},
        },
        settings={"learning": LEARNING, "variation": VARIATION, "bounds": BOUNDS, "machine": MACHINE},
        families=architectures.list_families(),
        last=finished[0] if finished else None,
        finished=finished,
        champion=champion,
        judges=[run for run in finished if run.config.get("folds")],
        splits=datasets.count_splits(db(), dataset.id, trainable=True),
    )


@blueprint.post("/d/<name>/runs")
@needs("lead")
def create(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    try:
        asked = parse_training(request.form)
        run = training_requests.ask_for_training(db(), dataset=dataset, user=me(), request=asked)
    except Invalid as error:
        return _show_form(dataset, typed=request.form, fields=error.fields, problem=str(error), status=422)
    activities.record(db(), user=me(), kind="run_started", dataset=dataset, run=run.id, arch=run.arch)
    return done(url_for("runs.show", name=name, run_id=run.id), f"Run {run.id} is queued.")


def parse_training(form: Mapping[str, str]) -> TrainingRequest:
    """The form as a request; Invalid names every field that cannot be read."""
    problems: dict[str, str] = {}
    found = {each.name: _parse(form, problems, each) for each in PLAIN}
    folds = _parse(form, problems, Setting("folds", "Folds", high=20, whole=True)) or 0
    from_run = _parse(form, problems, RUN)
    if folds == 1:
        problems["folds"] = "0 for none, or 2 to 20."
    chosen = {
        "leave_out": _choose(form, problems, "leave_out", runs.LEAVE_OUT),
        "vary": _choose(form, problems, "vary", VARIETIES),
        "balance": _choose(form, problems, "balance", BALANCES),
    }
    settings = {name: value for name, value in found.items() if value is not None and name != "seed"}
    settings |= _parse_steps(form, problems)
    if problems:
        raise Invalid("Some fields need another value.", **problems)
    preset = form.get("preset", "quick")
    return TrainingRequest(
        arch=form.get("arch", "").strip() or None,
        preset=preset,
        folds=0 if preset == "retrain" else folds,
        seed=found["seed"] or 0,
        promote=form.get("promote") == "on",
        from_run=from_run,
        settings={**settings, "compile": True} if form.get("compile") == "on" else settings,
        **chosen,
    )


def _parse_steps(form: Mapping[str, str], problems: dict[str, str]) -> dict[str, Any]:
    """The data steps that differ from doing nothing."""
    steps: dict[str, Any] = {
        "targets": _choose(form, problems, "targets", data_steps.TARGETS),
        "flagged": _choose(form, problems, "flagged", data_steps.FLAGGED),
    }
    if steps["flagged"] != "keep":
        steps["flagged_by"] = _parse(form, problems, JUDGE) or 0
    if steps["flagged"] == "drop":
        steps["flagged_from"] = _parse(form, problems, DOUBT) or 0.5
    plain = {"targets": "labels", "flagged": "keep", "flagged_by": 0}
    return {name: value for name, value in steps.items() if value != plain.get(name)}


def _parse(form: Mapping[str, str], problems: dict[str, str], setting: Setting) -> Any:
    """The value of a field, none where it was left empty or cannot be read, which is noted."""
    words = form.get(setting.name, "").strip()
    if not words:
        return None
    try:
        return setting.parse(words)
    except ValueError as error:
        problems[setting.name] = str(error)
        return None


def _choose(form: Mapping[str, str], problems: dict[str, str], name: str, choices: tuple[str, ...]) -> str:
    chosen = form.get(name, choices[0])
    if chosen not in choices:
        problems[name] = "Choose one of these."
    return chosen
