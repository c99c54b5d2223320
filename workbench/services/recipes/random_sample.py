"""A random sample of the whole data set, reviewed images too: what an audit draws."""

from typing import Any

import numpy as np

from workbench.services.recipes.active import read_seed
from workbench.services.recipes.pool import Candidates, Pool, Recipe


def find(pool: Pool, *, seed: int = 0) -> Candidates:
    """Every image in an order that only the seed and the images decide; the first n are a sample of n."""
    rows = np.random.default_rng(seed).permutation(len(pool.image_ids))
    return Candidates(
        image_ids=pool.image_ids[rows],
        scores=np.zeros(len(rows), np.float32),
        believed=pool.p_wrong[rows],
        reason=lambda item: f"Drawn at random (seed {seed}); {pool.labelled(int(rows[item]))}.",
    )


def title(_pool: Pool, **_params: Any) -> str:
    return "Random sample"


RECIPE = Recipe(
    about="A random sample: images that were reviewed are drawn too.",
    find=find,
    title=title,
    params={"seed": read_seed},
    needs_run=False,
    keeps_reviewed=True,
    default_limit=400,
)
