"""What an audit is drawn from: every image of a version in a cell, cells in strata, and how many of each to draw.

A cell holds the images of one class, one split and one level of P(wrong); all cells of a stratum are drawn from alike.
Plain numpy: the web draws samples itself.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.models import SPLITS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

UNKNOWN = 0  # level of an image of which no run says anything that it has not learnt
SETTLED = 1  # level of an image that reviewers have decided on
SETTLED_P = 0.03  # of those, a guess: it decides how many are drawn, never what comes out
EDGES = np.linspace(-6.0, 6.0, 25)  # of the other levels, on the logit scale of P(wrong)
PER_CLASS = 15  # images of each class, at least about
PER_STRATUM = 5  # images drawn from each, about: fewer strata would waste what P(wrong) knows
FEWEST = 2  # below two nothing is known of a stratum's spread
EVEN = 0.3  # the share of the sample that goes by the number of images alone, should P(wrong) mislead


@dataclass(frozen=True, eq=False)
class Frame:
    """The C cells of a version. `levels`: what P(wrong) each level stands for, NaN for UNKNOWN."""

    class_ids: Ints  # (C,)
    splits: tuple[str | None, ...]  # C of them
    level: Ints  # (C,) index into `levels`
    strata: Ints  # (C,) 0..H-1
    counts: Ints  # (C,) images
    levels: Floats  # (L,)

    @property
    def images(self) -> int:
        return int(self.counts.sum())

    @property
    def stratum_counts(self) -> Ints:
        """(H,) images of each stratum."""
        return np.bincount(self.strata, self.counts).astype(np.int64)

    @property
    def p_wrong(self) -> Floats:
        """(C,) NaN where nothing is known."""
        return self.levels[self.level]

    def report(self) -> dict[str, Any]:
        """As it is stored."""
        columns = (
            self.class_ids.tolist(),
            self.splits,
            self.level.tolist(),
            self.strata.tolist(),
            self.counts.tolist(),
        )
        levels = [None if np.isnan(p) else round(float(p), 6) for p in self.levels]
        return {"cells": [list(cell) for cell in zip(*columns, strict=True)], "levels": levels}


def read_frame(stored: dict[str, Any]) -> Frame:
    """What `Frame.report` wrote."""
    class_ids, splits, level, strata, counts = zip(*stored["cells"], strict=True)
    return Frame(
        class_ids=np.array(class_ids, np.int64),
        splits=tuple(splits),
        level=np.array(level, np.int64),
        strata=np.array(strata, np.int64),
        counts=np.array(counts, np.int64),
        levels=np.array([np.nan if p is None else p for p in stored["levels"]], np.float64),
    )


def make_frame(
    *, class_ids: Ints, splits: Ints, p_wrong: Floats, settled: NDArray[np.bool_], size: int, frozen: str | None = None
) -> tuple[Frame, Ints, Ints]:
    """The frame of N images, for a sample of about `size`.

    class_ids, splits, p_wrong, settled: (N,), splits as positions in SPLITS or -1, p_wrong NaN where unknown. frozen: a
    split in which P(wrong) may not choose: there every image of a class is as likely as any other.
    Returns the frame, the cell of each image (N,), and how many images to draw from each stratum (H,).
    """
    levels, level = _find_levels(p_wrong, settled)
    keys = np.stack([splits, class_ids, level])  # (3, N)
    cells, cell_of, counts = np.unique(keys, axis=1, return_inverse=True, return_counts=True)
    names = tuple(None if split < 0 else SPLITS[split] for split in cells[0].tolist())
    even = np.array([name is not None and name == frozen for name in names])
    shares = _share_out(cells, counts, _expect(levels[cells[2]]), even, size=size)
    frame = Frame(
        class_ids=cells[1],
        splits=names,
        level=cells[2],
        strata=_stratify(cells, shares, even),
        counts=counts.astype(np.int64),
        levels=levels,
    )
    return frame, cell_of.reshape(-1), _allot(frame, shares, size)


def _find_levels(p_wrong: Floats, settled: NDArray[np.bool_]) -> tuple[Floats, Ints]:
    """What each level stands for, the mean of its images, and the level of each image."""
    p = np.clip(np.nan_to_num(p_wrong, nan=0.5), 1e-6, 1 - 1e-6)
    level = 2 + np.digitize(np.log(p / (1 - p)), EDGES)
    level = np.where(settled, SETTLED, np.where(np.isnan(p_wrong), UNKNOWN, level)).astype(np.int64)
    counts = np.bincount(level, minlength=len(EDGES) + 3)
    levels = np.bincount(level, p, minlength=len(EDGES) + 3) / np.maximum(counts, 1)
    levels[UNKNOWN], levels[SETTLED] = np.nan, SETTLED_P
    return levels, level


def _expect(p_wrong: Floats) -> Floats:
    """P(wrong) for planning: what is unknown is taken to be as the middle of what is known."""
    known = p_wrong[~np.isnan(p_wrong)]
    return np.clip(np.nan_to_num(p_wrong, nan=float(np.median(known)) if len(known) else 0.2), 0.01, 0.99)


def _share_out(
    cells: Ints, counts: NDArray[np.integer[Any]], p_wrong: Floats, even: NDArray[np.bool_], *, size: int
) -> Floats:
    """How many draws each cell is worth, (C,): by how much its labels are expected to vary, and a part evenly.

    Where classes are rare they get a few more, so that something can be said of each.
    """
    spread = counts * np.sqrt(p_wrong * (1 - p_wrong))
    spread = np.where(even, counts * spread.sum() / counts.sum(), spread)
    shares = size * (EVEN * counts / counts.sum() + (1 - EVEN) * spread / spread.sum())
    _, of_class = np.unique(cells[1], return_inverse=True)
    promised = np.bincount(of_class, shares)
    least = np.minimum(np.bincount(of_class, counts), min(PER_CLASS, size / (3 * len(promised))))
    boosted: Floats = shares * (np.maximum(promised, least) / promised)[of_class]
    return boosted


def _stratify(cells: Ints, shares: Floats, even: NDArray[np.bool_]) -> Ints:
    """The stratum of each cell: a block of class and split, cut by level as often as its share of the sample allows.

    Blocks too small for a stratum of their own are put together, those of one split first.
    """
    blocks = _group_blocks(cells, shares)
    strata = np.zeros(len(shares), np.int64)
    used = 0
    for block in range(blocks.max() + 1):
        rows = np.flatnonzero(blocks == block)
        rows = rows[np.argsort(cells[2, rows], kind="stable")]
        parts = 1 if even[rows].any() else max(1, int(shares[rows].sum() / PER_STRATUM))
        reached = np.cumsum(shares[rows]) - shares[rows] / 2
        part = np.minimum((reached / shares[rows].sum() * parts).astype(np.int64), parts - 1)
        _, strata[rows] = np.unique(part, return_inverse=True)
        strata[rows] += used
        used = int(strata[rows].max()) + 1
    return strata


def _group_blocks(cells: Ints, shares: Floats) -> Ints:
    """The block of each cell: its split and class, or its split, or the rest, whichever promises enough draws."""
    _, own = np.unique(cells[:2], axis=1, return_inverse=True)
    _, split = np.unique(cells[0], return_inverse=True)
    is_small = (np.bincount(own.reshape(-1), shares) < FEWEST)[own.reshape(-1)]
    pooled = np.bincount(split, np.where(is_small, shares, 0.0))
    level = np.where(is_small, np.where((pooled < FEWEST)[split], 2, 1), 0)
    keys = np.stack([level, np.where(level < 2, cells[0], -2), np.where(level < 1, cells[1], -1)])
    _, blocks = np.unique(keys, axis=1, return_inverse=True)
    return blocks.reshape(-1).astype(np.int64)


def _allot(frame: Frame, shares: Floats, size: int) -> Ints:
    """How many images to draw from each stratum, (H,), as near to its shares as may be.

    Never more than there are, at least FEWEST; comes to `size` wherever there are as many images and strata allow.
    """
    counts = frame.stratum_counts
    worth = np.bincount(frame.strata, shares)
    share = worth / worth.sum()
    least = np.minimum(counts, FEWEST)
    drawn = least.astype(np.float64)
    for _ in range(len(counts)):  # what a full stratum cannot take goes to the others
        room = counts - drawn > 1e-9
        left = size - drawn.sum()
        if left <= 1e-9 or not room.any():
            break
        wish = np.where(room, np.maximum(share * size - drawn, 1e-9), 0.0)
        drawn = np.minimum(counts, drawn + left * wish / wish.sum())
    return _round_up_to(drawn, counts, min(size, frame.images))


def _round_up_to(wishes: Floats, most: Ints, total: int) -> Ints:
    """Whole numbers near the wishes with that sum, largest remainders first; more where the wishes are more."""
    whole = np.floor(wishes + 1e-9).astype(np.int64)
    order = np.argsort(-(wishes - whole), kind="stable")
    for stratum in order[: max(0, total - int(whole.sum()))]:
        whole[stratum] += whole[stratum] < most[stratum]
    return whole


def draw(cell_of: Ints, frame: Frame, wanted: Ints, *, rng: np.random.Generator) -> Ints:
    """Rows of the images drawn, in random order: the first so many are a smaller sample of the same kind.

    cell_of: (N,) of each image. wanted: (H,) of each stratum. Deterministic for a generator's state.
    """
    stratum_of = frame.strata[cell_of]
    order = rng.permutation(len(cell_of))
    by_stratum = order[np.argsort(stratum_of[order], kind="stable")]
    ends = np.cumsum(frame.stratum_counts)
    starts = ends - frame.stratum_counts
    drawn = np.concatenate([by_stratum[start : start + n] for start, n in zip(starts, wanted, strict=True)])
    return rng.permutation(drawn)
