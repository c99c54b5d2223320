"""Images on which two runs give different answers."""

from typing import Any

import numpy as np

from workbench.errors import Invalid
from workbench.services.recipes.pool import Candidates, Pool, Recipe, read_predictions, top


def find(pool: Pool, *, against: int = 0) -> Candidates:
    """Images that the two runs put in different classes, by how far their probabilities are apart (total variation)."""
    one, other = read_predictions(pool), pool.against
    if other is None:
        raise Invalid("There is no second finished run to compare with; train one more.")
    columns = {int(class_id): column for column, class_id in enumerate(other.class_ids)}
    if set(columns) != set(one.class_ids.tolist()):
        raise Invalid(f"Runs {pool.run_id} and {against} were trained on different classes.")
    order = [columns[int(class_id)] for class_id in one.class_ids]
    distance = 0.5 * np.abs(one.probs.astype(np.float32) - other.probs[:, order].astype(np.float32)).sum(1)
    views = [
        (run_id, view.predicted_ids, view.confidence) for run_id, view in ((pool.run_id, one), (pool.against_id, other))
    ]
    rows = np.flatnonzero(views[0][1] != views[1][1])
    rows = rows[top(distance[rows], pool.image_ids[rows])]

    def reason(item: int) -> str:
        row = int(rows[item])
        said = [
            f"run {run_id} says {pool.name(int(predicted_ids[row]))} ({confidence[row]:.2f})"
            for run_id, predicted_ids, confidence in views
        ]
        sentence = f"{said[0]}, {said[1]}; {pool.labelled(row)}."
        return sentence[0].upper() + sentence[1:]

    return Candidates(
        image_ids=pool.image_ids[rows],
        scores=distance[rows].astype(np.float32),
        p_wrong=one.p_wrong[rows],
        suggested_ids=one.predicted_ids[rows],
        reason=reason,
    )


def title(pool: Pool, **_params: Any) -> str:
    return f"Runs {pool.run_id} and {pool.against_id} disagree"


RECIPE = Recipe(
    about="Images that two runs put in different classes, the furthest apart first.",
    find=find,
    title=title,
    params={"against": int},
)
