"""What a map colours its points by, the legend of each way, and what lies in each region."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from workbench.models import FINDINGS, SPLITS, Class, Dataset
from workbench.queries import datasets
from workbench.queries import maps as queries
from workbench.services.maps import Map, ShownMap

MODES = {
    "label": "Label",
    "predicted": "Prediction",
    "p_wrong": "P(wrong)",
    "split": "Split",
    "status": "Looked at",
    "finding": "Finding",
}
SHAPES = ("disc", "square", "triangle", "diamond", "wedge", "plus", "cross", "ring")
EXCLUDED = "excluded"
_EDGES = (0.1, 0.25, 0.5, 0.75)  # of P(wrong)
_RAMP = ("#3B7DB8", "#6FA8CF", "#C9B458", "#E08A3C", "#C8402F")
_HUES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8B6FC0", "#B0A030", "#7A5230", "#4A8F8F")
_NOTHING = "#8A8A94"
_MOST_NAMED = 60  # classes with a place of their own in the legend
_UNNAMED = "other classes"
_EXEMPLARS = 5


@dataclass(frozen=True)
class Sign:
    """One line of a legend. count: its points on the map."""

    name: str
    colour: str
    shape: str
    count: int
    is_shown: bool = True
    class_id: int | None = None


@dataclass(frozen=True)
class Share:
    name: str
    count: int
    frac: float


@dataclass(frozen=True)
class Region:
    """What lies in a region. labels: the commonest, most first. centre: in [0, 1], y up."""

    number: int
    count: int
    waiting: int  # neither decided nor excluded
    labels: Sequence[Share]
    wrong: float | None  # wrong labels expected among those that wait
    centre: tuple[float, float]
    image_ids: Sequence[int]  # near its middle

    @property
    def wrong_frac(self) -> float | None:
        return None if self.wrong is None or not self.waiting else self.wrong / self.waiting


@dataclass(frozen=True)
class States:
    """What the N points of a map are, in its order. values: mode -> uint8 (N,), a place in `legends[mode]`."""

    values: Mapping[str, NDArray[np.uint8]]
    legends: Mapping[str, Sequence[Sign]]
    regions: Sequence[Region]
    unplaced: int  # images that came after the map was made
    waiting: NDArray[np.bool_]  # (N,)
    p_wrong: NDArray[np.float32]  # (N,) NaN where unknown
    stamp: str


_MOST_KEPT = 3
_kept: dict[str, States] = {}  # of the maps shown last: every request of a page asks for the same


def load_states(session: Session, dataset: Dataset, shown: ShownMap) -> States:
    """Costs a pass over the data set after anything has changed, else a look-up."""
    stamp = f"{shown.stamp}-{queries.make_stamp(session, dataset)}"
    found = _kept.get(stamp)
    if found is None:
        found = _make_states(session, dataset, shown.map, stamp)
        for old in list(_kept)[: 1 - _MOST_KEPT]:
            _kept.pop(old, None)
        _kept[stamp] = found
    return found


def _make_states(session: Session, dataset: Dataset, shown: Map, stamp: str) -> States:
    table = queries.list_states(session, dataset.id)
    ids = table[:, 0].astype(np.int64)
    rows = np.searchsorted(ids, shown.image_ids)
    rows[rows == len(ids)] = 0
    table = table[rows]  # in the map's order
    classes = datasets.list_classes(session, dataset.id)
    _, labels, predicted, p_wrong, splits, statuses, decided = table.T
    is_excluded = statuses == 2
    finding = _first_findings(shown.image_ids, queries.list_open_findings(session, dataset.id))
    made = {
        "label": _of_classes(labels, classes, "no label"),
        "predicted": _of_classes(predicted, classes, "no prediction"),
        "p_wrong": (np.where(p_wrong < 0, 5, np.digitize(p_wrong, _EDGES)), _name_risks()),
        "split": (np.where(splits < 0, len(SPLITS), splits), _named([*SPLITS, "no split"])),
        "finding": (np.where(finding < 0, len(FINDINGS), finding), _named([*FINDINGS.values(), "no finding"])),
    }
    values, legends = {}, {}
    for mode, (places, signs) in made.items():
        values[mode], legends[mode] = _without_excluded(places, signs, is_excluded)
    looked = np.where(is_excluded, 3, np.where(statuses == 1, 2, decided))
    values["status"] = looked.astype(np.uint8)
    legends["status"] = _counted(_named(["not looked at", "decided", "ambiguous", EXCLUDED]), values["status"])
    waiting = (statuses == 0) & (decided == 0)
    risks = np.where(p_wrong < 0, np.nan, p_wrong).astype(np.float32)
    regions = _describe_regions(shown, values["label"], legends["label"], waiting, risks)
    return States(values, legends, regions, len(ids) - len(np.unique(shown.image_ids)), waiting, risks, stamp)


def _of_classes(ids: NDArray[np.float64], classes: Sequence[Class], none: str) -> tuple[NDArray[np.int64], list[Sign]]:
    """Places in a legend of the classes, the last for images without; beyond sixty they share the one before."""
    known = [cls for cls in classes if cls.merged_into_id is None]
    named, rest = known[:_MOST_NAMED], known[_MOST_NAMED:]
    signs = [
        Sign(cls.name, cls.colour, SHAPES[place % len(SHAPES)], 0, class_id=cls.id) for place, cls in enumerate(named)
    ]
    signs += [Sign(_UNNAMED, _NOTHING, "ring", 0)] if rest else []
    place_of = {cls.id: place for place, cls in enumerate(named)} | {cls.id: len(named) for cls in rest}
    found, inverse = np.unique(ids, return_inverse=True)
    places = np.array([place_of.get(int(each), len(signs)) for each in found], np.int64)
    return places[inverse], [*signs, Sign(none, _NOTHING, "ring", 0)]


def _named(names: Sequence[str]) -> list[Sign]:
    """Signs for names of which the last means nothing in particular."""
    last = len(names) - 1
    return [
        Sign(name, _HUES[place % len(_HUES)] if place < last else _NOTHING, SHAPES[place % len(SHAPES)], 0)
        for place, name in enumerate(names)
    ]


def _name_risks() -> list[Sign]:
    bounds = ["0", *[f"{edge:g}" for edge in _EDGES], "1"]
    signs = [
        Sign(f"{low} to {high}", colour, shape, 0)
        for low, high, colour, shape in zip(bounds, bounds[1:], _RAMP, SHAPES, strict=False)
    ]
    return [*signs, Sign("unknown", _NOTHING, "ring", 0)]


def _without_excluded(
    places: NDArray[np.int64], signs: list[Sign], is_excluded: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], list[Sign]]:
    """Excluded images have a sign of their own, which is not shown at first; signs of no image are left out at the end.

    The places of the other signs stay as they are.
    """
    signs = [*signs, Sign(EXCLUDED, _NOTHING, "cross", 0, is_shown=False)]
    values = np.where(is_excluded, len(signs) - 1, places).astype(np.uint8)
    return values, _counted(signs, values)


def _counted(signs: Sequence[Sign], values: NDArray[np.uint8]) -> list[Sign]:
    counts = np.bincount(values, minlength=len(signs)).tolist()
    return [
        Sign(sign.name, sign.colour, sign.shape, count, sign.is_shown, sign.class_id)
        for sign, count in zip(signs, counts, strict=True)
    ]


def _first_findings(image_ids: NDArray[np.int64], found: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first kind that each image has, in the order of the kinds; -1 for none."""
    first = np.full(len(image_ids), -1)
    if not len(found):
        return first
    found = found[np.lexsort((found[:, 1], found[:, 0]))]
    ids, begin = np.unique(found[:, 0], return_index=True)
    place = np.searchsorted(ids, image_ids).clip(max=len(ids) - 1)
    return np.where(ids[place] == image_ids, found[begin[place], 1], -1)


def _describe_regions(
    shown: Map,
    labels: NDArray[np.uint8],
    legend: Sequence[Sign],
    waiting: NDArray[np.bool_],
    p_wrong: NDArray[np.float32],
) -> list[Region]:
    count = shown.region_count
    if not count:
        return []
    table = np.bincount(shown.regions.astype(np.int64) * 256 + labels, minlength=count * 256).reshape(count, 256)
    sizes = np.bincount(shown.regions, minlength=count)
    left = np.bincount(shown.regions[waiting], minlength=count)
    judged = waiting & ~np.isnan(p_wrong)
    known = np.bincount(shown.regions[judged], minlength=count)
    sums = np.bincount(shown.regions[judged], weights=p_wrong[judged], minlength=count)
    totals = [np.bincount(shown.regions, weights=axis, minlength=count) for axis in shown.points.T]
    centres = np.stack(totals).astype(np.float64) / np.maximum(sizes, 1)  # (2, regions)
    near = _find_exemplars(shown, centres)
    return [
        Region(
            number=number + 1,
            count=int(sizes[number]),
            waiting=int(left[number]),
            labels=_commonest(table[number], legend),
            wrong=float(sums[number] / known[number] * left[number]) if known[number] else None,
            centre=(float(centres[0, number]) / 65535, float(centres[1, number]) / 65535),
            image_ids=near[number],
        )
        for number in range(count)
        if sizes[number]
    ]


def _commonest(counts: NDArray[np.int64], legend: Sequence[Sign], *, most: int = 3) -> list[Share]:
    order = np.argsort(-counts, kind="stable")[:most]
    total = int(counts.sum())
    return [Share(legend[place].name, int(counts[place]), counts[place] / total) for place in order if counts[place]]


def _find_exemplars(shown: Map, centres: NDArray[np.float64]) -> dict[int, list[int]]:
    """Images near the middle of each region, nearest first."""
    apart = np.square(shown.points - centres.T[shown.regions]).sum(1)
    order = np.lexsort((apart, shown.regions))
    begins = np.searchsorted(shown.regions[order], np.arange(centres.shape[1]))
    sizes = np.bincount(shown.regions, minlength=centres.shape[1])
    return {
        number: shown.image_ids[order[begin : begin + min(_EXEMPLARS, size)]].tolist()
        for number, (begin, size) in enumerate(zip(begins.tolist(), sizes.tolist(), strict=True))
    }
