"""The fingerprints of a data set's pictures: made once for each, kept between scans and data sets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.dedup.fingerprints import BYTES, SHAPE, fingerprint, is_flat
from ml.images import Unreadable, decode
from workbench import storage
from workbench.errors import NotFound
from workbench.models import Image
from workbench.queries import duplicates as groups
from workbench.queries import pairs as queries
from workbench.services import duplicates
from workbench.worker.context import Context

ALGORITHM = "grey-32-colour-8"
_CHUNK = 1000


@dataclass(frozen=True)
class Pictures:
    """The pictures of a data set that can be compared, one row each, in the order of their pixel hashes: equal pixels
    are one picture, however often they come.

    image_ids: int64 (N,), the first image of each. fingerprints: uint8 (N, 36, 32). fresh: bool (N,), made just now.
    """

    image_ids: NDArray[np.int64]
    fingerprints: NDArray[np.uint8]
    fresh: NDArray[np.bool_]
    distinct: int  # with those that cannot be compared:
    flat: int  # too even to tell from others
    unreadable: int  # gone, changed or damaged since the import

    @property
    def row_of(self) -> dict[int, int]:
        """First image of a picture -> its row."""
        return {int(image_id): row for row, image_id in enumerate(self.image_ids)}


def read_pictures(context: Context, dataset_id: int) -> Pictures:
    """Make what fingerprints are missing and read them all. Interrupted, it goes on where it was."""
    with context.database.read() as session:
        first_of = dict(queries.list_pictures(session, dataset_id))
        known = queries.get_known(session, list(first_of), algorithm=ALGORITHM)
    missing = [image_id for key, image_id in first_of.items() if key not in known]
    for start in range(0, len(missing), _CHUNK):
        _store(context, _make(context, missing[start : start + _CHUNK]))
        context.progress(min(start + _CHUNK, len(missing)), len(missing), "Reading pictures")
    return _read(context, dataset_id, first_of, known)


def _make(context: Context, image_ids: list[int]) -> dict[str, bytes]:
    """By pixel hash; empty for a flat picture, none for one that cannot be read: the next scan tries it again."""
    with context.database.read() as session:
        images = groups.list_images(session, image_ids)
    made = {}
    for image in images:
        found = _fingerprint(context, image)
        if found is not None:
            made[image.pixel_sha256] = b"" if is_flat(found) else found.tobytes()
    return made


def _fingerprint(context: Context, image: Image) -> NDArray[np.uint8] | None:
    try:
        return fingerprint(decode(storage.read_bytes(context.home, image)))
    except (NotFound, Unreadable):
        return None


def _store(context: Context, made: dict[str, bytes]) -> None:
    with context.database.write() as session:
        known = queries.get_known(session, list(made), algorithm=ALGORITHM)  # another scan may run beside this one
        fresh = {key: value for key, value in made.items() if key not in known}
        duplicates.store_hashes(session, fresh, algorithm=ALGORITHM)


def _read(context: Context, dataset_id: int, first_of: dict[str, int], known: set[str]) -> Pictures:
    fingerprints = np.empty((len(first_of), *SHAPE), np.uint8)
    keys: list[str] = []
    flat = 0
    with context.database.read() as session:
        for key, value in queries.iterate_fingerprints(session, dataset_id, algorithm=ALGORITHM):
            if key not in first_of:  # imported while this scan was reading; the next one compares it
                continue
            if len(value) != BYTES:
                flat += 1
                continue
            fingerprints[len(keys)] = np.frombuffer(value, np.uint8).reshape(SHAPE)
            keys.append(key)
    return Pictures(
        image_ids=np.array([first_of[key] for key in keys], np.int64),
        fingerprints=fingerprints[: len(keys)],
        fresh=np.array([key not in known for key in keys], np.bool_),
        distinct=len(first_of),
        flat=flat,
        unreadable=len(first_of) - len(keys) - flat,
    )
