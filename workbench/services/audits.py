"""Audits: a random sample of a version, drawn as a blind queue, and what its verdicts say of all labels.

Drawing has two halves, as building a queue has: `plan_audit` reads and computes, `open_audit` writes.
"""

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert
from sqlalchemy.orm import Session

from workbench.errors import Invalid, NotFound
from workbench.models import SPLITS, Audit, AuditItem, Dataset, Queue, QueueItem, User
from workbench.queries import audits as queries
from workbench.queries import decisions as log
from workbench.services import audit_frames, versions
from workbench.services.audit_figures import Figures, work_out
from workbench.services.audit_frames import Frame
from workbench.services.audit_verdicts import Reading, read_verdicts
from workbench.services.measures import Z95
from workbench.services.versions import VersionRow

SIZE = 400
MARGIN = 0.05
LEAST, MOST = 20, 20_000
MOST_OPINIONS = 5
_GUARD = 1.25  # more verdicts than P(wrong) promises to be enough: before verdicts it is not calibrated


@dataclass(frozen=True, eq=False)
class AuditPlan:
    """An audit before it is stored. rows: (image id, label id, cell, scores) in the order in which they are shown."""

    dataset_id: int
    run_id: int | None
    decision_id: int
    content_hash: str
    margin: float
    opinions: int
    seed: int
    frame: dict[str, Any]
    rows: list[tuple[int, int, int, queries.Scores]]
    expected_wrong: float | None  # in the sample
    expected_margin: float  # half of the interval's width, about


def plan_audit(
    session: Session,
    dataset: Dataset,
    *,
    size: int | None = None,
    margin: float | None = None,
    opinions: int = 1,
    assisted: bool = True,
    seed: int | None = None,
) -> AuditPlan:
    """Draw a sample of the labels as they stand now.

    size: none for what `margin` takes, or SIZE. opinions: reviewers that each image is asked of. assisted: whether the
    P(wrong) of the promoted run may say where to look more closely; it never may in a frozen split.
    Raises Invalid where there is nothing to draw from. Costs one pass over the data set.
    """
    _check_wishes(size=size, margin=margin, opinions=opinions)
    rows = versions.states_at(session, dataset)
    labelled = [row for row in rows if row.status == "active" and row.class_id is not None]
    if not labelled:
        raise Invalid(f"{dataset.name} has no labelled images to audit.")
    scores = queries.list_scores(session, dataset.id) if dataset.promoted_run_id else {}
    unknown = queries.Scores(None, None, None)
    told = [scores.get(row.image_id, unknown) for row in labelled]
    population = _Population(labelled, told, dataset.frozen_split, assisted)
    wanted = min(size or (SIZE if margin is None else population.plan_size(margin)), len(labelled))
    frame, cell_of, allotted = population.make_frame(wanted)
    seed = len(queries.list_audits(session, dataset.id)) if seed is None else seed
    drawn = audit_frames.draw(cell_of, frame, allotted, rng=np.random.default_rng(seed)).tolist()
    is_assisted = bool(~np.isnan(frame.p_wrong[frame.level != audit_frames.SETTLED]).all())
    known = [told[row].p_wrong for row in drawn]
    return AuditPlan(
        dataset_id=dataset.id,
        run_id=dataset.promoted_run_id if is_assisted else None,
        decision_id=log.get_last_id(session, dataset_id=dataset.id),
        content_hash=versions.hash_rows(rows),
        margin=MARGIN if margin is None else margin,
        opinions=opinions,
        seed=seed,
        frame={**frame.report(), "left_out": _count_left_out(rows)},
        rows=[(labelled[row].image_id, labelled[row].class_id or 0, int(cell_of[row]), told[row]) for row in drawn],
        expected_wrong=sum(p for p in known if p is not None) if is_assisted else None,
        expected_margin=population.expect_margin(len(drawn)),
    )


def _check_wishes(*, size: int | None, margin: float | None, opinions: int) -> None:
    if size is not None and not LEAST <= size <= MOST:
        raise Invalid(f"A sample holds {LEAST} to {MOST:,} images.")
    if margin is not None and not 0.002 <= margin <= 0.3:
        raise Invalid("The margin is a share between 0.002 and 0.3: 0.05 asks for an interval of 5 points either way.")
    if not 1 <= opinions <= MOST_OPINIONS:
        raise Invalid(f"Ask 1 to {MOST_OPINIONS} reviewers about each image.")


@dataclass(frozen=True, eq=False)
class _Population:
    """The labelled images of a version, and what a run says of them."""

    rows: Sequence[VersionRow]
    scores: Sequence[queries.Scores]
    frozen: str | None
    assisted: bool

    @functools.cached_property
    def p_wrong(self) -> NDArray[np.float64]:
        known = (one.p_wrong if self.assisted else None for one in self.scores)
        return np.array([np.nan if p is None else p for p in known], np.float64)

    def make_frame(self, size: int) -> tuple[Frame, NDArray[np.int64], NDArray[np.int64]]:
        # where no run says anything, a settled label is drawn like any other
        is_told = not np.isnan(self.p_wrong).all()
        return audit_frames.make_frame(
            class_ids=np.array([row.class_id for row in self.rows], np.int64),
            splits=np.array([SPLITS.index(row.split) if row.split else -1 for row in self.rows], np.int64),
            p_wrong=self.p_wrong,
            settled=np.array([is_told and row.source != "imported" for row in self.rows], np.bool_),
            size=size,
            frozen=self.frozen,
        )

    @functools.cached_property
    def _spread(self) -> float:
        """The standard deviation of one well-chosen verdict: the worst there is where no run says anything."""
        p = np.clip(np.nan_to_num(self.p_wrong, nan=0.5), 0.02, 0.98)
        settled = np.array([row.source != "imported" for row in self.rows])
        p = np.where(settled & ~np.isnan(self.p_wrong), audit_frames.SETTLED_P, p)
        return float(np.sqrt(p * (1 - p)).mean())

    def expect_margin(self, size: int) -> float:
        unseen = max(0.0, 1 - size / len(self.rows))
        return min(0.5, Z95 * self._spread * math.sqrt(_GUARD * unseen / size))

    def plan_size(self, margin: float) -> int:
        endless = _GUARD * (Z95 * self._spread / margin) ** 2
        return min(MOST, max(LEAST, math.ceil(endless / (1 + endless / len(self.rows)))))


def _count_left_out(rows: Sequence[VersionRow]) -> dict[str, int]:
    """What has no label that could be wrong."""
    why = Counter(row.status if row.status != "active" else "unlabelled" for row in rows if row.class_id is None)
    excluded = sum(row.status == "excluded" and row.class_id is not None for row in rows)
    return {
        "excluded": why["excluded"] + excluded,
        "ambiguous": why["ambiguous"],
        "unlabelled": why["unlabelled"],
    }


def open_audit(session: Session, plan: AuditPlan, *, user: User) -> Audit:
    """Write a planned audit with its queue."""
    queue = Queue(
        dataset_id=plan.dataset_id,
        recipe="audit",
        title="Audit",
        params={"seed": plan.seed},
        run_id=plan.run_id,
        size=len(plan.rows),
        expected_hits=plan.expected_wrong,
        opinions=plan.opinions,
        blind=True,
        after_line=plan.decision_id,
    )
    session.add(queue)
    session.flush()
    audit = Audit(
        dataset_id=plan.dataset_id,
        queue_id=queue.id,
        run_id=plan.run_id,
        decision_id=plan.decision_id,
        content_hash=plan.content_hash,
        size=len(plan.rows),
        margin=plan.margin,
        opinions=plan.opinions,
        seed=plan.seed,
        frame=plan.frame,
        created_by_id=user.id,
    )
    session.add(audit)
    session.flush()
    queue.title = f"Audit {audit.id}"
    session.execute(insert(QueueItem).values(queue_id=queue.id), _list_items(plan, audit))
    session.execute(insert(AuditItem).values(audit_id=audit.id), _list_drawn(plan))
    session.flush()
    return audit


def _list_items(plan: AuditPlan, audit: Audit) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image_id,
            "position": position,
            "wants": plan.opinions,
            "score": 0.0,
            "given_id": label_id,
            "reason": f"Drawn at random for audit {audit.id}.",
        }
        for position, (image_id, label_id, _, _) in enumerate(plan.rows)
    ]


def _list_drawn(plan: AuditPlan) -> list[dict[str, Any]]:
    """What the run says counts only where it has not learnt from the image, which is where P(wrong) is known."""
    return [
        {
            "image_id": image_id,
            "cell": cell,
            "predicted_id": None if said.p_wrong is None else said.predicted_id,
            "confidence": None if said.p_wrong is None else said.confidence,
        }
        for image_id, _, cell, said in plan.rows
    ]


# --- what they say ----------------------------------------------------------------------------------------------


_figures: dict[tuple[Any, ...], Figures] = {}
_MOST_KEPT = 256


def list_figures(session: Session, dataset: Dataset) -> list[tuple[Audit, Figures]]:
    """Every audit of a data set with what it says, newest first.

    Two statements where nothing happened to a sample since the last look; what was worked out is kept meanwhile.
    """
    audits = queries.list_audits(session, dataset.id)
    if not audits:
        return []
    stamps = queries.list_stamps(session, dataset.id)
    keys = {audit.id: _key(dataset, audit, stamps[audit.id]) for audit in audits}
    fresh = [audit for audit in audits if keys[audit.id] not in _figures]
    for reading in read_verdicts(session, dataset, fresh) if fresh else ():
        if len(_figures) >= _MOST_KEPT:
            _figures.clear()
        _figures[keys[reading.audit.id]] = work_out(reading)
    return [(audit, _figures[keys[audit.id]]) for audit in audits]


def _key(dataset: Dataset, audit: Audit, stamp: tuple[int, ...]) -> tuple[Any, ...]:
    return (dataset.name, audit.id, audit.content_hash, audit.created_at, audit.size, stamp)


def read(session: Session, dataset: Dataset, audit: Audit, *, decision_id: int | None = None) -> Reading:
    """The sample with its verdicts. decision_id: the version that says them; none for the one that completed it."""
    if decision_id is not None:
        head = log.get_last_id(session, dataset_id=dataset.id)
        if not audit.decision_id <= decision_id <= head:
            raise NotFound(
                f"Audit {audit.id} has verdicts from version {audit.decision_id} to {head}; name one of these."
            )
    return read_verdicts(session, dataset, [audit], decision_id=decision_id)[0]


@dataclass(frozen=True)
class Remaining:
    """The wrong labels that are left in a version: those estimated, less those that decisions have put right since."""

    decision_id: int
    corrected: int
    count: int
    low: int
    high: int


def count_remaining(
    session: Session, dataset: Dataset, figures: Figures, *, decision_id: int | None = None
) -> Remaining | None:
    """decision_id: none for now. A changed label counts as one put right."""
    if figures.rate is None:
        return None
    decision_id = log.get_last_id(session, dataset_id=dataset.id) if decision_id is None else decision_id
    corrected = versions.count_relabelled(session, dataset, figures.dataset_version, decision_id)
    numbers = (figures.rate.count, figures.rate.count_low, figures.rate.count_high)
    return Remaining(decision_id, corrected, *(max(0, number - corrected) for number in numbers))
