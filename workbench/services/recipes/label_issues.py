"""Images whose label is probably wrong, or on which people would split, judged by models that could not know them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.errors import Invalid
from workbench.services.recipes.pool import Candidates, Pool, Recipe, read_predictions, top


def find(pool: Pool, *, every: bool = False, ambiguous: bool = False) -> Candidates:
    """Labelled images that a model could judge, by P(wrong).

    Images whose label the model shares, with P(wrong) below one half, are no issues: they are left out unless `every`.
    ambiguous: by P(ambiguous) instead, those of one half or more; verdicts teach it.
    """
    said = read_predictions(pool)
    labelled = pool.label_ids != 0
    judged = labelled & (said.out_of_sample | np.isfinite(said.p_wrong))
    if labelled.any() and not judged.any():
        raise Invalid(
            f"Run {pool.run_id} has seen all of these images, so it cannot judge their labels: train with --folds 4, "
            "then build the queue from that run."
        )
    given_p = _given_probability(pool)
    p_wrong = np.where(np.isnan(said.p_wrong), 1 - given_p, said.p_wrong)
    if ambiguous:
        return _find_ambiguous(pool, judged, p_wrong, every=every)
    if not every:
        judged &= (said.suggested_ids != pool.label_ids) | (p_wrong >= 0.5)
    rows = np.flatnonzero(judged)
    rows = rows[top(p_wrong[rows], pool.image_ids[rows])]
    best = said.probs[np.arange(len(said.probs)), said.suggested]
    suggested_ids = said.suggested_ids  # once: each look at it is a pass over all images

    def reason(item: int) -> str:
        row = int(rows[item])
        suggested = pool.name(int(suggested_ids[row]))
        if not said.out_of_sample[row]:
            return f"While it learned from it, the model rather saw {suggested}; {pool.labelled(row)}."
        return f"Predicted {suggested} with {best[row]:.2f} by a model that has not seen it; {pool.labelled(row)}."

    return Candidates(
        image_ids=pool.image_ids[rows],
        scores=p_wrong[rows].astype(np.float32),
        p_wrong=p_wrong[rows].astype(np.float32),
        suggested_ids=suggested_ids[rows],
        reason=reason,
    )


def _find_ambiguous(
    pool: Pool, judged: NDArray[np.bool_], p_wrong: NDArray[np.floating[Any]], *, every: bool
) -> Candidates:
    """Images on which reviewers would split: worth several opinions, not one."""
    doubt = pool.p_ambiguous
    if not doubt.any():
        raise Invalid(
            "Nothing is known yet about images on which people split: decide on 50 images, then run workbench learn."
        )
    rows = np.flatnonzero(judged & (every | (doubt >= 0.5)))
    rows = rows[top(doubt[rows], pool.image_ids[rows])]
    said = read_predictions(pool)
    suggested_ids = said.suggested_ids

    def reason(item: int) -> str:
        row = int(rows[item])
        return f"Reviewers would probably not agree on it ({doubt[row]:.2f}); {pool.labelled(row)}."

    return Candidates(
        image_ids=pool.image_ids[rows],
        scores=doubt[rows].astype(np.float32),
        p_wrong=p_wrong[rows].astype(np.float32),
        suggested_ids=suggested_ids[rows],
        reason=reason,
    )


def _given_probability(pool: Pool) -> Any:
    """The probability of each image's own label, float32 (N,); 0 for a class that the run does not know."""
    said = read_predictions(pool)
    is_given = said.class_ids[None, :] == pool.label_ids[:, None]  # (N, K)
    return (said.probs.astype(np.float32) * is_given).sum(1)


def title(_pool: Pool, *, ambiguous: bool = False, **_params: Any) -> str:
    return "Ambiguous images" if ambiguous else "Label issues"


def read_flag(value: Any) -> bool:
    return str(value).lower() in ("1", "true", "yes")


RECIPE = Recipe(
    about="Labels that a model which could not know them holds for wrong, the surest first.",
    find=find,
    title=title,
    params={"every": read_flag, "ambiguous": read_flag},
)
