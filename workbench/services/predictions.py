"""A run's predictions: arrays on disk, one row per image. Plain numpy, so that the web reads them too."""

import functools
import weakref
import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.config import Home
from workbench.errors import NotFound
from workbench.files import write_arrays

FILE = "predictions.npz"
STORED_NEIGHBOURS = 12  # of each image, as many as the image page shows


def _unknown() -> NDArray[np.int32]:
    return np.empty((0, 0), np.int32)


@dataclass(frozen=True, eq=False)
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
    # (N, M) rows of the images most like each, nearest first, -1 where there are fewer; (0, 0) in files of old
    neighbours: NDArray[np.int32] = field(default_factory=_unknown)
    # (N, K) what labels are judged by where the model learned from them (ml.dynamics), `probs` elsewhere; (0, 0) if so
    # everywhere
    witness: NDArray[np.float16] = field(default_factory=lambda: np.empty((0, 0), np.float16))

    @property
    def judging(self) -> NDArray[np.float16]:
        """The probabilities that labels are judged by, (N, K)."""
        return self.witness if len(self.witness) else self.probs

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

    @property
    def while_learning(self) -> NDArray[np.float32]:
        """What the model itself said while it learned, (N, K), of images of which a fold's model spoke as well.

        `witness` is the mean of both there, `probs` the fold's. NaN rows for other images.
        """
        said = np.full(self.probs.shape, np.nan, np.float32)
        if len(self.witness):
            twice = self.out_of_sample & (self.witness != self.probs).any(1)
            said[twice] = (2 * self.witness[twice].astype(np.float32) - self.probs[twice]).clip(0, 1)
        return said

    def find(self, image_id: int) -> int | None:
        """The image's row, none if the run never saw it."""
        row = int(np.searchsorted(self.image_ids, image_id))
        return row if row < len(self.image_ids) and self.image_ids[row] == image_id else None


def save_predictions(home: Home, run_id: int, predictions: Predictions) -> Path:
    """Returns where they are."""
    path = home.run_folder(run_id) / FILE
    write_arrays(path, **{each.name: getattr(predictions, each.name) for each in fields(Predictions)})
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
        arrays = {each.name: stored[each.name] for each in fields(Predictions) if each.name in stored.files}
    for array in arrays.values():
        array.flags.writeable = False  # shared by every request
    return Predictions(**arrays)


def nearest(predictions: Predictions, image_id: int, k: int) -> list[tuple[int, float]]:
    """The k images most like this one with their cosine similarity, nearest first, itself left out.

    Empty if the run never saw the image. Ties go to the lower image id. Costs a look-up where the run stored that many
    neighbours of each image, else one pass over the features.
    """
    row = predictions.find(image_id)
    if row is None or k < 1:
        return []
    if k <= predictions.neighbours.shape[1]:
        rows = predictions.neighbours[row, :k].astype(np.intp)
        rows = rows[rows >= 0]
        similarity = predictions.features[rows].astype(np.float32) @ predictions.features[row].astype(np.float32)
    else:
        rows, similarity = _search(predictions, row, k)
    ids = predictions.image_ids[rows]
    return list(zip(ids.tolist(), similarity.tolist(), strict=True))


def _search(predictions: Predictions, row: int, k: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    features = _features_float32(predictions)
    similarity = features @ features[row]
    similarity[row] = -np.inf
    k = min(k, len(similarity) - 1)
    if k == 0:
        return np.empty(0, np.intp), np.empty(0, np.float32)
    best = np.argpartition(-similarity, k - 1)[:k]
    candidates = np.flatnonzero(similarity >= similarity[best].min())
    rows = candidates[np.lexsort((candidates, -similarity[candidates]))][:k]
    return rows, similarity[rows]


_most_typical: weakref.WeakKeyDictionary[Predictions, dict[int, list[int]]] = weakref.WeakKeyDictionary()


def list_typical(predictions: Predictions, class_id: int, *, most: int) -> list[int]:
    """The images that the run is surest show a class, surest first; empty where it does not know the class.

    One pass over the probabilities for each class, remembered as long as the predictions are.
    """
    known = _most_typical.setdefault(predictions, {})
    if class_id not in known:
        known[class_id] = _find_typical(predictions, class_id, most)
    return known[class_id][:most]


def _find_typical(predictions: Predictions, class_id: int, most: int) -> list[int]:
    columns = np.flatnonzero(predictions.class_ids == class_id)
    if not len(columns):
        return []
    p = predictions.probs[:, columns[0]]
    most = min(len(p), most)
    rows = np.argpartition(p, len(p) - most)[len(p) - most :]
    ordered = rows[np.argsort(-p[rows].astype(np.float32), kind="stable")]
    return [int(image_id) for image_id in predictions.image_ids[ordered]]


_float32: tuple[Predictions, NDArray[np.float32]] | None = None


def _features_float32(predictions: Predictions) -> NDArray[np.float32]:
    """The features as the processor multiplies them; kept for the run asked for last (half precision is slow)."""
    global _float32  # noqa: PLW0603 - a cache of one
    cached = _float32
    if cached is None or cached[0] is not predictions:
        cached = _float32 = (predictions, predictions.features.astype(np.float32))
    return cached[1]
