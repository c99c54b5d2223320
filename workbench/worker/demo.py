"""The demo's data set: written as files, imported, scanned, trained on, by the same functions as everybody's data."""

import csv
import shutil
from pathlib import Path
from typing import Any

from ml.digits import ALTERED_COPIES, EXACT_COPIES, WRONG_LABELS, Digit, make_digits
from workbench.queries import datasets as dataset_queries
from workbench.queries import planted
from workbench.services import queues
from workbench.worker.context import Context

DATASET = "digits"
FOLDS = 5
# Digits are 8x8 underneath, and a mirrored digit is another digit.
SETTINGS = {"image_size": "16", "epochs": "6", "min_steps": "300", "flip": "false"}
PLANTED_TEXT = f"{WRONG_LABELS} wrong labels, {EXACT_COPIES} exact and {ALTERED_COPIES} altered copies are planted"


def is_built(context: Context) -> bool:
    with context.database.read() as session:
        found = dataset_queries.find_dataset(session, DATASET)
        return found is not None and found.promoted_run_id is not None


def build(context: Context) -> dict[str, Any]:
    """Import, scan and train; goes on where a stopped try left off. About half a minute on two cores."""
    from workbench.worker.imports import import_source
    from workbench.worker.scans import scan_duplicates
    from workbench.worker.trainings import train

    folder = context.home.root / "demo-images"
    write_images(folder)
    import_source(
        context,
        source=str(folder / "images"),
        dataset=DATASET,
        copy=True,
        attributes=str(folder / "planted.csv"),
    )
    scan_duplicates(context, dataset=DATASET)
    run = train(context, dataset=DATASET, preset="quick", folds=FOLDS, settings=SETTINGS, promote=True)
    _build_queues(context)
    shutil.rmtree(folder)
    return run


def write_images(folder: Path) -> None:
    """folder/images/<split>/<digit>/*.png, and folder/planted.csv with what was planted where."""
    import cv2

    rows = []
    for digit in make_digits():
        path = Path(digit.split) / str(digit.label) / digit.name
        target = folder / "images" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), digit.pixels)
        if digit.planted:
            rows.append([path.as_posix(), _describe(digit)])
    with (folder / "planted.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", planted.ATTRIBUTE])
        writer.writerows(rows)


def _describe(digit: Digit) -> str:
    return f"{digit.planted}, shows {digit.truth}" if digit.planted == planted.WRONG_LABEL else digit.planted


def _build_queues(context: Context) -> None:
    """What a first promoted run does not open by itself."""
    with context.database.write() as session:
        dataset = dataset_queries.get_dataset(session, DATASET)
        for recipe, limit in (("near_duplicates", None), ("random", 100)):
            queues.build_queue(session, context.home, dataset=dataset, recipe=recipe, limit=limit)
