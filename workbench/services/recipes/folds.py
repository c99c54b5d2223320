"""Images that two models of one run put in different classes: a fold's, and the one that learned from all."""

from typing import Any

import numpy as np

from workbench.errors import Invalid
from workbench.services.recipes.pool import Candidates, Pool, Recipe, read_predictions, top


def find(pool: Pool) -> Candidates:
    """By how far their probabilities are apart (total variation); what the model itself said while it learned."""
    said = read_predictions(pool)
    own = said.while_learning
    known = ~np.isnan(own[:, :1]).any(1)
    if not known.any():
        raise Invalid(
            f"Run {pool.run_id} has no folds that could disagree with it: train with --folds 4, then build the queue "
            "from that run."
        )
    folds = said.probs.astype(np.float32)
    distance = 0.5 * np.abs(folds - own).sum(1)
    fold_ids, own_ids = said.predicted_ids, said.class_ids[np.nan_to_num(own).argmax(1)]
    rows = np.flatnonzero(known & (fold_ids != own_ids))
    rows = rows[top(distance[rows], pool.image_ids[rows])]

    def reason(item: int) -> str:
        row = int(rows[item])
        fold = f"A fold that has not seen it says {pool.name(int(fold_ids[row]))} ({folds[row].max():.2f})"
        model = f"the model, while it learned, {pool.name(int(own_ids[row]))} ({own[row].max():.2f})"
        return f"{fold}, {model}; {pool.labelled(row)}."

    return Candidates(
        image_ids=pool.image_ids[rows],
        scores=distance[rows].astype(np.float32),
        p_wrong=said.p_wrong[rows],
        suggested_ids=fold_ids[rows],
        reason=reason,
    )


def title(pool: Pool, **_params: Any) -> str:
    return f"Folds of run {pool.run_id} disagree"


RECIPE = Recipe(
    about="Images of which a fold’s model, that has not seen them, and the run’s own say different classes.",
    find=find,
    title=title,
)
