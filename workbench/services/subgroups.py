"""How a run does on parts of the images, by an attribute or another fact: intervals, tests, and no chance finds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, fisher_exact
from sqlalchemy.orm import Session

from workbench.errors import Invalid, NotFound
from workbench.models import Dataset
from workbench.queries import evaluations as queries
from workbench.queries import splits, votes
from workbench.services.evaluations import Judged
from workbench.services.leaks import Rate, compare_rates
from workbench.services.vote_measures import count_votes

MOST = 20  # groups; what is smaller is put together
OTHERS = "all others"
ASKED = 20_000  # images that are asked for their attributes
ALPHA = 0.05
FACTS = {
    "clear votes": "how clear the votes are",
    "label source": "where the label comes from",
    "size": "size in pixels",
}


CLEAR = {  # share of the votes that the most chosen class has, from
    1.0: "all for one class",
    0.75: "three in four or more",
    0.5: "half or more",
    0.0: "fewer than half",
}


@dataclass(frozen=True)
class Group:
    """One part of the images, against the rest or against one named part.

    difference, low, high: in accuracy, Newcombe's 95 % interval. p: Fisher's exact test; holm: corrected for all that
    were made. None for the part that the others are set against, and where there is nothing to compare with.
    """

    value: str
    rate: Rate
    difference: tuple[float, float, float] | None
    p: float | None
    holm: float | None

    @property
    def differs(self) -> bool:
        return self.holm is not None and self.holm < ALPHA


@dataclass(frozen=True)
class Grouping:
    """`by`: the attribute. p: that all groups are alike, by chi-square; none where a group is too small for it."""

    by: str
    against: str | None
    groups: list[Group]
    without: int  # images measured on without a value
    p: float | None

    @property
    def rate(self) -> Rate:
        return Rate(sum(group.rate.n for group in self.groups), sum(group.rate.right for group in self.groups))


# --- arrays -----------------------------------------------------------------------------------------------------


def compare_groups(
    values: Sequence[str], right: NDArray[np.bool_], *, by: str, against: str | None = None, without: int = 0
) -> Grouping:
    """values: the group of each image, (N,). against: a group; none for all others together."""
    order = _arrange(values)
    names = np.array(values, object)
    rates = {value: Rate(int((names == value).sum()), int(right[names == value].sum())) for value in order}
    if against is not None and against not in rates:
        raise Invalid(f"“{by}” has no value “{against}” here; there are: {', '.join(order)}.")
    whole = Rate(len(right), int(right.sum()))
    rests = {
        value: rates[against] if against else Rate(whole.n - rate.n, whole.right - rate.right)
        for value, rate in rates.items()
        if value != against
    }
    p = {value: weigh_rates(rates[value], rest) for value, rest in rests.items() if rest.n}
    holm = dict(zip(p, correct(list(p.values())), strict=True))
    groups = [
        Group(
            value,
            rates[value],
            compare_rates(rates[value], rests[value]) if value in rests else None,
            p.get(value),
            holm.get(value),
        )
        for value in order
    ]
    return Grouping(by, against, groups, without, weigh_all([group.rate for group in groups]))


def _arrange(values: Sequence[str]) -> list[str]:
    """The groups by what orders them: how clear votes are, numbers by size; else those with most images first."""
    found = [value for value, _ in Counter(values).most_common()]
    if set(found) <= set(CLEAR.values()):
        return [words for words in CLEAR.values() if words in found]
    numbers = _read_numbers([value.partition(" to ")[0] for value in found])
    return found if numbers is None else [found[place] for place in np.argsort(numbers, kind="stable").tolist()]


def weigh_rates(one: Rate, other: Rate) -> float:
    """Fisher's exact test, two-sided: how often rates of one chance would be as far apart as these."""
    table = [[one.right, one.n - one.right], [other.right, other.n - other.right]]
    return float(fisher_exact(table).pvalue)


def weigh_all(rates: Sequence[Rate]) -> float | None:
    """Pearson's chi-square over all groups; none where fewer than five are expected right or wrong in one of them."""
    table = np.array([[rate.right, rate.n - rate.right] for rate in rates], np.int64)
    if len(rates) < 2 or (table.sum(0) == 0).any():
        return None
    found = chi2_contingency(table, correction=False)
    return float(found.pvalue) if found.expected_freq.min() >= 5 else None


def correct(p: Sequence[float]) -> list[float]:
    """Holm's correction for many comparisons (1979): as if the smallest of them had been the one looked for."""
    found, most = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        most = max(most, min(1.0, (len(p) - rank) * p[place]))
        found[place] = most
    return found


# --- images -----------------------------------------------------------------------------------------------------


def list_facts(session: Session, dataset: Dataset, judged: Judged) -> dict[str, str]:
    """What the images judged can be grouped by: name -> words. Attributes first; of very many images some are asked."""
    asked = judged.image_ids[:: 1 + len(judged.image_ids) // ASKED].tolist()
    found = {name: name for name in queries.list_attribute_names(session, asked)} | FACTS
    if not votes.has_votes(session, dataset.id):
        del found["clear votes"]
    return found


def measure_groups(
    session: Session, dataset: Dataset, judged: Judged, *, by: str, against: str | None = None
) -> Grouping:
    """The images judged, apart. by: an attribute, or a key of FACTS."""
    values = _read_values(session, dataset, judged, by)
    known = [row for row, image_id in enumerate(judged.image_ids.tolist()) if image_id in values]
    if not known:
        names = ", ".join(list_facts(session, dataset, judged))
        raise NotFound(f"No image of {judged.split} has a value for “{by}”; there is: {names}.")
    right = (judged.probs.argmax(1) == judged.labels)[known]
    given = join_values([values[image_id] for image_id in judged.image_ids[known].tolist()])
    return compare_groups(given, right, by=by, against=against, without=len(judged.image_ids) - len(known))


def _read_values(session: Session, dataset: Dataset, judged: Judged, by: str) -> Mapping[int, str]:
    if by == "clear votes":
        return _read_votes(session, dataset, judged)
    if by in FACTS:
        return queries.list_facts(session, judged.image_ids.tolist(), fact=by)
    return splits.list_attribute_values(session, dataset.id, name=by)


def _read_votes(session: Session, dataset: Dataset, judged: Judged) -> dict[int, str]:
    """What share of the votes for its classes an image's most chosen class has."""
    counts = count_votes(session, dataset, judged)
    total, most = counts.sum(1), counts.max(1, initial=0)
    return {
        image_id: next(words for low, words in CLEAR.items() if most[row] >= low * total[row])
        for row, image_id in enumerate(judged.image_ids.tolist())
        if total[row]
    }


def join_values(values: Sequence[str]) -> list[str]:
    """Many different numbers become their quarters, many rare words one group."""
    counts = Counter(values)
    if len(counts) <= MOST:
        return list(values)
    numbers = _read_numbers(values)
    if numbers is not None:
        return _cut(numbers)
    kept = {value for value, _ in counts.most_common(MOST - 1)}
    return [value if value in kept else OTHERS for value in values]


def _read_numbers(values: Sequence[str]) -> NDArray[np.float64] | None:
    try:
        found = np.array([float(value) for value in values])
    except ValueError:
        return None
    return found if np.isfinite(found).all() else None


def _cut(numbers: NDArray[np.float64]) -> list[str]:
    """Quarters of the images, named by their lowest and highest number."""
    quarters = np.searchsorted(np.quantile(numbers, [0.25, 0.5, 0.75]), numbers)
    words = {
        quarter: f"{numbers[quarters == quarter].min():g} to {numbers[quarters == quarter].max():g}"
        for quarter in np.unique(quarters).tolist()
    }
    return [words[quarter] for quarter in quarters.tolist()]


# --- for people -------------------------------------------------------------------------------------------------


def make_sentence(found: Grouping) -> str:
    """What can be said about the groups and what cannot."""
    rest = f"“{found.against}”" if found.against else "the rest"
    tested = [group for group in found.groups if group.p is not None]
    if not tested:
        return f"All images have one value of “{found.by}”, so there is nothing to compare."
    differing = sorted((group for group in tested if group.differs), key=lambda group: group.p or 0.0)
    if not differing:
        least = min(group.holm or 0.0 for group in tested)
        return (
            f"No group by “{found.by}” differs from {rest} by more than chance "
            f"({len(tested)} comparisons, smallest corrected p = {least:.2g})."
        )
    told = [f"“{group.value}” by {_tell_difference(group)}" for group in differing]
    most = "; the largest first" if len(told) > 3 else ""
    return f"Beyond chance, by “{found.by}”, these differ from {rest}: {', '.join(told[:3])}{most}."


def _tell_difference(group: Group) -> str:
    found, low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in group.difference or (0.0, 0.0, 0.0))
    return f"{found} points [{low}, {high}]"


def report(found: Grouping) -> dict[str, Any]:
    """What `workbench evaluate --by --json` answers."""
    return {
        "by": found.by,
        "against": found.against,
        "n": found.rate.n,
        "without": found.without,
        "p": found.p,
        "groups": [_report_group(group) for group in found.groups],
        "sentence": make_sentence(found),
    }


def _report_group(group: Group) -> dict[str, Any]:
    difference = group.difference or (None, None, None)
    return {
        "value": group.value,
        **group.rate.report(),
        **dict(zip(("difference", "difference_low", "difference_high"), difference, strict=True)),
        "p": group.p,
        "p_holm": group.holm,
    }
