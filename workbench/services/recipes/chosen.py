"""Images that somebody chose one by one or on the map, in the order in which they are named."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.errors import Invalid
from workbench.services.recipes.pool import Candidates, Pool, Recipe, believe_wrong, read_predictions

MOST = 10_000
DEFAULT_WHERE = "Chosen by hand"


def read_ids(value: Any) -> str:
    """Ids of images between commas; raises Invalid for anything else."""
    words = [word.strip() for word in str(value).split(",") if word.strip()]
    if not words or not all(word.isascii() and word.isdecimal() and len(word) < 16 for word in words):
        raise Invalid("Name the images by their ids, like images=12,15,40.")
    return ",".join(words)


def write_ids(image_ids: Sequence[int]) -> str:
    """The param of these images."""
    return ",".join(map(str, image_ids))


def find(pool: Pool, *, images: str = "", where: str = DEFAULT_WHERE) -> Candidates:
    """Those that the run saw and nobody has decided on, each once."""
    if not images:
        raise Invalid("Name the images by their ids, like --set images=12,15,40.")
    wanted = np.array(list(dict.fromkeys(map(int, images.split(",")))), np.int64)
    place = np.searchsorted(pool.image_ids, wanted).clip(max=max(0, len(pool.image_ids) - 1))
    is_there = pool.image_ids[place] == wanted if len(pool.image_ids) else np.zeros(len(wanted), bool)
    rows: NDArray[np.int64] = place[is_there].astype(np.int64)
    said = read_predictions(pool)
    names = [pool.name(int(class_id)) for class_id in said.class_ids]
    predicted = said.predicted
    return Candidates(
        image_ids=pool.image_ids[rows],
        scores=np.linspace(1, 0, len(rows), endpoint=False, dtype=np.float32),
        p_wrong=believe_wrong(pool)[rows],
        suggested_ids=said.suggested_ids[rows],
        reason=lambda item: f"{where}; predicted {names[predicted[rows[item]]]}, {pool.labelled(int(rows[item]))}.",
    )


def title(_pool: Pool, *, images: str = "", where: str = DEFAULT_WHERE) -> str:  # noqa: ARG001 - as of all recipes
    return where


RECIPE = Recipe(
    about="Images named by their ids, in that order; the map makes such queues.",
    find=find,
    title=title,
    params={"images": read_ids, "where": str},
    is_offered=False,
    random_share=False,
    default_limit=MOST,
)
