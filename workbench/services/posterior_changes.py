"""What the posterior would change: the images that it believes to show another class than they are labelled."""

import weakref
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from workbench.models import Dataset
from workbench.models.states import merge_roots
from workbench.queries import datasets as dataset_queries
from workbench.queries import decisions as log
from workbench.queries import posteriors as queries
from workbench.services.posteriors import Posteriors

LEAST_P_WRONG = 0.5  # below it no other class can be the likelier one


@dataclass(frozen=True, eq=False)
class Changes:
    """N images that nobody has decided on, the surest change first, ties by id."""

    image_ids: NDArray[np.int64]  # (N,)
    given: NDArray[np.int64]  # (N,) class id of the label
    into: NDArray[np.int64]  # (N,) class id that it would mostly teach
    p: NDArray[np.float32]  # (N,) of that class
    splits: NDArray[np.str_]  # (N,) "" for none
    kept: NDArray[np.bool_]  # (N,) whether a lead kept the label

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp] | slice) -> "Changes":
        return Changes(
            self.image_ids[rows], self.given[rows], self.into[rows], self.p[rows], self.splits[rows], self.kept[rows]
        )


@dataclass(frozen=True)
class ChangeFilter:
    """Which changes; none in a field lets all through."""

    given: int | None = None
    into: int | None = None
    p_from: float = 0.0
    split: str | None = None
    kept: bool | None = None


@dataclass(frozen=True)
class Pair:
    """The changes from one class to another."""

    given: int
    into: int
    n: int
    kept: int
    mean_p: float


_known: weakref.WeakKeyDictionary[Posteriors, tuple[int, bool, Changes]] = weakref.WeakKeyDictionary()


def list_changes(session: Session, dataset: Dataset, posteriors: Posteriors, *, is_promoted: bool) -> Changes:
    """All changes, remembered until the log goes on. Costs two statements, and one pass over the doubtful images.

    is_promoted: the run's P(wrong) stands in the rows of the images, so that an index finds the doubtful ones.
    """
    head = log.get_last_id(session, dataset_id=dataset.id)
    remembered = _known.get(posteriors)
    if remembered is None or remembered[:2] != (head, is_promoted):
        remembered = head, is_promoted, _find_changes(session, dataset, posteriors, is_promoted=is_promoted)
        _known[posteriors] = remembered
    return remembered[2]


def _find_changes(session: Session, dataset: Dataset, posteriors: Posteriors, *, is_promoted: bool) -> Changes:
    least = LEAST_P_WRONG if is_promoted else None
    rows = queries.list_undecided(session, dataset_id=dataset.id, p_wrong_from=least)
    ids = np.array([row.id for row in rows], np.int64)
    given = np.array([row.label_id for row in rows], np.int64)
    places = np.searchsorted(posteriors.image_ids, ids).clip(max=max(0, len(posteriors.image_ids) - 1))
    known = np.zeros(len(ids), np.bool_)
    if len(posteriors.image_ids) and len(ids):
        known = (posteriors.image_ids[places] == ids) & np.isfinite(posteriors.p_wrong[places])
    places = places[known]
    best = posteriors.probs[places].argmax(1)
    into = _root_ids(session, dataset, posteriors)[best]
    found = Changes(
        image_ids=ids[known],
        given=given[known],
        into=into,
        p=posteriors.probs[places, best].astype(np.float32),
        splits=np.array([row.split or "" for row in rows], np.str_)[known],
        kept=np.array([row.keeps_label for row in rows], np.bool_)[known],
    )
    found = found.take(found.given != found.into)
    return found.take(np.lexsort((found.image_ids, -found.p)))


def _root_ids(session: Session, dataset: Dataset, posteriors: Posteriors) -> NDArray[np.int64]:
    """(K,) the class that each column means now."""
    roots = merge_roots(dataset_queries.list_classes(session, dataset.id))
    return np.array([roots.get(class_id, class_id) for class_id in posteriors.class_ids.tolist()], np.int64)


def choose(changes: Changes, wanted: ChangeFilter) -> Changes:
    kept = changes.p >= wanted.p_from
    for value, column in ((wanted.given, changes.given), (wanted.into, changes.into), (wanted.kept, changes.kept)):
        if value is not None:
            kept &= column == value
    if wanted.split is not None:
        kept &= changes.splits == ("" if wanted.split == "none" else wanted.split)
    return changes.take(kept)


def take_page(changes: Changes, *, after: tuple[float, int] | None, limit: int) -> Changes:
    """Those that follow (P, image id) in the order, whether that image is still among them or not."""
    if after is None:
        return changes.take(slice(0, limit))
    p, image_id = np.float32(after[0]), after[1]
    following = (changes.p < p) | ((changes.p == p) & (changes.image_ids > image_id))
    return changes.take(np.flatnonzero(following)[:limit])


def count_pairs(changes: Changes, wanted: ChangeFilter) -> list[Pair]:
    """By class pair, most first, of what the filter lets through whatever pair it names."""
    found = choose(changes, replace(wanted, given=None, into=None))
    pairs, inverse, counts = np.unique(
        np.stack([found.given, found.into], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    inverse = inverse.reshape(-1)
    sums = np.bincount(inverse, weights=found.p, minlength=len(pairs))
    kept = np.bincount(inverse, weights=found.kept, minlength=len(pairs))
    listed = [
        Pair(int(given), int(into), int(n), int(of_them), float(total / n))
        for (given, into), n, of_them, total in zip(pairs, counts, kept, sums, strict=True)
    ]
    return sorted(listed, key=lambda pair: (-pair.n, pair.given, pair.into))
