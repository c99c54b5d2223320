"""Control runs: the settings of one run on the labels of another, so that what changed can be told apart."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlalchemy.orm import Session

from workbench.errors import Invalid
from workbench.models import Dataset, Run, User
from workbench.queries import datasets as dataset_queries
from workbench.queries import runs as queries
from workbench.services import jobs
from workbench.services.data_steps import DataSteps, steps_of
from workbench.services.training_descriptions import describe_program

ASKED = ("overrides", "seed", "data_steps")  # of a run's config: what was asked for, besides what stands in its row
NOT_REPEATED = ("external", "ensemble")  # what is made of predictions cannot be trained on other labels
_NO_SETTINGS = ("threads", "device", "workers")  # of a training: how it was computed, not what

Kind = Literal["labels", "settings", "control", "none"]


@dataclass(frozen=True)
class Parting:
    """What tells the settings of two runs from the labels that they learned.

    kind: "labels" if these are the same, "settings" if those are, "control" if a run with the settings of the second on
    the labels of the first is done, else "none". waiting: such a run that is not done yet. obstacle: why none can be
    trained, empty if one can.
    """

    kind: Kind
    control: Run | None = None
    waiting: Run | None = None
    obstacle: str = ""


def part(session: Session, run_a: Run, run_b: Run) -> Parting:
    """What the two differ in, and the run that stands between them."""
    if run_a.content_hash == run_b.content_hash:
        return Parting("labels", control=run_b)
    if recipe(run_a) == recipe(run_b):
        return Parting("settings", control=run_a)
    alike = [
        run
        for run in queries.list_on_version(session, dataset_id=run_a.dataset_id, content_hash=run_a.content_hash)
        if recipe(run) == recipe(run_b)
    ]
    done = next((run for run in alike if run.status == "done"), None)
    if done is not None:
        return Parting("control", control=done)
    waiting = next((run for run in alike if run.status in ("queued", "running")), None)
    return Parting("none", waiting=waiting, obstacle=_find_obstacle(session, run_a, run_b))


def recipe(run: Run, *, steps: DataSteps | None = None) -> tuple[Any, ...]:
    """How a run was to be trained, apart from on what. steps: instead of its own."""
    asked = (run.config.get("overrides") or {}, run.config.get("seed", 0), run.config.get("leave_out", "exact"))
    return (run.arch, run.preset, run.from_run_id, *asked, steps or steps_of(run))


def _find_obstacle(session: Session, run_a: Run, run_b: Run) -> str:
    """Why the settings of B cannot be trained on the labels of A; empty if they can."""
    if run_b.arch in NOT_REPEATED:
        return f"Run {run_b.id} was not trained here ({run_b.arch}), so its settings cannot be tried on other labels."
    if run_a.config["evaluation"]["split"] != run_b.config["evaluation"]["split"]:
        return (
            "The two were measured on different splits, so a run between them would have learned what one is tested on."
        )
    known = {cls["id"] for cls in run_a.config["classes"]}
    gone = known - {cls.id for cls in dataset_queries.list_open_classes(session, run_a.dataset_id)}
    if gone:
        return f"Classes that run {run_a.id} knew were merged or retired since."
    return ""


def ask_for_control(session: Session, *, dataset: Dataset, user: User, run_a: Run, run_b: Run) -> Run:
    """A queued run with the settings of B on the version of A, and its job; the one under way if there is one."""
    waiting = part(session, run_a, run_b).waiting
    if waiting is not None:
        return waiting
    run = add_control(session, user=user, run_a=run_a, run_b=run_b)
    title = f"Train {run.arch}, {run.preset} (run {run.id}, control of runs {run_a.id} and {run_b.id})"
    jobs.enqueue(session, kind="train", user=user, dataset=dataset, title=title, run=run.id)
    return run


def add_control(session: Session, *, user: User, run_a: Run, run_b: Run) -> Run:
    """Its row, status queued, or the one that waits or was left running; raises Invalid where none is to be trained."""
    if run_a.dataset_id != run_b.dataset_id:
        raise Invalid(f"Run {run_a.id} and run {run_b.id} belong to two data sets; compare runs of one.")
    found = part(session, run_a, run_b)
    if found.control is not None:
        raise Invalid(f"Nothing is missing: run {found.control.id} tells settings and labels apart already.")
    if found.obstacle:
        raise Invalid(found.obstacle)
    run = found.waiting or _draft(user, run_a, run_b)
    session.add(run)
    session.flush()
    return run


def _draft(user: User, run_a: Run, run_b: Run) -> Run:
    asked = {key: run_b.config[key] for key in ASKED if key in run_b.config}
    asked |= {"folds": 0, "promote": False, "leave_out": run_b.config.get("leave_out", "exact")}
    return Run(
        dataset_id=run_a.dataset_id,
        arch=run_b.arch,
        preset=run_b.preset,
        config={**asked, "classes": run_a.config["classes"], "evaluation": run_b.config["evaluation"]},
        status="queued",
        decision_id=run_a.decision_id,
        content_hash=run_a.content_hash,
        from_run_id=run_b.from_run_id,
        created_by_id=user.id,
    )


# --- what differs, for people -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """One setting that two runs differ in, as each had it."""

    name: str
    a: str
    b: str


def list_differences(run_a: Run, run_b: Run) -> list[Setting]:
    """The settings that differ: of architecture and training, seed, start and data.

    A setting that only one of them knows is left out: it came with a later version of the program, and the other run
    did what was done before there was a choice.
    """
    one, other = (_flatten(_settings(run)) for run in (run_a, run_b))
    told = [(name, _show(one[name]), _show(other[name])) for name in one if name in other]
    return [Setting(name.replace("_", " "), a, b) for name, a, b in told if a != b]


def _settings(run: Run) -> dict[str, Any]:
    training = {key: value for key, value in run.config.get("training", {}).items() if key not in _NO_SETTINGS}
    start = f"run {run.from_run_id}" if run.from_run_id else "nothing"
    copies = run.config.get("leave_out", "exact")
    steps = asdict(steps_of(run))
    return {
        "arch": run.arch,
        "preset": run.preset,
        "starts from": start,
        "copies left out": copies,
        **training,
        **steps,
        **({"program": describe_program(run.config)} if "program" in run.config else {}),
    }


def _flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flatten(value, f"{prefix}{key} ") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def _show(value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
