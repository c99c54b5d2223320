"""What bought the difference between two runs: better labels to judge by, curated training labels, or retraining.

From what run A showed by the labels of its day to what run B shows by today's there are three steps, each a paired
difference on the same images: the labels judged by (A then, A now), retraining (a control run with B's settings on the
labels that A learned, against A) and curation (B against the control). They add up to the whole.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Invalid
from workbench.models import Dataset, Run
from workbench.models.states import merge_roots
from workbench.queries import datasets as dataset_queries
from workbench.queries import decisions as log
from workbench.services.comparisons import (
    Pair,
    answers_of,
    compare_pair,
    judge_pair,
    judge_unseen,
    rate,
    show_interval,
    show_points,
)
from workbench.services.controls import Parting, part
from workbench.services.paired import compare_right
from workbench.services.versions import states_at

_WORDS = {
    "labels": "better labels to judge by",
    "retraining": "retraining",
    "curation": "curated training labels",
    "model": "the model, curated labels and retraining together",
}


def compare_and_explain(
    session: Session, home: Home, *, run_a: Run, run_b: Run, split: str | None = None
) -> dict[str, Any]:
    """As `comparisons.compare`, with `gain`: what bought it, none where no image was labelled at the older version."""
    pair = judge_pair(session, home, run_a=run_a, run_b=run_b, split=split)
    found = compare_pair(session, pair)
    try:
        gain = explain_gain(session, home, pair, parting=part(session, run_a, run_b))
    except Invalid:
        gain = None
    return {**found, "gain": gain}


def explain_gain(session: Session, home: Home, pair: Pair, *, parting: Parting, seed: int = 0) -> dict[str, Any]:
    """The steps from run A by the labels of the older version to run B by the newest, JSON-able.

    parting: what tells the settings from the labels learned. Raises Invalid where no image was labelled then; costs a
    replay of the log for the images of the pair.
    """
    then = min(pair.run_a.decision_id, pair.run_b.decision_id)
    runs = _list_runs(pair, parting)
    said = {pair.run_a.id: (pair.image_ids, pair.answers[0]), pair.run_b.id: (pair.image_ids, pair.answers[1])}
    for run in runs[1:-1]:
        judged = judge_unseen(session, home, run, split=pair.split)
        said[run.id] = (judged.image_ids, answers_of(judged))
    before = _read_labels(session, pair, then)
    kept = np.isin(pair.image_ids, list(before))
    for image_ids, _ in said.values():
        kept &= np.isin(pair.image_ids, image_ids)
    if not kept.any():
        raise Invalid("No image that the runs are compared on had a label at the time of the older one.")
    image_ids, now = pair.image_ids[kept], pair.labels[kept]
    earlier = np.array([before[image_id] for image_id in image_ids.tolist()], np.int64)
    right = {
        run_id: tuple(_take(image_ids, *answers) == labels for labels in (earlier, now))
        for run_id, answers in said.items()
    }
    found = {
        "then": then,
        "now": log.get_last_id(session, dataset_id=pair.run_a.dataset_id),
        "n": len(image_ids),
        "left_out": int((~kept).sum()),
        "changed": int((earlier != now).sum()),
        "kind": parting.kind,
        "control": parting.control.id if parting.kind == "control" and parting.control else None,
        "table": [_report_row(run, *right[run.id], seed=seed) for run in runs],
        "models": [compare_right(right[runs[0].id][k], right[runs[-1].id][k], seed=seed).report() for k in (0, 1)],
        "parts": _list_parts(pair, parting, right, seed=seed),
    }
    return {**found, "sentence": make_sentence(found)}


def _list_runs(pair: Pair, parting: Parting) -> list[Run]:
    """A, the control where it is a third run, B."""
    between = [parting.control] if parting.kind == "control" and parting.control else []
    return [pair.run_a, *between, pair.run_b]


def _read_labels(session: Session, pair: Pair, decision_id: int) -> dict[int, int]:
    """Image id -> the class that it carried at that version, as it is called now; only images that carried one."""
    dataset = session.get_one(Dataset, pair.run_a.dataset_id)
    classes = dataset_queries.list_classes(session, dataset.id)
    roots, is_open = merge_roots(classes), {cls.id for cls in classes if cls.is_open}
    rows = states_at(session, dataset, decision_id, image_ids=pair.image_ids.tolist())
    carried = {
        row.image_id: roots.get(row.class_id, row.class_id)
        for row in rows
        if row.status == "active" and row.class_id is not None
    }
    return {image_id: class_id for image_id, class_id in carried.items() if class_id in is_open}


def _take(image_ids: NDArray[np.int64], known: NDArray[np.int64], answers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The answers for these images, all of which are known; known is ascending."""
    found: NDArray[np.int64] = answers[np.searchsorted(known, image_ids)]
    return found


def _report_row(run: Run, then: NDArray[np.bool_], now: NDArray[np.bool_], *, seed: int) -> dict[str, Any]:
    """One run by the labels then and now, and what the labels alone change."""
    change = compare_right(then, now, seed=seed)
    return {"run": run.id, "then": rate(then), "now": rate(now), "change": change.report()}


def _list_parts(
    pair: Pair, parting: Parting, right: dict[int, tuple[NDArray[np.bool_], ...]], *, seed: int
) -> list[dict[str, Any]]:
    """The steps in their order, then the whole."""
    a, b = right[pair.run_a.id], right[pair.run_b.id]
    steps = {"labels": (a[0], a[1])}
    if parting.control is None:
        steps["model"] = (a[1], b[1])
    else:
        between = right[parting.control.id][1]
        steps |= {"retraining": (a[1], between)} if parting.kind != "settings" else {}
        steps |= {"curation": (between, b[1])} if parting.kind != "labels" else {}
    steps["whole"] = (a[0], b[1])
    return [{"part": name, **compare_right(*sides, seed=seed).report()} for name, sides in steps.items()]


def make_sentence(found: dict[str, Any]) -> str:
    """What bought it, for people."""
    first, last = found["table"][0], found["table"][-1]
    *steps, whole = found["parts"]
    before, after = first["then"]["accuracy"], last["now"]["accuracy"]
    start = (
        f"By the labels as they were for the older run, run {first['run']} gets {before:.1%} right; "
        f"by today's run {last['run']} gets {after:.1%}: {_show(whole)} points."
    )
    told = [f"{_show(step)} {_WORDS[step['part']]}" for step in steps]
    listed = f"{', '.join(told[:-1])} and {told[-1]}" if len(told) > 1 else told[0]
    return f"{start} Of these, {listed}. One training each: the intervals do not cover the luck of the seed."


def _show(step: dict[str, Any]) -> str:
    return f"{show_points(step['difference'])} [{show_interval(step)}]"
