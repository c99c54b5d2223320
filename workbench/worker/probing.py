"""Asking a run's model again, so that the checks of the run can tell whether its predictions are its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from ml.predict import Model, load_model
from ml.probes import Answers, Lessons, ask_again, measure_blank, try_lessons
from workbench.config import Home
from workbench.errors import NotFound
from workbench.models import Dataset, Run
from workbench.queries import runs as queries
from workbench.services.architectures import ENSEMBLE, HEAD
from workbench.services.predictions import load_predictions
from workbench.services.probes import CHECKPOINT, Probe, fingerprint_files, load_probe, save_probe
from workbench.services.training_sets import find_training_set
from workbench.services.versions import VersionRow, states_at
from workbench.worker.context import Context
from workbench.worker.pictures import load_pictures

LOOKED_AT = 256  # images of each kind, fewer of large ones
LEAST = 32
MOST_VALUES = 50_000_000
ON_RUNS = (HEAD, ENSEMBLE)  # not trained in steps over images
NOT_TRAINED = Lessons(0, [], [], {})

Each = TypeVar("Each")


@dataclass(frozen=True)
class _Order:
    """What is to be asked, read once. trained, measured: some of the images, spread over all of them."""

    arch: str
    run: dict[str, Any]
    preset: str
    trained: list[VersionRow]
    measured: list[VersionRow]
    labels: dict[str, list[int]]


def probe_run(context: Context, *, run: int) -> dict[str, Any]:
    """Ask the model and keep its answers; does nothing where there is no model or its answers are there.

    Costs a second for small nets: two predictions of 256 images, and a few trainings of two steps.
    """
    if load_probe(context.home, run) is not None:
        return {"run": run, "probed": True}
    try:
        model = load_model(context.home.run_folder(run) / CHECKPOINT)
    except (FileNotFoundError, ValueError):
        return {"run": run, "probed": False}
    with context.database.read() as session:
        order = _read_order(session, context.home, queries.get_run(session, run), count=_count_images(model))
    checkpoint, predictions = fingerprint_files(context.home, run)
    trained, taught = load_pictures(context.home, order.trained, model.config)
    measured, asked = load_pictures(context.home, order.measured, model.config)
    answers = _ask(context.home, run, model, measured, asked)
    lessons = _learn(order, model, trained, taught)
    probe = Probe(
        checkpoint=checkpoint,
        predictions=predictions,
        images=answers.images,
        repeats=answers.repeats,
        batches=answers.batches,
        explained=answers.explained,
        frozen=lessons.frozen,
        layers=lessons.layers,
        idle=lessons.idle,
        tried=lessons.tried,
        blank=_compare_blank(model, trained, measured),
        labels=order.labels,
    )
    save_probe(context.home, run, probe)
    return {"run": run, "probed": True}


def probe_again(context: Context, *, dataset: str, run: int) -> dict[str, Any]:
    """`probe_run` as a job."""
    context.progress(0, 1, f"Asking the model of run {run}")
    found = probe_run(context, run=run)
    if not found["probed"]:
        raise NotFound(f"The checkpoint of run {run} of {dataset} is gone or damaged; train again.")
    return found


def _count_images(model: Model) -> int:
    """How many of each kind to look at: of 1024 pixels in colour a few, or the memory would be theirs."""
    values = model.config.channels * model.config.image_size**2
    return max(LEAST, min(LOOKED_AT, MOST_VALUES // values))


def _read_order(session: Session, home: Home, run: Run, *, count: int) -> _Order:
    images = find_training_set(session, home, run)
    some = _spread(images.trained.tolist(), count)
    ids = [*images.measured.tolist(), *some]
    dataset = session.get_one(Dataset, run.dataset_id)
    rows = {row.image_id: row for row in states_at(session, dataset, run.decision_id, image_ids=sorted(set(ids)))}
    trained = [rows[image_id] for image_id in some if image_id in rows]
    measured = [rows[image_id] for image_id in images.measured.tolist() if image_id in rows]
    return _Order(
        arch=run.arch,
        run=run.config,
        preset=run.preset,
        trained=trained,
        measured=_spread(measured, count),
        labels={
            "images": [row.image_id for row in measured],
            "classes": [row.class_id or 0 for row in measured],
        },
    )


def _spread(rows: Sequence[Each], most: int) -> list[Each]:
    """Up to so many of them, evenly from first to last."""
    count = min(most, len(rows))
    return [rows[place * len(rows) // count] for place in range(count)]


def _ask(home: Home, run_id: int, model: Model, images: NDArray[np.uint8], rows: Sequence[VersionRow]) -> Answers:
    """About the images that the model itself predicted, not one of its folds."""
    said = load_predictions(home, run_id)
    places = [(index, place) for index, row in enumerate(rows) if (place := said.find(row.image_id)) is not None]
    if not places or said.probs.shape[1] != model.class_count:
        return Answers(0, 0.0, 0.0, {})
    chosen, stored = (list(each) for each in zip(*places, strict=True))
    return ask_again(model, images[chosen], said.probs[stored].astype(np.float64))


def _learn(order: _Order, model: Model, images: NDArray[np.uint8], rows: Sequence[VersionRow]) -> Lessons:
    column = {int(cls["id"]): index for index, cls in enumerate(order.run["classes"])}
    labels = np.array([column.get(row.class_id or 0, -1) for row in rows], np.int64)
    known = labels >= 0
    if order.arch in ON_RUNS:
        return NOT_TRAINED
    try:
        return try_lessons(
            model.config,
            images[known],
            labels[known],
            class_count=model.class_count,
            preset=order.preset,
            asked=order.run["overrides"],
        )
    except ValueError:
        return NOT_TRAINED


def _compare_blank(model: Model, trained: NDArray[np.uint8], measured: NDArray[np.uint8]) -> dict[str, Any]:
    if not len(trained) or not len(measured):
        return {}
    found = {"trained": measure_blank(trained, mask=model.config.mask), "measured": measure_blank(measured)}
    return {**found, "mask": model.config.mask, "outside": found["trained"]["outside"]}
