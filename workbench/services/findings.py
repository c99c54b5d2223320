"""Findings stored and shown. A scan hands over all that it found of a kind; what it no longer finds goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, update
from sqlalchemy.orm import Session

from workbench.models import FINDINGS, SCANS_OF_FINDINGS, Class, Dataset, Finding, Image, Scan, utc_now
from workbench.queries import datasets
from workbench.queries import findings as queries
from workbench.queries.findings import Tally

STRIP = 11  # images of a kind on the page


@dataclass(frozen=True)
class Found:
    """What a scan says about one image. score: 0 to 1, the gravest highest."""

    image_id: int
    score: float
    reason: str


def replace_findings(session: Session, dataset: Dataset, *, kind: str, found: Sequence[Found]) -> int:
    """Store all findings of a kind; those that stay keep when they were found. Returns how many there are."""
    stored = queries.list_stored(session, dataset.id, kind)
    wanted = {each.image_id: each for each in found}
    gone = [row_id for image_id, row_id in stored.items() if image_id not in wanted]
    for chunk in queries.chunks(gone):
        session.execute(delete(Finding).where(Finding.id.in_(chunk)))
    same = [
        {"id": stored[image_id], "score": each.score, "reason": each.reason}
        for image_id, each in wanted.items()
        if image_id in stored
    ]
    if same:
        session.execute(update(Finding), same)
    new = [_row(dataset, kind, each) for image_id, each in wanted.items() if image_id not in stored]
    if new:
        session.execute(insert(Finding), new)
    return len(wanted)


def _row(dataset: Dataset, kind: str, found: Found) -> dict[str, Any]:
    return {
        "dataset_id": dataset.id,
        "image_id": found.image_id,
        "kind": kind,
        "score": found.score,
        "reason": found.reason,
        "found_at": utc_now(),
    }


def note_scan(
    session: Session, dataset: Dataset, *, kind: str, newest_image_id: int, images: int, detail: dict[str, Any]
) -> None:
    """Say that a scan has ended, in place of the one before."""
    scan = queries.get_scans(session, dataset.id).get(kind)
    if scan is None:
        scan = Scan(dataset_id=dataset.id, kind=kind)
        session.add(scan)
    scan.at, scan.newest_image_id, scan.images, scan.detail = utc_now(), newest_image_id, images, detail


@dataclass(frozen=True)
class Kind:
    """One kind of finding on the page."""

    name: str
    words: str
    tally: Tally
    worst: list[tuple[Image, str]]  # open ones, with what is said of them


@dataclass(frozen=True)
class Coverage:
    """What became of the images of one class, excluded ones left out: the counts sum to `images`.

    readable + missing + unseen = images, where a scan of quality was made; face + no_face = what a scan of faces saw.
    """

    cls: Class | None  # none: images without a label
    images: int
    unseen: int  # came after the scan
    missing: int
    no_face: int
    several: int
    face: int | None  # none: no scan for faces, or these are no faces
    found: Mapping[str, int]  # kind -> images with it


@dataclass(frozen=True)
class Overview:
    scans: Mapping[str, Scan]
    kinds: list[Kind]
    coverage: list[Coverage]
    columns: list[str]  # kinds found at all, those of the fixed columns left out
    totals: Mapping[str, int]  # kind -> images with it, excluded ones left out
    new_images: int  # came after the oldest of the scans


def show_overview(session: Session, dataset: Dataset) -> Overview:
    """Everything on the page; the number of statements grows with the kinds, not with the images."""
    scans = queries.get_scans(session, dataset.id)
    tallies = queries.count_by_kind(session, dataset.id)
    kinds = [
        Kind(name, words, tallies[name], queries.list_worst(session, dataset.id, name, limit=STRIP))
        for name, words in FINDINGS.items()
        if name in tallies
    ]
    coverage = _cover(session, dataset, scans)
    fixed = ("missing", *SCANS_OF_FINDINGS["faces"])
    return Overview(
        scans=scans,
        kinds=kinds,
        coverage=coverage,
        columns=[kind.name for kind in kinds if kind.name not in fixed],
        totals={kind: sum(row.found.get(kind, 0) for row in coverage) for kind in FINDINGS},
        new_images=sum(row.unseen for row in coverage),
    )


def _cover(session: Session, dataset: Dataset, scans: Mapping[str, Scan]) -> list[Coverage]:
    if not scans:
        return []
    # a scan that saw no data set of faces looked at the first images only, and that says it of all
    newest = min((scan.newest_image_id for scan in scans.values() if not scan.detail.get("no_faces")), default=None)
    everything = queries.count_images_by_class(session, dataset.id)
    seen = queries.count_images_by_class(session, dataset.id, up_to=newest)
    found = queries.count_by_class(session, dataset.id, up_to=newest)
    faces = "faces" in scans and not scans["faces"].detail.get("no_faces")
    by_id = {cls.id: cls for cls in datasets.list_classes(session, dataset.id)}
    order = [*(class_id for class_id in by_id if class_id in everything), *([0] if 0 in everything else [])]
    return [
        _cover_class(by_id.get(class_id), everything[class_id], seen.get(class_id, 0), found, faces=faces)
        for class_id in order
    ]


def _cover_class(
    cls: Class | None, images: int, seen: int, found: Mapping[tuple[int, str], int], *, faces: bool
) -> Coverage:
    class_id = cls.id if cls else 0
    by_kind = {kind: found[class_id, kind] for kind in FINDINGS if (class_id, kind) in found}
    missing, no_face = by_kind.get("missing", 0), by_kind.get("no_face", 0)
    return Coverage(
        cls=cls,
        images=images,
        unseen=images - seen,
        missing=missing,
        no_face=no_face,
        several=by_kind.get("several_faces", 0),
        face=seen - missing - no_face if faces else None,
        found=by_kind,
    )
