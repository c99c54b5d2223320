"""The map of a run's features as a job."""

import time
from typing import Any

import numpy as np

from ml.projections import find_regions, lay_out
from workbench.errors import Invalid
from workbench.queries import datasets
from workbench.queries import runs as queries
from workbench.services import maps
from workbench.services.predictions import load_predictions
from workbench.worker.context import Context

_FEWEST, _MOST = 4, 40  # regions
_PER_REGION = 60


def make_map(
    context: Context, *, dataset: str, run: int | None = None, method: str = "neighbours", seed: int = 0
) -> dict[str, Any]:
    """Lay out what a run, none for the promoted one, holds of the images. Run again it makes the same map."""
    if method not in maps.METHODS:
        raise Invalid(f"“{method}” is not a layout; use {', '.join(maps.METHODS)}.")
    began = time.monotonic()
    with context.database.read() as session:
        found = datasets.get_dataset(session, dataset)
        chosen = queries.get_run(session, run) if run is not None else queries.get_promoted(session, found)
        if chosen is None or chosen.dataset_id != found.id:
            raise Invalid(f"A map is made from a run of {dataset}: train one first, or name one of its runs.")
        run_id = chosen.id
    said = load_predictions(context.home, run_id)
    features = said.features.astype(np.float32)
    if len(features) and not features.any():
        raise Invalid(f"Run {run_id} came without features, so its images cannot be laid out: name a run trained here.")
    places = lay_out(
        features,
        method=method,
        seed=seed,
        neighbours=said.neighbours if said.neighbours.shape[1] else None,
        on_progress=lambda done, total: context.progress(done, total, "Laying the images out"),
    )
    count = int(np.clip(np.sqrt(len(places) / _PER_REGION), _FEWEST, _MOST))
    regions = find_regions(places, count=count, seed=seed)
    made = maps.arrange(image_ids=said.image_ids, points=places, regions=regions, method=method, seed=seed)
    maps.save_map(context.home, run_id, made)
    return {
        "dataset": dataset,
        "run": run_id,
        "method": method,
        "images": len(made.image_ids),
        "regions": made.region_count,
        "seconds": round(time.monotonic() - began, 2),
    }
