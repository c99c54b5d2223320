"""Images about which the run is least sure."""

from typing import Any

import numpy as np

from workbench.errors import Invalid
from workbench.services.recipes.pool import Candidates, Pool, Recipe, read_predictions, top

SCORES = ("entropy", "margin", "least_confidence")


def find(pool: Pool, *, score: str = "entropy") -> Candidates:
    """score: entropy, margin (small between the best two classes) or least_confidence; all rise with doubt, 0 to 1."""
    said = read_predictions(pool)
    doubt = {"entropy": said.entropy, "margin": said.margin, "least_confidence": 1 - said.confidence}[score]
    rows = top(doubt, pool.image_ids)
    predicted = said.predicted  # once: each look at it is a pass over all images
    second = np.argsort(said.probs, axis=1, kind="stable")[:, -2] if said.probs.shape[1] > 1 else predicted

    def reason(item: int) -> str:
        row = int(rows[item])
        likely = [
            f"{pool.name(int(said.class_ids[column]))} ({said.probs[row, column]:.2f})"
            for column in (predicted[row], second[row])
        ]
        return f"The model hesitates between {' and '.join(likely)}; {pool.labelled(row)}."

    return Candidates(
        image_ids=pool.image_ids[rows],
        scores=doubt[rows].astype(np.float32),
        p_wrong=said.p_wrong[rows],
        suggested_ids=said.class_ids[predicted[rows]],
        reason=reason,
    )


def read_score(value: Any) -> str:
    score = str(value).replace("-", "_")
    if score not in SCORES:
        raise Invalid(f"“{value}” is not a score; use {', '.join(SCORES)}.")
    return score


def title(_pool: Pool, *, score: str = "entropy") -> str:
    return "Uncertain" if score == "entropy" else f"Uncertain ({score.replace('_', ' ')})"


RECIPE = Recipe(
    about="Images about which the model is least sure.", find=find, title=title, params={"score": read_score}
)
