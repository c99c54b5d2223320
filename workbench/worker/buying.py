"""Working out what the decisions of each queue did to the model, with heads that are fitted in seconds."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.heads import apply_head, fit_head
from workbench.errors import NotFound
from workbench.files import write_json
from workbench.queries import datasets as dataset_queries
from workbench.queries import runs as run_queries
from workbench.services import bought
from workbench.services.bought import Changes
from workbench.services.comparisons import Pair
from workbench.services.predictions import Predictions, load_predictions
from workbench.worker.context import Context

SEED = 0
MOST_ROWS = 60_000  # training images whose label did not change; of more a part counts for all


def weigh(context: Context, *, dataset: str, run: int | None = None) -> dict[str, Any]:
    """What the decisions between a run (none: the promoted one) and the run before it bought, kept in its folder.

    Two heads for each queue that changed labels. Killed at any moment, it is done again from the start.
    """
    with context.database.read() as session:
        found = dataset_queries.get_dataset(session, dataset)
        run_id = run or found.promoted_run_id
        if run_id is None:
            raise NotFound(f"{dataset} has no promoted run; train one first.")
        pair = bought.check_pair(session, context.home, run_queries.get_run(session, run_id))
        changes = bought.read_changes(session, context.home, pair.run_a, pair.run_b)
    said = load_predictions(context.home, pair.run_a.id)
    if not said.features.shape[1]:  # predictions from elsewhere: the whole is known, the parts of the queues are not
        changes = replace(changes, parts=())
    forward, backward = _fit_both_ways(context, said, pair, changes)
    report = bought.share_out(pair, changes, forward, backward)
    write_json(context.home.run_folder(run_id) / bought.FILE, report)
    return report


def _fit_both_ways(context: Context, said: Predictions, pair: Pair, changes: Changes) -> tuple[list[Any], list[Any]]:
    """Whether each test image is right after each step, from the first queue to the last and back."""
    parts = changes.parts
    orders = [parts[:count] for count in range(len(parts) + 1)]
    back = [parts[::-1][:count] for count in range(len(parts) + 1)]
    known: dict[frozenset[int], NDArray[np.bool_]] = {}
    if not parts:
        return [], []
    wanted = list(dict.fromkeys(frozenset(one) for one in (*orders, *back)))
    for number, one in enumerate(wanted):
        context.progress(number, len(wanted), "Weighing what each queue changed")
        known[one] = _judge_head(said, pair, changes, sorted(one))
    return [known[frozenset(one)] for one in orders], [known[frozenset(one)] for one in back]


def _judge_head(said: Predictions, pair: Pair, changes: Changes, parts: Sequence[int]) -> NDArray[np.bool_]:
    """Whether a head fitted with the labels of these queues gets each test image right, (T,)."""
    labels = changes.labels_with(parts)
    rows = np.searchsorted(said.image_ids, changes.image_ids).clip(max=len(said.image_ids) - 1)
    class_ids = np.unique(np.concatenate([changes.before, changes.after]))
    class_ids = class_ids[class_ids != 0]
    taught = np.flatnonzero((said.image_ids[rows] == changes.image_ids) & (labels != 0))
    taught, weights = _thin(taught, changes.is_changed[taught])
    targets = np.eye(len(class_ids), dtype=np.float32)[np.searchsorted(class_ids, labels[taught])]
    head, _ = fit_head(said.features[rows[taught]].astype(np.float32), targets, weights=weights, seed=SEED)
    tested = np.searchsorted(said.image_ids, pair.image_ids)
    probs = apply_head(head, said.features[tested].astype(np.float32))
    return np.asarray(class_ids[probs.argmax(1)] == pair.labels)


def _thin(rows: NDArray[np.intp], is_changed: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Of very many training images all that changed, and a part of the others that counts for all of them."""
    others = rows[~is_changed]
    if len(others) <= MOST_ROWS:
        return rows, np.ones(len(rows), np.float32)
    kept = np.random.default_rng(SEED).choice(others, MOST_ROWS, replace=False)
    weights = np.repeat([1.0, len(others) / MOST_ROWS], [len(rows) - len(others), MOST_ROWS])
    return np.concatenate([rows[is_changed], kept]), weights.astype(np.float32)
