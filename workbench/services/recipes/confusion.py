"""One cell of the confusion matrix: images labelled one class and predicted another."""

import numpy as np

from workbench.errors import Invalid
from workbench.services.recipes.pool import Candidates, Pool, Recipe, read_predictions, top


def find(pool: Pool, *, cell: str = "") -> Candidates:
    """cell: "TRUE:PREDICTED", two class names. The most confident predictions come first."""
    true_id, predicted_id = read_cell(pool, cell)
    said = read_predictions(pool)
    confidence = said.confidence
    rows = np.flatnonzero((pool.label_ids == true_id) & (said.predicted_ids == predicted_id))
    rows = rows[top(confidence[rows], pool.image_ids[rows])]
    true, predicted = pool.name(true_id), pool.name(predicted_id)

    def reason(item: int) -> str:
        row = int(rows[item])
        seen = " by a model that has not seen it" if said.out_of_sample[row] else ""
        return f"Labelled {true}, predicted {predicted} with {confidence[row]:.2f}{seen}."

    return Candidates(
        image_ids=pool.image_ids[rows],
        scores=confidence[rows].astype(np.float32),
        p_wrong=said.p_wrong[rows],
        suggested_ids=said.predicted_ids[rows],
        reason=reason,
    )


def read_cell(pool: Pool, cell: str) -> tuple[int, int]:
    """The ids of the two classes that a cell names; a class name may itself hold a colon."""
    by_name = {name: class_id for class_id, name in pool.class_names.items()}
    for place, letter in enumerate(cell):
        if letter == ":" and cell[:place] in by_name and cell[place + 1 :] in by_name:
            return by_name[cell[:place]], by_name[cell[place + 1 :]]
    names = ", ".join(pool.class_names.values())
    raise Invalid(f"“{cell}” is not a cell: write TRUE:PREDICTED with two of these classes: {names}.")


def worst_cells(pool: Pool, *, count: int) -> list[str]:
    """The cells off the diagonal that hold most of the images the run has not seen, as TRUE:PREDICTED."""
    said = read_predictions(pool)
    wrong = said.out_of_sample & (pool.label_ids != 0) & (said.predicted_ids != pool.label_ids)
    pairs = np.stack([pool.label_ids[wrong], said.predicted_ids[wrong]], axis=1)
    cells, sizes = np.unique(pairs, axis=0, return_counts=True)
    order = np.argsort(-sizes, kind="stable")[:count]
    return [f"{pool.name(int(true))}:{pool.name(int(predicted))}" for true, predicted in cells[order]]


def title(pool: Pool, *, cell: str = "") -> str:
    true_id, predicted_id = read_cell(pool, cell)
    return f"Labelled {pool.name(true_id)}, predicted {pool.name(predicted_id)}"


RECIPE = Recipe(
    about="Images of one cell of the confusion matrix, the most confident predictions first.",
    find=find,
    title=title,
    params={"cell": str},
)
