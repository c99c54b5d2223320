"""Studies: asking for several runs together, what becomes of each, going on; workbench/worker/studies.py trains."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Conflict, Invalid
from workbench.models import Dataset, Job, Run, Study, StudyRun, User, utc_now
from workbench.queries import datasets as dataset_queries
from workbench.queries import studies as queries
from workbench.services import architectures, jobs, runs
from workbench.services.claims import hold
from workbench.services.curves import Epoch
from workbench.services.study_files import Plan, PlannedRun, Search, read_plan, vary

# what `settings` may hold besides settings of the training
NO_SETTINGS = ("leave_out", "members")

# --- asking for one ---------------------------------------------------------------------------------------------


def open_study(
    session: Session, *, dataset: Dataset, user: User, document: Mapping[str, Any], small: bool = False
) -> Study:
    """A study on the present version. document: the file as plain values. Costs a look at every image."""
    study = draft_study(session, dataset=dataset, user=user, document=document, small=small)
    session.add(study)
    session.flush()
    for number, planned in enumerate(plan_of(study).runs, 1):
        session.add(StudyRun(study_id=study.id, number=number, name=planned.name, asked=_list_chosen(study, planned)))
    session.flush()
    return study


def draft_study(
    session: Session, *, dataset: Dataset, user: User, document: Mapping[str, Any], small: bool = False
) -> Study:
    """The row that `open_study` adds, checked."""
    plan = read_plan(document, small=small)
    _check_architectures(plan)
    basis = runs.find_basis(session, dataset)
    if plan.search is not None:
        _check_choosing(session, dataset, plan.search)
    return Study(
        dataset_id=dataset.id,
        name=plan.name,
        plan=dict(document),
        small=small,
        basis=asdict(basis),
        status="queued",
        created_by_id=user.id,
    )


def _check_architectures(plan: Plan) -> None:
    named = {run.arch for run in plan.runs} | ({plan.search.like.arch} if plan.search else set())
    if plan.search is not None and "arch" in plan.search.ranges:
        named |= {str(value) for value in plan.search.ranges["arch"].values}
    for arch in sorted(named):
        if not architectures.is_known(arch):
            raise Invalid(architectures.tell_unknown(arch), arch="Not known.")


def _check_choosing(session: Session, dataset: Dataset, search: Search) -> None:
    """A search chooses by validation, so there must be one, and it must not be what nobody may choose by."""
    if dataset.frozen_split == "validation":
        raise Invalid("validation is frozen, so no search may choose by it: freeze a test split instead.")
    if not dataset_queries.count_splits(session, dataset.id, trainable=True).get("validation"):
        raise Invalid(f"A search chooses by the validation split, and {dataset.name} has none; build splits first.")
    if search.method == "hyperband" and {"epochs", "preset"} & set(search.ranges):
        raise Invalid(
            "Hyperband deals out epochs itself; take epochs and preset out of the ranges.", ranges="No epochs."
        )


def _list_chosen(study: Study, planned: PlannedRun) -> dict[str, Any]:
    """What the grid chose for this run; nothing in a list."""
    search = plan_of(study).search
    if search is None:
        return {}
    own = {"arch": planned.arch, "preset": planned.preset, "folds": planned.folds, "seed": planned.seed}
    return {key: {**planned.settings, **own}[key] for key in search.ranges}


def ask_for_study(
    session: Session, *, dataset: Dataset, user: User, document: Mapping[str, Any], small: bool = False
) -> Study:
    """A study and the job that carries it out."""
    study = open_study(session, dataset=dataset, user=user, document=document, small=small)
    enqueue(session, dataset=dataset, user=user, study=study)
    return study


def enqueue(session: Session, *, dataset: Dataset, user: User, study: Study) -> Job:
    title = f"Study {study.name} (study {study.id})"
    return jobs.enqueue(session, kind="study", user=user, dataset=dataset, title=title, study=study.id)


def find_unfinished(session: Session, home: Home, *, like: Study) -> Study | None:
    """A study asked for in the same way on the same version and left in the middle; Conflict if it is under way."""
    for study in queries.list_open_studies(session, dataset_id=like.dataset_id, name=like.name):
        if (study.plan, study.small, study.basis) == (like.plan, like.small, like.basis):
            with claim(home, study.id):
                return study
    return None


@contextmanager
def claim(home: Home, study_id: int) -> Iterator[None]:
    """Hold the study's lock file, so that no second process carries it out."""
    refusal = f"Study {study_id} is under way right now; wait for it or cancel it."
    with hold(home.root / "studies" / f"{study_id}.lock", refusal=refusal):
        yield


def is_alive(home: Home, study_id: int) -> bool:
    """Whether a process is carrying the study out at this moment."""
    try:
        with claim(home, study_id):
            return False
    except Conflict:
        return True


# --- its plan ---------------------------------------------------------------------------------------------------


def plan_of(study: Study) -> Plan:
    return read_plan(study.plan, small=study.small)


def planned_run(plan: Plan, entry: StudyRun) -> PlannedRun:
    """What a line of the study asks for, with what the search chose."""
    if plan.runs:
        return plan.runs[entry.number - 1]
    if plan.search is None:
        raise Invalid("This study has no runs.")
    return vary(plan.search.like, entry.asked, name=entry.name)


# --- one run of it ----------------------------------------------------------------------------------------------


def add_entry(session: Session, *, study: Study, number: int, chosen: Mapping[str, Any]) -> StudyRun:
    """A run that the search asks for."""
    entry = StudyRun(study_id=study.id, number=number, name=str(number), asked=dict(chosen))
    session.add(entry)
    session.flush()
    return entry


def is_settled(entry: queries.Entry) -> bool:
    """Whether nothing is left to do for it."""
    planned, run = entry
    return planned.stopped or bool(planned.error) or (run is not None and run.status == "done")


def make_run(session: Session, *, study: Study, entry: StudyRun) -> Run:
    """The row of the training, on the study's version; the one that it has already. Invalid if it cannot be made."""
    if entry.run_id is not None:
        return session.get_one(Run, entry.run_id)
    planned = planned_run(plan_of(study), entry)
    dataset = session.get_one(Dataset, study.dataset_id)
    settings = dict(planned.settings)
    if planned.members:
        settings["members"] = [_find_done(session, study, name).id for name in planned.members]
    run = runs.create_run(
        session,
        dataset=dataset,
        user=session.get_one(User, study.created_by_id),
        arch=planned.arch,
        preset=planned.preset,
        overrides=settings,
        folds=planned.folds,
        seed=planned.seed,
        from_run=_find_done(session, study, planned.start) if planned.start else None,
        basis=runs.Basis(**study.basis),
    )
    entry.run_id = run.id
    session.flush()
    return run


def _find_done(session: Session, study: Study, name: str) -> Run:
    for entry, run in queries.list_entries(session, study_id=study.id):
        if entry.name == name and run is not None and run.status == "done":
            return run
    raise Invalid(f"It builds on “{name}”, which did not end well.")


def settle(
    session: Session,
    entry: StudyRun,
    *,
    score: float | None = None,
    epochs: int = 0,
    stopped: bool = False,
    error: str = "",
) -> None:
    """What became of it. score: what the search goes for, on validation after the last of so many epochs."""
    entry.score, entry.stopped, entry.error = score, stopped, error
    run = session.get(Run, entry.run_id) if entry.run_id else None
    if stopped and run is not None:
        runs.cancel_run(run)
        run.epochs_done = epochs  # a killed worker may have trained an epoch that it could not note
        run.error = (
            f"The search of study {entry.study_id} stopped it after epoch {epochs}: others were further by then."
        )


def list_scores(curve: list[Epoch], *, goal: str) -> list[float]:
    """The measure that a search goes for, after each epoch; ends where a run has none."""
    values = [epoch.validation_loss if goal == "loss" else epoch.validation_accuracy for epoch in curve]
    return [value for value in values if value is not None]


# --- what becomes of it -----------------------------------------------------------------------------------------


def begin(study: Study) -> None:
    study.status, study.error, study.finished_at = "running", "", None


def finish(study: Study) -> None:
    study.status, study.finished_at = "done", utc_now()


def cancel(study: Study) -> None:
    study.status, study.finished_at = "cancelled", utc_now()


def fail(study: Study, *, error: str) -> None:
    study.status, study.error, study.finished_at = "failed", error, utc_now()


def cancel_study(*, study: Study, job: Job | None) -> None:
    """One that waits ends here; a running one stops at its next step and keeps what is done."""
    if job is None or job.is_over:
        raise Conflict(f"Study {study.id} has no job to cancel; it was started from the command line or is over.")
    jobs.cancel(job)
    if job.status == "cancelled":
        cancel(study)


def can_go_on(study: Study, entries: list[queries.Entry], job: Job | None) -> bool:
    """Whether something is left to do that nothing is about to do."""
    if job is not None and not job.is_over:
        return False
    return not study.is_over or study.status in ("cancelled", "failed") or any(entry.error for entry, _ in entries)


def go_on(session: Session, *, study: Study, dataset: Dataset, job: Job | None, user: User) -> None:
    """Carry out what is left of it; runs that failed are tried again."""
    entries = queries.list_entries(session, study_id=study.id)
    if not can_go_on(study, entries, job):
        raise Conflict(f"Study {study.id} is {'done' if study.status == 'done' else 'under way'} already.")
    for entry, _ in entries:
        entry.error = ""
    study.status, study.error, study.finished_at = "queued", "", None
    enqueue(session, dataset=dataset, user=user, study=study)
