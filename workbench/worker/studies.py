"""Carrying out a study: one run after the other, each resumable, and so is the whole. A kill costs part of an epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ml.configs import make_config
from ml.search import Search, Span, Tried
from workbench.config import Home
from workbench.errors import Cancelled, Invalid, WorkbenchError, explain
from workbench.models import Dataset, Run, User
from workbench.queries import datasets as dataset_queries
from workbench.queries import studies as queries
from workbench.services import studies, users
from workbench.services.architectures import ABOVE_RUNS
from workbench.services.curves import read_curves
from workbench.services.data_steps import parse_steps
from workbench.services.study_files import Plan, PlannedRun, vary
from workbench.services.study_tables import report_study
from workbench.worker import trainings
from workbench.worker.context import Context, EpochWatch, Progress

_PARTS = 1000  # of the progress of one run


class _Stopped(Cancelled):
    """The search gives a run up; its checkpoint stands."""


def run_study(context: Context, *, dataset: str, study: int) -> dict[str, Any]:  # noqa: ARG001 - every job names its data set
    """The job of a study. Between two runs it lets trainings pass that others wait for, and goes on behind them."""
    carry_out(context, study, lets_pass=True)
    with context.database.read() as session:
        row = queries.get_study(session, study)
        entries = queries.list_entries(session, study_id=study)
        ended = sum(studies.is_settled(entry) for entry in entries)
        return {"study": study, "status": row.status, "ended": ended, "runs": studies.plan_of(row).most}


def start_study(context: Context, *, dataset: str, document: Mapping[str, Any], small: bool = False) -> dict[str, Any]:
    """The same in the foreground: one that was asked for in the same way and left in the middle is gone on with."""
    with context.database.write() as session:
        user_id = context.user_id or users.ensure_admin(session).id
    with context.database.write() as session:
        row = dataset_queries.get_dataset(session, dataset)
        user = session.get_one(User, user_id)
        like = studies.draft_study(session, dataset=row, user=user, document=document, small=small)
        found = studies.find_unfinished(session, context.home, like=like)
        if found is None:
            found = studies.open_study(session, dataset=row, user=user, document=document, small=small)
        study_id = found.id
    carry_out(context, study_id)
    with context.database.read() as session:
        return report_study(session, queries.get_study(session, study_id))


def carry_out(context: Context, study_id: int, *, lets_pass: bool = False) -> None:
    """Do what is left of the study. lets_pass: stop between two runs while a training waits, and ask for the rest."""
    with studies.claim(context.home, study_id):
        try:
            is_done = _go_through(context, study_id, lets_pass=lets_pass)
        except Cancelled:
            with context.database.write() as session:
                studies.cancel(queries.get_study(session, study_id))
            raise
        except Exception as error:
            sentence = str(error) if isinstance(error, WorkbenchError) else f"{type(error).__name__}: {error}."
            with context.database.write() as session:
                studies.fail(queries.get_study(session, study_id), error=explain(error) or sentence)
            raise
        with context.database.write() as session:
            study = queries.get_study(session, study_id)
            if is_done:
                studies.finish(study)
            else:
                dataset, user = session.get_one(Dataset, study.dataset_id), session.get_one(User, study.created_by_id)
                studies.enqueue(session, dataset=dataset, user=user, study=study)


def _go_through(context: Context, study_id: int, *, lets_pass: bool) -> bool:
    """Whether all of it is done."""
    with context.database.write() as session:
        study = queries.get_study(session, study_id)
        studies.begin(study)
        plan = studies.plan_of(study)
    _check_settings(plan)
    while (entry := _find_next(context, study_id, plan)) is not None:
        _train_entry(context, study_id, plan, entry)
        with context.database.read() as session:
            if lets_pass and queries.has_waiting_training(session):
                return False
    return True


# --- what comes next --------------------------------------------------------------------------------------------


def _check_settings(plan: Plan) -> None:
    """Before the first run begins, not days later: whether every setting exists and every value is in its range."""
    asked = list(plan.runs)
    if plan.search is not None and not asked:
        ranges = plan.search.ranges
        asked = [vary(plan.search.like, {key: value}, name="") for key in ranges for value in ranges[key].ends]
    for run in asked:
        _resolve(run)


def _resolve(run: PlannedRun) -> int:
    """How many epochs the run has; 0 where it is built on other runs."""
    if run.arch in ABOVE_RUNS:
        return 0
    _, settings = parse_steps({key: value for key, value in run.settings.items() if key not in studies.NO_SETTINGS})
    try:
        return make_config(run.preset, **settings).epochs
    except ValueError as error:
        raise Invalid(trainings.say_sentence(error)) from None


def _find_next(context: Context, study_id: int, plan: Plan) -> queries.Entry | None:
    """The first run with something left to do; a search proposes another one as long as it may."""
    with context.database.read() as session:
        entries = queries.list_entries(session, study_id=study_id)
    waiting = next((entry for entry in entries if not studies.is_settled(entry)), None)
    if waiting is not None or plan.search is None or len(entries) >= plan.most:
        return waiting
    chosen = _make_search(context.home, plan, entries).propose()
    with context.database.write() as session:
        study = queries.get_study(session, study_id)
        return queries.Entry(studies.add_entry(session, study=study, number=len(entries) + 1, chosen=chosen), None)


def _make_search(home: Home, plan: Plan, entries: Sequence[queries.Entry]) -> Search:
    """The search as it stands after these runs."""
    if plan.search is None:
        raise Invalid("This study searches nothing.")
    search = plan.search
    return Search(
        spans={
            key: Span(values=span.values, low=span.low, high=span.high, log=span.log, step=span.step)
            for key, span in search.ranges.items()
        },
        goal=search.goal,
        epochs=_resolve(search.like),
        seed=search.like.seed,
        least=search.least,
        keep=search.keep,
        tried=[_list_tried(home, entry, goal=search.goal) for entry in entries],
    )


def _list_tried(home: Home, entry: queries.Entry, *, goal: str) -> Tried:
    planned, run = entry
    curve = studies.list_scores(read_curves(home, run.id), goal=goal) if run is not None else []
    ended = "stopped" if planned.stopped else "failed" if planned.error or run is None else "done"
    return Tried(planned.asked, curve, ended)


# --- one run ----------------------------------------------------------------------------------------------------


def _train_entry(context: Context, study_id: int, plan: Plan, entry: queries.Entry) -> None:
    """Train it, from where it was, and write down what became of it. What ends the process leaves it as it is."""
    number = entry.planned.number
    run_id: int | None = None
    outcome: dict[str, Any] = {}
    try:
        with context.database.write() as session:
            study, planned = queries.get_study(session, study_id), queries.get_entry(session, study_id, number)
            run_id = studies.make_run(session, study=study, entry=planned).id
        watch = _watch(context, study_id, plan, number=number, run_id=run_id)
        progress = _scale(context.progress, number=number, most=plan.most, name=entry.planned.name)
        trainings.carry_out(replace(context, progress=progress, on_epoch=watch), run_id)
    except _Stopped:
        outcome = {"stopped": True}
    except Cancelled:
        raise
    except Exception as error:
        if explain(error) is not None:  # a fault of the machine, which the next run would meet too
            raise
        outcome = {"error": str(error) if isinstance(error, WorkbenchError) else f"{type(error).__name__}: {error}"}
    goal = plan.search.goal if plan.search else "accuracy"
    scores = studies.list_scores(read_curves(context.home, run_id), goal=goal) if run_id else []
    with context.database.write() as session:
        planned = queries.get_entry(session, study_id, number)
        studies.settle(session, planned, score=scores[-1] if scores else None, epochs=len(scores), **outcome)


def _watch(context: Context, study_id: int, plan: Plan, *, number: int, run_id: int) -> EpochWatch:
    """What Hyperband is told after each epoch; it stops the run by raising. Epochs before a kill are told first."""
    if plan.search is None or plan.method != "hyperband":
        return context.on_epoch
    goal = plan.search.goal
    with context.database.read() as session:
        entries = queries.list_entries(session, study_id=study_id)
        is_open = session.get_one(Run, run_id).status != "done"
    search = _make_search(context.home, plan, entries[: number - 1])
    search.begin(entries[number - 1].planned.asked)
    told = 0

    def tell() -> None:
        nonlocal told
        scores = studies.list_scores(read_curves(context.home, run_id), goal=goal)
        told, fresh = len(scores), enumerate(scores[told:], told + 1)
        if any(search.report(place, score) for place, score in fresh):
            raise _Stopped(f"The search stopped it after epoch {told}.")

    def watch(epoch: int, accuracy: float | None, loss: float | None) -> None:
        context.on_epoch(epoch, accuracy, loss)
        tell()

    if is_open:
        tell()
    return watch


def _scale(progress: Progress, *, number: int, most: int, name: str) -> Progress:
    """Progress of one run as progress of all."""
    called = f" ({name})" if name != str(number) else ""

    def report(done: int, total: int, message: str = "") -> None:
        share = done / total if total else 0.0
        progress(round(_PARTS * (number - 1 + share)), _PARTS * most, f"Run {number} of {most}{called}: {message}")

    return report
