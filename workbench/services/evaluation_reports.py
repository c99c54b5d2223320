"""Everything that is known of how good a run is, in one document: what `workbench evaluate` answers."""

from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.models import Dataset, Run
from workbench.services import coverage, leaks, subgroups, temperatures, vote_measures
from workbench.services.evaluations import Judged, evaluate_judged, judge


def report_evaluation(
    session: Session, home: Home, run: Run, *, split: str | None = None, by: str | None = None
) -> dict[str, Any]:
    """The measures by the newest labels, and beside them votes, scaling, copies and coverage.

    by: an attribute whose groups are told apart as well.
    """
    judged = judge(session, home, run, split=split)
    dataset = session.get_one(Dataset, run.dataset_id)
    leak = leaks.measure_run(session, home, run, split=split)
    found = evaluate_judged(session, run, judged) | {
        "votes": measure_votes(session, run, judged),
        "scaled": temperatures.measure_scaled(session, home, run, judged),
        "copies": leaks.report_run(leak) if leak else None,
        "coverage": coverage.report(coverage.measure_coverage(session, home, run)),
    }
    if by:
        found["groups"] = subgroups.report(subgroups.measure_groups(session, dataset, judged, by=by))
    return found


def measure_votes(session: Session, run: Run, judged: Judged) -> dict[str, Any] | None:
    """Cross-entropy to the votes for the images judged; none where they have none."""
    counts = vote_measures.count_votes(session, session.get_one(Dataset, run.dataset_id), judged)
    return vote_measures.measure_votes(np.asarray(judged.probs / judged.probs.sum(1, keepdims=True)), counts)
