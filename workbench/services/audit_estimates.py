"""What a sample says of all images: rates with their intervals, with and without the help of P(wrong).

Both estimators are right whatever P(wrong) is worth: the plain one weighs each verdict by how many images it stands
for; the assisted one adds up what a model expects of every image and corrects that by what the verdicts say of it. The
model is cross-fitted: no verdict is compared with a model that has seen it. docs/auditing.md tells more.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from workbench.services.audit_frames import SETTLED, UNKNOWN, Floats, Frame, Ints
from workbench.services.measures import wilson

FOLDS = 5
RIDGE = 4.0  # verdicts that it takes for a class to be worth half of its own correction
PRIOR = 0.5  # verdicts that the expected spread of a stratum counts for
TRUST = 0.5  # of a wrong label seen, as a multiple of the verdicts, at most
STEPS = 25  # Newton steps; it takes about six

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Sample:
    """The n answered images of a sample: their cells, and whether what was asked of each is so.

    drawn: how many images the whole sample holds of each stratum, for samples of which some are not answered yet.
    """

    cells: Ints  # (n,)
    wrong: Bools  # (n,)
    drawn: Ints | None = None  # (H,)


@dataclass(frozen=True)
class Estimate:
    """A share of the images with its 95 % interval. `wrong` of the `n` verdicts say so; they stand for `images`."""

    rate: float
    low: float
    high: float
    n: int
    wrong: int
    images: int

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2

    @property
    def count(self) -> int:
        return round(self.rate * self.images)

    @property
    def count_low(self) -> int:
        return math.floor(self.low * self.images)

    @property
    def count_high(self) -> int:
        return math.ceil(self.high * self.images)


@dataclass(frozen=True, eq=False)
class _Design:
    """How the answered images stand for the others. Strata without two answers are joined to their neighbours."""

    groups: Ints  # (C,) of each cell, 0..G-1
    sizes: Floats  # (G,) images
    weights: Floats  # (n,) images that each answer stands for
    answered: Ints  # (G,)


def estimate_plain(frame: Frame, sample: Sample, *, domain: Bools | None = None) -> Estimate | None:
    """The stratified estimate of the share. domain: (C,) the cells it is about, none for all. None without answers."""
    inside, images = _choose(frame, sample, domain)
    return _weigh(frame, sample, inside, images)


def estimate_among(frame: Frame, sample: Sample, inside: Bools) -> Estimate | None:
    """The same of images that only the sample knows: (n,) the answers that belong to them."""
    return _weigh(frame, sample, inside, None)


def _weigh(frame: Frame, sample: Sample, inside: Bools, images: int | None) -> Estimate | None:
    if not inside.any():
        return None
    design = _design(frame, sample)
    total = float((design.weights * inside).sum())
    rate = float((design.weights * inside * sample.wrong).sum()) / total
    guess = np.full(len(sample.cells), rate)
    spread = _spread_of(design, sample, inside * (sample.wrong - guess), inside * guess * (1 - guess))
    return _make(rate, spread / total**2, sample, inside, round(total) if images is None else images)


def weigh(frame: Frame, sample: Sample) -> Floats:
    """How many images each answer stands for, (n,)."""
    return _design(frame, sample).weights


class Assistant:
    """The model of the errors, fitted once for all the shares that are asked of a sample."""

    def __init__(self, frame: Frame, sample: Sample) -> None:
        self._frame = frame
        self._sample = sample
        self._design = _design(frame, sample)
        self._fold = _part(self._design.groups[sample.cells])
        self._expected = _fit_folds(frame, sample, self._fold)  # (FOLDS, C)

    def estimate(self, domain: Bools | None = None) -> Estimate | None:
        frame, sample, design = self._frame, self._sample, self._design
        inside, images = _choose(frame, sample, domain)
        if not inside.any() or int(inside.sum()) == images:  # nothing to say, or nothing left to guess
            return _weigh(frame, sample, inside, images)
        member = np.ones(len(frame.counts), bool) if domain is None else domain
        own = self._expected[self._fold, sample.cells]  # (n,) what a model that has not seen it expects
        # each fold's model counts in a group by how many of the group's answers it is compared with
        share = np.zeros((FOLDS, len(design.sizes)))
        np.add.at(share, (self._fold, design.groups[sample.cells]), design.weights)
        share /= share.sum(0)
        expected = (share[:, design.groups] * self._expected).sum(0)  # (C,)
        total = float((frame.counts * member * expected).sum())
        total += float((design.weights * inside * (sample.wrong - own)).sum())
        rate = min(1.0, max(0.0, total / images))
        spread = _spread_of(design, sample, inside * (sample.wrong - own), inside * own * (1 - own))
        return _make(rate, spread / images**2, sample, inside, images)


def _choose(frame: Frame, sample: Sample, domain: Bools | None) -> tuple[Bools, int]:
    """Which answers belong to the domain, and how many images do."""
    if domain is None:
        return np.ones(len(sample.cells), bool), frame.images
    return domain[sample.cells], int(frame.counts[domain].sum())


def _design(frame: Frame, sample: Sample) -> _Design:
    cells, images = sample.cells, frame.stratum_counts
    answers = np.bincount(frame.strata[cells], minlength=len(images))
    groups = _join(answers, images)[frame.strata]
    sizes = np.bincount(groups, frame.counts).astype(np.float64)
    drawn = answers if sample.drawn is None else sample.drawn
    stands_for = (images / np.maximum(drawn, 1))[frame.strata[cells]]  # (n,) if all were answered
    own = groups[cells]
    weights = stands_for * (sizes / np.maximum(np.bincount(own, stands_for, minlength=len(sizes)), 1e-12))[own]
    return _Design(groups, sizes, weights, np.bincount(own, minlength=len(sizes)).astype(np.int64))


def _join(answers_of: NDArray[np.integer[Any]], images: Ints) -> Ints:
    """The group of each stratum, (H,): neighbours are joined until each group has two answers, or all of its images."""
    group_of = np.zeros(len(images), np.int64)
    group, answers, size = 0, 0, 0
    for stratum, (n, count) in enumerate(zip(answers_of.tolist(), images.tolist(), strict=True)):
        group_of[stratum] = group
        answers, size = answers + n, size + count
        if answers >= 2 or answers == size:
            group, answers, size = group + 1, 0, 0
    if group and size:  # what is left over goes to the last group
        group_of[group_of == group] = group - 1
    return group_of


def _spread_of(design: _Design, sample: Sample, residuals: Floats, expected: Floats) -> float:
    """The variance of the weighted sum of residuals, (n,), images drawn without replacement.

    expected: (n,) the variance of each by the model: it steadies what few answers of a stratum say of their spread.
    """
    group = design.groups[sample.cells]
    n = design.answered.astype(np.float64)
    share = design.weights / design.sizes[group]  # (n,) of its group; they sum to 1
    mean = np.bincount(group, share * residuals, minlength=len(n))
    squares = np.bincount(group, (n[group] * share * (residuals - mean[group])) ** 2, minlength=len(n))
    prior = np.bincount(group, share * expected, minlength=len(n))
    variance = (squares + PRIOR * prior) / np.maximum(n - 1 + PRIOR, 1)
    unseen = 1 - n / design.sizes
    return float((design.sizes**2 * unseen * variance / np.maximum(n, 1)).sum())


def _make(rate: float, variance: float, sample: Sample, inside: Bools, images: int) -> Estimate:
    """The Wilson interval of as many random verdicts as would vary that much."""
    n = int(inside.sum())
    wrong = int((sample.wrong & inside).sum())
    if n == images:
        return Estimate(rate, rate, rate, n, wrong, images)
    # few wrong labels seen say little of the spread, whatever a model expects
    most = n * (1 + TRUST * min(wrong, n - wrong))
    draws = min(rate * (1 - rate) / variance, most) if variance > 0 and 0 < rate < 1 else float(n)
    low, high = wilson(rate * draws, draws)
    low = min(low, rate) if wrong else 0.0  # what nobody has seen need not exist
    high = max(high, rate) if wrong < n else 1.0
    return Estimate(rate, low, high, n, wrong, images)


def _part(groups: Ints) -> Ints:
    """The fold of each answer, (n,): as even as may be within every group; in the random order of the sample."""
    order = np.argsort(groups, kind="stable")
    fold = np.empty(len(groups), np.int64)
    fold[order] = np.arange(len(groups)) % FOLDS
    return fold


def _fit_folds(frame: Frame, sample: Sample, fold: Ints) -> Floats:
    """What the model expects of each cell, (FOLDS, C), learnt from the answers of the other folds."""
    design = _describe(frame)
    return np.stack([_fit(design, sample.cells[fold != each], sample.wrong[fold != each]) for each in range(FOLDS)])


@dataclass(frozen=True, eq=False)
class _Features:
    """The columns of the model: how sure P(wrong) is, whether it is known, and the classes. All (C, F)."""

    columns: Floats
    start: Floats  # (F,) what they count for before any verdict
    ridge: Floats  # (F,) how strongly they are held to that


def _describe(frame: Frame) -> _Features:
    p = frame.p_wrong
    known = ~np.isnan(p)
    is_run = (frame.level != UNKNOWN) & (frame.level != SETTLED)
    columns = [np.where(known, logit(np.clip(np.nan_to_num(p, nan=0.5), 1e-4, 1 - 1e-4)), 0.0)]
    columns += [np.where(is_run, 1.0, 0.0), np.where(frame.level == UNKNOWN, 1.0, 0.0)]
    columns.append(np.where(frame.level == SETTLED, 1.0, 0.0))
    classes = np.unique(frame.class_ids)
    columns += [((frame.class_ids == class_id) & is_run).astype(float) for class_id in classes]
    columns += [((frame.class_ids == class_id) & (frame.level == UNKNOWN)).astype(float) for class_id in classes]
    ridge = np.array([RIDGE, 0.1, 0.1, 0.1, *[RIDGE / 4] * (2 * len(classes))])
    start = np.zeros(len(ridge))
    start[0] = 1.0
    return _Features(np.stack(columns, axis=1), start, ridge)


def _fit(features: _Features, cells: Ints, wrong: Bools) -> Floats:
    """A logistic regression held to P(wrong) as it was; what it expects of each cell, (C,)."""
    x, weights = features.columns[cells], features.start.copy()
    for _ in range(STEPS):
        p = expit(x @ weights)
        gradient = x.T @ (wrong - p) - features.ridge * (weights - features.start)
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(features.ridge)
        step = np.linalg.solve(hessian, gradient)
        weights += step * min(1.0, 4.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-6:
            break
    expected: Floats = np.clip(expit(features.columns @ weights), 1e-4, 1 - 1e-4)
    return expected
