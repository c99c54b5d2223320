"""A run's predictions: arrays on disk, one row per image. Plain numpy, so that the web reads them too."""

import functools
import os
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.config import Home
from workbench.errors import NotFound

FILE = "predictions.npz"


@dataclass(frozen=True)
class Predictions:
    """What a run says about N images, K classes, D features. Rows are in the order of `image_ids`, ascending."""

    image_ids: NDArray[np.int64]  # (N,)
    probs: NDArray[np.float16]  # (N, K), rows sum to about 1
    out_of_sample: NDArray[np.bool_]  # (N,) whether the model that said it never saw the image
    p_wrong: NDArray[np.float32]  # (N,) that the given label is wrong; NaN where there is none or it was trained on
    suggested: NDArray[np.int64]  # (N,) column of the class that the image rather shows
    entropy: NDArray[np.float32]  # (N,) 0 sure to 1 no idea
    margin: NDArray[np.float32]  # (N,) 1 less the lead of the best class over the second: 0 sure to 1 a tie
    features: NDArray[np.float16]  # (N, D), rows of length 1
    class_ids: NDArray[np.int64]  # (K,) class of each column

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Column of the most probable class, (N,); ties to the lower column."""
        columns: NDArray[np.int64] = self.probs.argmax(1)
        return columns

    @property
    def predicted_ids(self) -> NDArray[np.int64]:
        """Id of the most probable class, (N,)."""
        return self.class_ids[self.predicted]

    @property
    def suggested_ids(self) -> NDArray[np.int64]:
        return self.class_ids[self.suggested]

    @property
    def confidence(self) -> NDArray[np.float32]:
        best: NDArray[np.float32] = self.probs.max(1).astype(np.float32)
        return best

    def find(self, image_id: int) -> int | None:
        """The image's row, none if the run never saw it."""
        row = int(np.searchsorted(self.image_ids, image_id))
        return row if row < len(self.image_ids) and self.image_ids[row] == image_id else None


def save_predictions(home: Home, run_id: int, predictions: Predictions) -> Path:
    """Write them so that at any moment either the old or the new file is there, whole."""
    path = home.run_folder(run_id) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{FILE}.{os.getpid()}.tmp")
    arrays = {field.name: getattr(predictions, field.name) for field in fields(Predictions)}
    with temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return path


def load_predictions(home: Home, run_id: int) -> Predictions:
    """The run's predictions; the last few runs asked for stay in memory until their file changes."""
    path = home.run_folder(run_id) / FILE
    try:
        stamp = path.stat()
    except FileNotFoundError:
        raise NotFound(f"Run {run_id} has no predictions: wait until it is done, or train again.") from None
    try:
        return _read(path, stamp.st_mtime_ns, stamp.st_size)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise NotFound(f"The predictions of run {run_id} are damaged: train again.") from None


@functools.lru_cache(maxsize=4)
def _read(path: Path, _mtime_ns: int, _size: int) -> Predictions:
    with np.load(path, allow_pickle=False) as stored:
        arrays = {field.name: stored[field.name] for field in fields(Predictions)}
    for array in arrays.values():
        array.flags.writeable = False  # shared by every request
    return Predictions(**arrays)


def nearest(predictions: Predictions, image_id: int, k: int) -> list[tuple[int, float]]:
    """The k images most like this one with their cosine similarity, nearest first, itself left out.

    Empty if the run never saw the image. Ties go to the lower image id. One pass over the features.
    """
    row = predictions.find(image_id)
    if row is None or k < 1:
        return []
    features = _features_float32(predictions)
    similarity = features @ features[row]
    similarity[row] = -np.inf
    k = min(k, len(similarity) - 1)
    if k == 0:
        return []
    best = np.argpartition(-similarity, k - 1)[:k]
    kth = similarity[best].min()
    candidates = np.flatnonzero(similarity >= kth)
    order = candidates[np.lexsort((candidates, -similarity[candidates]))][:k]
    return [(int(predictions.image_ids[index]), float(similarity[index])) for index in order]


_float32: tuple[Predictions, NDArray[np.float32]] | None = None


def _features_float32(predictions: Predictions) -> NDArray[np.float32]:
    """The features as the processor multiplies them; kept for the run asked for last (half precision is slow)."""
    global _float32  # noqa: PLW0603 - a cache of one
    cached = _float32
    if cached is None or cached[0] is not predictions:
        cached = _float32 = (predictions, predictions.features.astype(np.float32))
    return cached[1]
