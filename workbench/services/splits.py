"""The split builder: by class, never through a group of copies, the same for the same seed."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from workbench.errors import Invalid
from workbench.models import SPLITS, Dataset, User
from workbench.queries import splits as queries
from workbench.services import decisions
from workbench.services.decisions import Line


@dataclass(frozen=True)
class SplitResult:
    """splits: images in each. changed: images that moved. groups_kept: groups of copies that stand on one side.

    action: the one that an undo takes back; none if nothing moved.
    """

    splits: dict[str, int]
    changed: int
    groups_kept: int
    action: str | None


@dataclass(frozen=True)
class SplitPlan:
    """Where each image goes, before anything is written."""

    wanted: dict[int, str]  # image id -> split, for those that move
    splits: dict[str, int]
    groups_kept: int


def build_split(
    session: Session,
    *,
    dataset: Dataset,
    user: User,
    train: float,
    validation: float,
    test: float,
    seed: int = 0,
) -> SplitResult:
    """Plan and apply in one session."""
    plan = plan_split(session, dataset=dataset, train=train, validation=validation, test=test, seed=seed)
    return apply_split(session, dataset=dataset, user=user, plan=plan)


def plan_split(
    session: Session, *, dataset: Dataset, train: float, validation: float, test: float, seed: int = 0
) -> SplitPlan:
    """Put every image, excluded ones too, into a split. Reads only."""
    shares = read_shares(train=train, validation=validation, test=test)
    rows = queries.list_images(session, dataset.id)
    if not rows:
        raise Invalid(f"{dataset.name} has no images to split.")
    ids = [row.id for row in rows]
    units = _group_rows(rows, queries.list_near_members(session, dataset.id))
    labels = np.unique([row.label_id or 0 for row in rows], return_inverse=True)[1]
    chosen = assign(units, labels, shares=[shares[name] for name in SPLITS], rng=np.random.default_rng(seed))
    names = [SPLITS[place] for place in chosen]
    counts = Counter(names)
    return SplitPlan(
        wanted={ids[row]: name for row, name in enumerate(names) if name != rows[row].split},
        splits={name: counts[name] for name in SPLITS},
        groups_kept=sum(len(unit) > 1 for unit in units),
    )


def read_shares(*, train: float, validation: float, test: float) -> dict[str, float]:
    shares = {"train": train, "validation": validation, "test": test}
    wrong = {name: "Between 0 and 1." for name, share in shares.items() if not 0 <= share <= 1}  # NaN is wrong too
    if wrong:
        raise Invalid("Each share lies between 0 and 1.", **wrong)
    total = math.fsum(shares.values())
    if abs(total - 1) > 1e-6:
        raise Invalid(f"The shares of train, validation and test add up to {total:g}; they must add up to 1.")
    return shares


def apply_split(session: Session, *, dataset: Dataset, user: User, plan: SplitPlan) -> SplitResult:
    """Write what moves as one action."""
    lines = [Line("split", image_id, detail={"split": name}) for image_id, name in sorted(plan.wanted.items())]
    action = decisions.submit(session, dataset=dataset, user=user, lines=lines) if lines else None
    return SplitResult(splits=plan.splits, changed=len(lines), groups_kept=plan.groups_kept, action=action)


def _group_rows(rows: Sequence[Any], near: Mapping[int, Sequence[int]]) -> list[list[int]]:
    """Rows that may not be parted: equal pixels, and near groups that no reviewer rejected. By their first row."""
    row_of = {row.id: place for place, row in enumerate(rows)}
    root = list(range(len(rows)))

    def find(place: int) -> int:
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    first: dict[str, int] = {}
    for place, row in enumerate(rows):
        root[find(place)] = find(first.setdefault(row.pixel_sha256, place))
    for members in near.values():
        for other in members[1:]:
            root[find(row_of[other])] = find(row_of[members[0]])
    units: dict[int, list[int]] = {}
    for place in range(len(rows)):
        units.setdefault(find(place), []).append(place)
    return list(units.values())


def assign(
    units: Sequence[Sequence[int]],
    labels: NDArray[np.int64],
    *,
    shares: Sequence[float],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """A split for each row, class by class as near to the shares as whole units allow.

    units: rows that stay together, each row in one unit. labels: int64 (N,) from 0 on. shares: (S,), sum 1.
    Returns int64 (N,). Units of several rows go first, the largest first, each to the split that most lacks its
    classes; single rows then fill what each class still lacks. Within a size the order is random.
    """
    sizes = np.bincount(labels)  # (C,)
    left = np.outer(sizes, shares)  # (C, S) images that each split still lacks
    chosen = np.zeros(len(labels), np.int64)
    order = rng.permutation(len(units))
    large = sorted((int(unit) for unit in order if len(units[unit]) > 1), key=lambda unit: -len(units[unit]))
    for unit in large:
        rows = list(units[unit])
        need = np.bincount(labels[rows], minlength=len(sizes))  # (C,)
        split = int(np.argmax(_fit(need, left, shares)))
        chosen[rows] = split
        left[:, split] -= need
    single = np.array([units[unit][0] for unit in order if len(units[unit]) == 1], np.int64)
    for cls in range(len(sizes)):
        rows_of_class = single[labels[single] == cls]
        chosen[rows_of_class] = np.repeat(np.arange(len(shares)), _apportion(left[cls], len(rows_of_class)))
    return chosen


def _fit(need: NDArray[np.int64], left: NDArray[np.float64], shares: Sequence[float]) -> NDArray[np.float64]:
    """How well a unit fits each split, (S,): what the split lacks of its classes, relative to the split's share."""
    lacks = need @ left  # (S,)
    wanted = np.asarray(shares)
    fit: NDArray[np.float64] = np.where(wanted > 0, lacks / np.maximum(wanted, 1e-12), -np.inf)
    return fit


def _apportion(wanted: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Whole numbers that sum to `count`, in proportion to what is lacking; largest remainders first, ties in order."""
    lacking = np.maximum(wanted, 0)
    exact = lacking * count / lacking.sum() if lacking.sum() > 0 else np.zeros(len(wanted))
    whole = np.floor(exact).astype(np.int64)
    rest = count - int(whole.sum())
    whole[np.argsort(-(exact - whole), kind="stable")[:rest]] += 1
    return whole
