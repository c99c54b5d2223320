"""Trainings as pages ask for them: a run with the job that carries it out, cancelled and tried again together."""

import shlex
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from workbench.errors import Conflict
from workbench.models import Dataset, Job, Run, User
from workbench.services import jobs, runs
from workbench.services.data_steps import list_settings, steps_of

NO_AUGMENTATION = dict.fromkeys(("flip", "shift", "rotation", "zoom", "brightness", "contrast", "erasing"), 0.0)


@dataclass(frozen=True)
class TrainingRequest:
    """What the form asks for. epochs, patience: none for what the preset says."""

    arch: str = "compact"
    preset: str = "quick"
    epochs: int | None = None
    folds: int = 4
    seed: int = 0
    balanced: bool = False
    vary: str = "mirrored"  # mirrored, unmirrored, none
    patience: int | None = None
    promote: bool = True
    leave_out: str = "exact"

    @property
    def overrides(self) -> dict[str, Any]:
        """Settings of the training that differ from the preset."""
        asked: dict[str, Any] = {"epochs": self.epochs, "patience": self.patience}
        found = {key: value for key, value in asked.items() if value is not None}
        if self.balanced:
            found["class_weighting"] = "balanced"
        if self.vary == "unmirrored":
            found["flip"] = False
        if self.vary == "none":
            found["augment"] = NO_AUGMENTATION
        return found


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
        leave_out=request.leave_out,
    )
    _enqueue(session, dataset=dataset, user=user, run=run)
    return run


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
    """The command that asks for the same training."""
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
    if asked.get("leave_out", "exact") != "exact":
        parts.append(f"--set leave_out={asked['leave_out']}")
    for key, value in {**overrides, **list_settings(steps_of(run))}.items():
        parts += [f"--set {shlex.quote(f'{name}={setting}')}" for name, setting in _flatten(key, value)]
    return " ".join([*parts, "--promote"] if asked.get("promote") else parts)


def _flatten(key: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [(f"{key}.{name}", f"{setting:g}") for name, setting in value.items()]
    return [(key, str(value).lower() if isinstance(value, bool) else str(value))]
