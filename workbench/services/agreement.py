"""Who agrees with whom about what the images are, beyond chance, and which classes reviewers confuse."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from workbench.models import Class, Dataset, User
from workbench.models.states import merge_roots
from workbench.queries import agreement as queries
from workbench.queries import datasets
from workbench.queries import decisions as log
from workbench.services import agreement_figures as figures
from workbench.services.agreement_figures import Figure

SOURCES = ("blind", "all")
MOST_CONFUSED = 8


@dataclass(frozen=True)
class Category:
    """What a reviewer can say: one of the classes, or that an image is ambiguous or to be excluded."""

    name: str
    cls: Class | None
    key: str  # of addresses: the class id, “ambiguous” or “exclude”


@dataclass(frozen=True)
class Opinions:
    """What R reviewers said of N images, each what they said last."""

    image_ids: NDArray[np.int64]  # (N,), ascending
    user_ids: tuple[int, ...]  # (R,)
    said: NDArray[np.int16]  # (N, R): category, -1 for nothing
    line_ids: NDArray[np.int64]  # (N, R): the line that says it, 0 for none
    categories: tuple[Category, ...]

    @functools.cached_property
    def counts(self) -> NDArray[np.int64]:
        """(N, K): how many said each category."""
        return figures.count_categories(self.said, categories=len(self.categories))

    def number(self, key: str) -> int | None:
        """The category of an address."""
        return next((index for index, one in enumerate(self.categories) if one.key == key), None)

    def column(self, user_id: int) -> int | None:
        return self.user_ids.index(user_id) if user_id in self.user_ids else None


def read_opinions(
    session: Session, dataset: Dataset, *, source: str = "blind", with_gold: bool = False, closed_only: bool = False
) -> Opinions:
    """source: “blind” for opinions that were given without seeing others', “all” for every verdict besides them.

    Answers to gold images are left out unless asked for: these are chosen for being plain. closed_only: leave out what
    was said blind in a queue that is open, as everybody but leads must.
    """
    found = queries.list_opinions(session, dataset.id, with_gold=with_gold, closed_only=closed_only)
    rows = [tuple(row) for row in found]
    if source == "all":
        undone = log.get_undone(session, dataset_id=dataset.id)
        verdicts = queries.list_shared_verdicts(session, dataset.id)
        rows += [tuple(row[:5]) for row in verdicts if row.action not in undone]
        rows.sort(key=lambda row: row[4])
    return make_opinions(rows, datasets.list_classes(session, dataset.id))


def make_opinions(rows: Sequence[tuple[Any, ...]], classes: Sequence[Class]) -> Opinions:
    """rows: (image id, user id, verdict, class id, line id), oldest first: what somebody said last counts."""
    roots = merge_roots(classes)
    by_id = {cls.id: cls for cls in classes}
    verdicts = [row[2] if row[3] is None else "" for row in rows]
    class_ids = [roots[row[3]] if row[3] is not None else 0 for row in rows]
    shown = [cls for cls in classes if cls.is_open or cls.id in set(class_ids)]
    categories = [Category(cls.name, by_id[cls.id], str(cls.id)) for cls in shown]
    categories += [Category(word, None, word) for word in ("ambiguous", "exclude") if word in verdicts]
    place = {one.key: index for index, one in enumerate(categories)}
    image_ids, image_rows = np.unique(np.array([row[0] for row in rows], np.int64), return_inverse=True)
    user_ids, user_columns = np.unique(np.array([row[1] for row in rows], np.int64), return_inverse=True)
    said = np.full((len(image_ids), len(user_ids)), -1, np.int16)
    lines = np.zeros((len(image_ids), len(user_ids)), np.int64)
    keys = [verdict or str(class_id) for verdict, class_id in zip(verdicts, class_ids, strict=True)]
    for index, key in enumerate(keys):
        said[image_rows[index], user_columns[index]] = place[key]
        lines[image_rows[index], user_columns[index]] = rows[index][4]
    return Opinions(image_ids, tuple(user_ids.tolist()), said, lines, tuple(categories))


# --- the report ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    one: User
    other: User
    kappa: Figure
    observed: Figure


@dataclass(frozen=True)
class ClassAgreement:
    """One category against the rest. `specific`: how often another says it too of an image of which one says it."""

    category: Category
    alpha: Figure
    specific: float | None
    images: int
    times: int  # said, on images with two opinions or more


@dataclass(frozen=True)
class Confusion:
    """Images of which one reviewer says the first category and another the second."""

    one: Category
    other: Category
    images: int


@dataclass(frozen=True)
class Report:
    source: str
    reviewers: tuple[User, ...]
    spoken: dict[int, int]  # user id -> images of which they said something
    images: int  # with an opinion
    opinions: int
    alpha: Figure
    observed: Figure
    fleiss: Figure
    fleiss_opinions: int
    pairs: tuple[Pair, ...]
    classes: tuple[ClassAgreement, ...]
    confused: tuple[Confusion, ...]
    disputed: int

    @property
    def chance(self) -> float | None:
        """How often two opinions would be the same if they were drawn from all that was said."""
        if self.alpha.value is None or self.observed.value is None:
            return None
        if self.alpha.value == 1:
            return None  # then alpha does not tell what chance is
        return 1 - (1 - self.observed.value) / (1 - self.alpha.value)

    def get_pair(self, one: User, other: User) -> Pair | None:
        return next((pair for pair in self.pairs if {pair.one.id, pair.other.id} == {one.id, other.id}), None)


def report(session: Session, dataset: Dataset, *, source: str = "blind", opinions: Opinions | None = None) -> Report:
    """All figures of the agreement page; costs some thousand small sums. opinions: those of the source, read before."""
    opinions = opinions or read_opinions(session, dataset, source=source)
    users = queries.get_users(session, opinions.user_ids)
    counts = opinions.counts
    fleiss, fleiss_opinions = figures.measure_fleiss(counts)
    spoken = (opinions.said >= 0).sum(0).tolist()
    return Report(
        source=source,
        reviewers=tuple(sorted((users[user_id] for user_id in opinions.user_ids), key=lambda user: user.name)),
        spoken=dict(zip(opinions.user_ids, spoken, strict=True)),
        images=len(opinions.image_ids),
        opinions=sum(spoken),
        alpha=figures.measure_alpha(counts),
        observed=figures.measure_shared(counts),
        fleiss=fleiss,
        fleiss_opinions=fleiss_opinions,
        pairs=_measure_pairs(opinions, users),
        classes=_measure_classes(opinions, counts),
        confused=_list_confused(opinions, counts),
        disputed=queries.count_disputed(session, dataset.id),
    )


def _measure_pairs(opinions: Opinions, users: dict[int, User]) -> tuple[Pair, ...]:
    found = []
    for one, other in combinations(range(len(opinions.user_ids)), 2):
        table = cross(opinions, one, other)
        first, second = users[opinions.user_ids[one]], users[opinions.user_ids[other]]
        found.append(Pair(first, second, figures.measure_kappa(table), figures.measure_observed(table)))
    return tuple(sorted(found, key=lambda pair: (pair.one.name, pair.other.name)))


def cross(opinions: Opinions, one: int, other: int) -> NDArray[np.int64]:
    """The cross table of two reviewers, by their columns."""
    return figures.cross_table(
        opinions.said[:, one], opinions.said[:, other], categories=len(opinions.categories)
    )  # fmt: skip


def _measure_classes(opinions: Opinions, counts: NDArray[np.int64]) -> tuple[ClassAgreement, ...]:
    found = []
    for index, category in enumerate(opinions.categories):
        rest = np.stack([counts[:, index], counts.sum(1) - counts[:, index]], axis=1)
        specific, images, times = figures.measure_specific(counts, index)
        found.append(ClassAgreement(category, figures.measure_alpha(rest), specific, images, times))
    return tuple(found)


def _list_confused(opinions: Opinions, counts: NDArray[np.int64]) -> tuple[Confusion, ...]:
    together = np.triu(figures.count_confused(counts))
    cells = [(int(together[one, other]), int(one), int(other)) for one, other in np.argwhere(together)]
    cells.sort(key=lambda cell: (-cell[0], cell[1], cell[2]))
    return tuple(
        Confusion(opinions.categories[one], opinions.categories[other], images)
        for images, one, other in cells[:MOST_CONFUSED]
    )


@dataclass(frozen=True)
class PairReport:
    """Two reviewers: figures, per category, and the cross table (rows: the first)."""

    pair: Pair
    categories: tuple[Category, ...]  # that either of them said
    table: list[list[int]]
    classes: tuple[tuple[Category, Figure, int], ...]  # kappa of one against the rest, images of which either says it


def report_pair(
    session: Session,
    dataset: Dataset,
    one: User,
    other: User,
    *,
    source: str = "blind",
    opinions: Opinions | None = None,
) -> PairReport:
    """opinions: those of the source, read before."""
    opinions = opinions or read_opinions(session, dataset, source=source)
    columns = opinions.column(one.id), opinions.column(other.id)
    if columns[0] is None or columns[1] is None:
        table = np.zeros((len(opinions.categories),) * 2, np.int64)
    else:
        table = cross(opinions, columns[0], columns[1])
    used = np.flatnonzero(table.sum(0) + table.sum(1)).tolist()
    classes = [
        (opinions.categories[index], figures.measure_kappa(inner), int(inner.sum() - inner[1, 1]))
        for index in used
        for inner in [figures.one_against_rest(table, index)]
    ]
    return PairReport(
        pair=Pair(one, other, figures.measure_kappa(table), figures.measure_observed(table)),
        categories=tuple(opinions.categories[index] for index in used),
        table=table[np.ix_(used, used)].tolist(),
        classes=tuple(classes),
    )


def list_differing(
    opinions: Opinions, one: int, other: int, *, columns: tuple[int, int] | None = None
) -> NDArray[np.int64]:
    """The images of which one reviewer says one category and another the other; columns: these two, in this order."""
    if columns is not None:
        rows = (opinions.said[:, columns[0]] == one) & (opinions.said[:, columns[1]] == other)
    else:
        rows = (opinions.said == one).any(1) & (opinions.said == other).any(1)
    found: NDArray[np.int64] = opinions.image_ids[rows]
    return found
