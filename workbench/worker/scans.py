"""Scans: what a look at every image of a data set finds. One function per kind, named in SCANS."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.dedup.groups import Group, group_pairs
from ml.dedup.hashes import BYTES, hash_pictures, to_grey
from ml.dedup.search import Candidates, find_candidates
from ml.dedup.verify import SIDE, draw_pairs, learn_scale, make_thumbnail, probability, verify_pairs
from ml.images import Unreadable, decode
from workbench import storage
from workbench.errors import NotFound
from workbench.models import Image, utc_now
from workbench.queries import datasets
from workbench.queries import duplicates as queries
from workbench.services import duplicates
from workbench.services.duplicates import FoundGroup, FoundPair
from workbench.worker.context import Context

ALGORITHM = "phash-256-mirrored"  # plain and mirrored hash one after the other; nothing for a flat picture
MIN_P = 0.5  # of the pairs that make groups
KEPT_P = 0.1  # of the pairs that are kept
_CHUNK = 1000


@dataclass
class _Pictures:
    """The distinct pictures of a data set, one row each: equal pixels are one picture, however often they come."""

    pixel_hashes: list[str]
    first_ids: list[int]
    copies: dict[int, list[int]]  # first id -> all ids, for pictures that come more than once
    hashes: dict[str, bytes] = field(default_factory=dict)
    unreadable: int = 0
    hashed: int = 0


def scan_duplicates(context: Context, *, dataset: str) -> dict[str, Any]:
    """Find near copies and form the groups anew. Run again after a kill it computes only what is missing."""
    pictures = _read_pictures(context, dataset)
    _hash_missing(context, pictures)
    rows = [row for row, key in enumerate(pictures.pixel_hashes) if pictures.hashes.get(key)]
    codes = np.frombuffer(b"".join(pictures.hashes[pictures.pixel_hashes[row]] for row in rows), np.uint8)
    codes = codes.reshape(-1, 2, BYTES)  # (N, plain and mirrored, bytes)
    found = find_candidates(
        codes[:, 0], codes[:, 1], on_progress=lambda done, total: context.progress(done, total, "Comparing hashes")
    )
    images = [pictures.first_ids[row] for row in rows]
    return _verify_and_store(context, dataset, pictures, images, found)


def _read_pictures(context: Context, name: str) -> _Pictures:
    with context.database.read() as session:
        dataset = datasets.get_dataset(session, name)
        found = queries.list_pictures(session, dataset.id)
        pictures = _Pictures(
            pixel_hashes=[row[0] for row in found],
            first_ids=[row[1] for row in found],
            copies={ids[0]: ids for ids in queries.list_exact_copies(session, dataset.id)},
        )
        pictures.hashes = queries.get_hashes(session, pictures.pixel_hashes, algorithm=ALGORITHM)
    return pictures


def _hash_missing(context: Context, pictures: _Pictures) -> None:
    missing = [
        image_id
        for key, image_id in zip(pictures.pixel_hashes, pictures.first_ids, strict=True)
        if key not in pictures.hashes
    ]
    for start, images, greys in _read_greys(context, missing, "Hashing"):
        new = _hash_chunk(images, greys)
        with context.database.write() as session:
            known = queries.get_hashes(session, list(new), algorithm=ALGORITHM)  # another scan may run beside this one
            fresh = {key: value for key, value in new.items() if key not in known}
            duplicates.store_hashes(session, fresh, algorithm=ALGORITHM)
        pictures.hashes.update(new)
        pictures.hashed += len(new)
        pictures.unreadable += min(_CHUNK, len(missing) - start) - len(images)


def _hash_chunk(images: Sequence[Image], greys: Sequence[NDArray[np.uint8]]) -> dict[str, bytes]:
    made = hash_pictures(greys)
    return {
        image.pixel_sha256: b"" if made.flat[row] else made.plain[row].tobytes() + made.mirrored[row].tobytes()
        for row, image in enumerate(images)
    }


def _read_greys(
    context: Context, image_ids: Sequence[int], message: str
) -> Iterator[tuple[int, list[Image], list[NDArray[np.uint8]]]]:
    """Chunk by chunk: where it starts, the images of it that could be read, their grey pixels."""
    for start in range(0, len(image_ids), _CHUNK):
        with context.database.read() as session:
            chunk = queries.list_images(session, image_ids[start : start + _CHUNK])
        images, greys = [], []
        for image in chunk:
            grey = _read_grey(context, image)
            if grey is not None:
                images.append(image)
                greys.append(grey)
        yield start, images, greys
        context.progress(min(start + _CHUNK, len(image_ids)), len(image_ids), message)


def _read_grey(context: Context, image: Image) -> NDArray[np.uint8] | None:
    """None where the file is gone, changed or damaged since the import: counted, and tried again by the next scan."""
    try:
        return to_grey(decode(storage.read_bytes(context.home, image)))
    except (NotFound, Unreadable):
        return None


def _verify_and_store(
    context: Context, name: str, pictures: _Pictures, images: Sequence[int], found: Candidates
) -> dict[str, Any]:
    sample = draw_pairs(len(images), rng=np.random.default_rng(0))
    thumbnails = _make_thumbnails(context, images, np.unique(np.concatenate([found.a, found.b, *sample])))
    scale = learn_scale(
        verify_pairs(thumbnails, *sample, np.zeros(len(sample[0]), np.bool_)),
        count=len(images),
    )
    scores = verify_pairs(
        thumbnails,
        found.a,
        found.b,
        found.mirrored,
        on_progress=lambda done, total: context.progress(done, total, "Comparing pictures"),
    )
    found, scores = _best_way(found, scores)
    p = probability(scores, scale=scale)
    groups = group_pairs(found.a, found.b, scores, p, min_p=MIN_P, apart=_list_apart(context, name, pictures, images))
    pairs = [
        FoundPair(
            images[a],
            images[b],
            how="hashes",
            score=float(score),
            p=float(chance),
            transform={"mirrored": bool(flipped)},
            evidence=0.0,
        )
        for a, b, flipped, score, chance in zip(found.a, found.b, found.mirrored, scores, p, strict=True)
        if chance >= KEPT_P
    ]
    return _store(context, name, pictures, pairs, [_spell_out(group, images, pictures) for group in groups])


def _make_thumbnails(context: Context, images: Sequence[int], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(N, 32, 32); only these rows' pictures are read, the others stay blank."""
    thumbnails = np.zeros((len(images), SIDE, SIDE), np.uint8)
    row_of = {images[row]: int(row) for row in rows}
    for _start, read, greys in _read_greys(context, list(row_of), "Reading candidates"):
        for image, grey in zip(read, greys, strict=True):
            thumbnails[row_of[image.id]] = make_thumbnail(grey)
    return thumbnails


def _best_way(found: Candidates, scores: NDArray[np.float32]) -> tuple[Candidates, NDArray[np.float32]]:
    """Of a pair that resembles each other both plainly and mirrored, the way that fits better."""
    order = np.lexsort((found.mirrored, -scores, found.b, found.a))
    a, b = found.a[order], found.b[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    kept = order[first]
    return Candidates(found.a[kept], found.b[kept], found.mirrored[kept], found.distance[kept]), scores[kept]


def _list_apart(context: Context, name: str, pictures: _Pictures, images: Sequence[int]) -> list[tuple[int, int]]:
    """The pairs of rows that a reviewer said are not the same picture."""
    row_of = {image_id: row for row, image_id in enumerate(images)}
    first_of = {image_id: first for first, ids in pictures.copies.items() for image_id in ids}
    with context.database.read() as session:
        rejected = queries.list_rejected(session, datasets.get_dataset(session, name).id)
    apart = []
    for ids in rejected:
        rows = sorted({row_of[first] for image_id in ids if (first := first_of.get(image_id, image_id)) in row_of})
        apart += [(one, other) for place, one in enumerate(rows) for other in rows[place + 1 :]]
    return apart


def _spell_out(group: Group, images: Sequence[int], pictures: _Pictures) -> FoundGroup:
    """The group with every exact copy of its pictures."""
    ids = [copy for row in group.rows for copy in pictures.copies.get(images[row], [images[row]])]
    return FoundGroup(ids, score=group.score, p=group.p)


def _store(
    context: Context, name: str, pictures: _Pictures, pairs: Sequence[FoundPair], groups: Sequence[FoundGroup]
) -> dict[str, Any]:
    with context.database.write() as session:
        dataset = datasets.get_dataset(session, name)
        duplicates.clear_pairs(session, dataset)
        duplicates.store_pairs(session, dataset, pairs)
        exact = duplicates.refresh_exact_groups(session, dataset)
        near = duplicates.refresh_near_groups(session, dataset, groups)
        images = datasets.count_images(session, dataset.id)
        dataset.scanned_at = utc_now()
    return {
        "dataset": name,
        "images": images,
        "pictures": len(pictures.pixel_hashes),
        "hashed": pictures.hashed,
        "flat": sum(not value for value in pictures.hashes.values()),
        "unreadable": pictures.unreadable,
        "pairs": len(pairs),
        "exact_groups": exact,
        "near_groups": near,
    }


SCANS: dict[str, Callable[..., dict[str, Any]]] = {
    "duplicates": scan_duplicates,
}
