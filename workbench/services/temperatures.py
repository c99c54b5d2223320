"""Temperature scaling: one number that makes a run as sure as it is right. Never shown on what it was fitted on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.models import Dataset, Run
from workbench.queries import splits as queries
from workbench.services.evaluations import Judged, judge
from workbench.services.measures import TINY, list_log_losses, measure_calibration, measure_log_loss

FOLDS = 5
FEWEST = 50  # images to fit on; fewer say too little
_RANGE = (0.05, 20.0)


def scale(probs: NDArray[np.float64], temperature: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """float (N, K): the probabilities with their logits divided by the temperature; above 1 makes them less sure.

    temperature: one, or (N, 1) of them.
    """
    logits = np.log(np.maximum(probs, TINY)) / temperature
    raised = np.exp(logits - logits.max(1, keepdims=True))
    scaled: NDArray[np.float64] = raised / raised.sum(1, keepdims=True)
    return scaled


def fit_temperature(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The temperature with the smallest log loss, from 0.05 to 20 (Guo et al. 2017). Convex in its inverse."""
    found = minimize_scalar(
        lambda power: float(list_log_losses(scale(probs, 1 / power), labels).mean()),
        bounds=(1 / _RANGE[1], 1 / _RANGE[0]),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return 1 / float(found.x)


def cross_fit(probs: NDArray[np.float64], labels: NDArray[np.int64], folds: NDArray[np.int64]) -> NDArray[np.float64]:
    """The probabilities, those of each fold scaled by the temperature fitted on all others. folds: (N,) numbers."""
    scaled = probs.copy()
    for fold in np.unique(folds).tolist():
        held = folds == fold
        scaled[held] = scale(probs[held], fit_temperature(probs[~held], labels[~held]))
    return scaled


def measure_scaled(session: Session, home: Home, run: Run, judged: Judged) -> dict[str, Any] | None:
    """Calibration and log loss after scaling, JSON-able; none where there are too few images to fit on.

    Fitted on the run's validation images where it is measured on others, else crosswise: each fifth of the images by
    the other four, copies in the same fifth. `temperature` is then the one fitted on all, to be used elsewhere.
    """
    values = judged.probs / judged.probs.sum(1, keepdims=True)
    aside = _judge_validation(session, home, run, judged)
    if aside is not None:
        normal = aside.probs / aside.probs.sum(1, keepdims=True)
        temperature = fit_temperature(normal, aside.labels)
        scaled, how, fitted = scale(values, temperature), "validation", len(aside.labels)
    else:
        folds = _deal(queries.get_pixels(session, judged.image_ids.tolist()), judged.image_ids.tolist())
        if len(folds) < FEWEST or len(np.unique(folds)) < 2:
            return None
        temperature = fit_temperature(values, judged.labels)
        scaled, how, fitted = cross_fit(values, judged.labels, folds), "cross-fitted", len(folds)
    return {
        "temperature": temperature,
        "how": how,
        "fitted_on": fitted,
        "n": len(judged.labels),
        **measure_log_loss(scaled, judged.labels),
        **measure_calibration(scaled, judged.labels),
    }


def _judge_validation(session: Session, home: Home, run: Run, judged: Judged) -> Judged | None:
    """The validation images apart from those measured on; none where these are the same, few or frozen."""
    if judged.split == "validation" or session.get_one(Dataset, run.dataset_id).frozen_split == "validation":
        return None
    found = judge(session, home, run, split="validation")
    apart = found.take(~np.isin(found.image_ids, judged.image_ids))
    return apart if len(apart.image_ids) >= FEWEST else None


def _deal(pixels: dict[int, str], image_ids: Sequence[int]) -> NDArray[np.int64]:
    """A fold for each image, by what it shows, so that copies are together."""
    return np.array([int(pixels[image_id], 16) % FOLDS for image_id in image_ids], np.int64)
