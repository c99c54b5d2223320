"""The cells of a run's confusion matrix: which images, and a few to show. By the newest labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.services.evaluations import Judged


@dataclass(frozen=True)
class CellImage:
    image_id: int
    confidence: float


def count_confusions(judged: Judged) -> NDArray[np.int64]:
    """int (K, K): rows are labels, columns predictions."""
    size = len(judged.class_ids)
    cells = judged.labels * size + judged.probs.argmax(1)
    return np.bincount(cells, minlength=size * size).reshape(size, size)


def list_cell(judged: Judged, *, true: str, predicted: str, limit: int | None = None) -> list[CellImage]:
    """The images of one cell, the most confident predictions first; none if the run does not know a class."""
    if not {true, predicted} <= set(judged.class_names):
        return []
    row, column = judged.class_names.index(true), judged.class_names.index(predicted)
    kept = np.flatnonzero((judged.labels == row) & (judged.probs.argmax(1) == column))
    confidence = _confidence(judged)[kept]
    order = np.lexsort((judged.image_ids[kept], -confidence))[:limit]
    return [CellImage(int(judged.image_ids[kept[place]]), float(confidence[place])) for place in order]


def _confidence(judged: Judged) -> NDArray[np.float64]:
    best: NDArray[np.float64] = judged.probs.max(1) / judged.probs.sum(1)
    return best


@dataclass(frozen=True)
class Confusion:
    """A pair that the run mixes up, with its first images."""

    true: str
    predicted: str
    n: int
    share: float
    images: list[CellImage]


def list_confusions(judged: Judged, pairs: Sequence[dict[str, Any]], *, examples: int = 6) -> list[Confusion]:
    """pairs: as `measures.list_most_confused` gives them."""
    return [
        Confusion(
            pair["true"],
            pair["predicted"],
            pair["n"],
            pair["share"],
            list_cell(judged, true=pair["true"], predicted=pair["predicted"], limit=examples),
        )
        for pair in pairs
    ]


def said_of(judged: Judged, image_ids: Sequence[int]) -> dict[int, tuple[str, float]]:
    """Image id -> the class that the run gives it, and how sure it is."""
    places = np.searchsorted(judged.image_ids, np.array(image_ids, np.int64))
    best, confidence = judged.probs.argmax(1), _confidence(judged)
    return {
        image_id: (judged.class_names[best[place]], float(confidence[place]))
        for image_id, place in zip(image_ids, places.tolist(), strict=True)
    }


@dataclass(frozen=True)
class Surest:
    """The image of a class that the run was surest about, and what it said it shows."""

    true: str
    predicted: str
    image_id: int
    confidence: float


def list_surest(judged: Judged) -> list[tuple[str, Surest | None, Surest | None]]:
    """Of each class that images have: where the run was surest and right, and where it was surest and wrong."""
    predicted, confidence = judged.probs.argmax(1), _confidence(judged)
    found = []
    for column, name in enumerate(judged.class_names):
        own = judged.labels == column
        if own.any():
            right = _pick_surest(judged, own & (predicted == column), confidence, predicted)
            wrong = _pick_surest(judged, own & (predicted != column), confidence, predicted)
            found.append((name, right, wrong))
    return found


def _pick_surest(
    judged: Judged, kept: NDArray[np.bool_], confidence: NDArray[np.float64], predicted: NDArray[np.int64]
) -> Surest | None:
    if not kept.any():
        return None
    row = int(np.where(kept, confidence, -1).argmax())  # ties to the lower image id
    names = judged.class_names
    return Surest(names[judged.labels[row]], names[predicted[row]], int(judged.image_ids[row]), float(confidence[row]))
