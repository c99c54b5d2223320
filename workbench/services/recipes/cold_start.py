"""Images to label first, before there is a model: one of each kind of picture, chosen by a worker."""

from typing import Any

from workbench.services.recipes.active import read_seed, take_picked
from workbench.services.recipes.pool import Candidates, Pool, Recipe


def find(pool: Pool, **_params: Any) -> Candidates:
    rows, scores = take_picked(pool)
    return Candidates(
        image_ids=pool.image_ids[rows],
        scores=scores,
        reason=lambda item: f"One of each kind of picture, chosen without a model; {pool.labelled(int(rows[item]))}.",
    )


def title(_pool: Pool, **_params: Any) -> str:
    return "To begin with"


RECIPE = Recipe(
    about="One of each kind of picture, for the first labels: needs no model.",
    find=find,
    title=title,
    params={"seed": read_seed},
    needs_run=False,
    by_worker=True,
    default_limit=200,
)
