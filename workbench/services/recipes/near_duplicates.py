"""Groups of near copies that nobody has judged yet; an item is a group, shown by its first image."""

from typing import Any

import numpy as np

from workbench.services.recipes.pool import Candidates, Pool, PoolGroup, Recipe


def find(pool: Pool) -> Candidates:
    """Open near groups: conflicting labels first, then those that span splits, then the surest."""
    groups = sorted(pool.groups, key=lambda group: (-group.conflicting, -group.spanning, -group.p, group.id))
    return Candidates(
        image_ids=np.array([group.image_ids[0] for group in groups], np.int64),
        scores=np.array([group.score for group in groups], np.float32),
        group_ids=np.array([group.id for group in groups], np.int64),
        reason=lambda item: _reason(groups[item]),
    )


def _reason(group: PoolGroup) -> str:
    facts = [f"{len(group.image_ids)} images that look like one picture (P {group.p:.2f})"]
    if group.conflicting:
        facts.append("with different labels")
    if group.spanning:
        facts.append("in different splits")
    return ", ".join(facts) + "."


def title(_pool: Pool, **_params: Any) -> str:
    return "Near duplicates"


RECIPE = Recipe(
    about="Groups of images that look like one picture, those with different labels first.",
    find=find,
    title=title,
    needs_run=False,
    needs_groups=True,
    keeps_reviewed=True,
)
