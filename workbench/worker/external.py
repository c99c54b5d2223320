"""Taking in predictions that were made elsewhere: a run like any other, but without a model."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.active.uncertainty import entropy, margin
from ml.labels import label_issues
from workbench.models import User
from workbench.queries import datasets as dataset_queries
from workbench.queries import runs as queries
from workbench.services import run_checks, runs, training_sets, users
from workbench.services.external_runs import Matched, match_predictions
from workbench.services.measures import evaluate
from workbench.services.prediction_files import read_claims, read_predictions
from workbench.services.predictions import STORED_NEIGHBOURS, Predictions, save_predictions
from workbench.worker.context import Context

_FEATURES = 8  # columns of zeros: nothing is known of what the model saw in a picture
_NAMED = 20


def import_predictions(
    context: Context,
    *,
    dataset: str,
    source: str,
    split: str | None = None,
    unseen: bool = False,
    claims: dict[str, str] | None = None,
    claims_file: str | None = None,
) -> dict[str, Any]:
    """A run with what the file predicts, measured and checked. Arguments as for `match_predictions`."""
    path = Path(source)
    given = read_predictions(path)
    claimed = read_claims(Path(claims_file) if claims_file else None, claims or {}, beside=path)
    with context.database.write() as session:
        user_id = context.user_id or users.ensure_admin(session).id
    with context.database.read() as session:
        matched = match_predictions(
            session,
            dataset=dataset_queries.get_dataset(session, dataset),
            user=session.get_one(User, user_id),
            given=given,
            source=path,
            split=split,
            unseen=unseen,
            claims=claimed,
        )
    said = _make_predictions(matched)
    metrics = _measure(said, matched)
    with context.database.write() as session:
        session.add(matched.run)
        session.flush()
        run_id = matched.run.id
        save_predictions(context.home, run_id, said)
        training_sets.save_training_set(context.home, run_id, matched.images)
        runs.finish_run(matched.run, metrics=metrics, seconds=0.0, images_per_second=0.0)
    return _report(context, run_id, matched)


def _make_predictions(matched: Matched) -> Predictions:
    """P(wrong) for images that the model did not see, those of a frozen split left out, as after our own trainings."""
    probs: NDArray[np.float32] = matched.probs.astype(np.float32)
    p_wrong = np.full(len(probs), np.nan, np.float32)
    suggested = probs.argmax(1).astype(np.int64)
    evaluation = matched.run.config["evaluation"]
    frozen = evaluation["split"] if evaluation["frozen"] else ""
    judged = matched.unseen & np.array([row.split != frozen for row in matched.rows], np.bool_)
    if judged.any():
        issues = label_issues(probs[judged], matched.labels[judged])
        p_wrong[judged], suggested[judged] = issues.p_wrong, issues.suggested
    return Predictions(
        image_ids=np.array([row.image_id for row in matched.rows], np.int64),
        probs=probs.astype(np.float16),
        out_of_sample=matched.unseen,
        p_wrong=p_wrong,
        suggested=suggested,
        entropy=entropy(probs),
        margin=margin(probs),
        features=np.zeros((len(probs), _FEATURES), np.float16),
        class_ids=np.array(matched.class_ids, np.int64),
        neighbours=np.full((len(probs), STORED_NEIGHBOURS), -1, np.int32),
    )


def _measure(said: Predictions, matched: Matched) -> dict[str, Any]:
    rows = np.flatnonzero(np.isin(said.image_ids, matched.images.measured))
    measured = evaluate(said.probs[rows], matched.labels[rows], class_names=matched.class_names)
    evaluation = matched.run.config["evaluation"]
    marked = {"split": evaluation["split"], "cleaned_with_own_flags": evaluation["cleaned_with_own_flags"]}
    return {**marked, **measured}


def _report(context: Context, run_id: int, matched: Matched) -> dict[str, Any]:
    with context.database.read() as session:
        run = queries.get_run(session, run_id)
        test = runs.report_run(run)["test"]
        checks = run_checks.report_checks(run_checks.check_run(session, context.home, run))
    return {
        "run": run_id,
        "classes": matched.class_names,
        "matched": len(matched.rows),
        "unknown": len(matched.unknown),
        "unknown_paths": matched.unknown[:_NAMED],
        "test": test,
        "checks": checks,
    }
