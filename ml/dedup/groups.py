"""From pairs to groups, without chaining unlike pictures together through ones in between."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAJORITY = 0.5


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
    """Groups of rows, best pairs first; two groups join only if most of the pairs between them hold.

    a, b: int64 (M,) rows, each pair once in either order. scores, p: float32 (M,). min_p: weaker pairs are no links.
    apart: pairs of rows that may never stand in one group, whatever links them.
    Returns groups of two or more rows, by their first row; no row is in two. A picture that resembles one member of a
    group but not the majority of it starts no chain: it stays out, or joins whatever it fits better.
    Deterministic, ties in the order of the rows. Time O(M log M), memory O(M).
    """
    order = [int(pair) for pair in np.lexsort((b, a, -scores)) if p[pair] >= min_p]
    links: _Links = defaultdict(dict)
    for pair in order:
        one, other = int(a[pair]), int(b[pair])
        links[one][other] = links[other][one] = (float(scores[pair]), float(p[pair]))
    forest = _Forest(links, apart)
    for pair in order:
        forest.try_join(int(a[pair]), int(b[pair]))
    return [_describe(rows, links) for rows in forest.list_groups()]


_Links = dict[int, dict[int, tuple[float, float]]]


class _Forest:
    """Growing groups, each named by one of its rows, and how many links there are between any two of them."""

    def __init__(self, links: _Links, apart: Iterable[tuple[int, int]]) -> None:
        self._members = {row: [row] for row in links}
        self._name = {row: row for row in links}
        self._between = {row: dict.fromkeys(others, 1) for row, others in links.items()}
        self._apart: dict[int, set[int]] = defaultdict(set)  # row -> rows that it may not be with
        for one, other in apart:
            self._apart[one].add(other)
            self._apart[other].add(one)

    def try_join(self, one: int, other: int) -> None:
        left, right = self._name[one], self._name[other]
        if left == right:
            return
        pairs = len(self._members[left]) * len(self._members[right])
        if self._between[left][right] >= MAJORITY * pairs and not self._are_apart(left, right):
            self._join(left, right)

    def _are_apart(self, left: int, right: int) -> bool:
        if not self._apart:
            return False
        others = set(self._members[right])
        return any(not others.isdisjoint(self._apart[row]) for row in self._members[left] if row in self._apart)

    def _join(self, left: int, right: int) -> None:
        if len(self._between[left]) < len(self._between[right]):  # move the smaller table
            left, right = right, left
        moved = self._members.pop(right)
        self._members[left] += moved
        self._name.update(dict.fromkeys(moved, left))
        del self._between[left][right]
        for neighbour, count in self._between.pop(right).items():
            if neighbour == left:
                continue
            table = self._between[neighbour]
            del table[right]
            table[left] = self._between[left][neighbour] = table.get(left, 0) + count

    def list_groups(self) -> list[list[int]]:
        return sorted(sorted(rows) for rows in self._members.values() if len(rows) > 1)


def _describe(rows: list[int], links: _Links) -> Group:
    inside = set(rows)
    best = [max(link for other, link in links[row].items() if other in inside) for row in rows]
    score, p = min(best)
    return Group(rows=tuple(rows), score=score, p=p)
