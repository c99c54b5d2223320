"""Leaks: images that measure and have a copy among those that teach, and what that does to the accuracy."""

import math
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.models import Dataset, Run
from workbench.queries import datasets as dataset_queries
from workbench.queries import runs as run_queries
from workbench.queries import splits as queries
from workbench.services.copies import MIN_P, find_copies, list_links
from workbench.services.evaluations import Judged, judge
from workbench.services.measures import wilson
from workbench.services.protection import is_marked
from workbench.services.training_sets import TrainingSet, find_training_set

MEASURING = ("validation", "test")


@dataclass(frozen=True)
class Rate:
    """How many of n are right, with the 95 % interval; accuracy is none where there are none."""

    n: int
    right: int

    @property
    def accuracy(self) -> float | None:
        return self.right / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.n)

    def report(self) -> dict[str, Any]:
        low, high = self.interval
        return {"n": self.n, "accuracy": self.accuracy, "low": low, "high": high}


@dataclass(frozen=True)
class ClassLeak:
    """label_id: none for images without a label."""

    label_id: int | None
    n: int
    exact: int
    near: int

    @property
    def leaked(self) -> int:
        return self.exact + self.near

    @property
    def share(self) -> float:
        return self.leaked / self.n if self.n else 0.0


@dataclass(frozen=True)
class SplitLeak:
    """One split that measures, against the train split as it stands. Excluded images are left out on both sides."""

    split: str
    classes: list[ClassLeak]

    @property
    def n(self) -> int:
        return sum(cls.n for cls in self.classes)

    @property
    def exact(self) -> int:
        return sum(cls.exact for cls in self.classes)

    @property
    def near(self) -> int:
        return sum(cls.near for cls in self.classes)

    @property
    def leaked(self) -> int:
        return self.exact + self.near


@dataclass(frozen=True)
class RunLeak:
    """One run, against the images that it was really trained on. Judged by the newest labels.

    left_out: images of train that did not teach because a copy of them is measured on. low, high: the 95 % interval of
    the difference between the accuracy on leaked images and on the rest; none where one of the two is empty.
    """

    run: Run
    split: str
    trained: int
    left_out: int
    exact: int
    near: int
    leaked: Rate
    rest: Rate
    classes: list[tuple[str, Rate, Rate]]  # class, leaked, rest; only classes with leaked images
    cleaned_with_own_flags: bool

    @property
    def all(self) -> Rate:
        return Rate(self.leaked.n + self.rest.n, self.leaked.right + self.rest.right)

    @property
    def difference(self) -> tuple[float, float, float] | None:
        return compare_rates(self.leaked, self.rest)

    @property
    def difference_within_classes(self) -> tuple[float, float, float] | None:
        """The difference if the rest had the classes of the leaked images: copies may be of easy classes."""
        return compare_within([(leaked, rest) for _, leaked, rest in self.classes])


def compare_rates(one: Rate, other: Rate) -> tuple[float, float, float] | None:
    """The difference of two independent rates with its 95 % interval, none if one of them counts nothing.

    The interval joins the two Wilson intervals: Newcombe 1998, Statistics in Medicine 17, method 10.
    """
    if one.accuracy is None or other.accuracy is None:
        return None
    a, b = one.accuracy, other.accuracy
    (a_low, a_high), (b_low, b_high) = one.interval, other.interval
    found = a - b
    return found, found - math.hypot(a - a_low, b_high - b), found + math.hypot(a_high - a, b - b_low)


def compare_within(pairs: Sequence[tuple[Rate, Rate]]) -> tuple[float, float, float] | None:
    """The mean difference over strata, weighted by the first of each pair, with its 95 % interval.

    Strata in which either counts nothing are left out; none if no other is there. The interval joins the Wilson
    intervals of all rates: Zou and Donner 2008, Statistics in Medicine 27, which for one stratum is Newcombe's.
    """
    both = [(one, other) for one, other in pairs if one.n and other.n]
    if not both:
        return None
    total = sum(one.n for one, _ in both)
    found, below, above = 0.0, 0.0, 0.0
    for one, other in both:
        weight, compared = one.n / total, compare_rates(one, other)
        if compared is not None:
            found += weight * compared[0]
            below += (weight * (compared[0] - compared[1])) ** 2
            above += (weight * (compared[2] - compared[0])) ** 2
    return found, found - math.sqrt(below), found + math.sqrt(above)


def list_split_leaks(session: Session, dataset: Dataset, *, min_p: float = MIN_P) -> list[SplitLeak]:
    """Validation and test as they stand. Costs what these splits and the pairs cost, not the whole data set."""
    measured = queries.list_measured(session, dataset.id, splits=MEASURING)
    found = _find(session, dataset, {image.id: image.pixels for image in measured}, min_p=min_p, taught=None)
    classes = [*(cls.id for cls in dataset_queries.list_classes(session, dataset.id)), None]
    counts = Counter((image.split, image.label_id, found.get(image.id, "")) for image in measured)
    reports = []
    for split in MEASURING:
        lines = [
            ClassLeak(
                label_id=label,
                n=sum(counts[split, label, kind] for kind in ("", "exact", "near")),
                exact=counts[split, label, "exact"],
                near=counts[split, label, "near"],
            )
            for label in classes
        ]
        if any(line.n for line in lines):
            reports.append(SplitLeak(split, [line for line in lines if line.n]))
    return reports


def measure_run(
    session: Session, home: Home, run: Run, *, split: str | None = None, min_p: float = MIN_P
) -> RunLeak | None:
    """What copies do to a run's accuracy; none where it has no unseen labelled images to judge.

    split: as it stands now; none for the images that the run was measured on, wherever they stand by now.
    Also counts what the runs it began from were trained on.
    """
    own = find_training_set(session, home, run)
    judged = judge(session, home, run, split=split, image_ids=None if split else own.measured.tolist())
    if not len(judged.image_ids):
        return None
    dataset = session.get_one(Dataset, run.dataset_id)
    taught = set(own.trained.tolist())
    for ancestor in run_queries.list_ancestors(session, run):
        taught.update(find_training_set(session, home, ancestor).trained.tolist())
    pixels = queries.get_pixels(session, judged.image_ids.tolist())
    found = _find(session, dataset, pixels, min_p=min_p, taught=taught)
    return _report_run(run, judged, own, found, marked=is_marked(dataset, judged.split))


def _find(
    session: Session, dataset: Dataset, pixels: Mapping[int, str], *, min_p: float, taught: Container[int] | None
) -> dict[int, str]:
    """Image id -> "exact" or "near" for those of `pixels` with a copy among the images taught.

    taught: image ids; none for the train split as it stands.
    """
    links = list_links(session, dataset, min_p=min_p)
    linked = queries.get_pixels(session, sorted({image_id for link in links for image_id in link}))
    pictures = set(pixels.values())
    near = [link for link in links if any(linked.get(image_id) in pictures for image_id in link)]
    wanted = pictures | {linked[image_id] for link in near for image_id in link if image_id in linked}
    teachers = [
        (copy.id, copy.pixels)
        for copy in queries.list_with_pixels(session, dataset.id, sorted(wanted))
        if (copy.split == "train" and copy.status != "excluded" if taught is None else copy.id in taught)
    ]
    found = find_copies({**linked, **pixels}, links=near, taught=teachers)
    return {image_id: kind for image_id, kind in found.items() if image_id in pixels}


def _report_run(run: Run, judged: Judged, own: TrainingSet, found: Mapping[int, str], *, marked: bool) -> RunLeak:
    right = (judged.probs.argmax(1) == judged.labels).tolist()
    rows = list(zip(judged.image_ids.tolist(), judged.labels.tolist(), right, strict=True))
    kinds = Counter(found[image_id] for image_id, _, _ in rows if image_id in found)
    by_class = [
        (name, *_rates([row for row in rows if row[1] == column], found))
        for column, name in enumerate(judged.class_names)
    ]
    leaked, rest = _rates(rows, found)
    return RunLeak(
        run=run,
        split=judged.split,
        trained=len(own.trained),
        left_out=len(own.left_out),
        exact=kinds["exact"],
        near=kinds["near"],
        leaked=leaked,
        rest=rest,
        classes=[line for line in by_class if line[1].n],
        cleaned_with_own_flags=marked,
    )


def _rates(rows: Sequence[tuple[int, int, bool]], found: Container[int]) -> tuple[Rate, Rate]:
    """Of the leaked ones, of the rest."""
    leaked = [right for image_id, _, right in rows if image_id in found]
    rest = [right for image_id, _, right in rows if image_id not in found]
    return Rate(len(leaked), sum(leaked)), Rate(len(rest), sum(rest))


def make_sentence(leak: RunLeak) -> str:
    """What copies do to the accuracy, for people."""
    trained = f"Run {leak.run.id} was trained on {leak.trained:,} images"
    if leak.left_out:
        trained += f"; {leak.left_out:,} of train were left out as copies of images measured on"
    if not leak.leaked.n:
        return f"{trained}. None of the {leak.rest.n:,} images of {leak.split} has a copy among them."
    copied = f"{leak.leaked.n:,} of the {leak.all.n:,} images of {leak.split} have a copy among them"
    if leak.difference is None:
        return f"{trained}. {copied}, so nothing is left to compare with."
    found, low, high = (100 * value for value in leak.difference)
    rates = f"it gets {leak.leaked.accuracy:.1%} of those right and {leak.rest.accuracy:.1%} of the rest"
    without = f"without them its accuracy is {leak.rest.accuracy:.1%} instead of {leak.all.accuracy:.1%}"
    chance = " That is no more than chance would make." if low <= 0 <= high else ""
    interval = f"{found:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}"
    within = leak.difference_within_classes
    mix = f", {100 * within[0]:+.1f} [{100 * within[1]:+.1f}, {100 * within[2]:+.1f}] within classes" if within else ""
    return (
        f"{trained}. {copied} ({leak.exact:,} exact, {leak.near:,} near): {rates} ({interval}{mix}); {without}.{chance}"
    )


def report(
    dataset: Dataset, splits: Iterable[SplitLeak], run: RunLeak | None, *, names: Mapping[int, str], min_p: float
) -> dict[str, Any]:
    """What `workbench leaks --json` answers. names: class id -> name."""
    return {
        "dataset": dataset.name,
        "min_p": min_p,
        "scanned": dataset.scanned_at is not None,
        "frozen": dataset.frozen_split,
        "splits": [
            {
                "split": each.split,
                "n": each.n,
                "leaked": each.leaked,
                "exact": each.exact,
                "near": each.near,
                "classes": [
                    {"class": names.get(cls.label_id or 0), "n": cls.n, "exact": cls.exact, "near": cls.near}
                    for cls in each.classes
                ],
            }
            for each in splits
        ],
        "run": report_run(run) if run else None,
    }


def report_run(leak: RunLeak) -> dict[str, Any]:
    """Of one run, JSON-able."""
    found, low, high = leak.difference or (None, None, None)
    within = leak.difference_within_classes
    return {
        "run": leak.run.id,
        "split": leak.split,
        "trained": leak.trained,
        "left_out": leak.left_out,
        "exact": leak.exact,
        "near": leak.near,
        "all": leak.all.report(),
        "leaked": leak.leaked.report(),
        "rest": leak.rest.report(),
        "difference": found,
        "low": low,
        "high": high,
        "within_classes": dict(zip(("difference", "low", "high"), within, strict=True)) if within else None,
        "cleaned_with_own_flags": leak.cleaned_with_own_flags,
        "classes": [
            {"class": name, "leaked": leaked.report(), "rest": rest.report()} for name, leaked, rest in leak.classes
        ],
        "sentence": make_sentence(leak),
    }
