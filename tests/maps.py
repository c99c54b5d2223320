"""Maps for tests of pages: places in a row, as a job would leave them."""

from collections.abc import Sequence

import numpy as np

from workbench.config import Home
from workbench.models import Run
from workbench.services import maps
from workbench.services.predictions import load_predictions


def add_map(home: Home, run: Run, *, regions: int = 2, order: Sequence[int] | None = None) -> Run:
    """The run's images from left to right, by id or in an order, cut into regions of equal size; returns the run."""
    image_ids = np.array(load_predictions(home, run.id).image_ids if order is None else order)
    across = (np.arange(len(image_ids)) + 0.5) / len(image_ids)
    made = maps.arrange(
        image_ids=image_ids,
        points=np.stack([across, np.full(len(image_ids), 0.5)], axis=1).astype(np.float32),
        regions=(across * regions).astype(np.int16),
        method="pca",
        seed=0,
    )
    maps.save_map(home, run.id, made)
    return run
