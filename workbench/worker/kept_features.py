"""Features of a run's network, kept so that a head on them needs no pass over the images. Lost, they are made again."""

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.predict import Model, predict
from workbench.config import Home
from workbench.files import write_arrays
from workbench.worker.context import Context

MOST_BYTES = 256 * 2**20  # of one run; larger ones are made when a head needs them


def keep_features(home: Home, run_id: int, *, image_ids: NDArray[np.int64], features: NDArray[np.float32]) -> None:
    """Unless they are too large."""
    if features.nbytes <= MOST_BYTES:
        stamp = _stamp(home, run_id)
        write_arrays(_place(home, run_id), image_ids=image_ids, features=features, stamp=stamp)


def find_features(
    context: Context, run_id: int, model: Model, *, image_ids: NDArray[np.int64], images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Features (N, D) of images (N, C, S, S) by a run's network; those that are not kept are computed, and kept."""
    known_ids, known = _load(context.home, run_id, model.feature_count)
    order = np.argsort(known_ids)
    place = np.searchsorted(known_ids, image_ids, sorter=order).clip(max=max(0, len(known_ids) - 1))
    found = known_ids[order[place]] == image_ids if len(known_ids) else np.zeros(len(image_ids), np.bool_)
    features = np.empty((len(image_ids), model.feature_count), np.float32)
    features[found] = known[order[place[found]]] if len(known_ids) else known
    if not found.all():
        features[~found] = predict(
            model,
            images[~found],
            on_batch=lambda done, total: context.progress(done, total, "Looking at the images once"),
        )[1]
        keep_features(context.home, run_id, image_ids=image_ids, features=features)
    return features


def _place(home: Home, run_id: int) -> Path:
    return home.root / "features" / f"{run_id}.npz"


def _stamp(home: Home, run_id: int) -> str:
    """Names the checkpoint that they were made with."""
    found = (home.run_folder(run_id) / "checkpoint.pt").stat()
    return f"{found.st_size} {found.st_mtime_ns}"


def _load(home: Home, run_id: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    nothing = np.empty(0, np.int64), np.empty((0, width), np.float32)
    try:
        with np.load(_place(home, run_id), allow_pickle=False) as stored:
            if str(stored["stamp"]) != _stamp(home, run_id):
                return nothing
            return stored["image_ids"], stored["features"]
    except (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return nothing
