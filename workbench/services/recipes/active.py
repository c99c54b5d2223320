"""Images whose labels would teach a model most, chosen by a worker (workbench/worker/choosing.py)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.errors import Invalid
from workbench.models import Class
from workbench.services.predictions import Predictions
from workbench.services.recipes.pool import Candidates, Pool, Recipe, read_predictions

STRATEGY = "balanced"
# strategy -> what the form says about it, and why an image is there: {best} and {second} with their probabilities
STRATEGIES: dict[str, tuple[str, str]] = {
    "balanced": (
        "doubtful, varied, rare classes first",
        "The model hesitates between {best} and {second}; of the doubtful images like it this one, rare classes first",
    ),
    "margin_clusters": (
        "doubtful and varied",
        "The model hesitates between {best} and {second}; of the doubtful images like it this one",
    ),
    "margin": ("doubtful (margin)", "The model hesitates between {best} and {second}"),
    "entropy": ("doubtful (entropy)", "The model is sure of no class: at best {best}, then {second}"),
    "bald": (
        "doubt that labels can lift (BALD)",
        "Little that has a label is like it: the model says {best} or {second}, and its label would tell",
    ),
    "badge": (
        "largest change to the model (BADGE)",
        "Its label would change the model much, and otherwise than the rest of the queue: {best} or {second}",
    ),
    "core_set": (
        "unlike all that has a label (core-set)",
        "Unlike every image that has a label, and unlike the rest of the queue; predicted {best}",
    ),
    "typical": ("one of each kind", "Typical of one kind of picture; predicted {best}"),
}
AMONG = ("unlabelled", "undecided")


def find(pool: Pool, *, strategy: str = STRATEGY, **_params: Any) -> Candidates:
    """What the worker picked, as far as it may still be asked about."""
    said = read_predictions(pool)
    rows, scores = take_picked(pool)
    predicted, tell = said.predicted_ids[rows], tell_doubt(pool, said, STRATEGIES[strategy][1])
    return Candidates(
        image_ids=pool.image_ids[rows],
        scores=scores,
        p_wrong=said.p_wrong[rows],
        suggested_ids=predicted,
        reason=lambda item: f"{tell(int(rows[item]))}; {pool.labelled(int(rows[item]))}.",
    )


def take_picked(pool: Pool) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows of the pool and their scores, in the order of the pick."""
    picked = pool.picked
    if picked is None:
        raise Invalid("This queue is computed by a worker: ask for it on the home page or with workbench queue build.")
    rows = np.searchsorted(pool.image_ids, picked.image_ids)
    rows[rows == len(pool.image_ids)] = 0
    known = pool.image_ids[rows] == picked.image_ids if len(pool.image_ids) else np.zeros(len(rows), np.bool_)
    return rows[known], picked.scores[known]


def tell_doubt(pool: Pool, said: Predictions, words: str) -> Callable[[int], str]:
    """What a model says of a row: its two best classes with their probabilities, in these words."""

    def tell(row: int) -> str:
        probs = said.probs[row]
        best, second = np.argsort(-probs, kind="stable")[[0, min(1, len(probs) - 1)]]
        named = (f"{pool.name(int(said.class_ids[column]))} ({probs[column]:.2f})" for column in (best, second))
        return words.format(**dict(zip(("best", "second"), named, strict=True)))

    return tell


def read_strategy(value: Any) -> str:
    strategy = str(value).strip().lower().replace("-", "_")
    if strategy not in STRATEGIES:
        raise Invalid(f"“{value}” is not a strategy; use {', '.join(each.replace('_', '-') for each in STRATEGIES)}.")
    return strategy


def read_seed(value: Any) -> int:
    seed = int(value)
    if seed < 0:
        raise Invalid("A seed is a whole number, 0 or more.")
    return seed


def read_among(value: Any) -> str:
    if value not in AMONG:
        raise Invalid(f"“{value}” are no images to choose among; use {' or '.join(AMONG)}.")
    return str(value)


def read_budget(words: str, classes: Sequence[Class]) -> dict[int, int] | None:
    """Class id -> images wanted of it, from “disgust:100, fear:50”; none for “even”, which divides a queue's limit."""
    if words.strip().lower() == "even":
        return None
    ids = {cls.name: cls.id for cls in classes}
    budget: dict[int, int] = {}
    for part in words.split(","):
        name, _, count = (piece.strip() for piece in part.rpartition(":"))
        if name not in ids or not count.isascii() or not count.isdecimal():
            raise Invalid(f"“{words}” is no budget: write even, or CLASS:IMAGES, CLASS:IMAGES of {', '.join(ids)}.")
        budget[ids[name]] = int(count)
    return budget


def title(_pool: Pool, *, strategy: str = STRATEGY, **_params: Any) -> str:
    return "To learn from" if strategy == STRATEGY else f"To learn from ({strategy.replace('_', ' ')})"


RECIPE = Recipe(
    about="Images whose labels would teach the model most: doubtful ones, each unlike the others.",
    find=find,
    title=title,
    params={"strategy": read_strategy, "per_class": str, "among": read_among, "seed": read_seed},
    by_worker=True,
    default_limit=1000,
)
