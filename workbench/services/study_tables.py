"""The table of a study: each run's numbers with n and interval, beside what was published, and what that amounts to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Invalid, NotFound
from workbench.models import Dataset, Run, Study
from workbench.queries import studies as queries
from workbench.queries.studies import Entry
from workbench.services import comparisons
from workbench.services.measures import wilson
from workbench.services.paired import ALPHA, correct_holm
from workbench.services.studies import plan_of, planned_run
from workbench.services.study_files import Plan, PlannedRun

MOST_RIVALS = 6  # runs that the best one is compared with, image by image
STATES = ("waiting", "running", "done", "stopped", "failed", "cancelled")


@dataclass(frozen=True)
class Published:
    """An accuracy as it was reported; the interval where its number of images was reported too."""

    accuracy: float
    n: int | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """Ours less the published accuracy, on other images: two independent shares."""

    value: float
    low: float
    high: float

    @property
    def words(self) -> str:
        if self.low > 0:
            return "above"
        return "below" if self.high < 0 else "as published"


@dataclass(frozen=True)
class Other:
    """A further number that was published, and ours, under its name."""

    name: str
    published: float
    ours: float | None


@dataclass(frozen=True)
class TableRow:
    """One run of the study."""

    number: int
    planned: PlannedRun
    chosen: Mapping[str, Any]
    run: Run | None
    state: str
    score: float | None  # what the search goes for, on validation
    error: str
    published: Published | None
    difference: Difference | None
    others: Sequence[Other] = field(default_factory=tuple)

    @property
    def name(self) -> str:
        return self.planned.name

    @property
    def metrics(self) -> dict[str, Any] | None:
        """Measured at the end of the training; none before, and none where there was no image to measure on."""
        metrics = self.run.metrics if self.run is not None and self.state == "done" else None
        return metrics if metrics and metrics["n"] else None

    @property
    def accuracy(self) -> float | None:
        return float(self.metrics["accuracy"]) if self.metrics else None


def make_table(session: Session, study: Study) -> list[TableRow]:
    """Its rows in their order; two queries."""
    plan = plan_of(study)
    return [_make_row(plan, entry, small=study.small) for entry in queries.list_entries(session, study_id=study.id)]


def _make_row(plan: Plan, entry: Entry, *, small: bool) -> TableRow:
    """The numbers of a small study are there to be looked at, not to be held against anybody's."""
    line, run = entry
    planned = planned_run(plan, line)
    state = _find_state(entry)
    metrics = run.metrics if run is not None and state == "done" and run.metrics and run.metrics["n"] else None
    published = read_published(planned.published)
    return TableRow(
        number=line.number,
        planned=planned,
        chosen=line.asked,
        run=run,
        state=state,
        score=line.score,
        error=line.error or (run.error if run is not None and state in ("failed", "stopped") else ""),
        published=published,
        difference=compare_with(published, metrics) if published and metrics and not small else None,
        others=tuple(list_others(planned.published, metrics)),
    )


def _find_state(entry: Entry) -> str:
    line, run = entry
    if run is not None and run.status == "done":
        return "done"
    if line.stopped:
        return "stopped"
    if line.error:
        return "failed"
    if run is None or run.status == "queued":
        return "waiting"
    return run.status


# --- beside what was published ----------------------------------------------------------------------------------


def read_published(numbers: Mapping[str, Any]) -> Published | None:
    """The accuracy that was reported, with the interval of that many images."""
    if "accuracy" not in numbers:
        return None
    accuracy, n = float(numbers["accuracy"]), numbers.get("n")
    low, high = wilson(accuracy * n, n) if n else (None, None)
    return Published(accuracy=accuracy, n=int(n) if n else None, low=low, high=high)


def compare_with(published: Published, metrics: Mapping[str, Any]) -> Difference:
    """How far ours is from it. Where its n was not reported it is taken as exact: the interval is ours alone."""
    ours, low, high = metrics["accuracy"], metrics["low"], metrics["high"]
    value = ours - published.accuracy
    if published.low is None or published.high is None:
        return Difference(value, low - published.accuracy, high - published.accuracy)
    return Difference(value, *newcombe((ours, low, high), (published.accuracy, published.low, published.high)))


def newcombe(one: tuple[float, float, float], other: tuple[float, float, float]) -> tuple[float, float]:
    """The 95 % interval of the difference of two independent shares, each given with its Wilson interval.

    Source: Newcombe 1998, Interval estimation for the difference between independent proportions, method 10.
    """
    (a, a_low, a_high), (b, b_low, b_high) = one, other
    return (
        a - b - math.hypot(a - a_low, b_high - b),
        a - b + math.hypot(a_high - a, b - b_low),
    )


_PER_CLASS = ("recall", "precision", "f1", "specificity")


def list_others(published: Mapping[str, Any], metrics: Mapping[str, Any] | None) -> list[Other]:
    """Everything else that was published, ours beside it where we measure the same."""
    found = []
    for key, value in published.items():
        if key in ("accuracy", "n"):
            continue
        if isinstance(value, dict):
            found += [
                Other(f"{key} of {name}", float(of), _find_of_class(metrics, key, name)) for name, of in value.items()
            ]
        else:
            ours = metrics.get(key) if metrics else None
            found.append(Other(key, float(value), float(ours) if isinstance(ours, int | float) else None))
    return found


def _find_of_class(metrics: Mapping[str, Any] | None, key: str, name: str) -> float | None:
    if metrics is None or key not in _PER_CLASS:
        return None
    row = next((row for row in metrics["per_class"] if row["name"] == name), None)
    value = row.get(key) if row else None
    return None if value is None else float(value)


# --- which is best ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rival:
    """A run that stands behind the best one, and whether chance alone would do that."""

    row: TableRow
    difference: float  # the best less this one, on the same images
    low: float
    high: float
    p: float  # McNemar, corrected for the number of rivals

    @property
    def is_tied(self) -> bool:
        return self.p >= ALPHA


@dataclass(frozen=True)
class Verdict:
    """What the table comes to."""

    best: TableRow
    rivals: Sequence[Rival]
    chosen_on: str  # the split that the best one was chosen by

    @property
    def tied(self) -> list[Rival]:
        return [rival for rival in self.rivals if rival.is_tied]

    @property
    def is_chosen_by_what_is_shown(self) -> bool:
        """Whether the number shown is of the images that it was chosen by, so that it is a little too high."""
        return self.best.metrics is not None and self.best.metrics["split"] == self.chosen_on


def find_best(rows: Sequence[TableRow], plan: Plan) -> TableRow | None:
    """By validation where a search chose by that, else by the accuracy measured; ties go to the first."""
    done = [row for row in rows if row.metrics]
    if plan.search is not None and any(row.score is not None for row in done):
        sign = -1.0 if plan.search.goal == "loss" else 1.0
        return max((row for row in done if row.score is not None), key=lambda row: sign * (row.score or 0.0))
    return max(done, key=lambda row: row.accuracy or 0.0, default=None)


def judge(session: Session, home: Home, rows: Sequence[TableRow], plan: Plan) -> Verdict | None:
    """The best run and those that cannot be told from it; none with fewer than two to compare.

    The rivals are the next best, at most six: each on the same images by McNemar's test, corrected by Holm. Costs
    reading the predictions of each.
    """
    best = find_best(rows, plan)
    if best is None or best.run is None:
        return None
    others = sorted((row for row in rows if row.metrics and row is not best), key=lambda row: -(row.accuracy or 0.0))
    found = [(row, measured) for row in others[:MOST_RIVALS] if (measured := _compare(session, home, row, best))]
    p_values = correct_holm([measured["p"] for _, measured in found])
    rivals = [
        Rival(row, measured["difference"], measured["low"], measured["high"], p)
        for (row, measured), p in zip(found, p_values, strict=True)
    ]
    chosen_on = (
        "validation" if plan.search is not None and best.score is not None else str((best.metrics or {})["split"])
    )
    return Verdict(best=best, rivals=rivals, chosen_on=chosen_on)


def _compare(session: Session, home: Home, row: TableRow, best: TableRow) -> dict[str, Any] | None:
    if row.run is None or best.run is None:
        return None
    try:
        return comparisons.compare(session, home, run_a=row.run, run_b=best.run)
    except (Invalid, NotFound):  # predictions are gone, or nothing is left that both were measured on
        return None


# --- as a document ----------------------------------------------------------------------------------------------


def report_study(session: Session, study: Study) -> dict[str, Any]:
    """What `workbench study run --json` and `study show --json` answer."""
    plan = plan_of(study)
    rows = make_table(session, study)
    best = find_best(rows, plan)
    return {
        "study": study.id,
        "name": study.name,
        "dataset": session.get_one(Dataset, study.dataset_id).name,
        "method": plan.method,
        "small": study.small,
        "status": study.status,
        "error": study.error,
        "decision": study.basis["decision_id"],
        "best": best.number if best else None,
        "runs": [_report_row(row) for row in rows],
    }


def _report_row(row: TableRow) -> dict[str, Any]:
    metrics, difference = row.metrics or {}, row.difference
    keys = ("accuracy", "low", "high", "n", "split", "macro_f1", "weighted_f1", "log_loss", "baseline")
    return {
        "number": row.number,
        "name": row.name,
        "arch": row.planned.arch,
        "chosen": dict(row.chosen),
        "run": row.run.id if row.run else None,
        "status": row.state,
        "error": row.error,
        "epochs": row.run.epochs_done if row.run else 0,
        "seconds": round(row.run.seconds, 2) if row.run else 0.0,
        "score": row.score,
        "test": {key: metrics.get(key) for key in keys} if metrics else None,
        "published": dict(row.planned.published) or None,
        "difference": {"value": difference.value, "low": difference.low, "high": difference.high}
        if difference
        else None,
    }
