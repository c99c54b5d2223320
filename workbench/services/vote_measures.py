"""How near a run's probabilities are to what raters voted, beside what no model can beat."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from workbench.models import Dataset
from workbench.models.states import merge_roots
from workbench.queries import datasets as dataset_queries
from workbench.queries import votes as queries
from workbench.services.evaluations import Judged
from workbench.services.measures import TINY, mean_interval


def measure_votes(probs: NDArray[np.float64], counts: NDArray[np.int64]) -> dict[str, Any] | None:
    """Cross-entropy in nats of the probabilities to the shares of the votes; none where nobody voted for the classes.

    probs: float (N, K), normalised. counts: int (N, K) votes; images without are left out. `floor` is the entropy of
    the votes themselves, which only the votes reach; `baseline` is what their mean shares reach, said of every image.
    """
    voted = counts.sum(1) > 0
    if not voted.any():
        return None
    shares = counts[voted] / counts[voted].sum(1, keepdims=True)
    losses = _cross(shares, np.maximum(probs[voted], TINY))
    low, high = mean_interval(losses)
    mean = np.broadcast_to(shares.mean(0), shares.shape)
    return {
        "n": int(voted.sum()),
        "cross_entropy": float(losses.mean()),
        "low": low,
        "high": high,
        "floor": float(_cross(shares, shares).mean()),
        "baseline": float(_cross(shares, mean).mean()),
    }


def _cross(shares: NDArray[np.float64], probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Per image; what has no share costs nothing."""
    costs: NDArray[np.float64] = -(shares * np.log(np.where(shares > 0, probs, 1.0))).sum(1)
    return costs


def count_votes(session: Session, dataset: Dataset, judged: Judged) -> NDArray[np.int64]:
    """int (N, K): the votes for the run's classes, those for merged ones where they went; others are left out."""
    roots = merge_roots(dataset_queries.list_classes(session, dataset.id))
    columns = {class_id: column for column, class_id in enumerate(judged.class_ids)}
    rows = {image_id: row for row, image_id in enumerate(judged.image_ids.tolist())}
    counts = np.zeros((len(rows), len(columns)), np.int64)
    for image_id, class_id, count in queries.list_counts(session, list(rows)):
        column = columns.get(roots.get(class_id, class_id))
        if column is not None:
            counts[rows[image_id], column] += count
    return counts
