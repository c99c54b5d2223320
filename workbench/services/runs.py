"""Runs: asking for a training, what becomes of it, promoting one; workbench/worker/trainings.py trains."""

import hashlib
import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Conflict, Invalid
from workbench.models import Dataset, Run, User, utc_now
from workbench.queries import datasets as dataset_queries
from workbench.queries import decisions as log
from workbench.queries import runs as queries
from workbench.services import architectures, data_steps, derived_runs
from workbench.services.architectures import ENSEMBLE, HEAD
from workbench.services.claims import hold
from workbench.services.data_steps import DataSteps
from workbench.services.posteriors import load_judged
from workbench.services.protection import is_marked
from workbench.services.versions import VersionRow, hash_rows, states_at

PRESETS = ("quick", "standard", "thorough", "retrain")
HELD_OUT = "held out by the run"  # the name of the split that a run makes where the data set has none to test on
HELD_OUT_SHARE = 0.15
LEAVE_OUT = ("exact", "near", "none")  # which copies of images measured on do not teach
_CHUNK = 1000


# --- asking for one ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Basis:
    """What a run rests on: a version, the classes it predicts, what it is measured on. Plain values, for JSON."""

    decision_id: int
    content_hash: str
    classes: list[dict[str, Any]]
    evaluation: dict[str, Any]


def create_run(session: Session, *, dataset: Dataset, user: User, **asked: Any) -> Run:
    """A row for a training on the present version, status queued. asked: as for `draft_run`."""
    run = draft_run(session, dataset=dataset, user=user, **asked)
    session.add(run)
    session.flush()
    return run


def draft_run(
    session: Session,
    *,
    dataset: Dataset,
    user: User,
    arch: str | None = None,
    preset: str = "quick",
    overrides: dict[str, Any] | None = None,
    folds: int = 0,
    seed: int = 0,
    from_run: Run | None = None,
    promote: bool = False,
    leave_out: str = "exact",
    basis: Basis | None = None,
) -> Run:
    """The row that `create_run` adds.

    arch: by default that of the run it starts from, else compact. overrides: data steps (services/data_steps.py), which
    are checked here, and settings of the training, JSON-able, which are checked when it starts. from_run: to start from
    its weights; the preset "retrain" and a head start from the promoted run unless told otherwise.
    leave_out: which copies of images measured on do not teach; "exact" ones, "near" ones too, or "none".
    basis: what to train on, for several runs on the same; by default the present version, which costs a look at every
    image, to name it by its content.
    """
    needs_run = arch == HEAD or (preset == "retrain" and arch != ENSEMBLE)
    from_run = from_run or (_get_champion(session, dataset) if needs_run else None)
    arch = arch or (derived_runs.name_network(from_run) if from_run else "compact")
    _check_request(dataset, arch=arch, preset=preset, folds=folds, seed=seed, from_run=from_run)
    steps, settings = data_steps.parse_steps(overrides or {})
    leave_out = str(settings.pop("leave_out", leave_out))
    _check_selection(dataset, settings, leave_out=leave_out)
    steps = data_steps.resolve_steps(session, dataset, steps)
    members = _check_derived(
        session, dataset, arch=arch, folds=folds, from_run=from_run, settings=settings, steps=steps
    )
    settings.pop("members", None)
    basis = basis or find_basis(session, dataset)
    derived_runs.check_classes(members, basis.classes)
    asked = {"overrides": settings, "folds": folds, "seed": seed, "promote": promote, "leave_out": leave_out}
    asked["data_steps"] = asdict(steps)
    if members:
        asked["members"] = [member.id for member in members]
    if arch == HEAD and from_run is not None:
        asked["head_on"] = from_run.id
    return Run(
        dataset_id=dataset.id,
        arch=arch,
        preset=preset,
        config={**asked, "classes": basis.classes, "evaluation": basis.evaluation},
        status="queued",
        decision_id=basis.decision_id,
        content_hash=basis.content_hash,
        from_run_id=from_run.id if from_run else None,
        created_by_id=user.id,
    )


def _check_derived(
    session: Session,
    dataset: Dataset,
    *,
    arch: str,
    folds: int,
    from_run: Run | None,
    settings: Mapping[str, Any],
    steps: DataSteps,
) -> list[Run]:
    """The members of an ensemble; of other architectures none, once what they are built on was checked."""
    if arch == ENSEMBLE:
        asked = settings.get("members")
        return derived_runs.read_members(
            session, dataset, asked=asked, folds=folds, from_run=from_run, settings=settings, steps=steps
        )
    if "members" in settings:
        raise Invalid("Only an ensemble has members; use the architecture “ensemble”.", settings="Not of this one.")
    derived_runs.check_start(from_run)
    if arch == HEAD:
        derived_runs.check_head(from_run=from_run, folds=folds, settings=settings)
    return []


def _get_champion(session: Session, dataset: Dataset) -> Run:
    found = queries.get_promoted(session, dataset)
    if found is None:
        raise Invalid("No run is promoted yet; train one first, or name the run to start from.", from_run="None yet.")
    return found


def find_basis(session: Session, dataset: Dataset) -> Basis:
    """The present version and what runs on it predict and are measured on. Costs a look at every image."""
    rows = states_at(session, dataset)
    return Basis(
        decision_id=log.get_last_id(session, dataset_id=dataset.id),
        content_hash=hash_rows(rows),
        classes=_choose_classes(session, dataset, rows),
        evaluation=_plan_evaluation(dataset, rows),
    )


def _check_request(dataset: Dataset, *, arch: str, preset: str, folds: int, seed: int, from_run: Run | None) -> None:
    if not architectures.is_known(arch):
        raise Invalid(architectures.tell_unknown(arch), arch="Not known.")
    if preset not in PRESETS:
        raise Invalid(f"There is no preset “{preset}”; use {', '.join(PRESETS)}.", preset="Not known.")
    if folds not in (0, *range(2, 21)):
        raise Invalid("Folds are 0 (none) or 2 to 20.", folds="0, or 2 to 20.")
    if preset == "retrain" and folds:
        raise Invalid("Folds start from nothing, so retraining has none; use another preset.", folds="None here.")
    if seed < 0:
        raise Invalid("The seed is a whole number from 0 on.", seed="0 or more.")
    if from_run is not None and from_run.dataset_id != dataset.id:
        raise Invalid(f"Run {from_run.id} belongs to another data set.", from_run="Of another data set.")
    if from_run is not None and from_run.status != "done":
        raise Invalid(f"Run {from_run.id} is {from_run.status}; start from one that is done.", from_run="Not done.")


def _check_selection(dataset: Dataset, overrides: Mapping[str, Any], *, leave_out: str) -> None:
    """A frozen split is read by evaluation only: no training stops by it or chooses its best epoch on it."""
    if leave_out not in LEAVE_OUT:
        raise Invalid(f"leave_out is one of {', '.join(LEAVE_OUT)}, not “{leave_out}”.", leave_out="Not known.")
    if dataset.frozen_split == "validation" and str(overrides.get("patience", 0)) not in ("", "0"):
        raise Invalid(
            "validation is frozen, so no training may stop early or choose its best epoch by it: train without "
            "patience, or build a test split and freeze that instead.",
            patience="Not with a frozen validation split.",
        )


def _plan_evaluation(dataset: Dataset, rows: Iterable[VersionRow]) -> dict[str, Any]:
    """What the run is measured on, whether that was frozen, and whether its labels were cleaned by a model's flags."""
    split = choose_split(rows)
    return {
        "split": split,
        "frozen": dataset.frozen_split == split,
        "cleaned_with_own_flags": is_marked(dataset, split),
    }


def _choose_classes(session: Session, dataset: Dataset, rows: Sequence[VersionRow]) -> list[dict[str, Any]]:
    """The open classes that active images carry, in their order: the columns of what the run will predict."""
    if not rows:
        raise Invalid(f"{dataset.name} has no images yet; import some first.")
    carried = {row.class_id for row in rows if row.status == "active"}
    classes = [cls for cls in dataset_queries.list_open_classes(session, dataset.id) if cls.id in carried]
    if len(classes) < 2:
        names = " and ".join(cls.name for cls in classes) or "none"
        raise Invalid(f"Training needs images of two classes at least; {dataset.name} has images of {names} only.")
    ids = {cls.id for cls in classes}
    trained = {row.class_id for row in rows if is_trainable(row, ids) and in_training(row, rows_have_train(rows))}
    if len(trained) < 2:
        raise Invalid(f"The train split of {dataset.name} holds images of fewer than two classes; build splits first.")
    return [{"id": cls.id, "name": cls.name} for cls in classes]


# --- which images -----------------------------------------------------------------------------------------------


def is_trainable(row: VersionRow, class_ids: Container[int | None]) -> bool:
    """Whether the image may teach or test: active, with one of the run's classes."""
    return row.status == "active" and row.class_id in class_ids


def rows_have_train(rows: Iterable[VersionRow]) -> bool:
    return any(row.split == "train" for row in rows)


def in_training(row: VersionRow, has_train: bool) -> bool:
    """Whether the image's split is the one that teaches: train, or none in a data set without splits."""
    return row.split == ("train" if has_train else None)


def choose_split(rows: Iterable[VersionRow]) -> str:
    """What runs are measured on: test if there is one, else validation, else what the run holds out itself."""
    splits = {row.split for row in rows if row.status == "active" and row.class_id is not None}
    return next((split for split in ("test", "validation") if split in splits), HELD_OUT)


def in_split(row: VersionRow, split: str) -> bool:
    return is_held_out(row.pixel_sha256) if split == HELD_OUT else row.split == split


def is_held_out(pixel_sha256: str) -> bool:
    """Whether runs without a test split keep the picture for measuring: about 15 %, by pixels, equal in every run."""
    return draw_lot(pixel_sha256) < HELD_OUT_SHARE


def draw_lot(name: str) -> float:
    """A number from 0 to 1 that follows from the name alone: what is drawn by it is drawn alike everywhere."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:13], 16) / 16**13


# --- what becomes of it -----------------------------------------------------------------------------------------


def start_run(run: Run, **facts: Any) -> None:
    """The training begins, or goes on. facts are added to its config: the settings as resolved, the counts."""
    run.status = "running"
    run.error = ""
    run.finished_at = None
    run.config = {**run.config, **facts}


def report_epoch(run: Run, *, epochs_done: int, images_per_second: float) -> None:
    run.epochs_done = epochs_done
    run.images_per_second = images_per_second


def finish_run(run: Run, *, metrics: dict[str, Any], seconds: float, images_per_second: float) -> None:
    run.status = "done"
    run.metrics = metrics
    run.seconds = seconds
    run.images_per_second = images_per_second
    run.finished_at = utc_now()


def fail_run(run: Run, *, error: str) -> None:
    run.status = "failed"
    run.error = error
    run.finished_at = utc_now()


def cancel_run(run: Run) -> None:
    run.status = "cancelled"
    run.finished_at = utc_now()


@contextmanager
def claim(home: Home, run_id: int) -> Iterator[None]:
    """Hold the run's lock file, so that no second process trains it; the system lets go when the process dies."""
    refusal = f"Run {run_id} is being trained right now; wait for it or cancel it."
    with hold(home.run_folder(run_id) / "lock", refusal=refusal):
        yield


def is_alive(home: Home, run_id: int) -> bool:
    """Whether a process is training the run at this moment."""
    try:
        with claim(home, run_id):
            return False
    except Conflict:
        return True


def find_unfinished(session: Session, home: Home, *, like: Run) -> Run | None:
    """A run that was asked for in the same way on the same version and was left running; Conflict if one is alive."""
    found = queries.list_running(
        session, dataset_id=like.dataset_id, decision_id=like.decision_id, arch=like.arch, preset=like.preset
    )
    for run in found:
        if run.content_hash == like.content_hash and run.from_run_id == like.from_run_id and _asks_alike(run, like):
            if is_alive(home, run.id):
                raise Conflict(f"Run {run.id} is training just this right now; wait for it or cancel it.")
            return run
    return None


def _asks_alike(run: Run, other: Run) -> bool:
    keys = ("overrides", "folds", "seed", "classes", "members")
    alike = all(run.config.get(key) == other.config.get(key) for key in keys)
    return alike and _what_teaches(run) == _what_teaches(other)


def _what_teaches(run: Run) -> tuple[str, bool, DataSteps]:
    """Which copies are left out, whether validation is not looked at, and the steps; old runs say none of it."""
    return (
        run.config.get("leave_out", "exact"),
        run.config["evaluation"].get("frozen", False),
        data_steps.steps_of(run),
    )


# --- promoting --------------------------------------------------------------------------------------------------


def promote(session: Session, home: Home, run: Run) -> None:
    """Show this run's predictions on the pages and build its queues. Writes a row per image: seconds for 100,000."""
    from workbench.services import automatic_queues

    dataset = session.get_one(Dataset, run.dataset_id)
    for chunk in list_predicted(session, home, run):
        queries.update_predicted(session, chunk)
    queries.mark_promoted(session, dataset=dataset, run=run)
    automatic_queues.rebuild_automatic(session, home, dataset=dataset, run=run)


def list_predicted(session: Session, home: Home, run: Run) -> list[list[dict[str, Any]]]:
    """The columns that the images get from a run, in chunks; images that it never saw lose those of an earlier run."""
    if run.status != "done":
        raise Invalid(f"Run {run.id} is {run.status}; only a run that is done can be promoted.")
    said = load_judged(home, run.id)
    found = {
        image_id: {"id": image_id, "predicted_id": class_id, "confidence": confidence, "p_wrong": p_wrong}
        for image_id, class_id, confidence, p_wrong in zip(
            said.image_ids.tolist(),
            said.predicted_ids.tolist(),
            said.confidence.tolist(),
            [None if math.isnan(value) else value for value in said.p_wrong.tolist()],
            strict=True,
        )
    }
    nothing: dict[str, Any] = {"predicted_id": None, "confidence": None, "p_wrong": None}
    image_ids = queries.list_image_ids(session, dataset_id=run.dataset_id)
    rows = [found.get(image_id) or {"id": image_id, **nothing} for image_id in image_ids]
    return [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]


def report_run(run: Run) -> dict[str, Any]:
    """What `workbench train --json` answers and the job keeps."""
    metrics = run.metrics or {}
    keys = ("accuracy", "low", "high", "n", "macro_f1", "log_loss", "split", "baseline", "cleaned_with_own_flags")
    return {
        "run": run.id,
        "arch": run.arch,
        "epochs": run.epochs_done,
        "seconds": round(run.seconds, 2),
        "images_per_second": run.images_per_second,
        "test": {key: metrics.get(key) for key in keys},
    }
