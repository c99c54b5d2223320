"""Images about which reviewers contradict each other."""

from typing import Any

import numpy as np

from workbench.services.recipes.pool import Candidates, Pool, Recipe


def find(pool: Pool) -> Candidates:
    """Those that no lead has settled yet, the oldest image first."""
    rows = np.flatnonzero(pool.disputed)
    return Candidates(
        image_ids=pool.image_ids[rows],
        scores=np.zeros(len(rows), np.float32),
        reason=lambda item: f"Reviewers contradict each other; {pool.labelled(int(rows[item]))} for now.",
    )


def title(_pool: Pool, **_params: Any) -> str:
    return "Reviewers disagree"


RECIPE = Recipe(
    about="Images about which reviewers contradict each other: ask several more, blind, or settle them as a lead.",
    find=find,
    title=title,
    needs_run=False,
    keeps_reviewed=True,
)
