"""Who goes where: whole units to splits, so that every class and stratum comes near its shares. Pure, no session."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ENOUGH = 1e-9
_ROUNDS = 200  # of the balancing of strata; each is a few operations on small arrays


def allot(
    unit_of: NDArray[np.int64],
    classes: NDArray[np.int64],
    strata: NDArray[np.int64],
    *,
    shares: Sequence[float],
    keys: NDArray[np.uint64],
) -> NDArray[np.int64]:
    """A split for each unit, class by class as near to the shares as whole units allow, then stratum by stratum.

    unit_of: int64 (N,), the unit of each row, 0 to U-1, no unit empty. classes: int64 (N,) from 0 on. strata: int64
    (N,) from 0 on, each within one class, numbered so that neighbours are alike. shares: (S,), not negative, sum 1.
    keys: (U,), distinct, which unit goes first among equal ones. Returns int64 (U,).

    Units of several rows go first, the largest first, each to a split that has room for it and lacks its strata most.
    Single rows then fill up what each class lacks; they are dealt out along the strata, so that a stratum too small
    for every split shares its turn with its neighbour. In a class whose units hold one class each, every split comes
    within the largest unit of its share; within one row where all units are single.
    Deterministic in the keys, whatever the order of the rows. Time O(N log N), memory O(N).
    """
    sizes = np.bincount(unit_of)
    left = np.outer(np.bincount(classes), shares)  # (C, S) rows that each split still lacks
    lacking = np.outer(np.bincount(strata, minlength=1), shares)  # (K, S)
    chosen = np.zeros(len(sizes), np.int64)
    _place_large(unit_of, classes, strata, sizes=sizes, shares=shares, keys=keys, left=left, lacking=lacking, to=chosen)
    rows = np.flatnonzero(sizes[unit_of] == 1)
    rows = rows[np.lexsort((keys[unit_of[rows]], strata[rows], classes[rows]))]
    edges = np.searchsorted(classes[rows], np.arange(len(left) + 1))
    for cls in range(len(left)):
        own = rows[edges[cls] : edges[cls + 1]]
        if len(own):
            chosen[unit_of[own]] = _deal(strata[own], left=left[cls], lacking=lacking)
    return chosen


def _place_large(
    unit_of: NDArray[np.int64],
    classes: NDArray[np.int64],
    strata: NDArray[np.int64],
    *,
    sizes: NDArray[np.int64],
    shares: Sequence[float],
    keys: NDArray[np.uint64],
    left: NDArray[np.float64],
    lacking: NDArray[np.float64],
    to: NDArray[np.int64],
) -> None:
    """Choose for the units of several rows, and take what they fill from `left` and `lacking`."""
    large = np.flatnonzero(sizes > 1)
    large = large[np.lexsort((keys[large], -sizes[large]))]
    members = np.argsort(unit_of, kind="stable")
    ends = np.cumsum(sizes)
    left_rows, lacking_rows = left.tolist(), lacking.tolist()  # plain numbers: the loop looks at few at a time
    for unit in large.tolist():
        rows = members[ends[unit] - sizes[unit] : ends[unit]]
        need = sorted(Counter(classes[rows].tolist()).items())
        fine = sorted(Counter(strata[rows].tolist()).items())
        split = _choose(need, fine, left_rows, lacking_rows, shares)
        to[unit] = split
        for cls, count in need:
            left_rows[cls][split] -= count
        for stratum, count in fine:
            lacking_rows[stratum][split] -= count
    left[:], lacking[:] = left_rows, lacking_rows


def _choose(
    need: Sequence[tuple[int, int]],
    fine: Sequence[tuple[int, int]],
    left: Sequence[Sequence[float]],
    lacking: Sequence[Sequence[float]],
    shares: Sequence[float],
) -> int:
    """Among the splits with room for the whole unit the one that lacks its strata most for its share.

    Where none has room, the one that lacks its classes most in numbers: so no split is ever overfilled by a unit or
    more, and none is left short by one.
    """
    allowed = [split for split, share in enumerate(shares) if share > 0]
    fitting = [split for split in allowed if all(left[cls][split] >= count - _ENOUGH for cls, count in need)]
    if fitting:
        return max(fitting, key=lambda split: sum(n * lacking[k][split] for k, n in fine) / shares[split])
    return max(allowed, key=lambda split: sum(n * left[cls][split] for cls, n in need))


def _deal(strata: NDArray[np.int64], *, left: NDArray[np.float64], lacking: NDArray[np.float64]) -> NDArray[np.int64]:
    """A split for each single row of one class, (n,); the rows are in the order of their strata."""
    wanted = apportion(left, len(strata))
    found, counts = np.unique(strata, return_counts=True)
    if len(found) == 1:
        return np.repeat(np.arange(len(wanted)), wanted)
    rates = _balance(lacking[found], rows=counts, columns=wanted) / counts[:, None]
    owed = [0.0] * len(wanted)
    dealt = []
    for rate, count in zip(rates.tolist(), counts.tolist(), strict=True):
        for _ in range(count):
            owed = [debt + part for debt, part in zip(owed, rate, strict=True)]
            split = owed.index(max(owed))
            owed[split] -= 1
            dealt.append(split)
    return np.array(dealt, np.int64)


def _balance(
    lacking: NDArray[np.float64], *, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """What each stratum should give to each split, (K, S): near to what is lacking, with these sums.

    Iterative proportional fitting. Where strata that large units overfilled keep it from settling, every stratum gives
    in proportion instead: the sums of the class come first.
    """
    even: NDArray[np.float64] = np.outer(rows, columns) / rows.sum()
    found: NDArray[np.float64] = np.maximum(lacking, 0) * (columns > 0) + 0.01 * even
    for _ in range(_ROUNDS):
        found = found * np.divide(columns, found.sum(0), out=np.zeros(len(columns)), where=found.sum(0) > 0)
        found = found * (rows / found.sum(1))[:, None]
        if np.abs(found.sum(0) - columns).max() < 1e-6:
            return found
    return found if np.abs(found.sum(0) - columns).max() < 0.1 else even


def apportion(wanted: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Whole numbers that sum to `count`, in proportion to what is lacking; largest remainders first, ties in order."""
    lacking = np.maximum(wanted, 0)
    exact = lacking * count / lacking.sum() if lacking.sum() > 0 else np.zeros(len(wanted))
    whole = np.floor(exact + _ENOUGH).astype(np.int64)
    rest = count - int(whole.sum())
    whole[np.argsort(-(exact - whole), kind="stable")[:rest]] += 1
    return whole
