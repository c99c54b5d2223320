"""Rows in another order than the labels; columns in another order than the classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest, chi2_contingency

from workbench.services.evaluations import Judged
from workbench.services.run_checks.facts import Facts
from workbench.services.run_checks.outcomes import Outcome, fine, join_names, plural, unchecked, wrong

LEAST_IMAGES = 30  # with fewer, chance looks like anything
UNRELATED_P = 0.001  # a relation between predictions and labels that chance would make no more often is a relation
SURE = 0.2  # mean confidence above the share that is right by so much: sure of itself, and wrong
BETTER_KAPPA = 0.1
LEAST_KAPPA = 0.2
BETTER_P = 1e-4


def measure_kappa(table: NDArray[np.int64]) -> float:
    """Agreement of predictions and labels beyond what their frequencies give by chance; 0 where it cannot be said."""
    total = table.sum()
    if not total:
        return 0.0
    by_chance = float((table.sum(1) * table.sum(0)).sum() / total**2)
    return 0.0 if by_chance == 1 else (float(np.trace(table) / total) - by_chance) / (1 - by_chance)


def check_order(facts: Facts) -> Outcome:
    """Predictions that are sure of themselves and as unrelated to the labels as after a shuffle."""
    mismatched, rows = facts.imported.get("other_labels", 0), facts.imported.get("with_labels", 0)
    if rows and mismatched / rows > 0.5:
        return wrong(
            f"The labels that stand beside the probabilities in the file differ from the data set's for {mismatched:,} "
            f"of {plural(rows, 'image')}: its rows are in another order than its names."
        )
    judged, table = facts.judged, facts.table
    count = len(judged.labels)
    if count < LEAST_IMAGES:
        return unchecked(f"{plural(count, 'image')} are too few to tell a shuffled order from a poor model.")
    right, sure = float(np.trace(table) / count), float(judged.probs.max(1).mean())
    by_chance = float((table.sum(1) * table.sum(0)).sum() / count**2)
    if is_unrelated(table) and sure - right > SURE:
        return wrong(
            f"Predictions and labels have nothing to do with each other ({right:.1%} right, {by_chance:.1%} by chance) "
            f"though the model is {sure:.0%} sure on average: the rows of one were shuffled and those of the other not."
        )
    return fine(f"Predictions belong to their labels: {right:.1%} right, a shuffled order would give {by_chance:.1%}.")


def is_unrelated(table: NDArray[np.int64]) -> bool:
    """Whether labels tell nothing about predictions. What is nearly always one class is told by another check."""
    used = table[np.ix_(table.sum(1) > 0, table.sum(0) > 0)]
    if min(used.shape) < 2 or used.sum(0).max() > 0.95 * used.sum():
        return False
    return float(chi2_contingency(used, correction=False).pvalue) > UNRELATED_P and measure_kappa(table) < BETTER_KAPPA


# --- columns ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Permutation:
    """columns[i]: the column that seems to mean class i. right: the share right if it does, given: as they stand."""

    columns: NDArray[np.int64]
    right: float
    given: float


def find_permutation(judged: Judged) -> Permutation | None:
    """Another order of the columns that fits the labels far better; none where there is none.

    Each half of the images must choose the same order, and is put right by the choice of the other half.
    """
    count = len(judged.class_ids)
    predicted, truth = judged.probs.argmax(1), judged.labels
    if len(truth) < LEAST_IMAGES or count < 2:
        return None
    half = np.random.default_rng(0).permutation(len(truth)) % 2 == 0
    columns, other = (_assign(_tabulate(truth[part], predicted[part], count)) for part in (half, ~half))
    if (columns == np.arange(count)).all() or (columns != other).any():
        return None
    meant = np.argsort(columns)[predicted]
    gained = int(((meant == truth) & (predicted != truth)).sum())
    lost = int(((meant != truth) & (predicted == truth)).sum())
    if gained <= lost or binomtest(lost, gained + lost, 0.5, alternative="less").pvalue > BETTER_P:
        return None
    kappa, given = (measure_kappa(_tabulate(truth, each, count)) for each in (meant, predicted))
    if kappa < LEAST_KAPPA or kappa - given < BETTER_KAPPA:
        return None
    return Permutation(columns, float((meant == truth).mean()), float((predicted == truth).mean()))


def _tabulate(truth: NDArray[np.int64], predicted: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return np.bincount(truth * count + predicted, minlength=count * count).reshape(count, count)


def _assign(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """The column for each class that makes most images right; among equals the column of the class itself."""
    own = np.eye(len(table)) * 0.5
    _, columns = linear_sum_assignment(-(table + own))
    found: NDArray[np.int64] = np.asarray(columns, np.int64)
    return found


def check_columns(facts: Facts) -> Outcome:
    """Columns that fit the labels far better in another order."""
    judged = facts.judged
    mismatched, rows = facts.imported.get("other_predictions", 0), facts.imported.get("with_predictions", 0)
    if rows and mismatched / rows > 0.01:
        return wrong(
            f"The file names another class than its largest probability for {mismatched:,} of {plural(rows, 'image')}: "
            "names and columns stand in different orders."
        )
    if len(judged.labels) < LEAST_IMAGES:
        return unchecked(f"{plural(len(judged.labels), 'image')} are too few to tell the order of the columns.")
    found = find_permutation(judged)
    if found is None:
        return fine("No other order of the probability columns fits the labels better.")
    return wrong(
        f"The probability columns are in another order than the classes ({describe_order(found, judged.class_names)}): "
        f"{found.given:.1%} are right as they stand, {found.right:.1%} if the columns are put in order."
    )


def describe_order(found: Permutation, names: tuple[str, ...]) -> str:
    count = len(names)
    if (found.columns == np.arange(count)[::-1]).all():
        return "reversed"
    by_name = np.argsort(sorted(range(count), key=lambda index: names[index].casefold()))
    alphabetical = " as in the alphabet;" if (found.columns == by_name).all() else ""
    moved = [
        f"the column of {names[column]} means {names[index]}"
        for index, column in enumerate(found.columns.tolist())
        if index != column
    ]
    return f"{alphabetical} {join_names(moved)}".strip()
