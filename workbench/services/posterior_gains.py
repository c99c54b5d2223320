"""What part of a gain came from decisions and what part from the posterior: three runs with the same settings.

One on the labels as they were, one on the labels that decisions had put right when the posterior was taught, one that
was taught the posterior besides. All are judged by the newest labels of the images that none of them has seen.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Invalid
from workbench.models import Dataset, Run, User
from workbench.queries import posteriors as queries
from workbench.services import jobs, versions
from workbench.services.comparisons import answers_of, judge_unseen, rate
from workbench.services.controls import ASKED, recipe
from workbench.services.data_steps import DataSteps, steps_of
from workbench.services.evaluations import Judged
from workbench.services.paired import compare_right, measure_balance

STEPS = {"decisions": ("before", "decided"), "posterior": ("decided", "taught"), "whole": ("before", "taught")}
ROLES = ("before", "decided", "taught")


@dataclass(frozen=True)
class Trio:
    """The runs that a gain is parted by. None where one is missing; waiting: those queued or under way."""

    before: Run | None
    decided: Run | None
    taught: Run
    waiting: tuple[Run, ...] = ()

    @property
    def done(self) -> dict[str, Run]:
        runs = zip(ROLES, (self.before, self.decided, self.taught), strict=True)
        return {role: run for role, run in runs if run is not None}


def find_trio(session: Session, run: Run) -> Trio | None:
    """None for a run that was not taught the posterior."""
    steps = steps_of(run)
    if steps.targets != "posterior":
        return None
    wanted = recipe(run, steps=_without_posterior(steps))
    alike = [each for each in queries.list_runs(session, run.dataset_id) if recipe(each) == wanted]
    done = [each for each in alike if each.status == "done"]
    decided = next((each for each in done if each.content_hash == run.content_hash), None)
    older = [each for each in done if each.decision_id < run.decision_id and each.content_hash != run.content_hash]
    before = min(older, key=lambda each: (each.decision_id, each.id)) if older else None
    return Trio(before, decided, run, tuple(each for each in alike if each.status in ("queued", "running")))


def _without_posterior(steps: DataSteps) -> DataSteps:
    plain = DataSteps()
    return replace(steps, targets="labels", posterior_by=plain.posterior_by, keep_shares=plain.keep_shares)


def part_gain(session: Session, home: Home, trio: Trio) -> dict[str, Any]:
    """JSON-able: the runs, and for all images and for the reviewed ones their accuracies and the steps between them.

    Raises Invalid where the runs have no image in common that none of them saw.
    """
    split = trio.taught.config["evaluation"]["split"]
    judged = {role: judge_unseen(session, home, run, split=split) for role, run in trio.done.items()}
    ids = _intersect(list(judged.values()))
    if len(ids) == 0:
        raise Invalid("These runs have no image in common that none of them saw.")
    judged = {role: each.take(np.isin(each.image_ids, ids)) for role, each in judged.items()}
    settled = queries.list_settled_ids(session, trio.taught.dataset_id)
    reviewed = np.isin(ids, settled)
    return {
        "split": split,
        "runs": {role: run.id for role, run in trio.done.items()},
        "all": _measure(judged, np.ones(len(ids), np.bool_)),
        "reviewed": _measure(judged, reviewed) if reviewed.any() else None,
    }


def _intersect(judged: list[Judged]) -> NDArray[np.int64]:
    ids = judged[0].image_ids
    for each in judged[1:]:
        ids = np.intersect1d(ids, each.image_ids)
    return ids


def _measure(judged: dict[str, Judged], kept: NDArray[np.bool_]) -> dict[str, Any]:
    first = next(iter(judged.values())).take(kept)
    labels = np.array(first.class_ids, np.int64)[first.labels]
    answers = {role: answers_of(each.take(kept)) for role, each in judged.items()}
    steps = [
        {"step": name, **_compare(answers[old], answers[new], labels)}
        for name, (old, new) in STEPS.items()
        if old in answers and new in answers
    ]
    return {"n": len(labels), "rates": {role: rate(said == labels) for role, said in answers.items()}, "steps": steps}


def _compare(old: NDArray[np.int64], new: NDArray[np.int64], labels: NDArray[np.int64]) -> dict[str, Any]:
    classes, columns = np.unique(np.concatenate([labels, old, new]), return_inverse=True)
    truth, first, second = columns.reshape(3, -1)
    balance = measure_balance(first, second, truth, class_count=len(classes))
    return {**compare_right(old == labels, new == labels).report(), "balanced": balance["balanced_accuracy"].report()}


# --- training what is missing -----------------------------------------------------------------------------------


def ask_for_missing(session: Session, *, dataset: Dataset, user: User, run: Run) -> list[Run]:
    """Queued runs that tell decisions and posterior apart, each with its job; none that is there or under way."""
    trio = find_trio(session, run)
    if trio is None:
        raise Invalid(f"Run {run.id} was not taught the posterior, so there is nothing to part.")
    started = {each.content_hash for each in trio.waiting}
    places = []
    if trio.decided is None and run.content_hash not in started:
        places.append((run.decision_id, run.content_hash))
    if trio.before is None:
        first = queries.get_first_version(session, dataset.id)
        content = versions.content_hash(session, dataset, first)
        if content not in started | {run.content_hash}:
            places.append((first, content))
    return [_ask(session, dataset, user, run, decision_id=place, content_hash=content) for place, content in places]


def _ask(session: Session, dataset: Dataset, user: User, like: Run, *, decision_id: int, content_hash: str) -> Run:
    asked = {key: like.config[key] for key in ASKED if key in like.config}
    asked |= {"data_steps": asdict(_without_posterior(steps_of(like))), "folds": 0, "promote": False}
    made = Run(
        dataset_id=dataset.id,
        arch=like.arch,
        preset=like.preset,
        config={
            **asked,
            "leave_out": like.config.get("leave_out", "exact"),
            "classes": like.config["classes"],
            "evaluation": like.config["evaluation"],
        },
        status="queued",
        decision_id=decision_id,
        content_hash=content_hash,
        from_run_id=like.from_run_id,
        created_by_id=user.id,
    )
    session.add(made)
    session.flush()
    title = f"Train {made.arch}, {made.preset} (run {made.id}, beside run {like.id} without the posterior)"
    jobs.enqueue(session, kind="train", user=user, dataset=dataset, title=title, run=made.id)
    return made
