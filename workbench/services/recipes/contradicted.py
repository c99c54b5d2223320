"""Images that reviewers have settled and of which a model that has not seen them surely says something else."""

from typing import Any

import numpy as np

from workbench.errors import Invalid
from workbench.services.recipes.pool import Candidates, Pool, Recipe, read_predictions, top

LEAST = 0.7


def find(pool: Pool, *, least: float = LEAST) -> Candidates:
    """least: how probable the model must hold its class. The widest gap to the reviewers' class comes first.

    Nothing here has a P(wrong): that judges labels as they came, not those that people gave.
    """
    said = read_predictions(pool)
    predicted_ids, confidence = said.predicted_ids, said.confidence
    is_theirs = said.class_ids[None, :] == pool.label_ids[:, None]  # (N, K)
    gap = confidence - (said.probs.astype(np.float32) * is_theirs).sum(1)
    differs = pool.settled & said.out_of_sample & (predicted_ids != pool.label_ids)
    rows = np.flatnonzero(differs & (confidence >= np.float32(least)))
    rows = rows[top(gap[rows], pool.image_ids[rows])]

    def reason(item: int) -> str:
        row = int(rows[item])
        model = f"A model that has not seen it says {pool.name(int(predicted_ids[row]))} ({confidence[row]:.2f})"
        return f"{model}; reviewers said {pool.name(int(pool.label_ids[row]))}."

    return Candidates(
        image_ids=pool.image_ids[rows],
        scores=gap[rows].astype(np.float32),
        suggested_ids=predicted_ids[rows],
        reason=reason,
    )


def read_share(value: Any) -> float:
    try:
        share = float(str(value).replace(",", "."))
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise Invalid(f"“{value}” is not a probability; give a number from 0 to 1.")
    return share


def title(pool: Pool, **_params: Any) -> str:
    return f"Run {pool.run_id} contradicts reviewers"


RECIPE = Recipe(
    about="Images that reviewers settled and of which the model, not having seen them, surely says another class.",
    find=find,
    title=title,
    params={"least": read_share},
    keeps_reviewed=True,
    random_share=False,
)
