"""Pairs that the promoted run's features propose: copies that were altered beyond what fingerprints recognise."""

import numpy as np
from numpy.typing import NDArray

from ml.dedup import scan
from ml.dedup.candidates import fit_views
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
) -> Pairs | None:
    """What else was compared because the run holds both for nearly the same; none without a promoted run.

    new: bool (N,), then only with one of these; an earlier scan compared the others.
    """
    if dataset.promoted_run_id is None:
        return None
    try:
        predictions = load_predictions(context.home, dataset.promoted_run_id)
    except NotFound:
        return None
    near = _find_near(predictions, pictures)
    if new is not None:
        near = near[new[near].any(1)]
    wanted = _list_unknown(near, pairs)
    if not len(wanted):
        return None
    context.progress(0, 1, "Comparing what the model holds for alike")
    return scan.compare(pictures.fingerprints, fit_views(pictures.fingerprints, wanted[:, 0], wanted[:, 1]))


def _find_near(predictions: Predictions, pictures: Pictures) -> NDArray[np.int64]:
    """(M, 2) rows of the pictures, lower first."""
    held = np.flatnonzero(np.isin(pictures.image_ids, predictions.image_ids))
    place = np.searchsorted(predictions.image_ids, pictures.image_ids)
    return held[find_alike(predictions.features[place[held]], nearest=_NEAREST, least=_LEAST)]


def _list_unknown(near: NDArray[np.int64], pairs: Pairs) -> NDArray[np.int64]:
    """Those that were not compared yet."""
    known = pairs.a * (1 << 31) + pairs.b
    return near[~np.isin(near[:, 0] * (1 << 31) + near[:, 1], known)]
