"""Reading runs, and the few bulk writes that promoting one needs."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from workbench.errors import NotFound
from workbench.models import Dataset, DuplicateGroup, DuplicateMember, Image, Run, utc_now


def get_run(session: Session, run_id: int) -> Run:
    """By id; raises NotFound with the newest ones that exist."""
    found = session.get(Run, run_id)
    if found is None:
        newest = session.scalars(select(Run.id).order_by(Run.id.desc()).limit(10)).all()
        names = ", ".join(str(each) for each in sorted(newest)) or "none yet"
        raise NotFound(f"There is no run {run_id} (there is: {names}).")
    return found


def get_promoted(session: Session, dataset: Dataset) -> Run | None:
    """The run whose predictions the pages show."""
    return session.get(Run, dataset.promoted_run_id) if dataset.promoted_run_id else None


def list_done_runs(session: Session, *, dataset_id: int, limit: int = 200) -> list[Run]:
    """Those that finished, newest first."""
    query = select(Run).where(Run.dataset_id == dataset_id, Run.status == "done")
    return list(session.scalars(query.order_by(Run.id.desc()).limit(limit)))


def list_running(session: Session, *, dataset_id: int, decision_id: int, arch: str, preset: str) -> list[Run]:
    """Runs on one version that were started and never came to an end, newest first."""
    query = select(Run).where(
        Run.dataset_id == dataset_id,
        Run.status == "running",
        Run.decision_id == decision_id,
        Run.arch == arch,
        Run.preset == preset,
    )
    return list(session.scalars(query.order_by(Run.id.desc())))


def list_on_version(session: Session, *, dataset_id: int, content_hash: str) -> list[Run]:
    """Runs on images, labels and splits like these, newest first."""
    query = select(Run).where(Run.dataset_id == dataset_id, Run.content_hash == content_hash)
    return list(session.scalars(query.order_by(Run.id.desc())))


def list_ancestors(session: Session, run: Run) -> list[Run]:
    """The runs whose weights went into this one, nearest first; of an ensemble, its members come first."""
    found: dict[int, Run] = {}
    waiting = [run]
    while waiting:
        run = waiting.pop(0)
        wanted = [*run.config.get("members", []), *([run.from_run_id] if run.from_run_id is not None else [])]
        parents = [parent for parent_id in wanted if (parent := session.get(Run, parent_id)) is not None]
        waiting += [parent for parent in parents if parent.id not in found]
        found |= {parent.id: parent for parent in parents}
    return list(found.values())


def list_shapes(session: Session, *, dataset_id: int) -> dict[int, tuple[int, int, str]]:
    """Image id -> (width, height, mode)."""
    query = select(Image.id, Image.width, Image.height, Image.mode).where(Image.dataset_id == dataset_id)
    return {row.id: (row.width, row.height, row.mode) for row in session.execute(query)}


_CHUNK = 500  # bound variables per statement


class Labelled(NamedTuple):
    """What judging a run needs of an image."""

    image_id: int
    class_id: int
    pixel_sha256: str


def list_labelled(session: Session, *, dataset_id: int, class_ids: Sequence[int], split: str | None) -> list[Labelled]:
    """The active images that carry one of the classes, by id. split: none for all. Costs that split, by its index."""
    query = select(Image.id, Image.label_id, Image.pixel_sha256).where(
        Image.dataset_id == dataset_id, Image.status == "active", Image.label_id.in_(class_ids)
    )
    if split is not None:
        query = query.where(Image.split == split)
    rows = session.execute(query.order_by(Image.id))
    return [Labelled(row.id, row.label_id or 0, row.pixel_sha256) for row in rows]


def list_labelled_by_ids(session: Session, image_ids: Sequence[int], *, class_ids: Sequence[int]) -> list[Labelled]:
    """Those of the images that are active and carry one of the classes, by id."""
    found = []
    for start in range(0, len(image_ids), _CHUNK):
        query = select(Image.id, Image.label_id, Image.pixel_sha256).where(
            Image.id.in_(image_ids[start : start + _CHUNK]), Image.status == "active", Image.label_id.in_(class_ids)
        )
        found += [Labelled(row.id, row.label_id or 0, row.pixel_sha256) for row in session.execute(query)]
    return sorted(found)


def list_near_groups(session: Session, *, dataset_id: int) -> dict[int, int]:
    """Image id -> the near-duplicate group that holds it, groups that a reviewer parted left out."""
    query = (
        select(DuplicateMember.image_id, DuplicateMember.group_id)
        .join(DuplicateGroup, DuplicateGroup.id == DuplicateMember.group_id)
        .where(
            DuplicateGroup.dataset_id == dataset_id,
            DuplicateGroup.kind == "near",
            func.coalesce(DuplicateGroup.verdict, "") != "not_duplicates",
        )
        .order_by(DuplicateMember.group_id)
    )
    return {row.image_id: row.group_id for row in session.execute(query)}


def list_image_ids(session: Session, *, dataset_id: int) -> list[int]:
    return list(session.scalars(select(Image.id).where(Image.dataset_id == dataset_id).order_by(Image.id)))


def update_predicted(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Set predicted_id, confidence and p_wrong of the images named by `id`."""
    if rows:
        session.execute(update(Image), [dict(row) for row in rows])


def mark_promoted(session: Session, *, dataset: Dataset, run: Run) -> None:
    dataset.promoted_run_id = run.id
    run.promoted_at = utc_now()
    session.flush()
