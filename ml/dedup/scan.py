"""The search for near copies, step by step: candidates, alignment, evidence, and the pairs that grouping asks for."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.dedup.alignment import Alignments, align_pairs
from ml.dedup.candidates import Candidates, find_candidates, fit_views, name_pairs
from ml.dedup.chance import Calibration, draw_pairs, learn_background, probability, weigh
from ml.dedup.descriptors import PARTS, VIEWS
from ml.dedup.groups import list_first_rows, list_uncompared, list_webs
from ml.dedup.transforms import Transform, read_transform

LEAST_P = 0.5  # of the pairs that make groups
_FEW = 32  # pictures of which each pair is compared
_DOUBTFUL = 2.0  # evidence below which a pair is also compared by the part that agrees best
_ROUNDS = 3

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Pairs:
    """M pairs of rows that were compared, each once, a < b, ascending.

    score: float32 (M,), correlation of the aligned details. evidence: float32 (M,), log-odds. matrix: float32
    (M, 2, 3). view, mirrored: of the picture that was moved; swapped: whether that one is b.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    score: NDArray[np.float32]
    evidence: NDArray[np.float32]
    matrix: NDArray[np.float32]
    view: NDArray[np.int16]
    mirrored: NDArray[np.bool_]
    swapped: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "Pairs":
        return Pairs(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def transform(self, pair: int, fingerprints: NDArray[np.uint8], *, backwards: bool = False) -> Transform:
        """How b differs from a, of one pair; backwards, how a differs from b. fingerprints: uint8 (N, 36, 32)."""
        rows = (self.b[pair], self.a[pair]) if backwards else (self.a[pair], self.b[pair])
        return read_transform(
            fingerprints[rows[0]],
            fingerprints[rows[1]],
            self.matrix[pair],
            mirrored=bool(self.mirrored[pair]),
            part=(*VIEWS, *PARTS)[self.view[pair]].part,
            swapped=bool(self.swapped[pair]) != backwards,
        )


def as_compared(
    a: NDArray[np.int64], b: NDArray[np.int64], *, score: NDArray[np.float32], evidence: NDArray[np.float32]
) -> Pairs:
    """Pairs that were compared before, of which no more is known: (M,) each, a < b. Their matrix is 0."""
    count = len(a)
    return Pairs(
        a=a,
        b=b,
        score=score.astype(np.float32),
        evidence=evidence.astype(np.float32),
        matrix=np.zeros((count, 2, 3), np.float32),
        view=np.zeros(count, np.int16),
        mirrored=np.zeros(count, np.bool_),
        swapped=np.zeros(count, np.bool_),
    )


def no_pairs() -> Pairs:
    nothing = np.zeros(0, np.float32)
    return as_compared(np.zeros(0, np.int64), np.zeros(0, np.int64), score=nothing, evidence=nothing)


def join(*pairs: Pairs) -> Pairs:
    """All of them, each pair of rows once: as the most evidence has it."""
    table = Pairs(*(np.concatenate([getattr(some, name) for some in pairs]) for name in Pairs.__dataclass_fields__))
    order = np.lexsort((table.view, -table.evidence, table.b, table.a))
    first = np.ones(len(order), np.bool_)
    names = name_pairs(table.a, table.b)[order]
    first[1:] = names[1:] != names[:-1]
    return table.take(order[first])


def find_pairs(
    fingerprints: NDArray[np.uint8],
    *,
    calibration: Calibration,
    new: NDArray[np.bool_] | None = None,
    on_progress: OnProgress | None = None,
) -> Pairs:
    """Compare every pair of pictures that may be one, and those that grouping asks for.

    fingerprints: uint8 (N, 36, 32), none of them flat. calibration: says which pairs are links, and so what grouping
    asks for. new: bool (N,); then only pairs with a new picture.
    on_progress: called with (what is being done, done, in all). Deterministic; among few pictures every pair is
    compared, among many those that `find_candidates` proposes.
    """
    found = propose(fingerprints, new=new, on_progress=_named(on_progress, "Comparing fingerprints"))
    pairs = compare(fingerprints, found, on_progress=_named(on_progress, "Comparing pictures"))
    return close(fingerprints, pairs, calibration=calibration)


def propose(
    fingerprints: NDArray[np.uint8],
    *,
    new: NDArray[np.bool_] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Candidates:
    """What to compare: as `find_candidates`, but of 32 pictures or fewer every pair."""
    if len(fingerprints) > _FEW:
        return find_candidates(fingerprints, new=new, on_progress=on_progress)
    one, other = np.triu_indices(len(fingerprints), 1)
    wanted = np.ones(len(one), np.bool_) if new is None else new[one] | new[other]
    return fit_views(fingerprints, one[wanted], other[wanted])


def _named(on_progress: OnProgress | None, what: str) -> Callable[[int, int], None] | None:
    return (lambda done, total: on_progress(what, done, total)) if on_progress else None


def compare(
    fingerprints: NDArray[np.uint8], found: Candidates, *, on_progress: Callable[[int, int], None] | None = None
) -> Pairs:
    """Align candidates: as wholes where they were found so, and by a part where that leaves doubts."""
    by_part = found.by_part
    both = np.zeros(len(by_part), np.bool_)  # the part rows of pairs that were also found as wholes
    names = name_pairs(found.low, found.high)
    both[1:] = by_part[1:] & (names[1:] == names[:-1])
    total = len(both)
    done = _as_pairs(found.take(~both), _align(fingerprints, found.take(~both), on_progress, 0, total))
    clear = done.take(done.evidence >= _DOUBTFUL)
    settled = np.isin(names, name_pairs(clear.a, clear.b))
    again = found.take(both & ~settled)
    return join(done, _as_pairs(again, _align(fingerprints, again, on_progress, int((~both).sum()), total)))


def _align(
    fingerprints: NDArray[np.uint8],
    found: Candidates,
    on_progress: Callable[[int, int], None] | None,
    before: int,
    total: int,
) -> Alignments:
    tell = (lambda done, _all: on_progress(before + done, total)) if on_progress else None
    return align_pairs(fingerprints, found, on_progress=tell)


def _as_pairs(found: Candidates, aligned: Alignments) -> Pairs:
    return Pairs(
        a=found.low,
        b=found.high,
        score=aligned.features[:, 0],
        evidence=weigh(aligned.features, fits=aligned.fits),
        matrix=aligned.matrix,
        view=found.view,
        mirrored=found.mirrored,
        swapped=found.one > found.other,
    )


def close(fingerprints: NDArray[np.uint8], pairs: Pairs, *, calibration: Calibration) -> Pairs:
    """Compare what grouping asks for: pictures that links connect but that were not proposed as a pair, and the first
    pictures of large webs with each other."""
    for _round in range(_ROUNDS):
        links = probability(pairs.evidence, calibration=calibration) >= LEAST_P
        webs = list_webs(pairs.a[links], pairs.b[links])
        wanted = list_uncompared(webs, pairs.a, pairs.b)
        first = list_first_rows(webs)
        between = find_candidates(fingerprints[first])
        more = np.sort(np.stack([first[between.one], first[between.other]], axis=1), axis=1)
        known = np.isin(name_pairs(*more.T), name_pairs(pairs.a, pairs.b))
        wanted = np.unique(np.concatenate([wanted, more[~known]]), axis=0)
        if not len(wanted):
            break
        pairs = join(pairs, compare(fingerprints, fit_views(fingerprints, wanted[:, 0], wanted[:, 1])))
    return pairs


def measure_background(fingerprints: NDArray[np.uint8]) -> float:
    """How alike unlike pictures are in this data set, as `learn_background` takes it. Deterministic."""
    drawn = draw_pairs(len(fingerprints), rng=np.random.default_rng(0))
    found = fit_views(fingerprints, *drawn, views=VIEWS[:1])
    aligned = align_pairs(fingerprints, found, thorough=True)
    return learn_background(weigh(aligned.features, fits=aligned.fits), count=len(fingerprints))
