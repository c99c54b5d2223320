"""Runs that are done, for tests of pages: rows, predictions and curves as a training leaves them, without training."""

import json
from collections.abc import Mapping

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.models import Dataset, Image, Run, User
from workbench.queries import datasets
from workbench.services import measures, predictions, runs
from workbench.services.predictions import Predictions


def add_run(
    session: Session,
    home: Home,
    *,
    dataset: Dataset,
    user: User,
    mistakes: Mapping[str, str] | None = None,
    folds: int = 0,
    epochs: int = 3,
) -> Run:
    """A finished run that predicts every image's label with 0.8, but those of `mistakes` (path -> class name)."""
    run = runs.create_run(session, dataset=dataset, user=user, folds=folds)
    images = list(session.scalars(select(Image).where(Image.dataset_id == dataset.id).order_by(Image.id)))
    classes = datasets.list_open_classes(session, dataset.id)
    names = {cls.name: column for column, cls in enumerate(classes)}
    columns = {cls.id: column for column, cls in enumerate(classes)}
    labels = np.array([columns[image.label_id or 0] for image in images])
    said = np.array(
        [
            names[(mistakes or {}).get(image.path, classes[label].name)]
            for image, label in zip(images, labels, strict=True)
        ]
    )
    probs = np.full((len(images), len(classes)), 0.2 / (len(classes) - 1), np.float32)
    probs[np.arange(len(images)), said] = 0.8
    unseen = np.array([folds > 0 or image.split != "train" for image in images])
    predictions.save_predictions(
        home,
        run.id,
        Predictions(
            image_ids=np.array([image.id for image in images]),
            probs=probs.astype(np.float16),
            out_of_sample=unseen,
            p_wrong=np.where(unseen, np.where(said == labels, 0.1, 0.7), np.nan).astype(np.float32),
            suggested=said.astype(np.int64),
            entropy=np.full(len(images), 0.5, np.float32),
            margin=np.full(len(images), 0.3, np.float32),
            features=np.eye(len(images), 8, dtype=np.float16),
            class_ids=np.array([cls.id for cls in classes]),
        ),
    )
    tested = np.array([image.split == "test" for image in images])
    metrics = measures.evaluate(probs[tested], labels[tested], class_names=[cls.name for cls in classes])
    counts = {
        "images": len(images), "unreadable": 0, "unreadable_paths": [], "not_usable": 0, "leaked": 2,
        "trained": int((~tested).sum()), "validation": 0, "evaluated": int(tested.sum()),
    }  # fmt: skip
    runs.start_run(run, training={"epochs": epochs, "batch_size": 128}, counts=counts)
    write_curves(home, run.id, epochs=epochs)
    runs.report_epoch(run, epochs_done=epochs, images_per_second=1234.5)
    runs.finish_run(run, metrics={"split": "test", **metrics}, seconds=61.0, images_per_second=1234.5)
    session.flush()
    return run


def write_curves(home: Home, run_id: int, *, epochs: int, of: int | None = None) -> None:
    folder = home.run_folder(run_id)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "epoch": epoch, "epochs": of or epochs, "train_loss": 2 / epoch, "train_accuracy": epoch / (epochs + 1),
            "validation_loss": 3 / epoch, "validation_accuracy": epoch / (epochs + 2), "learning_rate": 0.1,
            "seconds": 2.0,
        }
        for epoch in range(1, epochs + 1)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
