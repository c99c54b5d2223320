"""Studies: the list, asking for one, its page with table and plot while it runs and afterwards."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Invalid, NotFound
from workbench.models import Dataset, Job, Study
from workbench.queries import datasets, run_pages
from workbench.queries import studies as queries
from workbench.services import activities, studies, study_files, study_tables
from workbench.services.curves import read_curves
from workbench.services.study_files import GOALS, Plan, write_value
from workbench.services.study_tables import TableRow
from workbench.web import study_charts
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, home, page, wants_fragment
from workbench.web.jobs import time_left
from workbench.web.loaders import load_dataset, load_study
from workbench.web.study_charts import DotPlot, Plot, Share, Trial

blueprint = Blueprint("studies", __name__)

MOST_SCATTERS = 5
METHOD_WORDS = {"list": "a list of runs", "grid": "a grid", "hyperband": "Hyperband"}


# --- the list ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StudyLine:
    """A study with what the list says about it."""

    study: Study
    plan: Plan
    ended: int
    job: Job | None
    best: queries.Measured | None

    @property
    def state(self) -> str:
        return find_state(self.study, self.job)


def make_line(study: Study, ended: int, job: Job | None, measured: Sequence[queries.Measured]) -> StudyLine:
    """measured: the runs of all studies of the page."""
    plan = studies.plan_of(study)
    sign = -1.0 if plan.search and plan.search.goal == "loss" else 1.0
    mine = [each for each in measured if each.study_id == study.id]

    def rank(run: queries.Measured) -> float:
        return run.accuracy if plan.search is None or run.score is None else sign * run.score

    return StudyLine(study, plan, ended, job, max(mine, key=rank, default=None))


def find_state(study: Study, job: Job | None) -> str:
    """The study's status; that of its job where the study has not heard of its end; left, where nobody is at it."""
    if study.is_over:
        return study.status
    if job is None:
        return study.status if studies.is_alive(home(), study.id) else "left"
    if job.is_over:
        return "failed" if job.status == "done" else job.status
    return study.status


@blueprint.get("/d/<name>/studies")
def index(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    found = queries.list_studies(db(), dataset_id=dataset.id)
    ids = [study.id for study in found]
    ended, jobs = queries.count_ended(db(), ids), queries.get_jobs(db(), ids, dataset_id=dataset.id)
    measured = queries.list_measured(db(), ids)
    return page(
        "studies/index.html",
        dataset=dataset,
        lines=[make_line(each, ended.get(each.id, 0), jobs.get(each.id), measured) for each in found],
        saved=list_saved(),
        methods=METHOD_WORDS,
        image_count=datasets.count_images(db(), dataset.id),
    )


def list_saved() -> list[Plan]:
    """What comes with the program."""
    return [study_files.read_plan(study_files.find_document(name)) for name in study_files.list_saved()]


@blueprint.app_template_global()
def study_of(run_id: int) -> tuple[int, str] | None:
    """The study that a run belongs to, and what it is called: for the crumbs of the run's pages."""
    study = queries.find_study_of(db(), run_id=run_id)
    return (study.id, studies.plan_of(study).title or study.name) if study else None


# --- asking for one ---------------------------------------------------------------------------------------------


@blueprint.get("/d/<name>/studies/new")
@needs("lead")
def new(name: str) -> ResponseReturnValue:
    return _show_form(load_dataset(name), typed=request.args, fields={})


def _show_form(
    dataset: Dataset, *, typed: Mapping[str, str], fields: Mapping[str, str], problem: str = "", status: int = 200
) -> ResponseReturnValue:
    return page(
        "studies/new.html",
        status=status,
        dataset=dataset,
        typed=dict(typed),
        fields=dict(fields),
        problem=problem,
        saved=list_saved(),
        goals=GOALS,
        has_validation=bool(datasets.count_splits(db(), dataset.id, trainable=True).get("validation")),
    )


@blueprint.post("/d/<name>/studies")
@needs("lead")
def create(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    try:
        document = parse_study(request.form)
        small = request.form.get("small") == "on"
        study = studies.ask_for_study(db(), dataset=dataset, user=me(), document=document, small=small)
    except (Invalid, NotFound) as error:
        fields = error.fields if isinstance(error, Invalid) else {}
        return _show_form(dataset, typed=request.form, fields=fields, problem=str(error), status=422)
    activities.record(db(), user=me(), kind="study_started", dataset=dataset, study=study.id, name=study.name)
    return done(url_for(".show", name=name, study_id=study.id), f"Study {study.id} is queued.")


def parse_study(form: Mapping[str, str]) -> dict[str, Any]:
    """What one of the page's three forms asks for, as a file would say it."""
    kind = form.get("kind", "saved")
    if kind == "saved":
        chosen = form.get("saved", "")
        if chosen not in study_files.list_saved():  # a name only: no path of the server is read for anybody
            raise Invalid("Choose one of the saved configurations.", saved="Choose one of these.")
        return study_files.find_document(chosen)
    if kind == "file":
        text = form.get("text", "").strip()
        if not text:
            raise Invalid("Paste the study's file.", text="Paste the file here.")
        return study_files.parse_document(text)
    return parse_search(form)


def parse_search(form: Mapping[str, str]) -> dict[str, Any]:
    """The search form; Invalid names every field that cannot be read."""
    problems: dict[str, str] = {}
    lines = [line for line in form.get("ranges", "").splitlines() if line.strip()]
    if not lines:
        problems["ranges"] = "One setting on each line."
    numbers = {"runs": (1, study_files.MOST_RUNS), "epochs": (1, 10_000)}
    found: dict[str, int] = {}
    for field, (low, high) in numbers.items():
        words = form.get(field, "").strip()
        if words and not (words.isascii() and words.isdecimal() and low <= int(words) <= high):
            problems[field] = f"A whole number from {low} to {high:,}."
        elif words:
            found[field] = int(words)
    if problems:
        raise Invalid("Some fields need another value.", **problems)
    ranges = study_files.parse_ranges(lines)
    search: dict[str, Any] = {
        "method": form.get("method", "hyperband"),
        "goal": form.get("goal", "accuracy"),
        "arch": form.get("arch", "").strip() or "compact",
        "preset": form.get("preset", "quick"),
        "ranges": ranges,
    }
    if "runs" in found:
        search["runs"] = found["runs"]
    if "epochs" in found:
        search["settings"] = {"epochs": found["epochs"]}
    return {"name": "search", "title": f"Search over {', '.join(ranges)}", "search": search}


# --- one study --------------------------------------------------------------------------------------------------


def _load(name: str, study_id: int) -> tuple[Dataset, Study, Job | None]:
    dataset = load_dataset(name)
    study = load_study(study_id, dataset)
    return dataset, study, queries.get_jobs(db(), [study.id], dataset_id=dataset.id).get(study.id)


@blueprint.get("/d/<name>/studies/<int:study_id>")
def show(name: str, study_id: int) -> ResponseReturnValue:
    """Its table and plot; asked for again every three seconds until it is over."""
    dataset, study, job = _load(name, study_id)
    plan, rows = studies.plan_of(study), study_tables.make_table(db(), study)
    state = find_state(study, job)
    is_open = state in ("queued", "running")
    if wants_fragment() and not is_open:  # it was watched to its end: what one may do now stands outside of the block
        return done(url_for(".show", name=name, study_id=study_id))
    verdict = None if is_open else study_tables.judge(db(), home(), rows, plan)
    best = verdict.best if verdict else study_tables.find_best(rows, plan)
    return page(
        "studies/study.html",
        block="study",
        dataset=dataset,
        study=study,
        plan=plan,
        job=job,
        state=state,
        is_open=is_open,
        rows=sort_rows(rows, plan) if not is_open else rows,
        best=best,
        verdict=verdict,
        dots=draw_dots(rows),
        plots=draw_search(rows, plan, best),
        ended=sum(row.state in ("done", "stopped", "failed") for row in rows),
        can_go_on=studies.can_go_on(study, queries.list_entries(db(), study_id=study.id), job),
        by=run_pages.get_user_name(db(), study.created_by_id),
        methods=METHOD_WORDS,
        time_left=time_left,
        written=write_value,
        command=command_of(dataset, study),
    )


def sort_rows(rows: Sequence[TableRow], plan: Plan) -> list[TableRow]:
    """A list as its file has it; of a search the best first, then those that were stopped, the furthest first."""
    if plan.search is None:
        return list(rows)
    sign = -1.0 if plan.search.goal == "loss" else 1.0

    def rank(row: TableRow) -> tuple[bool, int, float]:
        score = -math.inf if row.score is None else sign * row.score
        return row.state != "done", -(row.run.epochs_done if row.run else 0), -score

    return sorted(rows, key=rank)


def draw_dots(rows: Sequence[TableRow]) -> DotPlot | None:
    """Our accuracy and the published one of each row, on one axis, by number of the run."""
    return study_charts.dot_plot({row.number: (_share_of(row), _published_of(row), _say_both(row)) for row in rows})


def _share_of(row: TableRow) -> Share | None:
    metrics = row.metrics
    return Share(metrics["accuracy"], metrics["low"], metrics["high"]) if metrics else None


def _published_of(row: TableRow) -> Share | None:
    published = row.published
    return Share(published.accuracy, published.low, published.high) if published else None


def _say_both(row: TableRow) -> str:
    ours = f"accuracy {row.accuracy:.1%}" if row.accuracy is not None else "not measured"
    return f"{row.name}: {ours}{f', published {row.published.accuracy:.1%}' if row.published else ''}"


def draw_search(rows: Sequence[TableRow], plan: Plan, best: TableRow | None) -> list[Plot]:
    """The curves of all runs, then the score over each setting; empty for a list, and before the first epoch."""
    search = plan.search
    if search is None:
        return []
    trials = [
        Trial(
            name=row.name,
            chosen=dict(row.chosen),
            curve=studies.list_scores(read_curves(home(), row.run.id), goal=search.goal),
            kind="best" if row is best else "stopped" if row.state == "stopped" else "done",
        )
        for row in rows
        if row.run is not None
    ]
    if not any(trial.curve for trial in trials):
        return []
    epochs = max([row.run.config.get("training", {}).get("epochs", 1) for row in rows if row.run], default=1)
    keys = [key for key in search.ranges if key != "seed"][:MOST_SCATTERS]
    return [
        study_charts.curve_plot(trials, epochs=epochs, goal=search.goal),
        *(study_charts.scatter(key, search.ranges[key], trials, goal=search.goal) for key in keys),
    ]


def command_of(dataset: Dataset, study: Study) -> str:
    """The command that asks for the same study, or for its file."""
    small = " --small" if study.small else ""
    name = study.name if study.name in study_files.list_saved() else f"{study.name}.toml"
    return f"workbench study run {name} --dataset {shlex.quote(dataset.name)}{small}"


@blueprint.post("/d/<name>/studies/<int:study_id>/cancel")
@needs("lead")
def cancel(name: str, study_id: int) -> ResponseReturnValue:
    dataset, study, job = _load(name, study_id)
    studies.cancel_study(study=study, job=job)
    activities.record(db(), user=me(), kind="study_cancelled", dataset=dataset, study=study_id)
    return done(url_for(".show", name=name, study_id=study_id), "The study stops at its next step.")


@blueprint.post("/d/<name>/studies/<int:study_id>/go-on")
@needs("lead")
def go_on(name: str, study_id: int) -> ResponseReturnValue:
    dataset, study, job = _load(name, study_id)
    studies.go_on(db(), study=study, dataset=dataset, job=job, user=me())
    activities.record(db(), user=me(), kind="job_retried", dataset=dataset, title=f"study {study_id}")
    return done(url_for(".show", name=name, study_id=study_id), "Queued again; what is done is not done twice.")
