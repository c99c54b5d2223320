"""Candidate pairs: pictures of which one resembles the other, its mirror image, a window or a part of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.dedup import descriptors
from ml.dedup.descriptors import COARSE, LENGTH, PARTS, VIEWS, WHOLE, Metric, View, mirror_part, to_unit
from ml.dedup.index import build_index

LEAST = 0.72  # cosine of the descriptors of a picture and of a window of the other; of copies 99 % have more
LEAST_PART = 0.8  # half a picture says less
_COARSER = 0.12  # the lowest coefficients alone, in few bits, may say less
_KEPT, _KEPT_PART = 8, 3  # candidates of a picture, so that ten thousand almost equal ones stay linear
_ROWS = 2048  # pictures per search, which bounds the memory that the answers take


@dataclass(frozen=True)
class _Effort:
    """views: how many of VIEWS are looked up. nearest: candidates of each. cells: that a view, or the whole picture, is
    looked up in."""

    views: int
    nearest: int
    cells: int
    cells_whole: int


_MANY = 200_000  # pictures
_THOROUGH = _Effort(views=len(VIEWS), nearest=8, cells=4, cells_whole=8)
_BRISK = _Effort(views=7, nearest=4, cells=2, cells_whole=4)  # windows of 90 % and the middle one of 80 %


@dataclass(frozen=True)
class Candidates:
    """M pairs of rows, each once as a whole and once by a part of it at most, sorted by rows, the whole first.

    view: of `one`, an index into VIEWS and, beyond them, PARTS. mirrored: whether that view is flipped to fit `other`.
    cosine: of the two descriptors.
    """

    one: NDArray[np.int64]  # (M,)
    other: NDArray[np.int64]  # (M,)
    view: NDArray[np.int16]  # (M,)
    mirrored: NDArray[np.bool_]  # (M,)
    cosine: NDArray[np.float32]  # (M,)

    @property
    def low(self) -> NDArray[np.int64]:
        """The lower row of each pair."""
        return np.minimum(self.one, self.other)

    @property
    def high(self) -> NDArray[np.int64]:
        """The higher row of each pair."""
        return np.maximum(self.one, self.other)

    @property
    def by_part(self) -> NDArray[np.bool_]:
        """Whether only a part of each is compared."""
        return self.view >= len(VIEWS)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "Candidates":
        return Candidates(self.one[rows], self.other[rows], self.view[rows], self.mirrored[rows], self.cosine[rows])


def name_pairs(low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number for each pair of rows below 2^31, (M,), so that pairs can be looked up among others."""
    return low * (1 << 31) + high


def split(found: Candidates, *, size: int) -> Iterator[slice]:
    """Consecutive slices of about `size` rows; the two rows of a pair stay in one."""
    if not len(found.one):
        return
    key = _key(_as_table(found))[:2]
    starts = np.flatnonzero(np.r_[True, (key[:, 1:] != key[:, :-1]).any(0)])
    edges = np.unique(starts[np.searchsorted(starts, np.arange(0, starts[-1] + 1, size))]).tolist()
    yield from (slice(first, last) for first, last in zip(edges, [*edges[1:], len(found.one)], strict=True))


def find_candidates(
    fingerprints: NDArray[np.uint8],
    *,
    new: NDArray[np.bool_] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Candidates:
    """Every pair of pictures that resemble each other in some view, and how they fit best.

    fingerprints: uint8 (N, 36, 32). new: bool (N,); then only pairs with a new picture are looked for.
    on_progress: called with (pictures done, pictures in all).
    Descriptors of every view of a picture are looked up among those of whole pictures (and its halves among the same
    halves), the nearest 8 each; beyond 200,000 pictures the views that lie furthest from the whole are left out.
    Deterministic. Time O(N) but for the cells' growth with the square root of N, about 0.3 milliseconds a picture;
    memory O(N): 200 bytes a picture besides the fingerprints. Source: faiss IndexIVFPQFastScan.
    """
    rows = np.arange(len(fingerprints))
    if len(rows) < 2 or (new is not None and not new.any()):
        return _merge([])
    passes = [(rows, rows)] if new is None else [(np.flatnonzero(new), rows), (rows[~new], np.flatnonzero(new))]
    total = sum(len(asked) for asked, _held in passes) * (1 + len(PARTS))
    found, done = [], 0
    metrics = descriptors.learn_metrics(fingerprints)
    for part in descriptors.HELD:
        for asked, held in passes:
            index = _Index(fingerprints, held, part, metrics, lookups=len(asked))
            for chunk in (asked[start : start + _ROWS] for start in range(0, len(asked), _ROWS)):
                table = _as_table(_merge(list(index.look_up(chunk))))
                found.append(_keep_nearest(table, _KEPT if part == "whole" else _KEPT_PART))
                done += len(chunk)
                if on_progress:
                    on_progress(done, total)
    return _merge(found)


class _Index:
    """Whole pictures, or one part of each, looked up by the views of others that may show the same."""

    def __init__(
        self,
        fingerprints: NDArray[np.uint8],
        held: NDArray[np.int64],
        part: str,
        metrics: dict[str, Metric],
        *,
        lookups: int,
    ) -> None:
        self._fingerprints = fingerprints
        self._held = held
        self._metrics = metrics
        self._least = LEAST if part == "whole" else LEAST_PART
        self._effort = _THOROUGH if len(fingerprints) <= _MANY else _BRISK
        self._asking = [
            (number, mirrored)
            for number, view in enumerate((*VIEWS, *PARTS))
            for mirrored in (False, True)
            if (mirror_part(view) if mirrored else view).part == part
            and (number < self._effort.views or number >= len(VIEWS))
        ]
        self._vectors = self._describe_all(descriptors.HELD[part])
        self._found = build_index(self._vectors[:, :COARSE], lookups=lookups * len(self._asking))

    def _describe_all(self, view: View) -> NDArray[np.float16]:
        """float16 (N, 63) of the pictures held."""
        vectors = np.empty((len(self._held), LENGTH), np.float16)
        for start in range(0, len(self._held), _ROWS):
            rows = self._held[start : start + _ROWS]
            found = descriptors.transform(self._fingerprints[rows], views=(view,))[0]
            vectors[start : start + len(rows)] = descriptors.describe(found, metric=self._metrics[view.part])
        return vectors

    def look_up(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.float64]]:
        """Tables of (one, other, view, mirrored, cosine)."""
        numbers = sorted({number for number, _mirrored in self._asking})
        views = tuple((*VIEWS, *PARTS)[number] for number in numbers)
        seen = dict(zip(numbers, descriptors.transform(self._fingerprints[rows], views=views), strict=True))
        described = {
            number: descriptors.describe(values, metric=self._metrics[(*VIEWS, *PARTS)[number].part])
            for number, values in seen.items()
        }
        for number, mirrored in self._asking:
            vectors = descriptors.mirror_described(described[number]) if mirrored else described[number]
            asked, held, cosine = self._nearest(
                rows, vectors, cells=self._effort.cells_whole if number == WHOLE else self._effort.cells
            )
            same = np.full(len(asked), number), np.full(len(asked), mirrored)
            yield np.column_stack([rows[asked], self._held[held], *same, cosine])

    def _nearest(
        self, rows: NDArray[np.int64], vectors: NDArray[np.float32], *, cells: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Which vector found which one of those held, and the cosine of all their coefficients."""
        if hasattr(self._found, "nprobe"):
            self._found.nprobe = cells
        coarse = to_unit(vectors[:, :COARSE])
        likeness, labels = self._found.search(
            coarse, min(self._effort.nearest + 1, len(self._held))
        )  # a picture finds itself too
        asked, place = np.nonzero((labels >= 0) & (likeness >= self._least - _COARSER))
        held = labels[asked, place]
        others = rows[asked] != self._held[held]
        asked, held = asked[others], held[others]
        cosine = np.einsum("nd,nd->n", vectors[asked], self._vectors[held].astype(np.float32))
        kept = cosine >= self._least
        return asked[kept], held[kept], cosine[kept]


def fit_views(
    fingerprints: NDArray[np.uint8],
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    *,
    views: tuple[View, ...] = (*VIEWS, *PARTS),
) -> Candidates:
    """How given pairs fit best, however badly: for pairs that something else proposes.

    one, other: int64 (M,) rows, one < other. views: the first of VIEWS and PARTS. Deterministic.
    About 0.15 milliseconds a pair.
    """
    metrics = descriptors.learn_metrics(fingerprints)
    tables = []
    for start in range(0, len(one), _ROWS):
        rows = slice(start, start + _ROWS)
        tables += _fit_both_ways(fingerprints, one[rows], other[rows], metrics, views)
        tables += _fit_both_ways(fingerprints, other[rows], one[rows], metrics, views)
        tables = [_as_table(_merge(tables))]
    return _merge(tables)


def _fit_both_ways(
    fingerprints: NDArray[np.uint8],
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    metrics: dict[str, Metric],
    views: tuple[View, ...],
) -> list[NDArray[np.float64]]:
    """Tables of (one, other, view, mirrored, cosine): every view of `one`, plain and flipped, beside `other`."""
    sought = {
        part: descriptors.describe(descriptors.transform(fingerprints[other], views=(view,))[0], metric=metrics[part])
        for part, view in descriptors.HELD.items()
    }
    tables = []
    for number, (view, found) in enumerate(
        zip(views, descriptors.transform(fingerprints[one], views=views), strict=True)
    ):
        vectors = descriptors.describe(found, metric=metrics[view.part])
        for mirrored in (False, True):
            part = mirror_part(view).part if mirrored else view.part
            cosine = np.einsum("nd,nd->n", descriptors.mirror_described(vectors) if mirrored else vectors, sought[part])
            tables.append(np.column_stack([one, other, np.full(len(one), number), np.full(len(one), mirrored), cosine]))
    return tables


def _as_table(found: Candidates) -> NDArray[np.float64]:
    return np.column_stack([found.one, found.other, found.view, found.mirrored, found.cosine])


def _merge(tables: list[NDArray[np.float64]]) -> Candidates:
    """Each pair once as a whole and once by a part, in the view in which it fits best; ties go to the first view."""
    table = np.concatenate(tables) if tables else np.zeros((0, 5))
    key = _key(table)
    cosine = np.round(table[:, 4], 3)  # what lies beyond depends on how many were multiplied at once
    order = np.lexsort((table[:, 0], table[:, 3], table[:, 2], -cosine, *key[::-1]))
    table, key = table[order], key[:, order]
    first = np.ones(len(table), np.bool_)
    first[1:] = (key[:, 1:] != key[:, :-1]).any(0)
    table = table[first]
    return Candidates(
        one=table[:, 0].astype(np.int64),
        other=table[:, 1].astype(np.int64),
        view=table[:, 2].astype(np.int16),
        mirrored=table[:, 3].astype(np.bool_),
        cosine=table[:, 4].astype(np.float32),
    )


def _keep_nearest(table: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """At most so many rows for each picture that asked, those of the largest cosine."""
    order = np.lexsort((table[:, 1], -np.round(table[:, 4], 3), table[:, 0]))
    asked = table[order, 0]
    start = np.r_[0, np.flatnonzero(asked[1:] != asked[:-1]) + 1] if len(asked) else np.zeros(0, np.int64)
    rank = np.arange(len(asked)) - np.repeat(start, np.diff(np.r_[start, len(asked)]))
    kept: NDArray[np.float64] = table[np.sort(order[rank < most])]
    return kept


def _key(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, M): lower row, higher row, whether by part."""
    return np.stack([table[:, :2].min(1), table[:, :2].max(1), table[:, 2] >= len(VIEWS)])
