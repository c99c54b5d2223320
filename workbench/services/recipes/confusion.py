"""One cell of the confusion matrix: images labelled one class and predicted another."""

import numpy as np

from workbench.errors import Invalid
from workbench.services.recipes.pool import Candidates, Pool, Recipe, believe_wrong, judge, read_predictions


def find(pool: Pool, *, cell: str = "") -> Candidates:
    """cell: "TRUE:PREDICTED", two class names.

    The labels that are most probably wrong come first; then, the most confident first, those that the run cannot judge.
    """
    true_id, predicted_id = read_cell(pool, cell)
    said = read_predictions(pool)
    predicted_ids, confidence = judge(said)
    rows = np.flatnonzero((pool.label_ids == true_id) & (predicted_ids == predicted_id))
    p_wrong = believe_wrong(pool)
    rows = rows[np.lexsort((pool.image_ids[rows], -confidence[rows], -np.nan_to_num(p_wrong[rows])))]
    true, predicted = pool.name(true_id), pool.name(predicted_id)

    def reason(item: int) -> str:
        row = int(rows[item])
        seen = "" if np.isnan(p_wrong[row]) else " while the model learned from it"
        how = " by a model that has not seen it" if said.out_of_sample[row] else seen
        return f"Labelled {true}, predicted {predicted} with {confidence[row]:.2f}{how}."

    return Candidates(
        image_ids=pool.image_ids[rows],
        scores=np.where(np.isnan(p_wrong[rows]), confidence[rows], p_wrong[rows]).astype(np.float32),
        p_wrong=said.p_wrong[rows],
        suggested_ids=predicted_ids[rows],
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
    """The cells off the diagonal with the most wrong labels to be expected, as TRUE:PREDICTED.

    Not those with the most confusions: where the labels are good, a confusion is the model's own mistake.
    """
    (predicted_ids, _), p_wrong = judge(read_predictions(pool)), believe_wrong(pool)
    confused = np.flatnonzero(~np.isnan(p_wrong) & (predicted_ids != pool.label_ids))
    pairs = np.stack([pool.label_ids[confused], predicted_ids[confused]], axis=1)
    cells, cell_of = np.unique(pairs, axis=0, return_inverse=True)
    expected = np.bincount(cell_of.ravel(), p_wrong[confused], minlength=len(cells))
    order = np.argsort(-expected, kind="stable")[:count]
    return [f"{pool.name(int(true))}:{pool.name(int(predicted))}" for true, predicted in cells[order]]


def title(pool: Pool, *, cell: str = "") -> str:
    true_id, predicted_id = read_cell(pool, cell)
    return f"Labelled {pool.name(true_id)}, predicted {pool.name(predicted_id)}"


RECIPE = Recipe(
    about="Images of one cell of the confusion matrix, the labels that are most probably wrong first.",
    find=find,
    title=title,
    params={"cell": str},
)
