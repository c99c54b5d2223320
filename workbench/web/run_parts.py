"""The parts of a finished run's page behind its overview, each an address of its own."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Invalid, NotFound
from workbench.models import Dataset, Run
from workbench.queries import datasets
from workbench.services import coverage, evaluation_reports, subgroups, temperatures, training_requests
from workbench.services.curves import read_curves
from workbench.services.evaluations import Judged, evaluate_judged, judge
from workbench.services.leaks import RunLeak, measure_run
from workbench.services.subgroups import Group, Grouping
from workbench.services.training_descriptions import describe_training
from workbench.web import charts
from workbench.web.boundary import db, done, home, page
from workbench.web.charts import IntervalBar, PairedBars
from workbench.web.learning_curves import draw_curves
from workbench.web.loaders import load_dataset, load_run
from workbench.web.posterior import describe_posterior
from workbench.web.run_results import describe_run

blueprint = Blueprint("run_parts", __name__)
_Part = Callable[[Dataset, Run, Judged], ResponseReturnValue]


@blueprint.get("/d/<name>/runs/<int:run_id>/copies")
def copies(name: str, run_id: int) -> ResponseReturnValue:
    """A line of the overview: the accuracy on images with a copy among those trained on, and on the rest."""
    dataset, run = _load(name, run_id)
    return page("runs/_copies.html", dataset=dataset, run=run, leak=_measure_leak(run))


def _measure_leak(run: Run) -> RunLeak | None:
    """None where its predictions are gone or nothing unseen is left to measure on."""
    try:
        return measure_run(db(), home(), run)
    except NotFound:
        return None


def _load(name: str, run_id: int) -> tuple[Dataset, Run]:
    dataset = load_dataset(name)
    return dataset, load_run(run_id, dataset)


def _to_overview(run: Run, dataset: Dataset) -> ResponseReturnValue:
    return done(url_for("runs.show", name=dataset.name, run_id=run.id))


def _judge(run: Run) -> Judged | None:
    """None when its predictions are gone, or none of its images is left to measure on."""
    try:
        judged = judge(db(), home(), run)
    except NotFound:
        return None
    return judged if len(judged.image_ids) else None


def _of_judged(template: str) -> Callable[[_Part], Callable[[str, int], ResponseReturnValue]]:
    """A view of the images that a run is judged by: the overview for a run without a measure, and where its predictions
    are gone, or none of its images is left to measure on, the template alone, which says so."""

    def wrap(view: _Part) -> Callable[[str, int], ResponseReturnValue]:
        @functools.wraps(view)
        def shown(name: str, run_id: int) -> ResponseReturnValue:
            dataset, run = _load(name, run_id)
            if run.metrics is None:
                return _to_overview(run, dataset)
            judged = _judge(run)
            if judged is None:
                return page(template, **describe_run(dataset, run), found=None, is_gone=True)
            return view(dataset, run, judged)

        return shown

    return wrap


# --- measures ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measure:
    """A line of the table; bar is none for what is no share."""

    name: str
    words: str
    value: float | None
    low: float | None
    high: float | None
    baseline: float | None
    bar: IntervalBar | None
    n: int


SHARES = {  # key: name, what it is
    "accuracy": ("Accuracy", "its most probable class is the label"),
    "top2": ("Top 2", "the label is among its two most probable classes"),
    "macro_f1": ("Macro F1", "precision and recall as one, each class counting alike"),
    "weighted_f1": ("Weighted F1", "the same, each class counting by its images"),
    "auc": ("AUC", "an image of a class gets more for it than one of another"),
}


@blueprint.get("/d/<name>/runs/<int:run_id>/measures")
@_of_judged("runs/measures.html")
def measures(dataset: Dataset, run: Run, judged: Judged) -> ResponseReturnValue:
    """Every measure with its interval, its n and what guessing reaches; then by class."""
    found = evaluate_judged(db(), run, judged)
    return page(
        "runs/measures.html",
        **describe_run(dataset, run),
        found=found,
        shares=list_shares(found),
        losses=list_losses(found, evaluation_reports.measure_votes(db(), run, judged)),
        counts=list_counts(found),
        classes={cls.name: cls for cls in datasets.list_classes(db(), dataset.id)},
    )


def list_shares(found: Mapping[str, Any]) -> list[Measure]:
    lines = []
    for key, (title, words) in SHARES.items():
        low, high = (found["low"], found["high"]) if key == "accuracy" else (found[f"{key}_low"], found[f"{key}_high"])
        baseline = found["baseline"][key]
        bar = charts.interval_bar(found[key], low=low, high=high, baseline=baseline)
        lines.append(Measure(title, words, found[key], low, high, baseline, bar, found["n"]))
    return lines


def list_losses(found: Mapping[str, Any], votes: Mapping[str, Any] | None) -> list[Measure]:
    """What is better the smaller it is; votes: cross-entropy to them, where there are some."""
    lines = [
        Measure(
            "Log loss", "how surprised it is by the label, in nats", found["log_loss"], found["log_loss_low"],
            found["log_loss_high"], found["baseline"]["log_loss"], None, found["n"],
        )
    ]  # fmt: skip
    if votes:
        words = f"how surprised it is by the raters; they alone have {votes['floor']:.3f}"
        lines.append(
            Measure(
                "Cross-entropy to the votes", words, votes["cross_entropy"], votes["low"], votes["high"],
                votes["baseline"], None, votes["n"],
            )
        )  # fmt: skip
    return lines


def list_counts(found: Mapping[str, Any]) -> list[tuple[dict[str, Any], PairedBars]]:
    """Per class, most images first: how many carry it and how many are predicted so."""
    most = max((max(row["support"], row["predicted"]) for row in found["per_class"]), default=0) or 1
    return [
        (row, charts.count_bars(row["name"], row["support"], row["predicted"], most=most))
        for row in sorted(found["per_class"], key=lambda row: -row["support"])
    ]


# --- calibration ------------------------------------------------------------------------------------------------


@blueprint.get("/d/<name>/runs/<int:run_id>/calibration")
@_of_judged("runs/calibration.html")
def calibration(dataset: Dataset, run: Run, judged: Judged) -> ResponseReturnValue:
    """Whether it is as sure as it is right, as it is and with a temperature."""
    found = evaluate_judged(db(), run, judged)
    scaled = temperatures.measure_scaled(db(), home(), run, judged)
    return page(
        "runs/calibration.html",
        **describe_run(dataset, run),
        found=found,
        scaled=scaled,
        as_it_is=charts.reliability("As it says", found["calibration"]),
        with_it=charts.reliability("With the temperature", scaled["calibration"]) if scaled else None,
        leaning=measure_leaning(judged),
    )


def measure_leaning(judged: Judged) -> float:
    """By how much it is surer than it is right, on average; negative where it is less sure."""
    shares = judged.probs / judged.probs.sum(1, keepdims=True)
    return float(shares.max(1).mean() - np.mean(shares.argmax(1) == judged.labels))


# --- groups -----------------------------------------------------------------------------------------------------


@blueprint.get("/d/<name>/runs/<int:run_id>/groups")
@_of_judged("runs/groups.html")
def groups(dataset: Dataset, run: Run, judged: Judged) -> ResponseReturnValue:
    """Accuracy on parts of the images, by an attribute; against all others or one of them."""
    facts = subgroups.list_facts(db(), dataset, judged)
    by = request.args.get("by") or next(iter(facts))
    found, problem = _group(dataset, judged, by=by, against=request.args.get("against") or None)
    return page(
        "runs/groups.html",
        status=422 if problem else 200,
        **describe_run(dataset, run),
        facts=facts,
        chosen=by,
        is_gone=False,
        found=found,
        problem=problem,
        lines=[(group, _group_bar(group, found)) for group in found.groups] if found else [],
        sentence=subgroups.make_sentence(found) if found else "",
    )


def _group(dataset: Dataset, judged: Judged, *, by: str, against: str | None) -> tuple[Grouping | None, str]:
    """The groups, or why there are none."""
    try:
        return subgroups.measure_groups(db(), dataset, judged, by=by, against=against), ""
    except NotFound as error:
        return None, "" if by in subgroups.FACTS else str(error)
    except Invalid as error:
        return None, str(error)


def _group_bar(group: Group, found: Grouping) -> IntervalBar:
    low, high = group.rate.interval
    return charts.interval_bar(group.rate.accuracy, low=low, high=high, baseline=found.rate.accuracy)


# --- training ---------------------------------------------------------------------------------------------------


@blueprint.get("/d/<name>/runs/<int:run_id>/training")
def training(name: str, run_id: int) -> ResponseReturnValue:
    """How it learned, from what, and how to do it again."""
    dataset, run = _load(name, run_id)
    if run.metrics is None:
        return _to_overview(run, dataset)
    return page(
        "runs/training.html",
        **describe_run(dataset, run),
        charts=draw_curves(read_curves(home(), run_id), run.metrics["baseline"]["accuracy"], with_rate=True),
        stages=_cover(run),
        command=training_requests.command_of(dataset, run),
        **describe_posterior(run),
        described=describe_training(run.config),
    )


def _cover(run: Run) -> list[coverage.Stage]:
    try:
        return coverage.measure_coverage(db(), home(), run)
    except NotFound:  # its predictions are gone
        return []
