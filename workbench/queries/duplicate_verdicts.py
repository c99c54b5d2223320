"""What reviewers said about duplicate groups, read from the log."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from workbench.models import Decision
from workbench.models.states import verdict_keys
from workbench.queries import decisions as log


def list_verdicts(session: Session, dataset_id: int) -> dict[str, Decision]:
    """Group key -> the newest verdict on it that counts. One read of the data set's log."""
    undone = log.get_undone(session, dataset_id=dataset_id)
    query = select(Decision).where(Decision.dataset_id == dataset_id, Decision.kind == "duplicates")
    found = {}
    for line in session.scalars(query.order_by(Decision.id)):
        if line.action not in undone and line.detail is not None:
            found.update(dict.fromkeys(verdict_keys(line.detail), line))
    return found


def list_rejected(session: Session, dataset_id: int) -> list[list[int]]:
    """The ids of images that a reviewer said are not the same picture: those of one list are pairwise apart."""
    return [images for line in list_standing(session, dataset_id) for images in rejected_by(line)]


def list_confirmed(session: Session, dataset_id: int) -> list[list[int]]:
    """The ids of images that a reviewer said are one picture, verdict by verdict."""
    return [images for line in list_standing(session, dataset_id) if (images := confirmed_by(line))]


def rejected_by(line: Decision) -> list[list[int]]:
    """What one verdict says is pairwise apart."""
    detail = line.detail or {}
    if detail["verdict"] == "not_duplicates":
        return [list(detail["images"])]
    apart = detail.get("apart", [])
    return [[stranger, other] for stranger in apart for other in detail["images"] if other not in set(apart)]


def confirmed_by(line: Decision) -> list[int]:
    """What one verdict says is one picture."""
    detail = line.detail or {}
    if detail["verdict"] == "not_duplicates":
        return []
    apart = set(detail.get("apart", ()))
    return [image_id for image_id in detail["images"] if image_id not in apart]


def list_standing(session: Session, dataset_id: int) -> list[Decision]:
    """The verdicts that count, each once."""
    return list({line.id: line for line in list_verdicts(session, dataset_id).values()}.values())
