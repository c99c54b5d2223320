"""What a map colours its images by."""

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from workbench.models import FINDINGS, SPLITS, STATUSES, Dataset, Finding, Image
from workbench.queries import decisions as log
from workbench.queries.findings import is_open

COLUMNS = ("id", "label", "predicted", "p_wrong", "split", "status", "is_decided")


def list_states(session: Session, dataset_id: int) -> NDArray[np.float64]:
    """(N, 7) as COLUMNS, ascending by id: class ids or 0, P(wrong) or -1, places in SPLITS or -1 and in STATUSES.

    One statement over the whole data set, 2 CPU-s for a million images.
    """
    rows: Any = session.execute(
        select(
            Image.id,
            func.coalesce(Image.label_id, 0),
            func.coalesce(Image.predicted_id, 0),
            func.coalesce(Image.p_wrong, -1.0),
            case(*[(Image.split == name, place) for place, name in enumerate(SPLITS)], else_=-1),
            case(*[(Image.status == name, place) for place, name in enumerate(STATUSES)], else_=0),
            case((Image.decided_at.is_not(None), 1), else_=0),
        )
        .where(Image.dataset_id == dataset_id)
        .order_by(Image.id)
    )
    return np.fromiter(chain.from_iterable(rows), np.float64).reshape(-1, len(COLUMNS))


def list_open_findings(session: Session, dataset_id: int) -> NDArray[np.int64]:
    """(M, 2) image id and the place of its kind in FINDINGS, of images that nobody has decided on."""
    kinds = list(FINDINGS)
    rows: Any = session.execute(
        select(Finding.image_id, case(*[(Finding.kind == kind, place) for place, kind in enumerate(kinds)], else_=-1))
        .join(Image, Image.id == Finding.image_id)
        .where(
            Finding.dataset_id == dataset_id,
            is_open(),
        )
    )
    found = np.fromiter(chain.from_iterable(rows), np.int64).reshape(-1, 2)
    return found[found[:, 1] >= 0]


def make_stamp(session: Session, dataset: Dataset) -> str:
    """Changes with whatever a map shows of the images: decisions, the promoted run and what was learned, findings."""
    p_wrong = session.scalar(select(func.sum(Image.p_wrong)).where(Image.dataset_id == dataset.id))
    findings = session.execute(select(func.count(), func.max(Finding.id)).where(Finding.dataset_id == dataset.id)).one()
    newest = session.scalar(select(func.max(Image.id)).where(Image.dataset_id == dataset.id))
    line = log.get_last_id(session, dataset_id=dataset.id)
    return f"{line}-{dataset.promoted_run_id}-{p_wrong}-{findings[0]}-{findings[1]}-{newest}"
