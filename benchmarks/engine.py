"""The product's own search, over pictures in memory, as its scan runs it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.dedup.chance import Calibration, probability
from ml.dedup.fingerprints import fingerprint_all, is_flat
from ml.dedup.groups import Group, group_pairs
from ml.dedup.scan import OnProgress, find_pairs, measure_background

MIN_P = 0.5


@dataclass(frozen=True)
class Scanned:
    """The M pairs that were compared, a < b, and the groups that those with P >= 0.5 make."""

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    score: NDArray[np.float32]
    p: NDArray[np.float32]
    groups: list[Group]


def scan(pictures: Sequence[NDArray[np.uint8]]) -> Scanned:
    return scan_fingerprints(fingerprint_all(pictures))


def scan_fingerprints(fingerprints: NDArray[np.uint8], *, on_progress: OnProgress | None = None) -> Scanned:
    """uint8 (N, 36, 32); flat ones, which show nothing, are left out as a scan leaves them out."""
    rows = np.array([row for row, made in enumerate(fingerprints) if not is_flat(made)], np.int64)
    kept = fingerprints[rows]
    calibration = Calibration(measure_background(kept))
    pairs = find_pairs(kept, calibration=calibration, on_progress=on_progress)
    p = probability(pairs.evidence, calibration=calibration)
    a, b = rows[pairs.a], rows[pairs.b]
    return Scanned(a, b, pairs.score, p, group_pairs(a, b, pairs.score, p, min_p=MIN_P))
