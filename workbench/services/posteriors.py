"""What verdicts taught about a run's predictions: arrays on disk, one row per image."""

import functools
import zipfile
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.config import Home
from workbench.files import write_arrays
from workbench.services.predictions import Predictions, load_predictions

FILE = "posteriors.npz"


@dataclass(frozen=True, eq=False)
class Posteriors:
    """Beliefs about N images, K classes, in the order of the run's predictions: `image_ids` ascending.

    The class probabilities and P(wrong) are one belief: where the label is known, P(wrong) is 1 less its probability.
    """

    image_ids: NDArray[np.int64]  # (N,)
    probs: NDArray[np.float16]  # (N, K) of what the image shows, rows sum to about 1
    p_wrong: NDArray[np.float32]  # (N,) that the given label is wrong; NaN as in the run's predictions
    p_ambiguous: NDArray[np.float32]  # (N,) that people split on the image
    suggested: NDArray[np.int64]  # (N,) column of the class that the image rather shows
    class_ids: NDArray[np.int64]  # (K,) class of each column
    decision_id: int  # verdicts were read up to this line of the log
    verdicts: int  # that it was learned from
    random_verdicts: int  # of these, on images that chance alone chose
    shrinkage: float  # 1: nothing particular to the classes was learned
    # (K, K + 1) verdicts by the label as it came and the class that they said, the last column none; none in old files
    said: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    # (N,) that the next verdict on the image changes what it is, NaN as `p_wrong`; (0,) in old files
    p_hit: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def suggested_ids(self) -> NDArray[np.int64]:
        return self.class_ids[self.suggested]

    def find(self, image_id: int) -> int | None:
        """The image's row, none if the run never saw it."""
        row = int(np.searchsorted(self.image_ids, image_id))
        return row if row < len(self.image_ids) and self.image_ids[row] == image_id else None


_NUMBERS = {"decision_id": int, "verdicts": int, "random_verdicts": int, "shrinkage": float}


def save_posteriors(home: Home, run_id: int, posteriors: Posteriors) -> Path:
    """Returns where they are."""
    path = home.run_folder(run_id) / FILE
    write_arrays(path, **{each.name: getattr(posteriors, each.name) for each in fields(Posteriors)})
    return path


def has_posteriors(home: Home, run_id: int) -> bool:
    """Whether verdicts taught anything about it; reads nothing."""
    return (home.run_folder(run_id) / FILE).exists()


def find_posteriors(home: Home, run_id: int) -> Posteriors | None:
    """What was learned last, none before any verdicts; the last few asked for stay in memory."""
    path = home.run_folder(run_id) / FILE
    try:
        stamp = path.stat()
    except FileNotFoundError:
        return None
    try:
        return _read(path, stamp.st_mtime_ns, stamp.st_size)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # learned again at the next occasion


@functools.lru_cache(maxsize=4)
def _read(path: Path, _mtime_ns: int, _size: int) -> Posteriors:
    with np.load(path, allow_pickle=False) as stored:
        wanted = [each for each in fields(Posteriors) if each.name not in _NUMBERS]
        names = [each.name for each in wanted if each.default_factory is MISSING or each.name in stored.files]
        arrays = {name: stored[name] for name in names}
        numbers: dict[str, Any] = {name: read(stored[name]) for name, read in _NUMBERS.items()}
    for array in arrays.values():
        array.flags.writeable = False  # shared by every request
    return Posteriors(**arrays, **numbers)


def load_judged(home: Home, run_id: int) -> Predictions:
    """The run's predictions with P(wrong) and suggestions as verdicts corrected them; as they were before any."""
    said = load_predictions(home, run_id)
    learned = find_posteriors(home, run_id)
    if learned is None or not np.array_equal(learned.image_ids, said.image_ids):
        return said
    return replace(said, p_wrong=learned.p_wrong, suggested=learned.suggested)
