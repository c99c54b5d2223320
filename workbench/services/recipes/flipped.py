"""Images on which one of two runs is right and the other is not, or both are wrong differently."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.errors import Invalid
from workbench.services.recipes.pool import Candidates, Pool, Recipe, read_predictions, top

# kind -> how the title says it
KINDS = {
    "fixed": "Fixed by run {run} (run {against} is wrong)",
    "broken": "Broken by run {run} (run {against} is right)",
    "other": "Wrong in runs {against} and {run}, differently",
    "all": "Flipped between runs {against} and {run}",
}


def read_kind(value: Any) -> str:
    if value not in KINDS:
        raise Invalid(f"“{value}” is no kind of flip; use {', '.join(KINDS)}.")
    return str(value)


def find(pool: Pool, *, against: int = 0, kind: str = "all") -> Candidates:  # noqa: ARG001 - the pool holds that run
    """By the newest labels, among images that neither run had seen; those first on which both runs are surest.

    kind: fixed (run is right, `against` is not), broken (the other way), other (both wrong, differently), or all.
    """
    said, other = read_predictions(pool), pool.against
    if other is None:
        raise Invalid("There is no second finished run to compare with; train one more.")
    now, before = said.predicted_ids, other.predicted_ids
    unseen = said.out_of_sample & other.out_of_sample & (pool.label_ids != 0)
    rows = np.flatnonzero(unseen & (now != before) & _choose(kind, now == pool.label_ids, before == pool.label_ids))
    scores = np.minimum(said.confidence, other.confidence)[rows]
    order = top(scores, pool.image_ids[rows])
    rows, scores = rows[order], scores[order]

    def reason(item: int) -> str:
        row = int(rows[item])
        first = f"Run {pool.against_id} says {pool.name(int(before[row]))} ({other.confidence[row]:.2f})"
        second = f"run {pool.run_id} says {pool.name(int(now[row]))} ({said.confidence[row]:.2f})"
        return f"{first}, {second}; {pool.labelled(row)}."

    return Candidates(
        image_ids=pool.image_ids[rows],
        scores=scores.astype(np.float32),
        p_wrong=said.p_wrong[rows],
        suggested_ids=now[rows],
        reason=reason,
    )


def _choose(kind: str, right: NDArray[np.bool_], was_right: NDArray[np.bool_]) -> NDArray[np.bool_]:
    chosen: NDArray[np.bool_] = {
        "fixed": right & ~was_right,
        "broken": was_right & ~right,
        "other": ~right & ~was_right,
        "all": np.ones(len(right), np.bool_),
    }[kind]
    return chosen


def title(pool: Pool, *, kind: str = "all", **_params: Any) -> str:
    return KINDS[kind].format(run=pool.run_id, against=pool.against_id)


RECIPE = Recipe(
    about="Images on which one of two runs is right and the other wrong, the surest contradictions first.",
    find=find,
    title=title,
    params={"against": int, "kind": read_kind},
)
