"""Runs: the list, asking for a training, watching it; what came out is in run_results.py, two runs in comparing.py."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Invalid
from workbench.models import Dataset, Job, Run
from workbench.queries import datasets, run_pages
from workbench.queries import runs as queries
from workbench.services import activities, runs, training_requests
from workbench.services.architectures import ARCHITECTURES
from workbench.services.curves import read_curves
from workbench.services.training_requests import TrainingRequest
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, home, page
from workbench.web.charts import IntervalBar
from workbench.web.learning_curves import draw_curves
from workbench.web.loaders import load_dataset, load_run
from workbench.web.run_results import describe_run, measure_bar, show_results

blueprint = Blueprint("runs", __name__)

PER_PAGE = 30
PRESETS = {
    "quick": "minutes: to see where labels and model stand",
    "standard": "about half an hour for 30,000 small images: the one to promote",
    "thorough": "an hour or more: the last points of accuracy",
}
VARIATIONS = {
    "mirrored": "Yes, with mirror images",
    "unmirrored": "Yes, without mirror images: where left and right mean something, as in digits",
    "none": "No, as they are",
}
OVER = ("done", "failed", "cancelled")


# --- the list ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunRow:
    """A run with what the list says about it. status: of the job where the run's row has not heard of its end."""

    run: Run
    job: Job | None

    @property
    def status(self) -> str:
        if self.run.status not in OVER and self.job is not None and self.job.is_over:
            return "failed" if self.job.status == "done" else self.job.status
        return self.run.status

    @property
    def is_over(self) -> bool:
        return self.status in OVER

    @property
    def bar(self) -> IntervalBar | None:
        return measure_bar(self.run.metrics) if self.run.metrics else None

    @property
    def share(self) -> float | None:
        """How far it is, by its job, else by its epochs; none before the first image."""
        if self.job is not None and self.job.total:
            return self.job.done / self.job.total
        epochs = self.run.config.get("training", {}).get("epochs")
        return self.run.epochs_done / epochs if epochs else None

    def left_s(self, now: datetime) -> float | None:
        """Seconds to go at the present pace, in coarse steps; none while it is too early to tell."""
        if self.job is None or self.job.started_at is None or not self.share or self.share < 0.01:
            return None
        seconds = (now - self.job.started_at).total_seconds() * (1 - self.share) / self.share
        step = 5 if seconds < 60 else 30 if seconds < 600 else 60
        return float(max(step, step * round(seconds / step)))


@blueprint.get("/d/<name>/runs")
def index(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    found = run_pages.list_page(
        db(), dataset_id=dataset.id, before=request.args.get("before", type=int), limit=PER_PAGE + 1
    )
    jobs = run_pages.get_jobs(db(), [run.id for run in found], dataset_id=dataset.id)
    return page(
        "runs/index.html",
        dataset=dataset,
        rows=[RunRow(run, jobs.get(run.id)) for run in found[:PER_PAGE]],
        following=found[PER_PAGE - 1].id if len(found) > PER_PAGE else None,
        image_count=datasets.count_images(db(), dataset.id),
    )


def _load_row(name: str, run_id: int) -> tuple[Dataset, RunRow]:
    dataset = load_dataset(name)
    run = load_run(run_id, dataset)
    return dataset, RunRow(run, run_pages.get_jobs(db(), [run.id], dataset_id=dataset.id).get(run.id))


@blueprint.get("/d/<name>/runs/<int:run_id>/progress")
def progress(name: str, run_id: int) -> ResponseReturnValue:
    """One line of the list while it trains; when it is over, the list is loaded anew."""
    dataset, row = _load_row(name, run_id)
    if row.is_over:
        return done(url_for(".index", name=name))
    return page("runs/_progress.html", dataset=dataset, row=row)


# --- asking for a training --------------------------------------------------------------------------------------


@blueprint.get("/d/<name>/runs/new")
@needs("lead")
def new(name: str) -> ResponseReturnValue:
    return _show_form(load_dataset(name), typed={}, fields={})


def _show_form(
    dataset: Dataset, *, typed: Mapping[str, str], fields: Mapping[str, str], problem: str = "", status: int = 200
) -> ResponseReturnValue:
    last = next(iter(queries.list_done_runs(db(), dataset_id=dataset.id, limit=1)), None)
    return page(
        "runs/new.html",
        status=status,
        dataset=dataset,
        typed=dict(typed),
        fields=dict(fields),
        problem=problem,
        presets=PRESETS,
        architectures=ARCHITECTURES,
        variations=VARIATIONS,
        last=last,
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
    return done(url_for(".show", name=name, run_id=run.id), f"Run {run.id} is queued.")


def parse_training(form: Mapping[str, str]) -> TrainingRequest:
    """The form as a request; Invalid names every field that cannot be read."""
    problems: dict[str, str] = {}
    number = partial(_parse_number, form, problems)
    epochs, patience = number("epochs", low=1, high=10_000), number("patience", low=0, high=10_000)
    folds, seed = number("folds", low=0, high=20) or 0, number("seed", low=0, high=2**53) or 0
    if folds == 1:
        problems["folds"] = "0 for none, or 2 to 20."
    leave_out = form.get("leave_out", "exact")
    if leave_out not in runs.LEAVE_OUT:
        problems["leave_out"] = "Choose one of these."
    vary = form.get("vary", "mirrored")
    if vary not in VARIATIONS:
        problems["vary"] = "Choose one of these."
    if problems:
        raise Invalid("Some fields need another value.", **problems)
    return TrainingRequest(
        arch=form.get("arch", "").strip() or "compact",
        preset=form.get("preset", "quick"),
        epochs=epochs,
        folds=folds,
        seed=seed,
        balanced=form.get("balanced") == "on",
        vary=vary,
        patience=patience,
        promote=form.get("promote") == "on",
        leave_out=leave_out,
    )


def _parse_number(form: Mapping[str, str], problems: dict[str, str], field: str, *, low: int, high: int) -> int | None:
    words = form.get(field, "").strip()
    if not words:
        return None
    if not words.isascii() or not words.isdecimal() or not low <= int(words) <= high:
        problems[field] = f"A whole number from {low} to {high:,}."
        return None
    return int(words)


@blueprint.post("/d/<name>/runs/<int:run_id>/cancel")
@needs("lead")
def cancel(name: str, run_id: int) -> ResponseReturnValue:
    dataset, row = _load_row(name, run_id)
    training_requests.cancel_training(run=row.run, job=row.job)
    activities.record(db(), user=me(), kind="run_cancelled", dataset=dataset, run=run_id)
    return done(url_for(".show", name=name, run_id=run_id), "The training stops at its next step.")


@blueprint.post("/d/<name>/runs/<int:run_id>/retry")
@needs("lead")
def retry(name: str, run_id: int) -> ResponseReturnValue:
    dataset, row = _load_row(name, run_id)
    training_requests.retry_training(db(), dataset=dataset, run=row.run, job=row.job, user=me())
    activities.record(db(), user=me(), kind="job_retried", dataset=dataset, title=f"run {run_id}")
    return done(url_for(".show", name=name, run_id=run_id), "Queued again; it goes on from its last whole epoch.")


@blueprint.post("/d/<name>/runs/<int:run_id>/promote")
@needs("lead")
def promote(name: str, run_id: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    runs.promote(db(), home(), load_run(run_id, dataset))
    activities.record(db(), user=me(), kind="run_promoted", dataset=dataset, run=run_id)
    return done(url_for(".show", name=name, run_id=run_id), f"Run {run_id} is promoted; its queues are open.")


# --- one run ----------------------------------------------------------------------------------------------------


@blueprint.get("/d/<name>/runs/<int:run_id>")
def show(name: str, run_id: int) -> ResponseReturnValue:
    """While it trains: how far. Afterwards: what came out, or why nothing did."""
    dataset, row = _load_row(name, run_id)
    if row.status == "done":
        return page("runs/done.html", **describe_run(dataset, row.run), **show_results(dataset, row.run))
    curves = read_curves(home(), run_id)
    return page(
        "runs/failed.html" if row.is_over else "runs/live.html",
        dataset=dataset,
        row=row,
        run=row.run,
        curves=curves,
        charts=draw_curves(curves),
        command=training_requests.command_of(dataset, row.run),
        by=run_pages.get_user_name(db(), row.run.created_by_id),
    )


@blueprint.get("/d/<name>/runs/<int:run_id>/live")
def live(name: str, run_id: int) -> ResponseReturnValue:
    """The block that a page of a running training asks for every two seconds."""
    dataset, row = _load_row(name, run_id)
    if row.is_over:
        return done(url_for(".show", name=name, run_id=run_id))
    curves = read_curves(home(), run_id)
    return page("runs/_live.html", dataset=dataset, row=row, run=row.run, curves=curves, charts=draw_curves(curves))
