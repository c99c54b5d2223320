"""The images that a filter shows, in the order of the list."""

from typing import Any

import numpy as np

from workbench.services import image_filters
from workbench.services.recipes.pool import Candidates, Pool, Recipe

MOST = 10_000


def find(pool: Pool, **params: Any) -> Candidates:
    """Everything that matches, decided on or not.

    A filter by prediction asks about the predicted class, and so do images without a label; any other asks about the
    label.
    """
    words = ", ".join(said for _, said in image_filters.describe(params)) or "every image"
    asks_predicted = params.get("predicted") is not None or params.get("agreement") == "disagree"
    suggested = np.where(asks_predicted | (pool.label_ids == 0), pool.predicted_ids, 0)
    is_sorted = params.get("sort") == "p_wrong"
    return Candidates(
        image_ids=pool.image_ids,
        scores=np.nan_to_num(pool.p_wrong) if is_sorted else np.zeros(len(pool.image_ids), np.float32),
        p_wrong=pool.p_wrong,
        suggested_ids=suggested,
        reason=lambda item: f"Chosen by a filter: {words}; {pool.labelled(item)}.",
    )


def title(_pool: Pool, **params: Any) -> str:
    words = ", ".join(said for _, said in image_filters.describe(params)) or "all images"
    return words[0].upper() + words[1:]


RECIPE = Recipe(
    about="The images that a filter of the images page shows, decided on or not; 10,000 at most.",
    find=find,
    title=title,
    params=image_filters.PARAMS,
    needs_run=False,
    needs_matches=True,
    default_limit=MOST,
    flags=image_filters.follows_flags,
)
