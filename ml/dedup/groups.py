"""From pairs to groups, without chaining unlike pictures together through ones in between."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAJORITY = 0.5
_WHOLLY = 24  # pictures of a group up to which each is compared with each
_WITH = 8  # pictures that each one of a larger group is compared with


@dataclass(frozen=True)
class Group:
    """rows: ascending. score, p: of the weakest member's best link into the group."""

    rows: tuple[int, ...]
    score: float
    p: float


def group_pairs(
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    scores: NDArray[np.float32],
    p: NDArray[np.float32],
    *,
    min_p: float = 0.5,
    apart: Iterable[tuple[int, int]] = (),
) -> list[Group]:
    """Groups of rows, likeliest pairs first; two groups join only if most of the pairs compared between them hold.

    a, b: int64 (M,) rows of the pairs that were compared, each once in either order. scores, p: float32 (M,). min_p: a
    pair below is no link, and speaks against joining. apart: pairs of rows that may never stand in one group, whatever
    links them. Returns groups of two or more rows, by their first row; no row is in two. A picture that resembles one
    member of a group but not most of those it was compared with starts no chain: it stays out, or joins what it fits
    better. Deterministic, ties in the order of the rows. Time O(M log M), memory O(M).
    """
    low, high = np.minimum(a, b), np.maximum(a, b)
    order = [int(pair) for pair in np.lexsort((high, low, -scores, -p)) if p[pair] >= min_p]
    links: _Links = defaultdict(dict)
    for pair in order:
        one, other = int(a[pair]), int(b[pair])
        links[one][other] = links[other][one] = (float(p[pair]), float(scores[pair]))
    against = [(int(a[pair]), int(b[pair])) for pair in np.flatnonzero(p < min_p)]
    forest = _Forest(links, against, apart)
    for pair in order:
        forest.try_join(int(a[pair]), int(b[pair]))
    return [_describe(rows, links) for rows in forest.list_groups()]


def list_webs(a: NDArray[np.int64], b: NDArray[np.int64]) -> list[list[int]]:
    """Rows that links connect, however indirectly. a, b: int64 (M,). Each web ascending, webs by their first row."""
    webs = _Forest({int(row): {} for row in np.unique(np.concatenate([a, b]))}, (), ())
    for one, other in zip(a.tolist(), b.tolist(), strict=True):
        webs.connect(one, other)
    return webs.list_groups()


def list_uncompared(webs: list[list[int]], a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs that grouping would ask for: of pictures of one web that nobody has compared yet.

    a, b: int64 (M,) rows of the pairs compared. Returns int64 (K, 2), lower row first, ascending. Up to 24 connected
    pictures each pair of them; in larger webs each picture with the eight first ones, so that ten thousand almost equal
    pictures stay linear.
    """
    known = set(zip(np.minimum(a, b).tolist(), np.maximum(a, b).tolist(), strict=True))
    wanted = []
    for rows in webs:
        first = rows if len(rows) <= _WHOLLY else rows[:_WITH]
        wanted += [(one, other) for one in first for other in rows if one < other and (one, other) not in known]
    return np.array(sorted(wanted), np.int64).reshape(-1, 2)


def list_first_rows(webs: list[list[int]]) -> NDArray[np.int64]:
    """Of webs so large that a search, which keeps a few neighbours of each picture, may have parted them. Ascending."""
    return np.array(sorted(rows[0] for rows in webs if len(rows) > _WITH), np.int64)


_Links = dict[int, dict[int, tuple[float, float]]]


class _Forest:
    """Growing groups, each named by one of its rows, and what was compared between any two of them."""

    def __init__(self, links: _Links, against: Iterable[tuple[int, int]], apart: Iterable[tuple[int, int]]) -> None:
        self._members = {row: [row] for row in links}
        self._name = {row: row for row in links}
        # group -> other group -> (pairs that hold, pairs compared)
        self._between = {row: dict.fromkeys(others, (1, 1)) for row, others in links.items()}
        for one, other in against:
            if one in self._between and other in self._between:
                self._between[one][other] = self._between[other][one] = (0, 1)
        self._apart: dict[int, set[int]] = defaultdict(set)  # row -> rows that it may not be with
        for one, other in apart:
            self._apart[one].add(other)
            self._apart[other].add(one)

    def try_join(self, one: int, other: int) -> None:
        left, right = self._name[one], self._name[other]
        if left == right:
            return
        holding, compared = self._between[left][right]
        if holding >= MAJORITY * compared and not self._are_apart(left, right):
            self._join(left, right)

    def connect(self, one: int, other: int) -> None:
        """Join whatever was compared."""
        left, right = self._name[one], self._name[other]
        if left != right:
            self._join(left, right)

    def _are_apart(self, left: int, right: int) -> bool:
        if not self._apart:
            return False
        others = set(self._members[right])
        return any(not others.isdisjoint(self._apart[row]) for row in self._members[left] if row in self._apart)

    def _join(self, left: int, right: int) -> None:
        if len(self._between[left]) + len(self._members[left]) < len(self._between[right]) + len(self._members[right]):
            left, right = right, left  # move the smaller tables
        moved = self._members.pop(right)
        self._members[left] += moved
        self._name.update(dict.fromkeys(moved, left))
        self._between[left].pop(right, None)
        for neighbour, (holding, compared) in self._between.pop(right).items():
            if neighbour == left:
                continue
            table = self._between[neighbour]
            del table[right]
            held, seen = table.get(left, (0, 0))
            table[left] = self._between[left][neighbour] = (held + holding, seen + compared)

    def list_groups(self) -> list[list[int]]:
        return sorted(sorted(rows) for rows in self._members.values() if len(rows) > 1)


def _describe(rows: list[int], links: _Links) -> Group:
    inside = set(rows)
    best = [max(link for other, link in links[row].items() if other in inside) for row in rows]
    p, score = min(best)
    return Group(rows=tuple(rows), score=score, p=p)
