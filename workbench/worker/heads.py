"""A run that fits a head on the features of another run's network: seconds instead of minutes."""

import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.checkpoints import append_metrics, rewrite_metrics
from ml.configs import TrainConfig
from ml.heads import apply_head, fit_head, write_head
from ml.predict import Model, load_model, predict
from ml.train import EpochReport
from workbench.errors import NotFound
from workbench.queries import runs as queries
from workbench.services import runs
from workbench.services.architectures import HEAD
from workbench.worker.context import Context
from workbench.worker.fitted import Fitted
from workbench.worker.kept_features import find_features
from workbench.worker.materials import Material, Order


def fit_head_run(context: Context, order: Order, config: TrainConfig, material: Material) -> Fitted:
    """Fit the head and leave the network with it in the run's checkpoint. Killed, it begins again: it takes seconds."""
    started_s = time.monotonic()
    backbone = _find_backbone(context, order.from_run_id)
    base = context.home.run_folder(backbone) / "checkpoint.pt"
    start = load_network(context, order.from_run_id)
    features = _look(context, backbone, start, material)
    rows = material.training
    head, loss = fit_head(
        features[rows],
        _aim(material, len(order.class_ids))[rows],
        weights=None if material.weights is None else material.weights[rows],
        balanced=config.class_weighting == "balanced",
        start=start.net.head,
        hidden=config.hidden,
        label_smoothing=config.label_smoothing,
        seed=config.seed,
        on_round=lambda done, total: context.progress(done, total, "Fitting the head"),
    )
    probs = apply_head(head, features[: len(material.rows)])
    report = _report(probs, material, loss=loss, seconds=time.monotonic() - started_s)
    folder = context.home.run_folder(order.run_id)
    write_head(base, head, config=config, class_count=len(order.class_ids), folder=folder, report=asdict(report))
    rewrite_metrics(folder, [])
    append_metrics(folder, asdict(report))
    with context.database.write() as session:
        run = queries.get_run(session, order.run_id)
        runs.report_epoch(run, epochs_done=1, images_per_second=report.images_per_second)
    context.on_epoch(1, report.validation_accuracy, report.validation_loss)
    return Fitted(
        probs=probs,
        features=features[: len(material.rows)],
        images_per_second=report.images_per_second,
        crossed=np.zeros(len(material.rows), np.bool_),
    )


def load_network(context: Context, run_id: int | None) -> Model:
    """The model of a run that another one is built on."""
    try:
        return load_model(_checkpoint(context, run_id))
    except (FileNotFoundError, ValueError) as error:
        raise NotFound(f"The checkpoint of run {run_id} is gone or damaged; build on another run.") from error


def _checkpoint(context: Context, run_id: int | None) -> Path:
    return context.home.run_folder(run_id or 0) / "checkpoint.pt"


def _find_backbone(context: Context, run_id: int | None) -> int:
    """The run whose network is meant: a head on a head stands on the same one."""
    with context.database.read() as session:
        run = queries.get_run(session, run_id or 0)
        while run.arch == HEAD and run.from_run_id is not None:
            run = queries.get_run(session, run.from_run_id)
        return run.id


def _look(context: Context, backbone: int, model: Model, material: Material) -> NDArray[np.float32]:
    """Features of the images, kept or computed, and of their variants, which exist for this run only."""
    count = len(material.rows)
    ids = np.array([row.image_id for row in material.rows], np.int64)
    features = find_features(context, backbone, model, image_ids=ids, images=material.images[:count])
    if len(material.parents):
        features = np.concatenate([features, predict(model, material.images[count:])[1]])
    return features


def _aim(material: Material, class_count: int) -> NDArray[np.float32]:
    """What each image is taken to show, (N + V, K)."""
    given: NDArray[np.float32] = np.eye(class_count, dtype=np.float32)[material.labels.clip(min=0)]
    return given if material.targets is None else material.targets


def _report(probs: NDArray[np.float32], material: Material, *, loss: float, seconds: float) -> EpochReport:
    taught, watched = material.taught, material.validation
    validation_loss, validation_accuracy = _measure(probs, material.labels, watched)
    return EpochReport(
        epoch=1,
        epochs=1,
        train_loss=loss,
        train_accuracy=_measure(probs, material.labels, taught)[1] or 0.0,
        validation_loss=validation_loss,
        validation_accuracy=validation_accuracy,
        learning_rate=0.0,
        seconds=seconds,
        images_per_second=len(material.training) / max(seconds, 1e-6),
    )


def _measure(
    probs: NDArray[np.float32], labels: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[float, float] | tuple[None, None]:
    """Mean cross-entropy and accuracy on the rows; none without any."""
    if not len(rows):
        return None, None
    given = probs[rows, labels[rows]].astype(np.float64)
    return float(-np.log(np.maximum(given, 1e-12)).mean()), float((probs[rows].argmax(1) == labels[rows]).mean())
