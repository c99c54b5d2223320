"""Pairs that the promoted run's features propose: copies that were altered beyond what fingerprints recognise."""

import numpy as np
from numpy.typing import NDArray

from ml.dedup.candidates import Candidates, fit_views, name_pairs
from ml.dedup.descriptors import VIEWS
from ml.dedup.index import find_alike
from ml.dedup.scan import Pairs
from workbench.errors import NotFound
from workbench.models import Dataset
from workbench.services.predictions import Predictions, load_predictions
from workbench.worker.context import Context
from workbench.worker.fingerprints import Pictures

_NEAREST = 4
_LEAST = 0.9  # cosine of the features
_LARGEST = VIEWS[:6]  # the whole and the windows that show most of it
_LEAST_FIT = 0.35  # cosine in the best of these; of FER2013's copies that only features propose 98 % have more
_MESSAGE = "Comparing what the model holds for alike"


def propose_by_features(
    context: Context, dataset: Dataset, pictures: Pictures, pairs: Pairs, *, new: NDArray[np.bool_] | None
) -> Candidates | None:
    """What else to compare because the run holds both for nearly the same, if there is anything.

    pairs: those that were compared. new: bool (N,), then only with one of these; an earlier scan compared the others.
    """
    predictions = _load(context, dataset)
    if predictions is None:
        return None
    context.progress(0, 3, _MESSAGE)
    near = _find_near(predictions, pictures)
    if new is not None:
        near = near[new[near].any(1)]
    wanted = near[~np.isin(name_pairs(*near.T), name_pairs(pairs.a, pairs.b))]
    if not len(wanted):
        return None
    context.progress(1, 3, _MESSAGE)
    wanted = _drop_unlike(pictures, wanted)
    context.progress(2, 3, _MESSAGE)
    return fit_views(pictures.fingerprints, wanted[:, 0], wanted[:, 1])


def _load(context: Context, dataset: Dataset) -> Predictions | None:
    if dataset.promoted_run_id is None:
        return None
    try:
        return load_predictions(context.home, dataset.promoted_run_id)
    except NotFound:
        return None


def _find_near(predictions: Predictions, pictures: Pictures) -> NDArray[np.int64]:
    """(M, 2) rows of the pictures, lower first, ascending."""
    held = np.flatnonzero(np.isin(pictures.image_ids, predictions.image_ids))
    place = np.searchsorted(predictions.image_ids, pictures.image_ids)
    return held[find_alike(predictions.features[place[held]], nearest=_NEAREST, least=_LEAST)]


def _drop_unlike(pictures: Pictures, near: NDArray[np.int64]) -> NDArray[np.int64]:
    """Without the pairs, most of them, that fit in no window at all; aligning those is what costs."""
    found = fit_views(pictures.fingerprints, near[:, 0], near[:, 1], views=_LARGEST)
    fit = found.take(np.flatnonzero(found.cosine >= _LEAST_FIT))
    return near[np.isin(name_pairs(*near.T), name_pairs(fit.low, fit.high))]
