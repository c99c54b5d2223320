"""Fingerprints, the pairs that scans compared, and what reviewers said about them."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from workbench.models import Decision, DuplicatePair, Image, ImageHash
from workbench.queries import duplicate_verdicts

_CHUNK = 500  # bound variables per statement
_ROWS = 10_000


def list_pictures(session: Session, dataset_id: int) -> list[tuple[str, int]]:
    """Each distinct picture of a data set: its pixel hash and its first image, in the order of the hashes.

    That order says nothing about names, classes or the time of the import, so what is found does not depend on them.
    """
    query = (
        select(Image.pixel_sha256, func.min(Image.id))
        .where(Image.dataset_id == dataset_id)
        .group_by(Image.pixel_sha256)
        .order_by(Image.pixel_sha256)
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def iterate_fingerprints(session: Session, dataset_id: int, *, algorithm: str) -> Iterator[tuple[str, bytes]]:
    """(pixel hash, fingerprint) of the data set's pictures that have one, in the order of the hashes."""
    held = select(Image.pixel_sha256).where(Image.dataset_id == dataset_id).distinct().subquery()
    query = (
        select(ImageHash.pixel_sha256, ImageHash.value)
        .join(held, held.c.pixel_sha256 == ImageHash.pixel_sha256)
        .where(ImageHash.algorithm == algorithm)
        .order_by(ImageHash.pixel_sha256)
        .execution_options(yield_per=_ROWS)
    )
    for row in session.execute(query):
        yield row[0], row[1]


def get_known(session: Session, pixel_hashes: Sequence[str], *, algorithm: str) -> set[str]:
    """Which of the pictures have a fingerprint."""
    found: set[str] = set()
    for start in range(0, len(pixel_hashes), _CHUNK):
        query = select(ImageHash.pixel_sha256).where(
            ImageHash.algorithm == algorithm, ImageHash.pixel_sha256.in_(pixel_hashes[start : start + _CHUNK])
        )
        found.update(session.scalars(query))
    return found


def get_values(session: Session, pixel_hashes: Sequence[str], *, algorithm: str) -> dict[str, bytes]:
    """What is kept of the pictures, by pixel hash; those of which nothing is kept are left out."""
    found: dict[str, bytes] = {}
    for start in range(0, len(pixel_hashes), _CHUNK):
        query = select(ImageHash.pixel_sha256, ImageHash.value).where(
            ImageHash.algorithm == algorithm, ImageHash.pixel_sha256.in_(pixel_hashes[start : start + _CHUNK])
        )
        found.update({row[0]: row[1] for row in session.execute(query)})
    return found


def list_pairs(session: Session, dataset_id: int) -> Sequence[Any]:
    """(a_id, b_id, how, score, evidence, transform) of every pair kept, by a_id and b_id."""
    query = (
        select(
            DuplicatePair.a_id,
            DuplicatePair.b_id,
            DuplicatePair.how,
            DuplicatePair.score,
            DuplicatePair.evidence,
            DuplicatePair.transform,
        )
        .where(DuplicatePair.dataset_id == dataset_id)
        .order_by(DuplicatePair.a_id, DuplicatePair.b_id)
    )
    return session.execute(query).all()


def list_looked_at(session: Session, dataset_id: int) -> tuple[list[list[int]], list[list[int]]]:
    """(the same, apart): images that reviewers judged one by one, verdict by verdict; what was settled in bulk is not
    evidence. Those of one list of the second are pairwise apart."""
    lines = duplicate_verdicts.list_standing(session, dataset_id)
    number = _count_settled(session, dataset_id)
    single = [line for line in lines if number[line.action] == 1]
    return (
        [images for line in single if (images := duplicate_verdicts.confirmed_by(line))],
        [images for line in single for images in duplicate_verdicts.rejected_by(line)],
    )


def _count_settled(session: Session, dataset_id: int) -> dict[str, int]:
    """Action -> how many groups it settled."""
    query = (
        select(Decision.action, func.count())
        .where(Decision.dataset_id == dataset_id, Decision.kind == "duplicates")
        .group_by(Decision.action)
    )
    return {row[0]: row[1] for row in session.execute(query)}
