"""Pairs that the promoted run's features propose: copies that were altered beyond what fingerprints recognise."""

import numpy as np
from numpy.typing import NDArray

from ml.dedup.candidates import Candidates, fit_views
from ml.dedup.index import find_alike
from ml.dedup.scan import Pairs
from workbench.errors import NotFound
from workbench.models import Dataset
from workbench.services.predictions import Predictions, load_predictions
from workbench.worker.context import Context
from workbench.worker.fingerprints import Pictures

_NEAREST = 4
_LEAST = 0.9  # cosine of the features


def propose_by_features(
    context: Context, dataset: Dataset, pictures: Pictures, pairs: Pairs, *, new: NDArray[np.bool_] | None
) -> Candidates | None:
    """What else to compare because the run holds both for nearly the same, if there is anything.

    pairs: those that were compared. new: bool (N,), then only with one of these; an earlier scan compared the others.
    """
    near = _find_near(_load(context, dataset), pictures)
    if new is not None:
        near = near[new[near].any(1)]
    wanted = near[~np.isin(name_pairs(near[:, 0], near[:, 1]), name_pairs(pairs.a, pairs.b))]
    return fit_views(pictures.fingerprints, wanted[:, 0], wanted[:, 1]) if len(wanted) else None


def name_pairs(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number for each pair of rows, both (M,)."""
    return a * (1 << 31) + b


def _load(context: Context, dataset: Dataset) -> Predictions | None:
    if dataset.promoted_run_id is None:
        return None
    try:
        return load_predictions(context.home, dataset.promoted_run_id)
    except NotFound:
        return None


def _find_near(predictions: Predictions | None, pictures: Pictures) -> NDArray[np.int64]:
    """(M, 2) rows of the pictures, lower first."""
    if predictions is None:
        return np.zeros((0, 2), np.int64)
    held = np.flatnonzero(np.isin(pictures.image_ids, predictions.image_ids))
    place = np.searchsorted(predictions.image_ids, pictures.image_ids)
    return held[find_alike(predictions.features[place[held]], nearest=_NEAREST, least=_LEAST)]
