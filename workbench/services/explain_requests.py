"""Asking for maps of where a run looks, and for its accuracy under stress: one open job of each kind and run."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Invalid
from workbench.models import Class, Dataset, Image, Job, Run, User
from workbench.queries import datasets, explaining
from workbench.queries import runs as runs_queries
from workbench.services import activities, jobs
from workbench.services.saliency import Verdict, judge_test, load_maps, paint, read_test

MANY_IMAGES = 2000  # from so many on maps are made before anybody asks
_ACTIVITIES = {"explain": "run_explained", "stress": "run_stressed"}
_TITLES = {"explain": "Map where run {} looks", "stress": "Put run {} under stress"}


def has_model(home: Home, run: Run) -> bool:
    """Whether there is anything to ask: runs whose predictions were made elsewhere have no model here."""
    return run.status == "done" and (home.run_folder(run.id) / "checkpoint.pt").exists()


def ask(
    session: Session, home: Home, *, kind: str, dataset: Dataset, run: Run, user: User, image: Image | None = None
) -> Job:
    """The run's open job of this kind, or a new one. kind: explain, stress. image: the one that is waited for."""
    if not has_model(home, run):
        raise Invalid(f"Run {run.id} has no model here that could be asked.")
    job = explaining.find_job(session, kind=kind, dataset_id=dataset.id, run_id=run.id)
    if job is not None and not job.is_over:
        return job
    activities.record(session, user=user, kind=_ACTIVITIES[kind], dataset=dataset, run=run.id)
    return _enqueue(session, kind=kind, dataset=dataset, run=run, user=user, **({"image": image.id} if image else {}))


def ask_ahead(session: Session, home: Home, *, run: Run, user: User) -> Job | None:
    """After a training: if the pages show the run now, have its maps made, so that the key h need not wait for them.

    Not for few images, whose maps are there a second after the first press.
    """
    dataset = session.get_one(Dataset, run.dataset_id)
    many = run.config.get("counts", {}).get("images", 0) >= MANY_IMAGES
    if not many or dataset.promoted_run_id != run.id or not has_model(home, run):
        return None
    return _enqueue(session, kind="explain", dataset=dataset, run=run, user=user)


def _enqueue(session: Session, *, kind: str, dataset: Dataset, run: Run, user: User, **wanted: int) -> Job:
    title = _TITLES[kind].format(run.id)
    return jobs.enqueue(session, kind=kind, user=user, dataset=dataset, title=title, run=run.id, **wanted)


@dataclass(frozen=True)
class Look:
    """Where a run looks in one image, or why that cannot be shown. state: ready, waiting, failed, missing, none."""

    state: str
    run: Run | None = None
    cls: Class | None = None  # what the run says the image shows, and what the map is of
    png: bytes = b""
    verdict: Verdict | None = None
    job: Job | None = None


def look(session: Session, home: Home, *, dataset: Dataset, image: Image, run_id: int | None) -> Look:
    """run_id: none for the promoted run. Costs a look-up in arrays that stay in memory, and painting a small grid."""
    run_id = run_id or dataset.promoted_run_id
    if run_id is None:
        return Look("none")
    run = runs_queries.get_run(session, run_id)
    maps, test = load_maps(home, run.id), read_test(home, run.id)
    row = maps.find(image.id) if maps and test else None
    if maps is not None and test is not None and row is not None:
        classes = {cls.id: cls for cls in datasets.list_classes(session, dataset.id)}
        cls = classes.get(int(maps.class_ids[row]))
        return Look("ready", run, cls, paint(maps.maps[row]), judge_test(test))
    job = explaining.find_job(session, kind="explain", dataset_id=dataset.id, run_id=run.id)
    if job is not None and not job.is_over:
        return Look("waiting", run, job=job)
    if job is not None and job.status == "failed":
        return Look("failed", run, job=job)
    return Look("missing" if has_model(home, run) else "none", run)
