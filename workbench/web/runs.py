"""Runs: the list, and watching one. Asked for in training_forms.py, judged in run_results.py, two in comparing.py."""

from dataclasses import dataclass
from datetime import datetime

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from workbench.models import Dataset, Job, Run
from workbench.queries import datasets, run_pages
from workbench.services import activities, training_requests
from workbench.services.curves import read_curves
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, home, page
from workbench.web.charts import IntervalBar
from workbench.web.learning_curves import draw_curves
from workbench.web.loaders import load_dataset, load_run
from workbench.web.run_results import describe_run, measure_bar, show_results

blueprint = Blueprint("runs", __name__)

PER_PAGE = 30
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


# --- ending it, or trying again ---------------------------------------------------------------------------------


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
