"""Trainings as pages ask for them: a run with the job that carries it out, cancelled and tried again together."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from workbench.errors import Conflict, Invalid
from workbench.models import Dataset, Job, Run, User
from workbench.services import jobs, runs
from workbench.services.data_steps import list_settings, steps_of
from workbench.services.run_checks.facts import EXTERNAL

VARIETIES = ("mirrored", "unmirrored", "none")  # how images are varied while they are trained on
BALANCES = ("none", "weigh", "draw")  # of the classes
NO_AUGMENTATION = dict.fromkeys(("flip", "shift", "rotation", "zoom", "brightness", "contrast", "erasing"), 0.0)


@dataclass(frozen=True)
class TrainingRequest:
    """What the form asks for. settings: of the training, and data steps; what is not among them, the preset says."""

    arch: str | None = None  # that of the run it starts from, else compact
    preset: str = "quick"
    folds: int = 4
    seed: int = 0
    balance: str = "none"
    vary: str = "mirrored"
    promote: bool = True
    leave_out: str = "exact"
    from_run: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def overrides(self) -> dict[str, Any]:
        """Settings of the training that differ from the preset; strengths of single variations come last."""
        found: dict[str, Any] = {}
        if self.balance == "weigh":
            found["class_weighting"] = "balanced"
        if self.balance == "draw":
            found["sampling"] = "balanced"
        if self.vary == "unmirrored":
            found["flip"] = False
        if self.vary == "none":
            found["augment"] = NO_AUGMENTATION
        return {**found, **self.settings}


def ask_for_training(session: Session, *, dataset: Dataset, user: User, request: TrainingRequest) -> Run:
    """A queued run on the present version, and its job. Costs a look at every image."""
    run = runs.create_run(
        session,
        dataset=dataset,
        user=user,
        arch=request.arch,
        preset=request.preset,
        overrides=request.overrides,
        folds=request.folds,
        seed=request.seed,
        promote=request.promote,
        from_run=_get_basis(session, request.from_run) if request.from_run else None,
        leave_out=request.leave_out,
    )
    _enqueue(session, dataset=dataset, user=user, run=run)
    return run


def _get_basis(session: Session, run_id: int) -> Run:
    found = session.get(Run, run_id)
    if found is None:
        raise Invalid(f"There is no run {run_id} to start from.", from_run="Not here.")
    return found


def _enqueue(session: Session, *, dataset: Dataset, user: User, run: Run) -> Job:
    title = f"Train {run.arch}, {run.preset} (run {run.id})"
    return jobs.enqueue(session, kind="train", user=user, dataset=dataset, title=title, run=run.id)


def cancel_training(*, run: Run, job: Job | None) -> None:
    """A queued run ends here; a running one stops at its next step and keeps its last epoch."""
    if job is None or job.is_over:
        raise Conflict(f"Run {run.id} has no job to cancel; it was started from the command line or is over.")
    jobs.cancel(job)
    if job.status == "cancelled":
        runs.cancel_run(run)


def retry_training(session: Session, *, dataset: Dataset, run: Run, job: Job | None, user: User) -> None:
    """The same run again, from its last whole epoch."""
    if run.status == "done" or (job is not None and not job.is_over):
        raise Conflict(f"Run {run.id} is {'done' if run.status == 'done' else 'under way'} already.")
    run.status = "queued"
    run.error = ""
    run.finished_at = None
    _enqueue(session, dataset=dataset, user=user, run=run)


def command_of(dataset: Dataset, run: Run) -> str:
    """The command that asks for the same training, or takes in the same predictions."""
    if run.arch == EXTERNAL:
        file = shlex.quote(run.config["import"]["file"])
        return f"workbench predictions import {file} --dataset {shlex.quote(dataset.name)}"
    parts = [
        "workbench train",
        f"--dataset {shlex.quote(dataset.name)}",
        f"--arch {run.arch}",
        f"--preset {run.preset}",
    ]
    asked = run.config
    overrides = dict(asked.get("overrides", {}))
    if "epochs" in overrides:
        parts.append(f"--epochs {overrides.pop('epochs')}")
    if asked.get("folds"):
        parts.append(f"--folds {asked['folds']}")
    parts.append(f"--seed {asked.get('seed', 0)}")
    if run.from_run_id:
        parts.append(f"--from {run.from_run_id}")
    if asked.get("members"):
        parts.append(f"--set members={','.join(str(member) for member in asked['members'])}")
    if asked.get("leave_out", "exact") != "exact":
        parts.append(f"--set leave_out={asked['leave_out']}")
    for key, value in {**overrides, **list_settings(steps_of(run))}.items():
        parts += [f"--set {shlex.quote(f'{name}={setting}')}" for name, setting in _flatten(key, value)]
    return " ".join([*parts, "--promote"] if asked.get("promote") else parts)


def _flatten(key: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [(f"{key}.{name}", f"{setting:g}") for name, setting in value.items()]
    return [(key, str(value).lower() if isinstance(value, bool) else str(value))]
