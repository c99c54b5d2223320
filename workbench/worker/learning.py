"""Learning P(wrong) and the class probabilities of every image from the verdicts that reviewers gave so far."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from ml.posteriors import learn_posterior
from ml.verdicts import AMBIGUOUS, UNUSABLE, learn_p_wrong
from workbench.config import Home
from workbench.errors import Invalid
from workbench.models import Dataset, Run, utc_now
from workbench.models.states import merge_roots
from workbench.queries import datasets as dataset_queries
from workbench.queries import decisions as log
from workbench.queries import learning as queries
from workbench.queries import runs as run_queries
from workbench.queries.learning import Settled
from workbench.services.claims import hold
from workbench.services.learning import is_due
from workbench.services.posteriors import Posteriors, save_posteriors
from workbench.services.predictions import Predictions, load_predictions
from workbench.services.queue_refreshing import plan_refresh, refresh
from workbench.worker.context import Context

SEED = 0
_CHUNK = 1000  # images written in one transaction


@dataclass(frozen=True)
class _Lesson:
    """What is learned from, read once. Rows are those of the run's predictions, classes its columns."""

    decision_id: int
    said: Predictions
    given: NDArray[np.int64]  # (N,) the label as it came, -1 where there is none or nobody may judge it
    rows: NDArray[np.int64]  # (M,) settled images
    classes: NDArray[np.int64]  # (M,) what they were settled as, AMBIGUOUS or UNUSABLE
    is_random: NDArray[np.bool_]  # (M,)


def learn(context: Context, *, dataset: str) -> dict[str, Any]:
    """Learn from all verdicts of the data set about the labels that its promoted run judged, and show it on the pages.

    Killed at any moment, it is done again from the start: it takes seconds.
    """
    with context.database.read() as session:
        run_id = dataset_queries.get_dataset(session, dataset).promoted_run_id
    if run_id is None:
        raise Invalid(f"{dataset} has no promoted run whose predictions verdicts could correct: train one first.")
    refusal = f"The verdicts on {dataset} are being learned from right now; wait for that."
    with hold(context.home.run_folder(run_id) / "learning.lock", refusal=refusal):
        posteriors = learn_run(context, run_id)
        _show(context, posteriors)
        _refresh_queues(context, dataset)
    return {
        "dataset": dataset,
        "run": run_id,
        "verdicts": posteriors.verdicts,
        "random_verdicts": posteriors.random_verdicts,
        "shrinkage": posteriors.shrinkage,
        "judged": int(np.isfinite(posteriors.p_wrong).sum()),
        "expected_wrong": float(np.nansum(posteriors.p_wrong)),
    }


def learn_run(context: Context, run_id: int) -> Posteriors:
    """What all verdicts say of the labels that a run judged; kept with the run, and shown if it is promoted later."""
    with context.database.read() as session:
        lesson = _read_lesson(session, context.home, run_queries.get_run(session, run_id))
    context.progress(0, len(lesson.given), "Learning from verdicts")
    posteriors = _learn(lesson)
    save_posteriors(context.home, run_id, posteriors)
    return posteriors


def learn_if_due(context: Context, *, dataset: str) -> dict[str, Any] | None:
    """Learn where enough verdicts came since the last time; none where not."""
    with context.database.read() as session:
        found = dataset_queries.get_dataset(session, dataset)
        due = is_due(session, context.home, found, run_id=found.promoted_run_id)
    return learn(context, dataset=dataset) if due else None


def prepare(context: Context, run_id: int) -> None:
    """Before a run is promoted: correct its predictions by the verdicts that are there, if they are enough."""
    with context.database.read() as session:
        dataset = session.get_one(Dataset, run_queries.get_run(session, run_id).dataset_id)
        due = is_due(session, context.home, dataset, run_id=run_id)
    if due:
        learn_run(context, run_id)


# --- reading ----------------------------------------------------------------------------------------------------


def _read_lesson(session: Session, home: Home, run: Run) -> _Lesson:
    dataset = session.get_one(Dataset, run.dataset_id)
    said = load_predictions(home, run.id)
    column = _map_columns(session, dataset, said)
    labels = queries.list_labels(session, dataset.id)
    first = np.array([column.get(labels.get(image_id, (None, None))[0], -1) for image_id in said.image_ids.tolist()])
    judged = np.isfinite(said.p_wrong)
    verdicts = _list_verdicts(session, dataset, said, column)
    drawn = queries.list_drawn(session, dataset.id)
    return _Lesson(
        decision_id=log.get_last_id(session, dataset_id=dataset.id),
        said=said,
        given=np.where(judged, first, -1).astype(np.int64),
        rows=np.array([row for row, _ in verdicts], np.int64),
        classes=np.array([verdict for _, verdict in verdicts], np.int64),
        is_random=np.array([int(said.image_ids[row]) in drawn for row, _ in verdicts], np.bool_),
    )


def _map_columns(session: Session, dataset: Dataset, said: Predictions) -> dict[int | None, int]:
    """Class id -> its column; a class that was merged away counts as the one it went into."""
    roots = merge_roots(dataset_queries.list_classes(session, dataset.id))
    of_root: dict[int, int] = {}
    for index, class_id in enumerate(said.class_ids.tolist()):
        of_root.setdefault(roots.get(class_id, class_id), index)
    return {class_id: of_root[root] for class_id, root in roots.items() if root in of_root}


def _list_verdicts(
    session: Session, dataset: Dataset, said: Predictions, column: dict[int | None, int]
) -> list[tuple[int, int]]:
    """(row, verdict) of each image that was settled by looking at it; copies of others were not."""
    copies = queries.list_excluded_copies(session, dataset.id)
    found = []
    for settled in queries.list_settled(session, dataset.id):
        row = said.find(settled.image_id)
        if row is not None and not (settled.status == "excluded" and settled.image_id in copies):
            found.append((row, _read_verdict(settled, column)))
    return found


def _read_verdict(settled: Settled, column: dict[int | None, int]) -> int:
    """The column, AMBIGUOUS if the label may be right, UNUSABLE if it is not and no class that the run knows is."""
    if settled.status == "ambiguous":
        named = settled.ambiguous_ids or []
        return AMBIGUOUS if not named or settled.first_label_id in named else UNUSABLE
    return UNUSABLE if settled.status == "excluded" else column.get(settled.label_id, UNUSABLE)


# --- learning and showing ---------------------------------------------------------------------------------------


def _learn(lesson: _Lesson) -> Posteriors:
    said = lesson.said
    probs = said.judging.astype(np.float32)
    learned = learn_p_wrong(
        probs,
        lesson.given,
        plain=np.where(lesson.given >= 0, said.p_wrong, np.nan),
        verdict_rows=lesson.rows,
        verdict_classes=lesson.classes,
        seed=SEED,
    )
    posterior = learn_posterior(
        probs,
        lesson.given,
        p_wrong=learned.p_wrong,
        verdict_rows=lesson.rows,
        verdict_classes=lesson.classes,
    )
    return Posteriors(
        image_ids=said.image_ids,
        probs=posterior.astype(np.float16),
        p_wrong=learned.p_wrong,
        p_ambiguous=learned.p_ambiguous,
        suggested=posterior.argmax(1).astype(np.int64),
        class_ids=said.class_ids,
        decision_id=lesson.decision_id,
        verdicts=learned.verdicts,
        random_verdicts=int(lesson.is_random[_is_taught(lesson)].sum()),
        shrinkage=learned.shrinkage,
        said=_count_said(lesson, probs.shape[1]),
        p_hit=learned.p_hit,
    )


def _is_taught(lesson: _Lesson) -> NDArray[np.bool_]:
    """Which verdicts P(wrong) is learned from, as `learn_p_wrong` counts them."""
    is_taught: NDArray[np.bool_] = (lesson.given[lesson.rows] >= 0) & (lesson.classes != AMBIGUOUS)
    return is_taught


def _count_said(lesson: _Lesson, class_count: int) -> NDArray[np.int64]:
    """(K, K + 1) verdicts by the label as it came and the class said, the last column none in particular."""
    counts = np.zeros((class_count, class_count + 1), np.int64)
    given = lesson.given[lesson.rows]
    known = given >= 0
    said = np.where(lesson.classes < 0, class_count, lesson.classes)
    np.add.at(counts, (given[known], said[known]), 1)
    return counts


def _show(context: Context, posteriors: Posteriors) -> None:
    """Copy P(wrong) to the images, in short transactions."""
    values = [None if np.isnan(value) else value for value in posteriors.p_wrong.tolist()]
    rows = [{"id": row[0], "p_wrong": row[1]} for row in zip(posteriors.image_ids.tolist(), values, strict=True)]
    for chunk in _chunks(rows):
        with context.database.write() as session:
            run_queries.update_predicted(session, chunk)


def _refresh_queues(context: Context, dataset: str) -> None:
    with context.database.read() as session:
        plan = plan_refresh(session, context.home, dataset=dataset_queries.get_dataset(session, dataset))
    with context.database.write() as session:
        refresh(session, plan, now=utc_now())


def _chunks(rows: Sequence[dict[str, Any]]) -> list[Sequence[dict[str, Any]]]:
    return [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
