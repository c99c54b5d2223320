"""Freezing the split that runs are measured on, and unfreezing it with a reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from workbench.errors import Conflict, Forbidden, Invalid
from workbench.models import Dataset, User
from workbench.queries import datasets as dataset_queries
from workbench.queries import freezing as queries
from workbench.services import decisions
from workbench.services.decisions import Line
from workbench.services.protection import is_flagged

MEASURING = ("test", "validation")  # what can be frozen, the first that a data set has


@dataclass(frozen=True)
class Event:
    """One freezing or unfreezing, as the page tells it."""

    kind: str
    split: str
    by: str
    at: datetime
    reason: str
    images: int


def choose_split(counts: Mapping[str | None, int]) -> str | None:
    """What can be frozen: test, or validation in a data set without one."""
    return next((split for split in MEASURING if counts.get(split)), None)


def freeze(session: Session, *, dataset: Dataset, user: User, split: str | None = None, reason: str = "") -> int:
    """Freeze a split; returns how many items left the queues that were built from a run's predictions."""
    _check_lead(user)
    if dataset.frozen_split is not None:
        raise Conflict(f"{dataset.frozen_split} of {dataset.name} is frozen already.")
    found = choose_split(dataset_queries.count_splits(session, dataset.id))
    if found is None:
        raise Invalid(f"{dataset.name} has no test or validation split to freeze; build splits first.")
    if split not in (None, found):
        raise Invalid(f"Only the split that runs are measured on is frozen; in {dataset.name} that is {found}.")
    images = queries.count_in_split(session, dataset.id, found)
    detail: dict[str, Any] = {"split": found, "images": images, "reason": reason.strip()}
    decisions.submit(session, dataset=dataset, user=user, lines=[Line("freeze", detail=detail)])
    flagged = [queue.id for queue in queries.list_open_queues(session, dataset.id) if is_flagged(queue)]
    return queries.drop_open_items(session, dataset.id, split=found, queue_ids=flagged)


def unfreeze(session: Session, *, dataset: Dataset, user: User, reason: str) -> None:
    """Let the split go; the reason stays in the log for good."""
    _check_lead(user)
    if dataset.frozen_split is None:
        raise Conflict(f"No split of {dataset.name} is frozen.")
    if not reason.strip():
        raise Invalid("Say why it is unfrozen; the reason stays in the history.", reason="Needed.")
    images = queries.count_in_split(session, dataset.id, dataset.frozen_split)
    detail = {"split": dataset.frozen_split, "images": images, "reason": reason.strip()[:500]}
    decisions.submit(session, dataset=dataset, user=user, lines=[Line("unfreeze", detail=detail)])


def _check_lead(user: User) -> None:
    if not user.may("lead"):
        raise Forbidden("Freezing and unfreezing a split is for leads.")


def list_events(session: Session, dataset: Dataset) -> list[Event]:
    """Every freezing and unfreezing, newest first."""
    return [
        Event(
            kind=line.kind,
            split=(line.detail or {})["split"],
            by=line.user.name,
            at=line.at,
            reason=(line.detail or {}).get("reason", ""),
            images=(line.detail or {}).get("images", 0),
        )
        for line in reversed(queries.list_freezes(session, dataset.id))
    ]
