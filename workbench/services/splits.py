"""The split builder: by class and attributes, never through a group of copies or a family, the same for a seed."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sqlalchemy.orm import Session

from workbench.errors import Invalid
from workbench.models import SPLITS, Dataset, User
from workbench.queries import datasets as dataset_queries
from workbench.queries import splits as queries
from workbench.queries.image_details import list_attribute_names
from workbench.queries.splits import ImageColumns
from workbench.services import decisions, families
from workbench.services.allotting import allot
from workbench.services.copies import list_links
from workbench.services.decisions import Line

Say = Callable[[str], None]
_ASIDE = -1  # the place of a copy of a picture in a split that is kept: it may stand in no other


@dataclass(frozen=True)
class SplitRequest:
    """What is asked for. by: attributes whose values are spread like the classes. family: an attribute that names the
    parent of an augmentation; family_pattern: what finds the parent in a file name. keep: a split that stays as it is.
    """

    train: float
    validation: float
    test: float
    seed: int = 0
    by: tuple[str, ...] = ()
    family: str | None = None
    family_pattern: str | None = None
    keep: str | None = None


@dataclass(frozen=True)
class ClassLine:
    """Where the images of a class stand, excluded ones left out; none for those without a label."""

    label_id: int | None
    before: dict[str | None, int]
    after: dict[str | None, int]
    target: dict[str, float]

    @property
    def deviation(self) -> float:
        """The furthest that a split is from its share, in images."""
        return max((abs(self.after.get(split, 0) - wanted) for split, wanted in self.target.items()), default=0.0)


@dataclass(frozen=True)
class SplitPlan:
    """Where each image goes, before anything is written.

    groups_kept: units of several images that stay on one side; families_kept: those of them that a family makes;
    family_images: images that stand in a family. largest: images of the largest unit. set_aside: images that go into
    no split, because their copy stands in the split that is kept. stamp: names the outcome.
    """

    wanted: dict[int, str | None]  # image id -> split, for those that move
    splits: dict[str, int]
    classes: list[ClassLine]
    groups_kept: int
    families_kept: int
    family_images: int
    largest: int
    set_aside: int
    stamp: str

    @property
    def deviation(self) -> float:
        return max((line.deviation for line in self.classes), default=0.0)


@dataclass(frozen=True)
class SplitResult:
    """action: the one that an undo takes back; none if nothing moved."""

    plan: SplitPlan
    action: str | None

    @property
    def splits(self) -> dict[str, int]:
        return self.plan.splits

    @property
    def changed(self) -> int:
        return len(self.plan.wanted)

    @property
    def groups_kept(self) -> int:
        return self.plan.groups_kept


def build_split(session: Session, *, dataset: Dataset, user: User, **asked: Any) -> SplitResult:
    """Plan and apply in one session. asked: the fields of a SplitRequest."""
    plan = plan_split(session, dataset=dataset, request=SplitRequest(**asked))
    return apply_split(session, dataset=dataset, user=user, plan=plan)


def say_nothing(words: str) -> None:
    """For callers that do not show how far it is."""


def plan_split(session: Session, *, dataset: Dataset, request: SplitRequest, say: Say = say_nothing) -> SplitPlan:
    """Put every image into a split; excluded ones go with their copies. Reads only. Linear in the images."""
    shares = read_shares(request)
    check_keep(dataset, request)
    say("Reading the images")
    images = queries.read_images(session, dataset.id)
    if not len(images.ids):
        raise Invalid(f"{dataset.name} has no images to split.")
    if request.keep and request.keep not in images.splits:
        raise Invalid(f"{dataset.name} has no image in {request.keep}, so there is nothing to keep.")
    say("Grouping copies and families")
    units, family_edges = _group(session, dataset, images, request)
    kept_places = np.array([split == request.keep for split in images.splits]) if request.keep else None
    say("Dealing out")
    places = _deal_out(session, dataset, images, units, shares, request, kept=kept_places)
    return _describe(dataset, images, units, family_edges, places, shares, request, session=session)


def read_shares(request: SplitRequest) -> dict[str, float]:
    """The share of each split among the images that are dealt out; raises Invalid for shares that make no sense."""
    shares = {"train": request.train, "validation": request.validation, "test": request.test}
    wrong = {name: "Between 0 and 1." for name, share in shares.items() if not 0 <= share <= 1}  # NaN is wrong too
    if wrong:
        raise Invalid("Each share lies between 0 and 1.", **wrong)
    if request.keep is None:
        total = math.fsum(shares.values())
        if abs(total - 1) > 1e-6:
            raise Invalid(f"The shares of train, validation and test add up to {total:g}; they must add up to 1.")
        return shares
    if request.keep not in SPLITS:
        raise Invalid(f"“{request.keep}” is not a split; use {', '.join(SPLITS)}.")
    rest = {name: 0.0 if name == request.keep else share for name, share in shares.items()}
    total = math.fsum(rest.values())
    if total <= 0:
        raise Invalid(f"{request.keep} is kept, and no share is left for the others; give train a share.", train="> 0")
    return {name: share / total for name, share in rest.items()}


def check_keep(dataset: Dataset, request: SplitRequest) -> None:
    """A frozen split must be kept."""
    if dataset.frozen_split is not None and request.keep != dataset.frozen_split:
        raise Invalid(
            f"{dataset.frozen_split} is frozen: keep it as it is (--test-from-existing) and deal out the rest, "
            "or unfreeze it first with a reason."
        )


def apply_split(session: Session, *, dataset: Dataset, user: User, plan: SplitPlan) -> SplitResult:
    """Write what moves as one action."""
    lines = [Line("split", image_id, detail={"split": name}) for image_id, name in sorted(plan.wanted.items())]
    action = decisions.submit(session, dataset=dataset, user=user, lines=lines) if lines else None
    return SplitResult(plan=plan, action=action)


# --- what may not be parted -------------------------------------------------------------------------------------


def _group(
    session: Session, dataset: Dataset, images: ImageColumns, request: SplitRequest
) -> tuple[NDArray[np.int64], families.Edges]:
    """The unit of each row, 0 to U-1, and what families added to it."""
    row_of = {image_id: row for row, image_id in enumerate(images.ids.tolist())}
    first: dict[str, int] = {}
    edges = [(first.setdefault(pixels, row), row) for row, pixels in enumerate(images.pixels)]
    near = [*queries.list_near_members(session, dataset.id).values(), *list_links(session, dataset)]
    for link in near:
        rows = [row_of[image_id] for image_id in link if image_id in row_of]
        edges += [(rows[0], row) for row in rows[1:]]
    family_edges = _list_family_edges(session, dataset, images, request, row_of)
    return join(len(images.ids), edges + family_edges), family_edges


def join(count: int, edges: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """The number of each row's unit, int64 (count,), from 0 on: rows joined by edges, directly or not, share it."""
    table = np.array(edges, np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(table), np.bool_), (table[:, 0], table[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)  # type: ignore[no-any-return]


def _list_family_edges(
    session: Session, dataset: Dataset, images: ImageColumns, request: SplitRequest, row_of: dict[int, int]
) -> families.Edges:
    if not request.family and not request.family_pattern:
        return []
    paths = queries.read_paths(session, dataset.id)
    edges: families.Edges = []
    if request.family:
        values = _read_attribute(session, dataset, request.family)
        edges += families.join_by_attribute({row_of[image_id]: value for image_id, value in values.items()}, paths)
    if request.family_pattern:
        edges += families.join_by_pattern(request.family_pattern, paths, images.first_labels.tolist())
    return edges


def _read_attribute(session: Session, dataset: Dataset, name: str) -> dict[int, str]:
    values = queries.list_attribute_values(session, dataset.id, name=name)
    if not values:
        names = ", ".join(list_attribute_names(session)) or "none"
        raise Invalid(f"No image of {dataset.name} has an attribute “{name}” (there is: {names}).")
    return values


# --- dealing out ------------------------------------------------------------------------------------------------


def _deal_out(
    session: Session,
    dataset: Dataset,
    images: ImageColumns,
    units: NDArray[np.int64],
    shares: dict[str, float],
    request: SplitRequest,
    *,
    kept: NDArray[np.bool_] | None,
) -> NDArray[np.int64]:
    """The place in SPLITS of each row, or _ASIDE."""
    count = int(units.max()) + 1
    place_of_unit = np.full(count, _ASIDE, np.int64)
    dealt = np.ones(count, np.bool_)
    if kept is not None:
        dealt[units[kept]] = False
    rows = _list_counted(images, units)
    rows = rows[dealt[units[rows]]]
    if len(rows):
        numbers, compact = np.unique(units[rows], return_inverse=True)
        classes, strata = _stratify(session, dataset, images, rows, by=request.by)
        keys = _draw_keys(images, units, seed=request.seed)[numbers]
        ordered = [shares[name] for name in SPLITS]
        place_of_unit[numbers] = allot(compact, classes, strata, shares=ordered, keys=keys)
    places = place_of_unit[units]
    if kept is not None and request.keep:
        places[kept] = SPLITS.index(request.keep)
    return places


def _list_counted(images: ImageColumns, units: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows by which shares are measured: excluded images only where nothing else is in their unit."""
    in_use = np.zeros(int(units.max()) + 1, np.bool_)
    in_use[units[~images.excluded]] = True
    return np.flatnonzero(~images.excluded | ~in_use[units])


def _stratify(
    session: Session, dataset: Dataset, images: ImageColumns, rows: NDArray[np.int64], *, by: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Class and stratum of each row, numbered by their names. Excluded rows make a class of their own."""
    names = {cls.id: cls.name for cls in dataset_queries.list_classes(session, dataset.id)}
    order = {label: number for number, label in enumerate(sorted(names, key=names.__getitem__), start=1)}
    number_of = np.zeros(max([0, *names]) + 1, np.int64)
    number_of[list(order)] = list(order.values())
    classes = np.where(images.excluded[rows], len(order) + 1, number_of[images.labels[rows]])
    classes = np.unique(classes, return_inverse=True)[1].astype(np.int64)
    values = [_read_attribute(session, dataset, name) for name in by]
    if not values:
        return classes, classes
    keys = [
        (cls, *(value.get(image_id, "") for value in values))
        for cls, image_id in zip(classes.tolist(), images.ids[rows].tolist(), strict=True)
    ]
    numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
    return classes, np.array([numbers[key] for key in keys], np.int64)


def _draw_keys(images: ImageColumns, units: NDArray[np.int64], *, seed: int) -> NDArray[np.uint64]:
    """A random number for each unit that only the seed and the unit's pixels decide."""
    own = np.array(
        [
            int.from_bytes(hashlib.blake2b(f"{seed}:{pixels}".encode(), digest_size=8).digest(), "big")
            for pixels in images.pixels
        ],
        np.uint64,
    )
    lowest = np.full(int(units.max()) + 1, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(lowest, units, own)
    return lowest


# --- what comes of it -------------------------------------------------------------------------------------------


def _describe(
    dataset: Dataset,
    images: ImageColumns,
    units: NDArray[np.int64],
    family_edges: families.Edges,
    places: NDArray[np.int64],
    shares: dict[str, float],
    request: SplitRequest,
    *,
    session: Session,
) -> SplitPlan:
    names: list[str | None] = [*SPLITS, None]  # _ASIDE reads the last
    after = [names[place] for place in places.tolist()]
    sizes = np.bincount(units)
    in_family = {row for edge in family_edges if edge[0] != edge[1] for row in edge}
    named = sorted(in_family)
    counts = Counter(after)
    return SplitPlan(
        wanted={
            image_id: name
            for image_id, name, old in zip(images.ids.tolist(), after, images.splits, strict=True)
            if name != old
        },
        splits={name: counts[name] for name in SPLITS},
        classes=_list_classes(session, dataset, images, after, shares, request),
        groups_kept=int((sizes > 1).sum()),
        families_kept=len(set(units[named].tolist())),
        family_images=len(named),
        largest=int(sizes.max()),
        set_aside=int((places == _ASIDE).sum()),
        stamp=hashlib.sha256(images.ids.tobytes() + places.tobytes()).hexdigest()[:16],
    )


def _list_classes(
    session: Session,
    dataset: Dataset,
    images: ImageColumns,
    after: Sequence[str | None],
    shares: dict[str, float],
    request: SplitRequest,
) -> list[ClassLine]:
    """In the order of the classes; images without a label last."""
    used = ~images.excluded
    labels = images.labels.tolist()
    now = Counter((labels[row], images.splits[row]) for row in np.flatnonzero(used).tolist())
    then = Counter((labels[row], after[row]) for row in np.flatnonzero(used).tolist())
    order = [cls.id for cls in dataset_queries.list_classes(session, dataset.id)] + [0]
    lines = []
    for label in order:
        end: dict[str | None, int] = {split: n for (cls, split), n in then.items() if cls == label}
        dealt = sum(n for split, n in end.items() if split is not None and split != request.keep)
        if end:
            lines.append(
                ClassLine(
                    label_id=label or None,
                    before={split: n for (cls, split), n in now.items() if cls == label},
                    after=end,
                    target={name: share * dealt for name, share in shares.items() if name != request.keep},
                )
            )
    return lines
